"""Handle: one adapter, as it was when it was admitted; what an answer belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tenon.adapters.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Handle:
    """An adapter that may answer. It never changes: a replacement is another handle.

    Two handles are the same only if they are one object.

    Args:
        name: under which it is asked.
        digest: sha256 of its manifest, which has the digests of all its files.
        manifest: what it says about itself.
        folder: where its files lie.
    """

    name: str
    digest: str
    manifest: Manifest
    folder: Path

    @property
    def pinned(self) -> str:
        """Give the name that means this adapter and no replacement of it."""
        return f"{self.name}@{self.digest}"
