"""Row and Example: one line of a file, and what it means to a task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

ID_BYTES = 16


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
    first = text.encode("utf-8", "surrogatepass")
    if pair is None:
        return hashlib.blake2b(first, digest_size=ID_BYTES).hexdigest()
    # The border is part of what is digested, so that no single text and no other pair is the same.
    border = len(first).to_bytes(8, "little")
    second = pair.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(border + first + second, digest_size=ID_BYTES, person=b"pair")
    return digest.hexdigest()
