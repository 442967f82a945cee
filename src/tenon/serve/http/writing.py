"""Writing: the routes of adapters that write, and of a base that does, in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from tenon.core.errors import RequestError, TenonError
from tenon.evaluate.running import Piece
from tenon.serve.handle import Handle
from tenon.serve.http.body import ChatBody, CompletionBody
from tenon.serve.http.logprobs import Shown, shown
from tenon.serve.http.paper import paper
from tenon.serve.http.patience import patient
from tenon.serve.http.prompt import Asked, asked
from tenon.serve.http.refusal import refused, told
from tenon.serve.http.service import Service, key_of, note, service_of
from tenon.serve.http.shelf import resolve, successor
from tenon.serve.http.stream import Stream

router = APIRouter()
ATTEMPTS = 3
DONE = b"data: [DONE]\n\n"
EVENTS = "text/event-stream"


@router.post("/v1/chat/completions")
async def chat(request: Request, body: ChatBody) -> Response:
    """Answer a conversation."""
    return await _answered(request, body)


@router.post("/v1/completions")
async def complete(request: Request, body: CompletionBody) -> Response:
    """Go on from a prompt."""
    return await _answered(request, body)


@dataclass
class Said:
    """An answer while it comes.

    Args:
        model: as it was asked for.
        digest: of the adapter, or of the base.
        chat: whether it answers a conversation.
        asked: the prompt.
        stream: its pieces.
        shown: spells tokens, where their probabilities are asked for.
    """

    model: str
    digest: str
    chat: bool
    asked: Asked
    stream: Stream
    shown: Shown | None
    began: float = field(default_factory=time.monotonic)
    created: int = field(default_factory=lambda: int(time.time()))
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    tokens: int = 0

    def frame(self, choices: list[dict[str, Any]], *, chunk: bool) -> dict[str, Any]:
        """Give a response, or an event of a stream, around choices."""
        sort = "chat.completion" if self.chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": f"{sort}.chunk" if chunk and self.chat else sort,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.digest,
            "choices": choices,
        }

    def choice(self, text: str, finish: str | None, told: Any, *, chunk: bool) -> dict[str, Any]:
        """Give a choice that holds a text, or a part of one."""
        held: dict[str, Any] = {"text": text}
        if self.chat:
            said = {"role": "assistant", "content": text} if not chunk else {"content": text}
            held = {"delta" if chunk else "message": said}
        return {"index": 0, **held, "logprobs": told, "finish_reason": finish}

    @property
    def usage(self) -> dict[str, int]:
        """Give the tokens that were read and written, and those that the prompt lost."""
        read = len(self.asked.prompt.ids)
        return {
            "prompt_tokens": read,
            "completion_tokens": self.tokens,
            "total_tokens": read + self.tokens,
            "cut_tokens": self.asked.cut,
        }


async def _answered(request: Request, body: ChatBody | CompletionBody) -> Response:
    service, key = service_of(request), key_of(request)
    handle = resolve(service, key, body.model)
    seconds = service.settings.answer_seconds
    said = await patient(request, seconds, _begun(service, handle, body, key.name))
    note(request, adapters=[f"{said.model}@{said.digest}"])
    pieces = _counted(service, said)
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        try:
            first = await patient(request, seconds, anext(pieces))
        except BaseException:
            said.stream.give_up()
            raise
        events = _events(said, first, pieces, with_usage=with_usage)
        return StreamingResponse(events, media_type=EVENTS)
    try:
        whole = await patient(request, seconds, _all(pieces))
    finally:
        said.stream.give_up()
    note(request, tokens_read=len(said.asked.prompt.ids), tokens_written=said.tokens)
    chances = said.shown.whole(whole) if said.shown else None
    text = "".join(piece.text for piece in whole)
    choice = said.choice(text, whole[-1].finish, chances, chunk=False)
    return paper({**said.frame([choice], chunk=False), "usage": said.usage})


async def _begun(
    service: Service,
    handle: Handle | None,
    body: ChatBody | CompletionBody,
    flow: str,
    attempts: int = ATTEMPTS,
) -> Said:
    """Ask the engine; where the adapter was replaced meanwhile, the one that is here answers."""
    stream = Stream(service.settings.waiting_pieces)
    try:
        made = await asked(service, handle, body, flow)
        await service.apart(lambda: stream.begin(partial(service.engine.write, made.prompt)))
    except RequestError:
        now = successor(service, handle, body.model)
        if now is None or attempts == 1:
            raise
        return await _begun(service, now, body, flow, attempts - 1)
    except asyncio.CancelledError:
        stream.give_up()
        raise
    chat = isinstance(body, ChatBody)
    told = None if made.prompt.sampling.logprobs is None else shown(service, chat=chat)
    name = body.model.partition("@")[0]
    return Said(name, service.digest(handle), chat, made, stream, told)


async def _counted(service: Service, said: Said) -> AsyncIterator[Piece]:
    """Give the pieces, and count them."""
    numbers = service.telemetry
    numbers.tokens.labels("read").inc(len(said.asked.prompt.ids))
    first = True
    async for piece in said.stream.pieces():
        if first:
            numbers.first.observe(time.monotonic() - said.began)
            first = False
        said.tokens += len(piece.ids)
        numbers.tokens.labels("written").inc(len(piece.ids))
        yield piece
    numbers.answers.labels(said.model).inc()


async def _all(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]


async def _events(
    said: Said, first: Piece, rest: AsyncIterator[Piece], *, with_usage: bool
) -> AsyncIterator[bytes]:
    """Give the events of a stream; what goes wrong is its last one."""
    more: dict[str, Any] = {"usage": None} if with_usage else {}
    try:
        if said.chat:
            begin = said.choice("", None, None, chunk=True)
            begin["delta"]["role"] = "assistant"
            yield _event({**said.frame([begin], chunk=True), **more})
        yield _event({**_chunk(said, first), **more})
        async for piece in rest:
            yield _event({**_chunk(said, piece), **more})
        if with_usage:
            yield _event({**said.frame([], chunk=True), "usage": said.usage})
        yield DONE
    except TenonError as error:
        refusal = refused(error)
        yield _event(told(refusal.status, str(refusal), code=refusal.code))
    finally:
        said.stream.give_up()


def _chunk(said: Said, piece: Piece) -> dict[str, Any]:
    chances = said.shown.part(piece) if said.shown else None
    return said.frame([said.choice(piece.text, piece.finish, chances, chunk=True)], chunk=True)


def _event(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()
