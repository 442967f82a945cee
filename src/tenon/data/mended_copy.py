"""Mended copy: what was written in the place of faulty rows, and what was done to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tenon.data.findings import counted

SAID: Mapping[str, tuple[str, str]] = {
    "mojibake": ("text", "decoded with its true encoding"),
    "invisible-characters": ("text", "freed of characters without width"),
    "bidi-marks": ("text", "freed of marks of direction"),
    "composed-characters": ("text", "written in composed characters (NFC)"),
    "label-names": ("label", "written as most rows have it"),
    "blanks-around-spans": ("span", "freed of outer blanks"),
    "duplicates": ("row", "dropped: it repeats an earlier one, with the same answer"),
    "normalised-duplicates": (
        "row",
        "dropped: it repeats an earlier one but for case, blanks and punctuation",
    ),
    "leak": ("row", "dropped: it also stands in dev or test"),
    "normalised-leak": (
        "row",
        "dropped: it also stands in dev or test but for case, blanks and punctuation",
    ),
}


@dataclass(frozen=True, slots=True)
class Fix:
    """One thing that was mended, or one row that was dropped.

    Args:
        origin: of the row.
        fix: code of the fault.
        column: the column that was changed; "" for a dropped row.
        before, after: what stood and stands there, shortened, personal data masked; of a dropped
            row the origin of the one that stays, in `after`.
    """

    origin: str
    fix: str
    column: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Mended:
    """What a mended copy is.

    Args:
        out: its file.
        fixes: the file that lists each thing done.
        rows: how many rows it has.
        read: how many rows of train could be read.
        counts: code of a fault to how often it was mended.
        left: what was not mended, in sentences.
    """

    out: Path
    fixes: Path
    rows: int
    read: int
    counts: Mapping[str, int]
    left: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give all of it as values that JSON has."""
        return asdict(self) | {
            "out": str(self.out),
            "fixes": str(self.fixes),
            "counts": dict(self.counts),
            "left": list(self.left),
        }

    def said(self) -> list[str]:
        """Say what was done, a sentence for each sort."""
        told: list[str] = []
        for code, (noun, done) in SAID.items():
            if count := self.counts.get(code, 0):
                one = done if count == 1 else done.replace("it repeats", "they repeat")
                one = one if count == 1 else one.replace("it also stands", "they also stand")
                told.append(f"{counted(count, noun)} {one}")
        return told
