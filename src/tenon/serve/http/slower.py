"""Slower: tells the log what is answered more slowly than it could be, and why, once each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tenon.serve.http.journal import LOG

LOOK_SECONDS = 1.0


@dataclass
class Slower:
    """What is slower.

    Args:
        found: gives what is slower now, with why.
        told: what the log knows, with why.
    """

    found: Callable[[], Mapping[str, str]]
    told: Mapping[str, str] = field(default_factory=dict[str, str])

    async def run(self) -> None:
        """Look again and again."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Tell what is new, and forget what is no longer so."""
        found = self.found()
        for what, why in found.items():
            if self.told.get(what) != why:
                LOG.info("slower", extra={"told": {"of": what, "why": why}})
        self.told = found
