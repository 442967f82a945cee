"""Reported: the folder of a report: figures, page, every answer, and what scores are made of."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tenon.core.errors import RunError
from tenon.core.files import folder_aside, write_json, write_text
from tenon.evaluate import kept
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.page import html
from tenon.evaluate.prediction import Answers
from tenon.evaluate.report import Report
from tenon.evaluate.rows import write_entries
from tenon.evaluate.scorers import labelled

REPORT_FILES = ("report.json", "report.html", "predictions.jsonl", kept.NAME)


def write_report(
    report: Report,
    answers: Answers,
    folder: Path,
    lang: str = "en",
    *,
    grouping: Grouping | None = None,
) -> None:
    """Write the files of a report, all or none.

    Args:
        lang: language of the page, "en" or "zh".
        grouping: which rows belong together; as the task has it where left out.

    Raises:
        RunError: the folder holds something else. Nothing is written.
        FileError: the disk refused. What was there is as it was.
    """
    refuse_foreign_report(folder)
    with folder_aside(folder) as beside:
        write_json(beside / "report.json", report.to_json())
        write_text(beside / "report.html", html(report, lang))
        write_entries(beside / "predictions.jsonl", EXAMS.get(report.task).entries(answers))
        together = grouping or EXAMS.get(report.task).together(labelled(answers))
        kept.write(beside / kept.NAME, answers, list(report.metrics[report.part]), together)


def write_page(report: Report, folder: Path, lang: str) -> None:
    """Write a report's page in another language than the one it was written in."""
    rewrite(folder / "report.html", html(report, lang))


def rewrite(path: Path, page: str) -> None:
    """Write a page unless it stands there already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != page:
        write_text(path, page)


def refuse_foreign_report(folder: Path) -> None:
    """Refuse a place for a report that holds anything else, as a report replaces what is there.

    Raises:
        RunError: it is a file, or holds other files.
    """
    refuse_others(folder, REPORT_FILES, "a report")


def refuse_others(folder: Path, files: Collection[str], what: str) -> None:
    """Refuse a place that holds anything but the files that will be replaced.

    Args:
        files: names of these.
        what: they are parts of.

    Raises:
        RunError: it is a file, or holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; choose another --out")
    others = sorted(path.name for path in folder.glob("*") if path.name not in files)
    if others:
        raise RunError(
            f"{folder}: holds {others[0]}, which is no part of {what}; choose another --out"
        )
