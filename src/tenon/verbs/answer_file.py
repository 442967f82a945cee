"""Answer file: lines of answers as JSONL, CSV or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tenon.adapters.manifest import Manifest
from tenon.core.errors import FileError, RequestError
from tenon.verbs.clerk import CUT, FAILED, ROW
from tenon.verbs.questions import Kept

FORMATS = ("jsonl", "csv", "parquet")
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
FOREIGN = (
    ".arrow",
    ".bz2",
    ".feather",
    ".gz",
    ".orc",
    ".tsv",
    ".xls",
    ".xlsx",
    ".xz",
    ".zip",
    ".zst",
)
GROUP_ROWS = 8192
SHOWN_FAILED = 1_000
LARGEST = 2**63

_TEXT, _PLACE, _SHARE = pa.string(), pa.int64(), pa.float64()
_SPAN = [("start", _PLACE), ("end", _PLACE), ("label", _TEXT), ("text", _TEXT)]
_GOLD_SPANS = pa.list_(pa.struct(_SPAN))
_SPANS = pa.list_(pa.struct([*_SPAN, ("probability", _SHARE)]))
_GOLD_ANSWERS = pa.list_(pa.struct([("text", _TEXT), ("start", _PLACE)]))
_OTHERS = [("answer", _TEXT), ("start", _PLACE), ("end", _PLACE), ("probability", _SHARE)]
_WRITTEN = {
    "gold": pa.list_(_TEXT), "answer": _TEXT, "ended": pa.bool_(), "looped": pa.bool_(),
    "nats": _SHARE, "tokens": _PLACE,
}  # fmt: skip
_LABELS = pa.list_(_TEXT)
FIELDS: dict[str, dict[str, Any]] = {
    "text-classification": {"gold": _TEXT, "answer": _TEXT, "probability": _SHARE},
    "multi-label-classification": {
        "gold": _LABELS, "answer": _LABELS, "probabilities": pa.map_(_TEXT, _SHARE),
    },
    "text-regression": {"gold": _SHARE, "answer": _SHARE},
    "token-classification": {"gold": _GOLD_SPANS, "answer": _SPANS},
    "question-answering": {
        "gold": _GOLD_ANSWERS, "answer": _TEXT, "start": _PLACE, "end": _PLACE,
        "probability": _SHARE, "others": pa.list_(pa.struct(_OTHERS)),
    },
    "text-generation": _WRITTEN, "translation": _WRITTEN, "summarization": _WRITTEN,
}  # fmt: skip
"""What the lines of a task hold beside the row's own; see docs/run-format.md."""


@dataclass
class Totals:
    """What a file of answers holds.

    Args:
        rows: that were answered.
        missed: that were not.
        failed: origin to cause of the first of these.
        cut: that lost tokens.
    """

    rows: int = 0
    missed: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    cut: int = 0

    def count(self, line: str) -> None:
        """Take in one line; a name between quotation marks stands nowhere but as a key."""
        told = f'"{FAILED}"' in line or f'"{CUT}"' in line
        entry = json.loads(line) if told else {}
        if FAILED in entry:
            self.missed += 1
            if self.missed <= SHOWN_FAILED:
                self.failed[entry["origin"]] = entry[FAILED]
        else:
            self.rows += 1
        self.cut += CUT in entry


def format_of(out: Path, stated: str) -> str:
    """Give the format of a file of answers: the one that is stated, or the suffix's, or JSONL.

    Raises:
        RequestError: it is not known, or suffix and format contradict each other.
    """
    suffix = out.suffix.lower()
    by_suffix = SUFFIXES.get(suffix, "")
    if stated and stated not in FORMATS:
        raise RequestError(f"--format {stated}: is not known; choose one of {', '.join(FORMATS)}")
    if suffix in FOREIGN:
        raise RequestError(
            f"{out}: answers are not written as {suffix}; name a file that ends in .jsonl, .csv or "
            ".parquet"
        )
    if stated and by_suffix and stated != by_suffix:
        raise RequestError(f"{out}: ends in {suffix}, but --format is {stated}; leave one out")
    return stated or by_suffix or "jsonl"


@dataclass(frozen=True)
class Form:
    """How answers of an adapter are written.

    Args:
        format: of the file.
        manifest: of the adapter.
        kept: columns that are carried along.
        totals, notes: take in what was written.
    """

    format: str
    manifest: Manifest
    kept: Kept
    totals: Totals = field(default_factory=Totals)
    notes: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, out: Path, stated: str, manifest: Manifest, kept: Kept) -> Form:
        """Give the form of a file.

        Args:
            stated: its format; "" for what its suffix says.

        Raises:
            RequestError: answers of the adapter's task cannot be written so.
        """
        format = format_of(out, stated)
        if format != "jsonl" and manifest.task not in FIELDS:
            raise RequestError(
                f"{out}: answers of {manifest.task} have no fixed columns; write them as .jsonl"
            )
        return cls(format, manifest, kept)

    def write(self, portions: Iterable[Path], path: Path) -> None:
        """Write the lines of some files, one after another, to `path`."""
        portions = list(portions)
        if self.format == "jsonl":
            self._lines(portions, path)
        elif self.format == "csv":
            self._table(portions, path)
        else:
            self._parquet(portions, path)

    def _lines(self, portions: Sequence[Path], path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            for portion in portions:
                for line in _each(portion):
                    self.totals.count(line)
                    file.write(line)

    def _table(self, portions: Sequence[Path], path: Path) -> None:
        schema = self._schema(portions)
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(map(_cell, schema.names)) + "\n")
            for values in self._rows(portions, schema):
                file.write(",".join(_cell(values.get(name)) for name in schema.names) + "\n")

    def _parquet(self, portions: Sequence[Path], path: Path) -> None:
        schema = self._schema(portions)
        with pa.OSFile(str(path), "wb") as sink, pq.ParquetWriter(sink, schema) as writer:
            held: list[dict[str, Any]] = []
            for values in self._rows(portions, schema):
                held.append(
                    {name: _fit(values.get(name), schema.field(name)) for name in schema.names}
                )
                if len(held) == GROUP_ROWS:
                    writer.write_table(pa.Table.from_pylist(held, schema))
                    held = []
            if held:
                writer.write_table(pa.Table.from_pylist(held, schema))

    def _schema(self, portions: Sequence[Path]) -> Any:
        """Give the columns: those of the task, those kept, why there is no answer, lost tokens."""
        task, columns = self.manifest.task, self.manifest.columns
        text = "question" if task == "question-answering" else "text"
        fields = [("id", _TEXT), ("origin", _TEXT), (text, _TEXT)]
        fields += [("pair", _TEXT)] if columns.get("pair") else []
        fields += [*FIELDS[task].items(), (FAILED, _TEXT), (CUT, _PLACE)]
        return pa.schema([*fields, *self._kept_fields(portions)])

    def _kept_fields(self, portions: Sequence[Path]) -> list[tuple[str, Any]]:
        """Give the type of each kept column; texts in JSON where its values have several."""
        if not self.kept.names:
            return []
        seen: dict[str, set[str]] = {}
        for portion in portions:
            for line in _each(portion):
                for name, value in json.loads(line)[ROW].items():
                    seen.setdefault(name, set()).add(_kind(value))
        fields: list[tuple[str, Any]] = []
        for name, kinds in seen.items():
            kinds.discard("null")
            made = _TYPES.get("+".join(sorted(kinds)))
            if made is None:
                self.notes.append(f"{name!r} holds {' and '.join(sorted(kinds))}: written as JSON")
            fields.append((f"{ROW}.{name}", _JSON if made is None else made))
        return fields

    def _rows(self, portions: Sequence[Path], schema: Any) -> Iterator[dict[str, Any]]:
        for portion in portions:
            for line in _each(portion):
                self.totals.count(line)
                entry = json.loads(line)
                kept = entry.pop(ROW, {})
                entry |= {f"{ROW}.{name}": value for name, value in kept.items()}
                strange = entry.keys() - set(schema.names)
                assert not strange, strange  # noqa: S101 - FIELDS names all that a task writes
                yield entry


_JSON = pa.large_string()
"""Marks a column whose values are written as JSON."""
_TYPES = {
    "": _TEXT, "bool": pa.bool_(), "int": pa.int64(), "float": _SHARE, "float+int": _SHARE,
    "str": _TEXT,
}  # fmt: skip


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return "large numbers"
    return type(value).__name__


def _fit(value: Any, column: Any) -> Any:
    """Give a value as a column of Parquet takes it."""
    if value is None:
        return None
    if column.type == _JSON:
        return json.dumps(value, ensure_ascii=False)
    if pa.types.is_map(column.type):
        return list(cast("Mapping[str, float]", value).items())
    if pa.types.is_list(column.type) and isinstance(value, str):
        return [value]
    return float(value) if column.type == _SHARE else value


def _cell(value: object) -> str:
    """Give a value as a cell; a text within quotation marks where it would be read otherwise."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    plain = text and text == text.strip() and not any(mark in text for mark in ',"\r\n')
    return text if plain else f'"{text.replace(chr(34), chr(34) * 2)}"'


def _each(portion: Path) -> Iterator[str]:
    try:
        with portion.open(encoding="utf-8", newline="\n") as lines:
            yield from lines
    except OSError as error:
        raise FileError(f"{portion}: cannot be read ({error.strerror or error})") from error
