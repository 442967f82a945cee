"""Ray Serve: rows answered by adapters over one base, on the machines of a Ray cluster.

    pip install "tenonlm[ray]" "ray[serve]"
    TENON_BASE=/srv/tenon/base TENON_ROOT=/srv/tenon/adapters serve run ray_serve:app

    curl http://127.0.0.1:8000/ -H "serve_multiplexed_model_id: support" \
        -d '{"texts": ["I was charged twice for the same order."]}'

A replica holds the base once. A request names its adapter in the header, by the name of its folder,
and goes to a replica that has it already; one that has it not proves it first. Each replica lets go
of the adapter that was asked longest ago where it holds more than `AT_HAND`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from tenon.adapters.kind import NAME
from tenon.core.errors import RequestError, TenonError
from tenon.data.example import Example, content_id
from tenon.serve.asked import Rows
from tenon.serve.engine import Engine
from tenon.serve.handle import Handle

AT_HAND = 64
"""Adapters of a replica that are ready to answer."""
MOST_TEXTS = 256


class Held:
    """An adapter of the engine, taken out once Ray lets go of it."""

    def __init__(self, engine: Engine, handle: Handle) -> None:
        self.engine, self.handle = engine, handle

    def __del__(self) -> None:
        self.engine.remove(self.handle.name)


@serve.deployment(num_replicas=2, max_ongoing_requests=64)
class Answers:
    """The adapters below a folder, over one base."""

    def __init__(self, base: str, root: str) -> None:
        self.engine, self.root = Engine(base), Path(root).resolve()

    @serve.multiplexed(max_num_models_per_replica=AT_HAND)
    async def held(self, name: str) -> Held:
        """Admit an adapter: it is proved before it answers."""
        if not NAME.fullmatch(name):
            raise RequestError(f"{name[:64]!r}: is no name of an adapter")
        if not (self.root / name).is_dir():
            raise RequestError(f"{name}: no such adapter here")
        return Held(self.engine, await asyncio.to_thread(self.engine.add, name, self.root / name))

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer texts."""
        try:
            held = await self.held(serve.get_multiplexed_model_id())
            rows = Rows(held.handle, _examples(await request.json()))
            replies = await asyncio.wrap_future(self.engine.ask(rows))
        except (TenonError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        adapter = held.handle.pinned
        return JSONResponse({"adapter": adapter, "answers": [asdict(each) for each in replies]})


def _examples(body: Any) -> tuple[Example, ...]:
    texts = body.get("texts") if isinstance(body, dict) else None
    sound = isinstance(texts, list) and 0 < len(texts) <= MOST_TEXTS
    if not sound or not all(isinstance(text, str) and text.strip() for text in texts):
        raise RequestError(f'expected {{"texts": [...]}} with 1 to {MOST_TEXTS} texts')
    return tuple(Example(content_id(text), f"text {at}", text) for at, text in enumerate(texts))


app = Answers.bind(os.environ["TENON_BASE"], os.environ["TENON_ROOT"])
