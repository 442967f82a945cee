"""Sources: `path[#member]` to rows, whatever the file's format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from tenon.core.errors import DataError, Faults, FileError, did_you_mean
from tenon.core.files import digest, digest_of, reading, require
from tenon.data.conll import conll_rows
from tenon.data.dialect import Quoting
from tenon.data.example import Row
from tenon.data.formats import format_of, stem
from tenon.data.json_document import document_rows
from tenon.data.json_lines import json_line_rows
from tenon.data.lines import Lines
from tenon.data.parallel import parallel_rows, require_pair, split_pair
from tenon.data.spec import HUB
from tenon.data.squad import looks_like_squad, squad_rows
from tenon.data.streams import HEAD_BYTES, PARQUET, ZIP, Stream, opened, zip_file
from tenon.data.tables import table_rows


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from.

    Args:
        path: a file or folder as the user wrote it, or the name of a hub data set.
        member: a part of it: the member of a zip file, the key of a JSON object, a split.
        hub: whether `path` is a hub data set.
    """

    path: str
    member: str = ""
    hub: bool = False

    @classmethod
    def parse(cls, spec: str) -> Source:
        """Read `path[#member]`, `path+path` or `hub:owner/name[/configuration][#split]`.

        A path that itself holds `#` and is there is taken whole.

        Raises:
            FileError: `spec` is empty, or names no data set of the hub.
        """
        if spec.startswith(HUB):
            name, _, member = spec.removeprefix(HUB).partition("#")
            if name.count("/") not in (1, 2) or not all(name.split("/")):
                raise FileError(f"{spec}: is no data set of the hub; write hub:owner/name#split")
            return cls(name, member, hub=True)
        if not spec.strip():
            raise FileError('the source is empty; name a file: data.train = "train.csv"')
        if split_pair(spec):
            return cls(spec)
        path, _, member = spec.partition("#")
        return cls(spec) if member and Path(spec).exists() else cls(path, member)

    def __str__(self) -> str:
        path = f"{HUB}{self.path}" if self.hub else self.path
        return f"{path}#{self.member}" if self.member else path

    def container(self) -> str:
        """Give the spec of what this source is a member of; "" for a file that is no member."""
        if not self.member:
            return ""
        outer = self.member.rpartition("#")[0]
        return str(Source(self.path, outer, self.hub))

    @property
    def files(self) -> tuple[str, ...]:
        """The paths that it reads: the two of a pair of parallel files, else its own."""
        return split_pair(self.path) or (self.path,)

    def digest(self) -> str:
        """Give the digest of a file's bytes, or of all files of a pair or a folder.

        Raises:
            FileError: one of them cannot be read.
        """
        if len(self.files) > 1:
            return digest_of([digest(Path(file)) for file in self.files])
        path = Path(self.path)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return digest_of([[str(file.relative_to(path)), digest(file)] for file in files])
        return digest(path)

    def require(self) -> None:
        """Check that the file or folder is there.

        Raises:
            FileError: it is not; files of a similar name are offered.
        """
        if self.hub:
            return
        if pair := split_pair(self.path):
            require_pair(pair)
            return
        require(Path(self.path))


def read(
    spec: str, faults: Faults, *, quoting: Quoting = "auto", notes: list[str] | None = None
) -> Iterator[Row]:
    """Read the rows of a source, in order, in bounded memory.

    Args:
        spec: `path[#member]`; CSV, TSV, JSONL, JSON, CoNLL or Parquet, plain or packed by gzip, xz,
            zstd or bzip2; the member of a zip file; the list of a JSON object; two files whose
            lines belong together, `train.en+train.de`; a folder that `datasets` saved;
            `hub:owner/name#split`.
        faults: every line that is no row, with its origin; reading goes on after it where it can.
        quoting: how quotation marks in tables are read; "auto" is RFC 4180 for CSV, none for TSV.
        notes: takes in what was met and accepted: byte order marks, blank lines, no header ...

    Returns:
        An iterator of rows. Their order and origins are the same at each reading.

    Raises:
        FileError: the source is not there or cannot be opened.
        DataError: the source as a whole is of no kind that holds rows.
    """
    source = Source.parse(spec)
    source.require()
    return _rows(source, faults, quoting, [] if notes is None else notes)


def _rows(source: Source, faults: Faults, quoting: Quoting, notes: list[str]) -> Iterator[Row]:
    if split_pair(source.path):
        yield from parallel_rows(source.path, faults, notes)
        return
    if source.hub or Path(source.path).is_dir():
        yield from _library_rows(source, notes)
        return
    magic = magic_of(source.path)
    if magic == PARQUET:
        yield from _parquet(source, notes)
    elif magic == ZIP:
        member, _, inner = source.member.partition("#")
        name = zip_member(source.path, member)
        with opened(source.path, f"{source.path}#{name}", faults, member=name) as stream:
            yield from _stream_rows(stream, name, inner, faults, quoting, notes)
    else:
        with opened(source.path, source.path, faults) as stream:
            yield from _stream_rows(stream, source.path, source.member, faults, quoting, notes)


def _library_rows(source: Source, notes: list[str]) -> Iterator[Row]:
    from tenon.data.columnar import dataset_rows, hub_rows, is_dataset

    if source.hub:
        yield from hub_rows(source.path, source.member, notes)
    elif is_dataset(Path(source.path)):
        yield from dataset_rows(source.path, source.member, notes)
    else:
        from tenon.data.members import require_file

        require_file(source.path)


def _parquet(source: Source, notes: list[str]) -> Iterator[Row]:
    from tenon.data.columnar import parquet_rows

    if source.member:
        raise DataError(
            f"{source.path}: a Parquet file has no part {source.member!r}; leave it out"
        )
    yield from parquet_rows(source.path, notes)


def magic_of(path: str) -> bytes:
    """Give the first four bytes of a file."""
    with reading(Path(path)), Path(path).open("rb") as file:
        return file.read(4)


def zip_member(path: str, member: str) -> str:
    """Give the full name of a zip's member, which may be given without folder and suffix.

    Raises:
        DataError: no member, or several, are meant by `member`; those there are named.
    """
    names = zip_names(path)
    if not member and len(names) == 1:
        return names[0]
    exact = [name for name in names if name == member]
    loose = [name for name in names if member and member in (PurePosixPath(name).name, stem(name))]
    found = exact or loose
    if len(found) == 1:
        return found[0]
    known = f"it holds {', '.join(names[:12])}" if names else "it holds no file"
    if not member or len(found) > 1:
        raise DataError(f"{path}: name one of its members, {path}#NAME; {known}")
    raise DataError(f"{path}: no member {member!r}; {did_you_mean(member, names)}; {known}")


def zip_names(path: str) -> list[str]:
    """Give the names of the files in a zip, without folders and what macOS adds."""
    with (
        reading(Path(path)),
        Path(path).open("rb") as raw,
        zip_file(cast(BinaryIO, raw), path) as archive,
    ):
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    return [
        name
        for name in names
        if not name.startswith("__MACOSX/") and not name.endswith(".DS_Store")
    ]


def _stream_rows(
    stream: Stream, name: str, member: str, faults: Faults, quoting: Quoting, notes: list[str]
) -> Iterator[Row]:
    head = stream.peek(HEAD_BYTES)
    where = stream.where
    if not head:
        if not stream.damaged:
            faults.add(f"{where}:1", "the file is empty", "give a file with rows")
        return
    format = format_of(name, head, where)
    if format == "parquet":
        raise DataError(f"{where}: a Parquet file is read unpacked only; unpack it first")
    if format == "json" and looks_like_squad(head):
        if member:
            raise DataError(f"{where}: SQuAD's form has no part {member!r}; leave #{member} out")
        yield from squad_rows(stream, where, faults, notes)
        return
    if format == "json":
        yield from document_rows(stream, where, member, faults, notes)
        return
    if member:
        raise DataError(f"{where}: a {format} file has no part {member!r}; leave #{member} out")
    lines = Lines(stream, where, faults, notes)
    if format == "jsonl":
        yield from json_line_rows(lines)
    elif format == "conll":
        yield from conll_rows(lines)
    else:
        yield from table_rows(lines, format, quoting)
    if lines.unended:
        notes.append(f"{where}: the last line has no line end, which is accepted")
