"""Prompt: a conversation or a text as token ids, written as the adapter's rows were in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tenon.core.errors import RequestError
from tenon.evaluate.sampling import Sampling
from tenon.serve.asked import Prompt
from tenon.serve.handle import Handle
from tenon.serve.http.body import ChatBody, CompletionBody, Message, WritingBody
from tenon.serve.http.heads import ROUTES
from tenon.serve.http.refusal import Refused
from tenon.serve.http.scribe import Written
from tenon.serve.http.service import Service
from tenon.serve.intake import BASE_NEW_TOKENS
from tenon.text.text_generation_render import WritingRenderer

FIELDS = ("limit", "form", "instruction", "cut", "seq2seq")
"""Of `WritingRenderer`, what decides how a prompt is written beside the tokenizer."""


@dataclass(frozen=True)
class Asked:
    """A prompt that is ready to be answered.

    Args:
        prompt: for the engine.
        cut: tokens that it lost, as rows of that length do in training.
    """

    prompt: Prompt
    cut: int


async def asked(
    service: Service, handle: Handle | None, body: ChatBody | CompletionBody, flow: str
) -> Asked:
    """Make the prompt of a request.

    Args:
        handle: who is asked; None for the base.

    Raises:
        Refused: who is asked does not write, was trained in another form, or the prompt is too
            long.
    """
    renderer = await _renderer(service, handle)
    wanted = _wanted(service, body)
    if isinstance(body, ChatBody):
        written = await _conversation(service, handle, renderer, body.messages)
    else:
        written = await _text(service, handle, renderer, body.text)
    if handle is None and not wanted:
        wanted = await _room(service, written)
    ids = await _fitted(service, handle, written, wanted)
    sampling = Sampling(
        max_new_tokens=wanted,
        temperature=body.temperature or 0.0,
        top_p=body.top_p or 1.0,
        top_k=body.top_k or 0,
        seed=body.seed or 0,
        stop=body.stops,
        logprobs=_logprobs(body),
    )
    prompt = Prompt(handle, ids, sampling, flow, service.deadline())
    return Asked(prompt, written.cut + len(written.ids) - len(ids))


async def _renderer(service: Service, handle: Handle | None) -> WritingRenderer:
    try:
        return await service.apart(lambda: service.engine.renderer(handle))
    except RequestError as error:
        task = handle.manifest.task if handle else ""
        if task in ROUTES:
            told = f"{error}; ask it at {ROUTES[task]}"
            raise Refused(400, told, param="model", code="other_task") from error
        raise Refused(400, str(error), param="model", code="writes_nothing") from error


async def _conversation(
    service: Service,
    handle: Handle | None,
    renderer: WritingRenderer,
    messages: Sequence[Message],
) -> Written:
    """Write a conversation, if who is asked has learned to read one."""
    if len(messages) > service.settings.messages:
        told = f"{len(messages):,} messages, more than {service.settings.messages:,}; send fewer"
        raise Refused(400, told, param="messages", code="too_many")
    if handle is None and renderer.form != "chat":
        told = "this base has no chat template; ask it at /v1/completions"
        raise Refused(400, told, param="model", code="no_template")
    alone = len(messages) == 1 and messages[0].role == "user"
    if handle is not None and handle.manifest.text.units != "turns" and not alone:
        told = f"{handle.name}: was trained on single prompts; send one message, the user's"
        raise Refused(400, told, param="messages", code="single_prompts")
    turns = [[message.role, message.text] for message in messages]
    return await _write(service, handle, renderer, {"turns": turns}, "messages")


async def _text(
    service: Service, handle: Handle | None, renderer: WritingRenderer, text: str
) -> Written:
    """Write a text, as it is where the base is asked."""
    if handle is None:
        return await _write(service, handle, renderer, {"raw": text}, "prompt")
    if handle.manifest.text.units == "turns":
        told = f"{handle.name}: was trained on conversations; ask it at /v1/chat/completions"
        raise Refused(400, told, param="model", code="conversations")
    return await _write(service, handle, renderer, {"turns": [["user", text]]}, "prompt")


async def _write(
    service: Service,
    handle: Handle | None,
    renderer: WritingRenderer,
    what: dict[str, Any],
    param: str,
) -> Written:
    assert service.scribe is not None  # noqa: S101 - a base that writes has one
    form = {name: getattr(renderer, name) for name in FIELDS}
    text = handle.manifest.text if handle else None
    languages = [text.source_language, text.target_language] if text else ["", ""]
    written = await service.scribe.write({**what, "form": form, "languages": languages})
    if len(written.ids) > service.settings.prompt_tokens:
        most = f"{service.settings.prompt_tokens:,}"
        told = f"the prompt has {len(written.ids):,} tokens, more than {most}; send less"
        raise Refused(400, told, param=param, code="context_length_exceeded")
    return written


def _wanted(service: Service, body: WritingBody) -> int:
    """Give the most tokens that are asked for; 0 for as many as in training."""
    given = getattr(body, "max_completion_tokens", None) or body.max_tokens or 0
    if given > service.settings.new_tokens:
        told = f"max_tokens is {given:,}, more than {service.settings.new_tokens:,}; ask for fewer"
        raise Refused(400, told, param="max_tokens", code="too_many")
    return given


async def _room(service: Service, written: Written) -> int:
    """Give the most tokens that the base writes where nothing is said: halved while room lacks."""
    most = BASE_NEW_TOKENS
    while most > 1:
        fitted = await service.apart(partial(service.engine.fitted, None, written.ids, most))
        if len(fitted) == len(written.ids):
            break
        most //= 2
    return most


async def _fitted(
    service: Service, handle: Handle | None, written: Written, wanted: int
) -> tuple[int, ...]:
    """Give the tokens that are read: all, or, as evaluation does, the last that there is room for.

    Raises:
        Refused: the base, or an adapter that shall write more than in training, has no room.
    """
    fitted = await service.apart(lambda: service.engine.fitted(handle, written.ids, wanted))
    if len(fitted) < len(written.ids) and (handle is None or wanted):
        told = (
            f"the prompt has {len(written.ids):,} tokens; with those to be written there is room "
            f"for {len(fitted):,}: send less, or lower max_tokens"
        )
        raise Refused(400, told, code="context_length_exceeded")
    return fitted


def _logprobs(body: ChatBody | CompletionBody) -> int | None:
    if isinstance(body, CompletionBody):
        return body.logprobs
    return (body.top_logprobs or 0) if body.logprobs else None
