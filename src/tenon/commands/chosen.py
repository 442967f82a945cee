"""Chosen: which verb the flags of `tenon export` ask for, and what it is given.

A flag that would change nothing is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenon.core.errors import PlanError

HUB = "hub"
IDLE: dict[str, Any] = {"dtype": "auto", "shard_size": "5GB", "rank": 0, "data": ""}
"""What the flags of files are where nothing is said."""


@dataclass(frozen=True)
class Chosen:
    """The flags of `tenon export`.

    Args:
        to: the target.
        check: whether nothing is to be written.
        base: where the base is.
        out: the folder to write.
        repo, public, replace: of the hub.
    """

    to: str
    check: bool
    base: str
    out: Path | None
    repo: str
    public: bool
    replace: bool

    def call(self, own: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Give the verb and what it is given besides the adapter.

        Args:
            own: the flags of files.

        Raises:
            PlanError: a flag is missing, or has no effect.
        """
        files: dict[str, Any] = {
            **{name: value for name, value in own.items() if value != IDLE[name]},
            **({"out": self.out} if self.out else {}),
        }
        of_hub: dict[str, Any] = {
            **({"repo": self.repo} if self.repo else {}),
            **({"public": True} if self.public else {}),
            **({"replace": True} if self.replace else {}),
        }
        if self.check:
            _refuse({**files, **of_hub}, "--check")
            return "exportable", {"base": self.base}
        if self.to == HUB:
            _refuse({**files, **({"base": self.base} if self.base else {})}, "--to hub")
            return "publish", {**of_hub, "repo": _needed(self.repo, "--repo", "owner/name")}
        _refuse(of_hub, f"--to {self.to}")
        out = _needed(self.out, "--out", "a folder")
        return "export", {**own, "out": out, "to": self.to, "base": self.base}


def _needed(value: Any, flag: str, what: str) -> Any:
    if not value:
        raise PlanError(f"{flag}: is missing; expected {what}")
    return value


def _refuse(given: Mapping[str, Any], way: str) -> None:
    if given:
        flag = next(iter(given)).replace("_", "-")
        raise PlanError(f"--{flag}: has no effect with {way}; leave it out")
