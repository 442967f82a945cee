"""Compare: several runs, adapters or reports on the same rows, every pair of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenon.adapters.files import MANIFEST
from tenon.core.errors import DataError, FileError, PlanError
from tenon.core.files import folder_aside, read_json, write_json, write_text
from tenon.core.progress import Progress
from tenon.evaluate.comparison import Comparison
from tenon.evaluate.comparison import compare as paired_all
from tenon.evaluate.comparison_page import html
from tenon.evaluate.kept import Kept, matched, read
from tenon.evaluate.language import language
from tenon.evaluate.report import Report
from tenon.verbs.folder import adapter_folder
from tenon.verbs.home import refuse_own, run_of
from tenon.verbs.reported import refuse_others

FILES = ("compare.json", "compare.html")
REPORT = "report.json"
FEWEST = 2_000
"""Resamples that a comparison draws at least."""

Held = tuple[Kept, list[str], list[dict[str, Any]]]


def compare(
    *targets: Path | str,
    out: Path | str | None = None,
    lang: str = "en",
    progress: Progress | None = None,
) -> Comparison:
    """Compare systems that answered the same rows: each pair by each score, with intervals.

    Args:
        targets: two or more runs, adapters that lie in their runs, or folders that `tenon eval
            --out` wrote.
        out: folder for `compare.json` and `compare.html`; nothing is written without it.
        lang: language of the page, "en" or "zh".
        progress: told of every stage.

    Raises:
        PlanError: there are less than two, or the language is none.
        FileError: one of them has no report, or lacks what it is compared by.
        DataError: they are of different tasks, were judged on other rows, or by other labels.
        RunError: `out` holds something else.
    """
    words = language(lang)
    if len(targets) < 2:
        raise PlanError("compare: needs two or more runs, adapters or folders of reports")
    if out is not None:
        refuse_own(Path(out))
        refuse_others(Path(out), FILES, "a comparison")
    folders = [report_folder(target) for target in targets]
    _refuse_twice(folders)
    if progress:
        progress.start("reading reports", None)
    reports = [Report.from_json(read_json(folder / REPORT)) for folder in folders]
    names = called(folders)
    _refuse_unlike(names, reports)
    held = [read(folder) for folder in folders]
    if progress:
        progress.start("comparing", None)
    found = _compared(names, folders, reports, held)
    if out is not None:
        with folder_aside(Path(out)) as beside:
            write_json(beside / "compare.json", found.to_json())
            write_text(beside / "compare.html", html(found, words))
    return found


def _compared(
    names: Sequence[str], folders: Sequence[Path], reports: Sequence[Report], held: Sequence[Held]
) -> Comparison:
    """Match the rows of all systems, and compare them."""
    kept = matched([each for each, _, _ in held], names)
    answers: list[list[dict[str, Any]]] = []
    for (own, _, entries), same in zip(held, kept, strict=True):
        place = {origin: at for at, origin in enumerate(own.origins)}
        answers.append([entries[place[origin]] for origin in same.origins])
    first = reports[0]
    common = [name for name in held[0][1] if all(name in scorers for _, scorers, _ in held)]
    return paired_all(
        [(n, r.title, str(f)) for n, r, f in zip(names, reports, folders, strict=True)],
        kept,
        answers,
        common,
        task=first.task,
        part=first.part,
        level=first.intervals["level"],
        resamples=max(first.intervals["resamples"], FEWEST),
        seed=0,
        grouping=kept[0].grouping,
    )


def report_folder(target: Path | str) -> Path:
    """Give the folder of the report of a run, of an adapter in its run, or the folder itself.

    Raises:
        FileError: there is none.
        RunError: there is a run that has not ended.
    """
    path = Path(target)
    if path.name == REPORT and path.is_file():
        return path.parent
    if (path / REPORT).is_file():
        return path
    if (path / "report" / REPORT).is_file():
        return path / "report"
    folder = adapter_folder(path)
    beside = folder.resolve().parent / "report"
    if (beside / REPORT).is_file() and run_of(folder, _plan_digest(folder)):
        return beside
    raise FileError(
        f"{path}: has no report; make one on rows that the others have too: "
        f"tenon eval {path} DATA --out FOLDER"
    )


def _plan_digest(folder: Path) -> str:
    return str(read_json(folder / MANIFEST).get("plan_digest", ""))


def called(folders: Sequence[Path]) -> list[str]:
    """Name each report by the last folder of its path that tells it from the others."""
    trails = [
        [p for p in reversed(f.resolve().parts) if p not in ("report", os.sep)] for f in folders
    ]
    for depth in range(1, max(map(len, trails)) + 1):
        names = ["/".join(reversed(trail[:depth])) for trail in trails]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _refuse_twice(folders: Sequence[Path]) -> None:
    real = [folder.resolve() for folder in folders]
    twice = next((at for at, folder in enumerate(real) if folder in real[:at]), None)
    if twice is not None:
        raise PlanError(f"compare: {folders[twice]} is named twice; name different reports")


def _refuse_unlike(names: Sequence[str], reports: Sequence[Report]) -> None:
    """Refuse reports of different tasks, or on different parts.

    Raises:
        DataError: they are.
    """
    for what in ("task", "part"):
        found = [str(getattr(report, what)) for report in reports]
        others = [
            f"{name}: {what} is {own}, that of {names[0]} is {found[0]}"
            for name, own in zip(names, found, strict=True)
            if own != found[0]
        ]
        if others:
            raise DataError("\n".join([*others, "compare reports of one task on the same rows"]))
