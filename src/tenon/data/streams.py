"""Stream: the bytes of a source, decompressed by what they are and not by what they are called."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

from tenon.core.errors import DataError, Faults
from tenon.core.files import reading

HEAD_BYTES = 1 << 16
ZSTD_BYTES = 1 << 9
"""Packed bytes taken at once: few, because a hostile frame grows some 30,000-fold."""
_BROKEN = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    zstandard.ZstdError,
)
_GZIP, _XZ, _ZSTD, _BZIP2 = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"BZh"
ZIP = b"PK\x03\x04"
PARQUET = b"PAR1"
_FOREIGN = (
    (b"%PDF", "a PDF document", "take the rows out of it into CSV or JSONL"),
    (b"SQLite format 3\x00", "an SQLite database", "write its table as CSV first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", "save the sheet as CSV UTF-8"),
    (b"ARROW1", "an Arrow file", "save it as Parquet, or as a folder with datasets' save_to_disk"),
    (b"<!doctype", "a web page", "a download went wrong: fetch the file itself"),
    (b"<html", "a web page", "a download went wrong: fetch the file itself"),
    (
        b"\x80\x04\x95",
        "a Python pickle",
        "Tenon reads none: write CSV or JSONL with the program that made it",
    ),
    (
        b"\x80\x05\x95",
        "a Python pickle",
        "Tenon reads none: write CSV or JSONL with the program that made it",
    ),
)


class Readable(Protocol):
    """A file that gives what it has without waiting for more."""

    def read1(self, size: int, /) -> bytes:
        """Give up to `size` bytes, fewer where more would need a further read."""
        ...


class Stream:
    """Read bytes forwards, with a look ahead.

    Damage of a compressed file is recorded in `faults` and ends the stream: what was read before
    it stands.

    Args:
        raw: an open binary file.
        path: the file's path, as the user wrote it.
        where: name of the source in origins.
        faults: where damage goes.
    """

    def __init__(self, raw: Readable, path: str, where: str, faults: Faults) -> None:
        self.path = path
        self.where = where
        self.damaged = False
        self._raw = raw
        self._faults = faults
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """Give up to `size` bytes without moving on; fewer only where the stream ends."""
        while len(self._ahead) < size and (more := self._next(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """Give up to `size` bytes; none where the stream has ended."""
        if not self._ahead:
            return self._next(size)
        given, self._ahead = self._ahead[:size], self._ahead[size:]
        return given

    def _next(self, size: int) -> bytes:
        if self.damaged:
            return b""
        try:
            return self._raw.read1(size)
        except _BROKEN as error:
            self.damaged = True
            short = isinstance(error, EOFError) or "end-of-stream" in str(error)
            self._faults.add(
                self.where,
                "the compressed file is cut short"
                if short
                else f"the compressed file is damaged ({error})",
                "fetch or write it again; rows before the damage were read",
            )
            return b""


@contextlib.contextmanager
def opened(path: str, where: str, faults: Faults, *, member: str = "") -> Generator[Stream]:
    """Open a file, or the member of a zip file, and decompress it by its first bytes.

    Args:
        path: the file.
        where: name of the source in origins.
        faults: where damage goes.
        member: full name of a zip's member; empty for the file itself.

    Raises:
        FileError: the file cannot be opened.
        DataError: the bytes are of a kind that holds no rows (PDF, pickle, workbook ...).
    """
    with contextlib.ExitStack() as stack:
        with reading(Path(path)):
            raw = cast(BinaryIO, stack.enter_context(Path(path).open("rb")))
        if member:
            raw = stack.enter_context(_zip_member(raw, path, member))
        head = raw.read(HEAD_BYTES)
        joined = io.BufferedReader(_Joined(head, raw))
        plain = _decompressed(head, joined)
        stream = Stream(plain, path, where, faults)
        refuse_foreign(stream.peek(32), where)
        yield stream


@contextlib.contextmanager
def _zip_member(raw: BinaryIO, path: str, member: str) -> Generator[BinaryIO]:
    with zip_file(raw, path) as archive:
        try:
            opened_member = archive.open(member)
        except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}#{member}: cannot be unpacked ({error}); unpack it by hand"
            ) from error
        with opened_member:
            yield cast(BinaryIO, opened_member)


@contextlib.contextmanager
def zip_file(raw: BinaryIO, path: str) -> Generator[zipfile.ZipFile]:
    """Open `raw` as a zip file.

    Raises:
        DataError: it is not one, is damaged, or is an Excel workbook.
    """
    try:
        archive = zipfile.ZipFile(raw)
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path}: the zip file is damaged ({error}); fetch or write it again"
        ) from error
    with archive:
        if "[Content_Types].xml" in archive.namelist():
            raise DataError(f"{path}: is an Excel or Office file; save the sheet as CSV UTF-8")
        yield archive


class _Joined(io.RawIOBase):
    """A head that was read already, then the rest of its file."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        given = self._head[: len(buffer)] if self._head else self._rest.read(len(buffer))
        self._head = self._head[len(given) :] if self._head else b""
        buffer[: len(given)] = given
        return len(given)


class _Zstd(io.RawIOBase):
    """Zstandard frames, decompressed; unlike zstandard's own reader it minds a missing end."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._packed = b""
        self._plain = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._plain and self._advance():
            pass
        given = self._plain[: len(buffer)]
        self._plain = self._plain[len(given) :]
        buffer[: len(given)] = given
        return len(given)

    def _advance(self) -> bool:
        """Decompress a little more; False where the file ends between two frames."""
        packed = self._packed or self._raw.read(ZSTD_BYTES)
        if not packed:
            if self._frame.eof:
                return False
            raise EOFError("the last zstd frame has no end")
        if self._frame.eof:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._plain = self._frame.decompress(packed)
        self._packed = self._frame.unused_data
        return True


def _decompressed(head: bytes, raw: io.BufferedReader[_Joined]) -> Readable:
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if head.startswith(_XZ):
        return lzma.LZMAFile(raw)
    if head.startswith(_BZIP2):
        return bz2.BZ2File(raw)
    if head.startswith(_ZSTD):
        return io.BufferedReader(_Zstd(raw))
    return raw


def refuse_foreign(head: bytes, where: str) -> None:
    """Refuse bytes that cannot be rows.

    Raises:
        DataError: `head` begins a file of a known kind that Tenon does not read.
    """
    for magic, what, remedy in _FOREIGN:
        if head.lower().startswith(magic.lower()):
            raise DataError(f"{where}: is {what}; {remedy}")
