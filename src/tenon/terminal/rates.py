"""Rates page: the loss by learning rate as a curve, and which rate to take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.terminal.sheet import heading, sheet
from tenon.train.rate_test import RateTest

WIDTH, HEIGHT = 60, 10
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Of a braille sign, by row and column."""
BRAILLE = 0x2800


def rates_part(found: RateTest) -> RenderableType:
    """Lay out the curve, and the suggestion as a setting."""
    top, bottom = max(found.smoothed, default=0.0), min(found.smoothed, default=0.0)
    lines = curve(found.rates, found.smoothed, WIDTH, HEIGHT)
    ends = {0: f"{found.fresh + top:.3g}", HEIGHT - 1: f"{found.fresh + bottom:.3g}"}
    rows = [
        (Text(ends.get(place, ""), style="dim"), Text(line)) for place, line in enumerate(lines)
    ]
    axis = _axis(found.rates)
    return Group(
        heading("Learning rate", f"loss in nats by rate, {len(found.rates)} steps; {found.told}"),
        sheet("", "", rows=[*rows, ("", Text(axis, style="dim"))]),
        sheet("", "", rows=_said(found)),
    )


def _said(found: RateTest) -> list[tuple[RenderableType, RenderableType]]:
    default = (Text("the kind's own", style="dim"), Text(f"{found.default:g}"))
    if found.lowest is None or found.steepest is None:
        why = "no rate lowers the loss enough to be told from none; keep the kind's own"
        return [default, (Text("suggested", style="dim"), Text(why))]
    where = f"steepest at {found.steepest:.1e}, lowest at {found.lowest:.1e}"
    far = "none: the curve turns too far from the kind's own rate to be believed; keep that"
    told = Text(found.setting, style="bold green") if found.setting else Text(far)
    return [
        (Text("curve", style="dim"), Text(where)),
        default,
        (Text("suggested", style="dim"), told),
    ]


def _axis(rates: Sequence[float]) -> str:
    """Give a line with the powers of ten below their places."""
    if len(rates) < 2:  # noqa: PLR2004 - an axis has two ends
        return ""
    low, high = math.log10(rates[0]), math.log10(rates[-1])
    line = [" "] * (WIDTH + 6)
    for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1):
        place = round((power - low) / (high - low) * (WIDTH - 1))
        line[place : place + 5] = f"1e{power:<3d}"
    return "".join(line).rstrip()


def curve(xs: Sequence[float], ys: Sequence[float], width: int, height: int) -> list[str]:
    """Draw a curve over a logarithmic axis in braille signs, the highest values in the first line.

    Args:
        xs: above 0, rising.
        ys: of each.
        width, height: in signs, each of two by four dots.
    """
    cells = [[0] * width for _ in range(height)]
    low, high = min(ys, default=0.0), max(ys, default=0.0)
    logs = [math.log(x) for x in xs]
    across = 2 * width - 1
    for x, y in _dense(logs, ys, across):
        column = round((x - logs[0]) / max(logs[-1] - logs[0], 1e-9) * across)
        row = round((high - y) / max(high - low, 1e-12) * (4 * height - 1))
        cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return ["".join(chr(BRAILLE + cell) for cell in line) for line in cells]


def _dense(xs: Sequence[float], ys: Sequence[float], number: int) -> list[tuple[float, float]]:
    """Give points between the points, so that a curve has no gaps."""
    found = list(zip(xs, ys, strict=True))
    pairs = zip(found, found[1:], strict=False)
    parts = max(2, 8 * number // max(1, len(found)))
    return [
        (x + (x2 - x) * part / parts, y + (y2 - y) * part / parts)
        for (x, y), (x2, y2) in pairs
        for part in range(parts + 1)
    ] or found
