"""Patience: waiting for an answer as long as it may take, and as its client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from tenon.serve.http.refusal import Refused

T = TypeVar("T")


class Gone(Exception):
    """The client has gone; nobody waits for an answer."""


async def patient(request: Request, seconds: float, work: Awaitable[T]) -> T:
    """Wait for work; give it up where its client goes, or it takes too long.

    Args:
        request: whose body has been read.
        seconds: within which it must be done.
        work: is cancelled where it is given up.

    Raises:
        Gone: the client has gone.
        Refused: 504, it took too long.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({doing, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        if leaving.done():
            raise Gone
        told = f"no answer within {seconds:g} seconds; ask for less, or again"
        raise Refused(504, told, code="deadline")
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
