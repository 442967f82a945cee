"""Withheld: a report that quotes no row, for those who may see figures but not the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tenon.evaluate.report import Report

LISTS = ("won", "lost", "surest_errors", "sample")
NOTE = "The rows are withheld: {} were listed, and predictions.jsonl has every answer."


def without_texts(report: Report) -> Report:
    """Give a report in which counts stay and single rows are left out.

    Names of labels and places `file:line` stay; so do slices and all figures.
    """
    listed = sum(len(getattr(report, name).get("rows", [])) for name in LISTS)
    told = [NOTE.format(f"{listed:,} rows")] if listed else []
    return replace(
        report,
        **{name: _bare(getattr(report, name)) for name in LISTS},
        preflight={**report.preflight, "rows": []} if report.preflight else {},
        notes=[*report.notes, *told],
    )


def _bare(group: Mapping[str, Any]) -> dict[str, Any]:
    return {**group, "rows": []} if group else {}
