"""Sweep page: a sweep as one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from tenon.evaluate.report import Report
from tenon.evaluate.swept import Swept


def html(swept: Swept, report: Report) -> str:
    """Give the sweep's page."""
    return ""
