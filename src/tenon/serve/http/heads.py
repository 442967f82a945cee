"""Heads: the routes of adapters that have one: labels, numbers, spans and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response

from tenon.core.errors import RequestError
from tenon.data.example import Example, content_id
from tenon.evaluate.reply import Extracted, Spans
from tenon.serve.asked import Rows
from tenon.serve.handle import Handle
from tenon.serve.http.body import AnswerBody, ClassifyBody, HeadBody, TagBody
from tenon.serve.http.paper import paper
from tenon.serve.http.patience import patient
from tenon.serve.http.refusal import Refused
from tenon.serve.http.service import Service, key_of, note, service_of
from tenon.serve.http.shelf import adapter, successor

router = APIRouter()
ROUTES = {
    "text-classification": "/v1/classify",
    "multi-label-classification": "/v1/classify",
    "text-regression": "/v1/classify",
    "token-classification": "/v1/tag",
    "question-answering": "/v1/answer",
}
"""Task to the route that answers it; all others are written."""
WRITES = "/v1/chat/completions or /v1/completions"
ATTEMPTS = 3
Texts = Sequence[tuple[str, str | None]]


@router.post("/v1/classify")
async def classify(request: Request, body: ClassifyBody) -> Response:
    """Give labels with probabilities, or numbers."""
    return await _answered(request, "/v1/classify", body, body.texts)


@router.post("/v1/tag")
async def tag(request: Request, body: TagBody) -> Response:
    """Give the spans of texts, each with its place in characters, label and probability."""
    return await _answered(request, "/v1/tag", body, body.texts)


@router.post("/v1/answer")
async def answer(request: Request, body: AnswerBody) -> Response:
    """Give the answers that contexts give to questions, with their places in characters."""
    return await _answered(request, "/v1/answer", body, body.texts)


async def _answered(request: Request, route: str, body: HeadBody, texts: Texts) -> Response:
    service = service_of(request)
    names = body.names
    _check_amounts(service, len(names), len(texts))
    found = [_asked(service, request, route, name, texts) for name in names]
    note(request, adapters=[handle.pinned for handle in found], texts=len(texts))
    deadline = service.deadline()
    work = _results(request, names, found, texts, deadline)
    results = await patient(request, service.settings.answer_seconds, work)
    return paper({"object": "list", "results": results})


def _check_amounts(service: Service, names: int, texts: int) -> None:
    limits = service.settings
    for what, count, most, param in (
        ("adapters", names, limits.fan_out, "adapters"),
        ("texts", texts, limits.texts, "input"),
        ("answers, texts times adapters", names * texts, limits.answers, "input"),
    ):
        if count > most:
            told = f"{count:,} {what}, more than {most:,}; send fewer at once"
            raise Refused(400, told, param=param, code="too_many")


def _asked(service: Service, request: Request, route: str, name: str, texts: Texts) -> Handle:
    """Give the adapter of a name, if it answers such texts on this route."""
    handle = adapter(service, key_of(request), name)
    manifest = handle.manifest
    right = ROUTES.get(manifest.task, WRITES)
    if right != route:
        told = f"{name}: is an adapter for {manifest.task}; ask it at {right}"
        raise Refused(400, told, param="model", code="other_task")
    if route == "/v1/classify" and manifest.columns:
        trained = bool(manifest.columns.get("pair"))
        for _, pair in texts:
            if (pair is not None) != trained:
                sort = 'pairs of texts: {"text": …, "pair": …}' if trained else "single texts"
                told = f"{name}: was trained on {sort}; send these"
                raise Refused(400, told, param="input", code="other_sort")
    return handle


async def _results(
    request: Request,
    names: Sequence[str],
    handles: Sequence[Handle],
    texts: Texts,
    deadline: float,
    attempts: int = ATTEMPTS,
) -> list[dict[str, Any]]:
    """Give what adapters answer to all texts; those that replaced one meanwhile, if they did."""
    service, key = service_of(request), key_of(request)
    examples = _examples(texts)
    asked = [Rows(handle, examples, key.name, deadline) for handle in handles]
    try:
        futures = await service.apart(lambda: service.engine.ask_together(asked))
    except RequestError:
        pairs = zip(names, handles, strict=True)
        now = [successor(service, handle, name) or handle for name, handle in pairs]
        if now == list(handles) or attempts == 1:
            raise
        return await _results(request, names, now, texts, deadline, attempts - 1)
    answers = await asyncio.gather(*map(asyncio.wrap_future, futures))
    return [_told(service, *each) for each in zip(handles, answers, strict=True)]


def _told(service: Service, handle: Handle, replies: Sequence[Any]) -> dict[str, Any]:
    service.telemetry.answers.labels(handle.name).inc(len(replies))
    return {
        "adapter": handle.name,
        "digest": handle.digest,
        "task": handle.manifest.task,
        "answers": [plain(reply) for reply in replies],
    }


def _examples(texts: Texts) -> tuple[Example, ...]:
    return tuple(
        Example(content_id(text, pair), f"input {place}", text, pair)
        for place, (text, pair) in enumerate(texts)
    )


def plain(reply: Any) -> dict[str, Any]:
    """Give a reply as JSON has it, without the texts that were asked."""
    values = asdict(reply)
    asked = ("text",) if isinstance(reply, Spans) else ()
    asked = ("question", "context") if isinstance(reply, Extracted) else asked
    return {name: value for name, value in values.items() if name not in asked}
