"""Predict: answers for a file of rows, streaming, in their order."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from tenon.core.errors import DataError, Faults
from tenon.core.files import aside
from tenon.core.progress import Progress
from tenon.data.columns import guess_text, to_examples
from tenon.data.example import Example, Row
from tenon.data.settings import Columns
from tenon.data.sources import read
from tenon.evaluate.answerer import Answerer, open_answerer
from tenon.evaluate.rows import entries

CHUNK_ROWS = 4096
SAMPLE_ROWS = 1000
STDIN = "-"


@dataclass(frozen=True)
class Answered:
    """What was answered.

    Args:
        rows: answered.
        failed: origin to cause of the rows that were not.
        out: file of the answers; None where they went to standard output.
        notes: what was guessed and accepted.
    """

    rows: int
    failed: dict[str, str]
    out: Path | None
    notes: list[str]


def load_adapter(folder: Path | str, base: str = "", *, device: str = "auto") -> Answerer:
    """Load an adapter with its base; `.predict([...])` answers texts.

    Args:
        folder: the adapter directory, or a run.
        base: where the base is now, if not under the name it was trained on.
        device: where answers are computed.

    Raises:
        AdapterError: the directory is damaged or belongs to another base.
        FileError: the folder or the base is not there.
    """
    return open_answerer(adapter_folder(Path(folder)), base, device)


def predict(
    adapter: Path | str,
    rows: str,
    out: Path | str | None = None,
    *,
    base: str = "",
    progress: Progress | None = None,
) -> Answered:
    """Answer the rows of a file, one JSON line each, to `out` or standard output.

    Memory is that of some thousand rows, whatever the size of the file.

    Args:
        adapter: the adapter directory, or a run.
        rows: `path[#member]`, or `-` for one text a line on standard input.
        out: file of the answers, written whole or not at all.
        base: where the base is now, if not under the name it was trained on.

    Raises:
        DataError: rows that cannot be read; nothing is written to `out`.
        AdapterError: the adapter cannot be trusted.
    """
    answerer = load_adapter(adapter, base)
    if progress:
        progress.start(f"answers of {rows}", None)
    notes: list[str] = []
    trained = answerer.manifest.columns
    examples = _stdin() if rows == STDIN else _examples(rows, trained, notes)
    if out is None:
        return Answered(*_write(answerer, examples, sys.stdout, progress), None, notes)
    target = Path(out)
    with aside(target) as beside, beside.open("w", encoding="utf-8") as file:
        written = _write(answerer, examples, file, progress)
    return Answered(*written, target, notes)


def adapter_folder(path: Path) -> Path:
    """Give the adapter directory of a run, or `path` itself."""
    inside = path / "adapter"
    return inside if (inside / "tenon.json").is_file() else path


def _write(
    answerer: Answerer,
    examples: Iterator[Example],
    file: TextIO,
    progress: Progress | None,
) -> tuple[int, dict[str, str]]:
    rows, failed = 0, dict[str, str]()
    while chunk := list(islice(examples, CHUNK_ROWS)):
        answers = answerer.answer_examples(chunk)
        for line in entries(answers):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        rows += len(answers)
        failed |= answers.failed
        if progress:
            progress.advance(len(chunk))
    file.flush()
    return rows, failed


def _examples(spec: str, trained: Mapping[str, str], notes: list[str]) -> Iterator[Example]:
    faults = Faults()
    rows = read(spec, faults, notes=notes)
    sample = list(islice(rows, SAMPLE_ROWS))
    faults.raise_if_any(DataError)
    if not sample:
        raise DataError(f"{spec}: holds no rows; nothing can be answered")
    columns = _columns(sample, trained, notes)
    yield from to_examples(chain(sample, rows), columns, faults)
    faults.raise_if_any(DataError)


def _columns(sample: list[Row], trained: Mapping[str, str], notes: list[str]) -> Columns:
    """Give the columns of the training rows where these rows have them, else a guess."""
    wanted = [column for field in ("text", "pair") if (column := trained.get(field))]
    if wanted and all(column in sample[0].values for column in wanted):
        return Columns(text=trained["text"], pair=trained.get("pair", ""))
    guess = guess_text(sample)
    if bool(guess.columns.pair) != bool(trained.get("pair")):
        raise DataError(
            f"{sample[0].origin}: has {', '.join(sample[0].values)}; the adapter was trained on "
            f"the columns {', '.join(wanted)}; rename the columns"
        )
    notes += guess.why
    return guess.columns


def _stdin() -> Iterator[Example]:
    faults = Faults()
    rows = (
        Row({"text": line.rstrip("\r\n")}, f"stdin:{number}")
        for number, line in enumerate(sys.stdin, 1)
    )
    yield from to_examples(rows, Columns(text="text"), faults)
    faults.raise_if_any(DataError)
