"""Service: what all routes of a server share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

from fastapi import Request
from transformers import PreTrainedTokenizerBase

from tenon.model.loading import writes_answers
from tenon.serve.engine import Engine
from tenon.serve.handle import Handle
from tenon.serve.http.keys import Key, Keys
from tenon.serve.http.scribe import Scribe
from tenon.serve.http.settings import ServerSettings
from tenon.serve.http.telemetry import Telemetry
from tenon.text.tokenizer import load_tokenizer

T = TypeVar("T")
THREADS = 4


@dataclass
class Service:
    """What all routes share.

    Args:
        engine: which answers.
        settings: the limits.
        keys: of the server.
        root: folder from which adapters may be added; None for nothing.
        telemetry: the numbers.
        scribe: writes conversations; None where the base writes nothing.
    """

    engine: Engine
    settings: ServerSettings = field(default_factory=ServerSettings)
    keys: Keys = field(default_factory=Keys)
    root: Path | None = None
    telemetry: Telemetry = field(default_factory=Telemetry)
    scribe: Scribe | None = None
    began: int = field(default_factory=lambda: int(time.time()))
    ready: bool = False
    counting: threading.Lock = field(default_factory=threading.Lock)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="tenon-http")
    )

    @cached_property
    def _changers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.settings.loading, thread_name_prefix="tenon-change")

    @cached_property
    def base_name(self) -> str:
        """Give the name under which the base itself is asked: a folder's own, or the hub's id."""
        name = self.engine.base.name
        return self.engine.base.folder.name if Path(name).is_dir() else name

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Give a tokenizer that nobody else changes, to count and to show tokens by."""
        return load_tokenizer(self.engine.base.folder)

    @cached_property
    def base_task(self) -> str:
        """Give what the base does when it is asked itself."""
        return "text-generation" if writes_answers(self.engine.base) else "feature-extraction"

    @cached_property
    def base_route(self) -> str:
        """Give the route at which the base itself is asked."""
        if self.base_task == "feature-extraction":
            return "/v1/embeddings"
        return "/v1/chat/completions" if self.tokenizer.chat_template else "/v1/completions"

    @property
    def handles(self) -> Mapping[str, Handle]:
        """Give the adapters that may be asked now."""
        return self.engine.handles

    def digest(self, handle: Handle | None) -> str:
        """Give what identifies an adapter, or the base."""
        return self.engine.fingerprint.digest if handle is None else handle.digest

    def deadline(self) -> float:
        """Give the time by which a request that begins now must be answered."""
        return time.monotonic() + self.settings.answer_seconds

    async def apart(self, compute: Callable[[], T]) -> T:
        """Compute something in a thread of the server's, so that others are answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, compute)

    async def changing(self, compute: Callable[[], T]) -> T:
        """Let an adapter come or go in one of the threads for that, as many as may be admitted.

        It waits for the engine there, which no request that is to be answered may wait behind.
        """
        return await asyncio.get_running_loop().run_in_executor(self._changers, compute)

    def close(self) -> None:
        """End the threads; what they compute comes to its end."""
        for pool in (self._pool, self._changers):
            pool.shutdown(wait=False, cancel_futures=True)


def service_of(request: Request) -> Service:
    """Give the service that a request came to."""
    return cast(Service, request.app.state.service)


def key_of(request: Request) -> Key:
    """Give the key of a request."""
    return cast(Key, request.state.key)


def note(request: Request, **told: object) -> None:
    """Let the log tell something of a request, which is no text of it."""
    request.state.note.update(told)
