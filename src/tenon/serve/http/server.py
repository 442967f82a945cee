"""Server: an app on a socket, from its first request to its last."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from tenon.core.errors import PlanError, RunError
from tenon.serve.http.app import app
from tenon.serve.http.journal import LOG
from tenon.serve.http.scribe import Scribe
from tenon.serve.http.service import Service
from tenon.serve.http.slower import Slower
from tenon.serve.http.watch import Watch

SIGNALS = (signal.SIGINT, signal.SIGTERM)
OTHER_FILES = 256
"""Open files of the process that are no connections."""
HEADER_BYTES = 32 << 10
IDLE_SECONDS = 10
WAITING = 1024
"""Connections that the system keeps until they are taken."""


@dataclass
class Server:
    """A service on a socket.

    Args:
        service: what is asked.
        listening: where it is asked; from `listen`.
    """

    service: Service
    listening: socket.socket
    _below: uvicorn.Server | None = None

    def run(self, begun: Callable[[], None] = lambda: None) -> None:
        """Answer until the process is told to end; then answer what is open, and return.

        Args:
            begun: told once requests are answered.
        """
        settings = self.service.settings
        _allow_files(settings.connections + OTHER_FILES)
        config = uvicorn.Config(
            self._app(begun),
            http="h11",
            ws="none",
            lifespan="on",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.connections,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
            h11_max_incomplete_event_size=HEADER_BYTES,
        )
        self._below = below = uvicorn.Server(config)
        with _quiet_signals():
            below.run(sockets=[self.listening])

    def stop(self) -> None:
        """Tell it to end, from any thread."""
        if self._below is not None:
            self._below.should_exit = True

    def _app(self, begun: Callable[[], None]) -> ASGIApp:
        inner = app(self.service)

        async def whole(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await _lifespan(receive, send, lambda: self._living(begun))
            else:
                await inner(scope, receive, send)

        return whole

    @contextlib.asynccontextmanager
    async def _living(self, begun: Callable[[], None]) -> AsyncIterator[None]:
        """Hold what lives as long as the server does."""
        service = self.service
        if service.base_task != "feature-extraction":
            service.scribe = Scribe(service.engine.base.folder, service.settings)
            await service.scribe.begin()
            await service.apart(lambda: service.tokenizer)
        watch = Watch(service.settings, service.telemetry)
        assert self._below is not None  # noqa: S101 - it is what lives
        looks = [
            asyncio.create_task(watch.run(self._below.server_state.connections)),
            asyncio.create_task(Slower(lambda: service.engine.slower).run()),
        ]
        service.ready = True
        begun()
        try:
            yield
        finally:
            service.ready = False
            for looking in looks:
                looking.cancel()
            if service.scribe is not None:
                await service.scribe.end()
            service.close()
            LOG.info("ended")


async def _lifespan(
    receive: Any, send: Any, living: Callable[[], contextlib.AbstractAsyncContextManager[None]]
) -> None:
    """Begin and end with uvicorn."""
    await receive()
    try:
        async with living():
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except RunError as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.shutdown.complete"})


def listen(host: str, port: int, *, keys: bool) -> socket.socket:
    """Take a socket to listen on.

    Args:
        port: 0 for any that is free.
        keys: whether the server has keys.

    Raises:
        PlanError: the address is not of this machine alone, and there are no keys.
        RunError: it cannot be had.
    """
    if not keys and not is_loopback(host):
        raise PlanError(
            f"--host {host}: others than this machine could ask here, and there are no keys; "
            "give --keys FILE (tenon serve --new-key NAME makes one), or leave --host out"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _taken(host, port, error) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        # Who asks before the base is loaded waits, and is answered then.
        made.listen(WAITING)
    except OSError as error:
        made.close()
        raise _taken(host, port, error) from error
    return made


def _taken(host: str, port: int, error: OSError) -> RunError:
    why = error.strerror or error
    return RunError(f"{host}:{port}: cannot be listened on ({why}); give another --port")


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _quiet_signals() -> Iterator[None]:
    """Let the end that a signal asks for be an ordinary one: uvicorn raises it again at its own."""
    try:
        before = {each: signal.signal(each, lambda *_: None) for each in SIGNALS}
    except ValueError:  # no main thread: signals are not for it
        yield
        return
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _allow_files(count: int) -> None:
    """Let this process have so many files open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
