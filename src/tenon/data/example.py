"""Row and Example: one line of a file, and what it means to a task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tenon.data.gold import Gold, Place, Turn

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
        text: the text; of a question, the question; of a conversation, all of it to read.
        pair: the second text, or None; of a question, the context.
        gold: what the answer is, in the form of the task; None where the row does not say.
        words: first and last character (exclusive) of each word, where the row has words.
        turns: the conversation, answers included, where the row is one.
        group: digest of what rows share that must not stand in two parts: of questions, of their
            context; None where a row stands for itself.
    """

    id: str
    origin: str
    text: str
    pair: str | None = None
    gold: Gold | None = None
    words: tuple[Place, ...] | None = None
    turns: tuple[Turn, ...] | None = None
    group: str | None = None

    @property
    def key(self) -> str:
        """What decides the part: equal for rows that must not be in different ones."""
        return self.group or self.id


def group_id(row: Row, column: str) -> str | None:
    """Give the digest of what a row shares with others; None where its cell is empty.

    Args:
        row: as the file has it.
        column: whose equal values belong together; "" for none.
    """
    held = row.values.get(column) if column else None
    return None if held is None or not str(held).strip() else content_id(str(held))


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
