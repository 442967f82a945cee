"""Scribe: conversations to token ids, written by a process that is killed when it is late."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tenon.core.errors import RunError
from tenon.serve.http import copyist
from tenon.serve.http.refusal import Refused
from tenon.serve.http.settings import ServerSettings

BEGIN_SECONDS = 120.0
LINE_BYTES = 64 << 20
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}


class Written(NamedTuple):
    """A prompt.

    Args:
        ids: token ids.
        cut: tokens that it lost, as rows of that length do in training.
    """

    ids: tuple[int, ...]
    cut: int


@dataclass
class Scribe:
    """Writes prompts, one at a time.

    Args:
        folder: of the base.
        settings: how long one may take, and how much memory.
    """

    folder: Path
    settings: ServerSettings
    _process: Process | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def begin(self) -> None:
        """Have the process ready, which takes some seconds.

        Raises:
            RunError: it did not begin.
        """
        async with self._turn:
            await self._ready()

    async def write(self, asked: dict[str, Any]) -> Written:
        """Write a prompt.

        Args:
            asked: what `copyist.written` takes.

        Raises:
            Refused: it cannot be written, or not within the limits.
        """
        line = json.dumps(asked).encode() + b"\n"
        async with self._turn:
            process = await self._ready()
            try:
                async with asyncio.timeout(self.settings.template_seconds):
                    found = await _exchange(process, line)
            except (TimeoutError, OSError, ValueError) as error:
                await self._kill()
                seconds = f"{self.settings.template_seconds:g}"
                told = f"{copyist.ORIGIN}: were not written within {seconds} seconds; send less"
                raise Refused(400, told, param="messages", code="template_limit") from error
            except asyncio.CancelledError:
                # The answer to who has gone must not be read by who comes next.
                await self._kill()
                raise
        if "refused" in found:
            raise Refused(400, str(found["refused"]), code="invalid_value")
        return Written(tuple(found["ids"]), found["cut"])

    async def end(self) -> None:
        """End the process."""
        async with self._turn:
            await self._kill()

    async def _ready(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        words = [sys.executable, "-W", "ignore", "-m", copyist.__name__, str(self.folder)]
        self._process = process = await asyncio.create_subprocess_exec(
            *words, str(self.settings.template_bytes),
            stdin=PIPE, stdout=PIPE, limit=LINE_BYTES, start_new_session=True,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_SECONDS):
                if await process.stdout.readline():
                    return process
        await self._kill()
        raise RunError(f"{self.folder}: the process that writes its chat template did not begin")

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _exchange(process: Process, line: bytes) -> dict[str, Any]:
    """Give the process a line, and take the line that it answers.

    Raises:
        OSError: it has ended.
        ValueError: it answers no JSON.
    """
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(line)
    await process.stdin.drain()
    return json.loads(await process.stdout.readline())
