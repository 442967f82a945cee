"""Predict: answers for a file of rows, streaming, in their order."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TextIO, cast

from tenon.adapters.manifest import Manifest
from tenon.core.errors import DataError, Fault, Faults
from tenon.core.files import aside
from tenon.core.progress import Progress
from tenon.data.adapted import other_sort
from tenon.data.example import Example, Row
from tenon.data.lines import REFUSED, Lines
from tenon.data.reading import open_reading
from tenon.data.settings import Columns
from tenon.data.streams import Readable, Stream
from tenon.data.task import to_examples
from tenon.evaluate.answerer import Answerer, open_answerer
from tenon.evaluate.exam import EXAMS
from tenon.verbs.home import adapter_folder, refuse_own, refuse_sources

CHUNK_ROWS = 4096
WRITTEN_ROWS = 64
"""Rows that are answered before their lines are given, where each answer is written by the base."""
STDIN = "-"
STDIN_NAME = "stdin"
CONVERSION = re.compile(r"iconv -f \S+ -t \S+")


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
        RunError: the run has no adapter yet.
        AdapterError: the directory is damaged or belongs to another base.
        FileError: the folder or the base is not there.
    """
    return open_answerer(adapter_folder(folder), base, device)


def predict(
    adapter: Path | str,
    rows: Path | str,
    out: Path | str | None = None,
    *,
    base: str = "",
    progress: Progress | None = None,
) -> Answered:
    """Answer the rows of a file, one JSON line each, to `out` or standard output.

    A file is read twice, so that a fault at its end is told before anything is answered. Memory
    is that of some thousand rows, whatever the size of the file. Answers that are written come as
    they are made, some at a time; one by one to lines that are typed.

    Args:
        adapter: the adapter directory, or a run.
        rows: `path[#member]`, or `-` for one text a line on standard input.
        out: file of the answers, written whole or not at all.
        base: where the base is now, if not under the name it was trained on.

    Raises:
        RunError: the run has no adapter yet.
        DataError: rows that cannot be read; nothing is written to `out`.
        AdapterError: the adapter cannot be trusted.
        FileError: something is not there, or `out` holds the rows or is a file of a run.
    """
    folder, source = adapter_folder(adapter), str(rows)
    target = None if out is None else _target(Path(out), source, folder)
    answerer = load_adapter(folder, base)
    notes: list[str] = []
    manifest = answerer.manifest
    examples = _typed(manifest, notes) if source == STDIN else _read(source, manifest, notes)
    if progress:
        progress.start(f"answers of {source}", None)
    size = _chunk(manifest, source)
    if target is None:
        return Answered(*_write(answerer, examples, sys.stdout, progress, size), None, notes)
    with aside(target) as beside, beside.open("w", encoding="utf-8") as file:
        written = _write(answerer, examples, file, progress, size)
    return Answered(*written, target, notes)


def _target(out: Path, source: str, folder: Path) -> Path:
    """Give the file of the answers, once it is known to hold nothing that must stay."""
    refuse_own(out)
    refuse_sources(out, "" if source == STDIN else source, folder)
    return out


def _chunk(manifest: Manifest, source: str) -> int:
    """Give how many rows are answered at once."""
    if source == STDIN and sys.stdin.isatty():
        return 1
    return WRITTEN_ROWS if manifest.writes else CHUNK_ROWS


def _write(
    answerer: Answerer,
    examples: Iterator[Example],
    file: TextIO,
    progress: Progress | None,
    size: int,
) -> tuple[int, dict[str, str]]:
    rows, failed = 0, dict[str, str]()
    while chunk := list(islice(examples, size)):
        answers = answerer.answer_examples(chunk)
        for line in EXAMS.get(answerer.manifest.task).entries(answers):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        rows += len(answers)
        failed |= answers.failed
        if progress:
            progress.advance(len(chunk))
    return rows, failed


def _read(source: str, manifest: Manifest, notes: list[str]) -> Iterator[Example]:
    """Give the examples of a file that has been found to be sound."""
    reading = open_reading(source, manifest.columns, task=manifest.task)
    notes += reading.notes
    return reading.examples()


def _typed(manifest: Manifest, notes: list[str]) -> Iterator[Example]:
    """Give the lines of standard input, the first of which has come.

    Raises:
        DataError: the adapter reads pairs, nothing was typed, or a line is no text.
    """
    if manifest.columns.get("pair") or EXAMS.get(manifest.task).paired:
        trained = Columns.model_validate(manifest.columns).named()
        raise other_sort(STDIN_NAME, "gives single texts", trained, "name a file with these")
    faults = Faults()
    rows, columns = _lines(faults, notes), Columns(text="text")
    examples = _sound(to_examples(rows, columns, faults, manifest.task), faults)
    first = next(examples, None)
    if first is None:
        raise DataError(f"{STDIN_NAME}: holds no text; give one text a line")
    return chain([first], examples)


def _sound(examples: Iterator[Example], faults: Faults) -> Iterator[Example]:
    """Yield examples up to the first fault; then tell all, their remedies as a pipe needs them."""
    for example in examples:
        if not faults.count:
            yield example
    faults.kept = [_piped(fault) for fault in faults.kept]
    faults.raise_if_any(DataError)


def _piped(fault: Fault) -> Fault:
    command = CONVERSION.search(fault.remedy)
    return replace(fault, remedy=f"convert it: … | {command[0]} | tenon …") if command else fault


def _lines(faults: Faults, notes: list[str]) -> Iterator[Row]:
    """Give the lines of standard input, read as bytes whatever the terminal's encoding is."""
    buffer = getattr(sys.stdin, "buffer", None)
    if buffer is None:
        raise DataError(f"{STDIN_NAME}: there is none here; name a file of rows")
    stream = Stream(cast(Readable, buffer), STDIN_NAME, STDIN_NAME, faults)
    for number, line in enumerate(Lines(stream, STDIN_NAME, faults, notes), 1):
        if line != REFUSED:
            yield Row({"text": line.rstrip("\r\n")}, f"{STDIN_NAME}:{number}")
