"""Row and Example: one line of a file, and what it means to a task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the file has it.

    Args:
        values: column name to value, as typed by the file.
        origin: `file:line` of the row's first line.
    """

    values: dict[str, object]
    origin: str


@dataclass(frozen=True, slots=True)
class Example:
    """One row as the task sees it.

    Args:
        id: digest of the inputs, 32 hex digits: two rows with equal inputs share it.
        origin: `file:line`.
        text: the text.
        pair: the second text, or None.
        label: the class label, or None where the row has none.
    """

    id: str
    origin: str
    text: str
    pair: str | None = None
    label: str | None = None


def content_id(text: str, pair: str | None = None) -> str:
    """Give the digest of an example's inputs: 32 hex digits, the same on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    if pair is not None:
        digest.update(b"\x1f" + pair.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
