"""Lines: the physical lines of a byte stream as text, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from tenon.core.errors import Faults
from tenon.data.encoding import BOM, refuse_bytes, refuse_wide, wide_encoding
from tenon.data.streams import Stream

CHUNK_BYTES = 1 << 20
LINE_BYTES = 4 << 20
REFUSED = "\0\n"
"""Stands in for a line that was refused; the fault is recorded, and no line read can equal it."""


@dataclass(slots=True)
class Lines:
    """Iterate over the lines of `stream`, each with its line end, in order and without gaps.

    A line that is not UTF-8, holds a NUL or is too long is recorded in `faults` and comes as
    `REFUSED`, so that counting the lines gives their numbers.

    Args:
        stream: decompressed bytes.
        where: name of the source in origins.
        faults: where faults go.
        notes: where what was met and accepted is told.
    """

    stream: Stream
    where: str
    faults: Faults
    notes: list[str]
    stray_returns: bool = field(default=False, init=False)
    unended: bool = field(default=False, init=False)
    _number: int = field(default=0, init=False)
    _returns: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[str]:
        wide = wide_encoding(self.stream.peek(4096))
        if wide:
            refuse_wide(wide, f"{self.where}:1", self.stream.path, self.faults)
            return
        if self.stream.peek(len(BOM)) == BOM:
            self.stream.read(len(BOM))
            self.notes.append(f"{self.where}: begins with a byte order mark, which is accepted")
        for block in self._blocks():
            if block is None:
                yield self._overlong()
                continue
            lone = block.count(b"\r") - block.count(b"\r\n")
            self.stray_returns = self.stray_returns or lone > 0
            self._returns += block.count(b"\r\n")
            yield from self._decoded(block)
        if self._returns:
            self.notes.append(
                f"{self.where}: {self._returns:,} lines end in CR LF, which is accepted"
            )

    def _blocks(self) -> Iterator[bytes | None]:
        """Give runs of whole lines; None stands for one line that is too long."""
        rest = b""
        while chunk := self.stream.read(CHUNK_BYTES):
            end = chunk.find(b"\n") + 1
            if len(rest) + (end or len(chunk)) > LINE_BYTES:
                yield None
                rest = chunk[end:] if end else self._after_line()
                continue
            end = chunk.rfind(b"\n") + 1
            if end:
                yield rest + chunk[:end]
                rest = chunk[end:]
            else:
                rest += chunk
        if rest and not self.stream.damaged:
            self.unended = not rest.endswith(b"\n")
            yield rest

    def _after_line(self) -> bytes:
        """Skip to the end of the present line and give what was read beyond it."""
        while chunk := self.stream.read(CHUNK_BYTES):
            _, found, rest = chunk.partition(b"\n")
            if found:
                return rest
        return b""

    def _overlong(self) -> str:
        self._number += 1
        self.faults.add(
            f"{self.where}:{self._number}",
            f"the line is longer than {LINE_BYTES:,} bytes, the limit of a line",
            "cut the text, or see to it that each row ends in a line feed",
        )
        return REFUSED

    def _decoded(self, block: bytes) -> Iterator[str]:
        try:
            text = "" if b"\0" in block else block.decode()
        except UnicodeDecodeError:
            text = ""
        if not text:
            yield from self._one_by_one(block)
            return
        for line in io.StringIO(text, newline="\n"):
            self._number += 1
            yield line

    def _one_by_one(self, block: bytes) -> Iterator[str]:
        for raw in io.BytesIO(block):
            self._number += 1
            yield self._judged(raw)

    def _judged(self, raw: bytes) -> str:
        where = f"{self.where}:{self._number}"
        if b"\0" in raw:
            self.faults.add(
                where,
                f"byte {raw.index(0) + 1} of the line is NUL",
                "remove it; a NUL in text is a damaged or binary file",
            )
            return REFUSED
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            refuse_bytes(raw, error, where, self.stream.path, self.faults)
            return REFUSED
