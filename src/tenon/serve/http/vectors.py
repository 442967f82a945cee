"""Vectors: the route of the base's own embeddings, in OpenAI's form."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from tenon.serve.asked import Features
from tenon.serve.http.body import EmbeddingBody
from tenon.serve.http.paper import paper
from tenon.serve.http.patience import patient
from tenon.serve.http.refusal import Refused
from tenon.serve.http.service import Service, key_of, note, service_of
from tenon.serve.http.shelf import resolve

router = APIRouter()


@router.post("/v1/embeddings")
async def embed(request: Request, body: EmbeddingBody) -> Response:
    """Give vectors of texts, pooled as the base was trained and of length 1."""
    service, key = service_of(request), key_of(request)
    handle = resolve(service, key, body.model)
    if handle is not None:
        told = f"{handle.name}: vectors are the base's own; ask {service.base_name}"
        raise Refused(400, told, param="model", code="no_vectors")
    texts = body.texts
    if len(texts) > service.settings.texts:
        told = f"{len(texts):,} texts, more than {service.settings.texts:,}; send fewer at once"
        raise Refused(400, told, param="input", code="too_many")
    note(request, texts=len(texts))
    asked = Features(tuple(texts), key.name, service.deadline())
    found = await patient(request, service.settings.answer_seconds, _vectors(service, asked))
    tokens = await service.apart(lambda: count(service, texts))
    service.telemetry.tokens.labels("read").inc(tokens)
    data = [
        {"object": "embedding", "index": place, "embedding": _written(vector, body.encoding_format)}
        for place, vector in enumerate(found)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return paper({"object": "list", "model": body.model, "data": data, "usage": usage})


async def _vectors(service: Service, asked: Features) -> list[Any]:
    future = await service.apart(lambda: service.engine.ask(asked))
    return await asyncio.wrap_future(future)


def count(service: Service, texts: list[str]) -> int:
    """Give the tokens of some texts."""
    with service.counting:
        ids: Any = service.tokenizer(texts)["input_ids"]
    return sum(map(len, ids))


def _written(vector: Any, form: str) -> list[float] | str:
    numbers = np.asarray(vector, np.float32)
    if form == "base64":
        return base64.b64encode(numbers.astype("<f4").tobytes()).decode()
    return [float(number) for number in numbers]
