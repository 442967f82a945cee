"""Predict: answers for a file of rows, in their order; stopped, it goes on where it was."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch

from tenon import __version__
from tenon.adapters import pack
from tenon.adapters.manifest import Manifest
from tenon.core.progress import Progress
from tenon.data.findings import counted
from tenon.data.spec import STDIN
from tenon.evaluate.answerer import Answerer, open_answerer
from tenon.verbs import journal as journals
from tenon.verbs.answer_file import Form, Totals
from tenon.verbs.clerk import Clerk, Engine, Local, Pace
from tenon.verbs.folder import adapter_folder
from tenon.verbs.home import refuse_own, refuse_sources
from tenon.verbs.journal import Journal
from tenon.verbs.manner import FAULTY, refuse_idle
from tenon.verbs.questions import (
    Cut,
    Kept,
    Portion,
    Questions,
    open_questions,
    source_digest,
)

LIBRARIES = ("torch", "transformers", "tokenizers", "peft")


@dataclass(frozen=True)
class Answered:
    """What was answered.

    Args:
        rows: answered.
        failed: origin to cause of the rows that were not; the first thousand of them.
        out: file of the answers; None where they went to standard output.
        notes: what was guessed and accepted.
        missed: how many rows were not answered.
        resumed: how many rows had been answered before, by a call that was stopped.
    """

    rows: int
    failed: dict[str, str]
    out: Path | None
    notes: list[str]
    missed: int = 0
    resumed: int = 0


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
    return open_answerer(adapter_folder(folder), base, device, dtype="trained")


@dataclass(frozen=True)
class Task:
    """What is to be done, once it is known to be possible.

    Args:
        folder: the adapter directory.
        manifest: of the adapter.
        source: `path[#member]`, or `-`.
        base: where the base is now; "" for where it was.
        kept: columns that are carried along.
        lenient: whether a row that cannot be asked is told in its place.
        pace: told of rows.
        cut: where portions end.
        engine: "local", or "ray" with `address` and `workers`.
    """

    folder: Path
    manifest: Manifest
    source: str
    base: str
    kept: Kept
    lenient: bool
    pace: Pace
    cut: Cut
    engine: str
    address: str
    workers: int

    @cached_property
    def answerer(self) -> Answerer:
        """The adapter on its base."""
        return open_answerer(self.folder, self.base, dtype="trained")

    def questions(self) -> Questions:
        """Read the rows once, and say all that is wrong with them."""
        if self.source == STDIN and self.engine == "local":
            _ = self.answerer  # what is wrong with it is told before a line is waited for
        return open_questions(self.source, self.manifest, self.kept, lenient=self.lenient)

    def hire(self, questions: Questions, threads: int) -> Engine:
        """Give who answers."""
        if self.engine == "ray":
            from tenon.verbs.clerks import Order, Remote

            order = Order(
                str(self.folder.absolute()),
                self.base,
                questions.columns,
                self.kept.names,
                threads,
                lenient=self.lenient,
            )
            return Remote(order, self.pace, self.address, self.workers)
        clerk = Clerk(self.answerer, questions.columns, self.kept, lenient=self.lenient)
        return Local(clerk, threads, self.pace)

    def facts(self) -> dict[str, Any]:
        """Give what decides the answers, but for what computes them."""
        return {
            "format": journals.FORMAT,
            "rows": self.source,
            "digest of the rows": source_digest(self.source),
            "adapter": pack.digest(self.folder),
            "base": self.manifest.base.digest,
            "--keep": list(self.kept.names),
            "--faulty": FAULTY[self.lenient],
            "--portion": self.cut.rows,
            "characters of a portion": self.cut.characters,
            "versions": {
                "tenon": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
        }


def predict(
    adapter: Path | str,
    rows: Path | str,
    out: Path | str | None = None,
    *,
    base: str = "",
    format: str = "",
    keep: str | Sequence[str] = (),
    faulty: Literal["stop", "keep"] = "stop",
    resume: Literal["auto", "never"] = "auto",
    engine: Literal["local", "ray"] = "local",
    address: str = "",
    workers: int = 0,
    portion: int = 0,
    progress: Progress | None = None,
) -> Answered:
    """Answer the rows of a file, one line each in their order, to `out` or standard output.

    A file is read once before anything is answered, so that a fault at its end is told first.
    Memory is that of some thousand rows, whatever the size of the file. What is answered is kept
    in portions beside `out`: the same call again goes on after the last of them, and ends with the
    same bytes. Lines that are typed are answered one by one.

    Args:
        adapter: the adapter directory, or a run.
        rows: `path[#member]`, or `-` for one text a line on standard input.
        out: file of the answers, written whole or not at all.
        base: where the base is now, if not under the name it was trained on.
        format: "jsonl", "csv" or "parquet"; by default what the suffix of `out` says, else JSONL.
        keep: columns of the rows that are carried along; "all" for all.
        faulty: "keep" tells of a row that cannot be asked in its place, as of one that fails;
            "stop" refuses the file.
        resume: "never" removes what an earlier call left and begins anew.
        engine: "local", or "ray" for the workers of a Ray cluster.
        address: of the cluster; "auto" finds the one of this machine, "" begins one here.
        workers: of the cluster, at most; 0 for as many as it has GPUs, or CPUs without them.
        portion: rows that are answered at once, which are what a kill can lose; 0 for 4,096, or 512
            where each answer is written by the base.

    Raises:
        RunError: the run has no adapter yet, or what an earlier call left is of something else.
        DataError: rows that cannot be read; nothing is written to `out`.
        AdapterError: the adapter cannot be trusted.
        RequestError: the format is not known, or a setting would have no effect.
        FileError: something is not there, or `out` holds the rows or is a file of a run.
        Occupied: another process writes the same file.
    """
    folder, source = adapter_folder(adapter), str(rows)
    refuse_idle(out, format, resume, engine, address, workers, faulty, portion)
    target = None if out is None else _target(Path(out), source, folder)
    manifest = pack.read(folder).manifest
    kept, cut, lenient = Kept.of(keep), Cut.of(manifest, source, portion), faulty == "keep"
    at = (engine, address, workers)
    task = Task(folder, manifest, source, base, kept, lenient, Pace(progress), cut, *at)
    if target is None:
        return _streamed(task)
    form = Form.of(target, format, manifest, kept)
    anew, lasting = resume == "never" or source == STDIN, source != STDIN
    with journals.opened(target, anew=anew, lasting=lasting) as journal:
        return _filed(task, journal, form)


def _target(out: Path, source: str, folder: Path) -> Path:
    """Give the file of the answers, once it is known to hold nothing that must stay."""
    refuse_own(out)
    refuse_sources(out, "" if source == STDIN else source, folder)
    return out


def _streamed(task: Task) -> Answered:
    """Answer to standard output, a portion at a time."""
    questions, totals = task.questions(), Totals()
    with task.hire(questions, torch.get_num_threads()) as engine:
        task.pace.start(f"answers of {task.source}", questions.rows)
        for _, lines in engine.answer(task.cut.portions(questions.stream())):
            sys.stdout.write(lines)
            sys.stdout.flush()
            for line in lines.split("\n")[:-1]:  # a text may hold other ends of lines
                totals.count(line)
    return _answered(totals, None, questions.notes)


def _filed(task: Task, journal: Journal, form: Form) -> Answered:
    """Answer what is not answered yet, and make one file of it."""
    facts = task.facts()
    journal.refuse_other(facts)
    held = journal.facts if journal.portions else {}
    questions = Questions.from_json(held["reading"], task.source) if held else task.questions()
    before = journal.rows
    waiting = _waiting(task.cut.portions(questions.stream()), set(journal.portions))
    first = next(waiting, None)
    if first is not None:
        facts["threads"] = held.get("threads", torch.get_num_threads())
        with task.hire(questions, facts["threads"]) as engine:
            facts["device"] = engine.device
            journal.refuse_other(facts)
            journal.begin({**facts, "reading": questions.to_json()})
            task.pace.start(f"answers of {task.source}", questions.rows, done=before)
            for number, lines in engine.answer(chain([first], waiting)):
                journal.keep(number, lines)
    journal.end(form.write)
    notes = [*questions.notes, *journal.notes, *form.notes]
    return _answered(form.totals, journal.out, notes, before)


def _waiting(portions: Iterator[Portion], answered: set[int]) -> Iterator[Portion]:
    return (portion for portion in portions if portion.number not in answered)


def _answered(totals: Totals, out: Path | None, notes: list[str], resumed: int = 0) -> Answered:
    if totals.cut:
        notes = [*notes, f"{counted(totals.cut, 'row')} lost tokens: longer than the adapter reads"]
    return Answered(totals.rows, totals.failed, out, notes, totals.missed, resumed)
