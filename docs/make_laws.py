"""Write docs/laws.md from what the cells of the law matrix gave; `make laws` runs both.

python docs/make_laws.py FILE
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tenon.adapters.kind import KINDS
from tenon.core.files import write_text

PAGE = Path(__file__).with_name("laws.md")
sys.path.insert(0, str(PAGE.parents[1] / "tests"))

from families import NAMES, STACKED  # noqa: E402 - the tests know what the matrix is
from matrix import (  # noqa: E402
    BROKEN,
    HEADLESS,
    HELD,
    LAWS,
    NONE,
    REFUSED,
    TABLES,
    Cell,
    cells,
    expected,
)  # fmt: skip

WHOLE = next(iter(LAWS))
"""The law that refuses a cell whole."""
SORTS = {
    "Encoders": HEADLESS,
    "Decoders": tuple(name for name in NAMES if name not in (*HEADLESS, *STACKED)),
    "Encoder-decoders": STACKED,
}
HEAD = """# Laws

[All pages](index.md). This page is written by `docs/make_laws.py` from what the tests found; it is
not edited by hand. `make laws` runs the tests and writes it again.

What must hold of any adapter is asked of every kind, of one with presets of each preset, on a tiny
model with random weights of each family: {cells} cells. `make test` asks one cell in eleven.
Made with torch {torch}, transformers {transformers} and PEFT {peft}, on a CPU, in float32."""
ASKED = """## What is asked

L1 to L9 are named as the tests name them. Encoders are asked for their hidden states, decoders and
encoder-decoders for the scores of their own language-model head."""
MATRIX = """## Kind × architecture

✓ every law holds that applies; a number behind it is a law that is refused, with the reason below.
R the kind itself is refused on this architecture, for the reason of that number. No cell is left
out, and no law of any cell."""
COUNTS = """## Law × kind

On how many architectures a law holds; R on how many it is refused, – on how many it does not apply.
A cell that is refused as a whole counts under *put on* alone."""
REASONS = """## Refused

What each refusal says, as in one of its cells."""
WITHOUT = """## Not applicable"""
SETTINGS = """## Settings

The tiny models have sizes of 32 and 48, for which some defaults are too large; all other settings
are the defaults. Preset adapterplus starts near the identity unless `init` says otherwise."""


class Found(NamedTuple):
    """What the cells gave.

    Args:
        verdicts: of each cell, law to mark and reason.
        reasons: of each refusal, its law and what it has in common in all cells, to one reason.
    """

    verdicts: Mapping[Cell, Mapping[str, tuple[str, str]]]
    reasons: Mapping[tuple[str, str], str]

    def numbers(self, cell: Cell) -> list[int]:
        """Give the numbers of the reasons for which something of a cell is refused."""
        keys = list(self.reasons)
        return sorted(keys.index(common(cell, law)) + 1 for law in self.refused(cell))

    def refused(self, cell: Cell) -> list[str]:
        """Give the laws of a cell that are refused."""
        return [law for law, (mark, _) in self.verdicts[cell].items() if mark == REFUSED]


def page(told: Sequence[Mapping[str, object]]) -> str:
    """Give the page's text.

    Args:
        told: of each cell, `kind`, `family`, and `found`: law to mark and reason.

    Raises:
        SystemExit: a cell or a law of it is missing, or broken.
    """
    found = gathered(told)
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    parts = [
        HEAD.format(cells=len(found.verdicts), **versions),
        ASKED,
        _table(("law", "what must hold"), LAWS.items()),
        MATRIX,
        *(part for sort, names in SORTS.items() for part in (f"### {sort}", _marks(found, names))),
        COUNTS,
        _table(("kind", *LAWS), [(f"`{row}`", *_counts(found, row)) for row in TABLES]),
        REASONS,
        "\n".join(_reasons(found)),
        WITHOUT,
        _table(("law", "why", "architectures"), _without(found)),
        SETTINGS,
        _table(("kind", "settings"), _settings()),
    ]
    return "\n\n".join(parts) + "\n"


def gathered(told: Iterable[Mapping[str, object]]) -> Found:
    """Put what was told in the matrix's order, all of it.

    Raises:
        SystemExit: a cell or a law of it is missing, or broken.
    """
    held = {Cell(str(each["kind"]), str(each["family"])): each["found"] for each in told}
    faults = [f"{cell}: not tried" for cell in cells() if cell not in held]
    verdicts = {cell: held[cell] for cell in cells() if cell in held}
    for cell, laws in verdicts.items():
        due = [WHOLE] if laws.get(WHOLE, [""])[0] == REFUSED else list(LAWS)
        faults += [f"{cell}: {law} was not asked" for law in due if law not in laws]
        faults += [f"{cell}: {law}: {why}" for law, (mark, why) in laws.items() if mark == BROKEN]
    if faults:
        shown = "\n".join(faults[:20])
        raise SystemExit(f"docs/laws.md is not written, {len(faults)} faults:\n{shown}")
    reasons: dict[tuple[str, str], str] = {}
    for law in LAWS:
        for cell, laws in verdicts.items():
            mark, why = laws.get(law, (NONE, ""))
            if mark == REFUSED:
                reasons.setdefault(common(cell, law), why)
    return Found(verdicts, reasons)


def common(cell: Cell, law: str) -> tuple[str, str]:
    """Give a law and what its refusal in a cell has in common with the same one in others."""
    return law, expected(cell)[law].why(cell)


def _marks(found: Found, names: Sequence[str]) -> str:
    rows = [(f"`{row}`", *(_mark(found, Cell(row, name)) for name in names)) for row in TABLES]
    return _table(("kind", *(f"`{name}`" for name in names)), rows)


def _mark(found: Found, cell: Cell) -> str:
    numbers = " ".join(map(str, found.numbers(cell)))
    return f"{'R' if WHOLE in found.refused(cell) else '✓'} {numbers}".strip()


def _counts(found: Found, row: str) -> list[str]:
    marks = Counter(
        (law, mark)
        for cell, laws in found.verdicts.items()
        if cell.row == row
        for law, (mark, _) in laws.items()
    )
    signs = ((HELD, "{}"), (REFUSED, "R {}"), (NONE, "– {}"))
    return [
        ", ".join(sign.format(marks[law, mark]) for mark, sign in signs if marks[law, mark])
        for law in LAWS
    ]


def _reasons(found: Found) -> Iterable[str]:
    for number, ((law, _), why) in enumerate(found.reasons.items(), 1):
        met = [cell for cell in found.verdicts if number in found.numbers(cell)]
        names = [name for name in NAMES if any(cell.family == name for cell in met)]
        where = ", ".join(names) if len(names) <= 4 else f"{len(names)} architectures"
        kinds = len({cell.row for cell in met})
        yield f"{number}. *{law}*, {kinds} {'kind' if kinds == 1 else 'kinds'} on {where}: {why}."


def _without(found: Found) -> Iterable[tuple[str, str, str]]:
    held: dict[tuple[str, str], set[str]] = {}
    for cell, laws in found.verdicts.items():
        for law, (mark, why) in laws.items():
            if mark == NONE:
                held.setdefault((law, why), set()).add(cell.family)
    for (law, why), names in held.items():
        yield law, why, ", ".join(name for name in NAMES if name in names)


def _settings() -> Iterable[tuple[str, str]]:
    for row, table in TABLES.items():
        own = {key: value for key, value in table.items() if key not in ("kind", "preset")}
        default = KINDS.get(table["kind"]).settings().model_dump()
        told = ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in own.items())
        if any(default[key] != value for key, value in own.items()):
            yield f"`{row}`", told


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(re.sub(r'[|]', chr(92) + '|', cell) for cell in line)} |" for line in lines
    )


if __name__ == "__main__":
    write_text(PAGE, page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
