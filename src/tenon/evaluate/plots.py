"""Plots: small SVG drawings in the page's own colours; text in them is escaped."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from tenon.evaluate.language import Language

Format = Callable[[float], str]
MOST_CELLS = 3_000
NAMED_CLASSES = 12
NAME_CHARACTERS = 14
SIDE = 112
"""Room for the name of a bar."""
WIDE = re.compile(r"[\u2e80-\uffef]")
"""Characters that take the room of two."""


@dataclass(frozen=True)
class Bar:
    """A point with its error bar.

    Args:
        name: what it belongs to.
        value: the point.
        low, high: ends of the error bar.
        style: class of the drawing: "adapter", "linear_probe", "majority".
    """

    name: str
    value: float
    low: float
    high: float
    style: str


@dataclass(frozen=True)
class _Axis:
    """A straight line from values to places."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def forest(
    bars: Sequence[Bar],
    words: Format,
    ticks: Format,
    *,
    title: str,
    zero: bool = False,
    side: float = SIDE,
) -> Markup:
    """Draw points with error bars, one a line; what lies far off is an arrow at the edge.

    Args:
        bars: the scale follows all but those named "majority" in style.
        words: a value to its text.
        ticks: a round value to its text on the scale.
        title: what a screen reader says.
        zero: draw a line at 0 and keep it in sight.
        side: room for the names, which are cut to it.
    """
    leading = [bar for bar in bars if bar.style != "majority"] or list(bars)
    ends = [end for bar in leading for end in (bar.low, bar.high)] + ([0.0] if zero else [])
    axis = _Axis(*_room(min(ends), max(ends)), side, side + 134)
    bottom = 8 + 22 * len(bars)
    parts = [_ticks(axis, bottom, ticks)]
    if zero:
        parts.append(
            f'<line class="zero" x1="{axis.at(0)}" x2="{axis.at(0)}" y1="2" y2="{bottom}"/>'
        )
    for place, bar in enumerate(bars):
        parts.append(_bar(bar, axis, 16 + 22 * place, words))
    return _svg(side + 228, bottom + 18, title, parts)


def _bar(bar: Bar, axis: _Axis, y: float, words: Format) -> str:
    label = (
        f'<text class="name" x="{axis.start - 8:g}" y="{y + 4}" text-anchor="end">'
        f"{escape(fitted(bar.name, axis.start - 12))}</text>"
        f'<text class="value {bar.style}" x="{axis.end + 10:g}" y="{y + 4}">'
        f"{escape(words(bar.value))}</text>"
    )
    if not axis.holds(bar.value):
        left = bar.value < axis.low
        x, tip = (axis.start, -6) if left else (axis.end, 6)
        return f'{label}<path class="off {bar.style}" d="M{x} {y - 4}v8l{tip} -4z"/>'
    low, high = axis.at(max(bar.low, axis.low)), axis.at(min(bar.high, axis.high))
    return (
        f'{label}<path class="whisker {bar.style}" d="M{low} {y}H{high}'
        f'M{low} {y - 4}v8M{high} {y - 4}v8"/>'
        f'<circle class="dot {bar.style}" cx="{axis.at(bar.value)}" cy="{y}" r="4"/>'
    )


def _ticks(axis: _Axis, bottom: float, ticks: Format) -> str:
    marks = [
        f'<line class="grid" x1="{axis.at(tick)}" x2="{axis.at(tick)}" y1="2" y2="{bottom}"/>'
        f'<text class="tick" x="{axis.at(tick)}" y="{bottom + 13}" text-anchor="middle">'
        f"{escape(ticks(tick))}</text>"
        for tick in round_values(axis.low, axis.high, 3)
    ]
    return "".join(marks)


def curve(
    points: Sequence[Sequence[float]], words: Format, ticks: Format, *, title: str, best: str
) -> Markup:
    """Draw a value against steps.

    Args:
        points: (step, value), in order.
        words: a value to its text.
        ticks: a round value to its text on the scale.
        title: what a screen reader says.
        best: "highest" or "lowest" is marked; empty marks none.
    """
    steps, values = [point[0] for point in points], [point[1] for point in points]
    across = _Axis(0, max(max(steps), 1), 52, 350)
    up = _Axis(*_room(min(values), max(values)), 150, 24)
    rows = [
        f'<line class="grid" x1="52" x2="350" y1="{up.at(tick)}" y2="{up.at(tick)}"/>'
        f'<text class="tick" x="46" y="{up.at(tick) + 4}" text-anchor="end">'
        f"{escape(ticks(tick))}</text>"
        for tick in round_values(up.low, up.high, 4)
    ]
    columns = [
        f'<text class="tick" x="{across.at(tick)}" y="166" text-anchor="middle">{tick:,.0f}</text>'
        for tick in round_values(0, across.high, 5)
    ]
    places = " ".join(f"{across.at(x)},{up.at(y)}" for x, y in zip(steps, values, strict=True))
    parts = [*rows, *columns, f'<polyline class="line adapter" points="{places}"/>']
    if len(points) <= 40:
        parts += [
            f'<circle class="dot adapter" cx="{across.at(x)}" cy="{up.at(y)}" r="2.5"/>'
            for x, y in zip(steps, values, strict=True)
        ]
    if best:
        top = (max if best == "highest" else min)(range(len(values)), key=values.__getitem__)
        x, y = across.at(steps[top]), up.at(values[top])
        parts.append(
            f'<circle class="ring" cx="{x}" cy="{y}" r="6"/><text class="value adapter" '
            f'x="{min(x, 320)}" y="{y - 11:.1f}" text-anchor="middle">'
            f"{escape(words(values[top]))}</text>"
        )
    return _svg(360, 172, title, parts)


def reliability(bins: Sequence[Mapping[str, Any]], *, title: str, words: Language) -> Markup:
    """Draw accuracy against confidence, with error bars; the diagonal is perfect.

    Args:
        bins: as `tenon.evaluate.tables.calibration` gives them.
        title: what a screen reader says.
        words: the language of what is written in it.
    """
    floor = min(min(entry["confidence"], entry["low"]) for entry in bins)
    low = max(0.0, math.floor(floor * 10) / 10)
    low = min(low, 0.9)
    across, up = _Axis(low, 1, 48, 340), _Axis(low, 1, 300, 8)
    parts = ['<path class="diagonal" d="M48 300L340 8"/><path class="frame" d="M48 8V300H340"/>']
    for tick in round_values(low, 1, 5):
        text = f"{100 * tick:.0f} %"
        parts.append(
            f'<text class="tick" x="{across.at(tick)}" y="317" text-anchor="middle">{text}</text>'
            f'<text class="tick" x="42" y="{up.at(tick) + 4}" text-anchor="end">{text}</text>'
        )
    most = max(entry["n"] for entry in bins)
    for entry in bins:
        x, y = across.at(entry["confidence"]), up.at(entry["accuracy"])
        size = round(2.5 + 2.5 * math.sqrt(entry["n"] / most), 2)
        told = words(
            "drawn.bin",
            n=entry["n"],
            confidence=f"{100 * entry['confidence']:.1f}",
            accuracy=f"{100 * entry['accuracy']:.1f}",
        )
        parts.append(
            f'<path class="whisker adapter" d="M{x} {up.at(entry["low"])}V{up.at(entry["high"])}"/>'
            f'<circle class="dot adapter" cx="{x}" cy="{y}" r="{size}">'
            f"<title>{told}</title></circle>"
        )
    across_named, up_named = words("drawn.confidence"), words("drawn.right")
    parts.append(f'<text class="tick" x="194" y="334" text-anchor="middle">{across_named}</text>')
    parts.append(f'<text class="tick" x="54" y="18">{up_named}</text>')
    return _svg(362, 340, title, parts)


def heat(confusion: Mapping[str, Any], *, title: str, most: int = MOST_CELLS) -> Markup:
    """Draw the confusion matrix as a heat map, gold down and answers across.

    Args:
        confusion: as `tenon.evaluate.tables.confusion` gives it.
        title: what a screen reader says.
        most: cells that are drawn, the largest first.
    """
    labels: Sequence[str] = confusion["labels"]
    totals: dict[int, int] = {}
    for gold, _, rows in confusion["cells"]:
        totals[gold] = totals.get(gold, 0) + rows
    named = len(labels) <= NAMED_CLASSES
    edge = max(26, min(96, 8 + 6.3 * max(map(len, labels)))) if named else 26.0
    side = (356 - edge) / len(labels)
    cells = sorted(confusion["cells"], key=lambda cell: -cell[2])[:most]
    field = 356 - edge
    parts = [f'<rect class="field" x="{edge:g}" y="4" width="{field:g}" height="{field:g}"/>']
    parts += [_cell(cell, labels, totals, edge, side) for cell in cells]
    turned = named and 6.3 * max(len(_short(label)) for label in labels) > side
    parts += _names(labels, edge, side, turned=turned) if named else _numbers(labels, edge, side)
    return _svg(360, 364 if turned else 384 - edge, title, parts)


def _cell(
    cell: Sequence[int], labels: Sequence[str], totals: Mapping[int, int], edge: float, side: float
) -> str:
    gold, answer, rows = cell
    strength = round(0.25 + 0.75 * math.sqrt(rows / totals[gold]), 2)
    words = escape(f"{labels[gold]} → {labels[answer]}: {rows:,} of {totals[gold]:,}")
    x, y = edge + answer * side, 4 + gold * side
    drawn = (
        f'<rect class="{"hit" if gold == answer else "miss"}" x="{x:.1f}" y="{y:.1f}" '
        f'width="{side:.2f}" height="{side:.2f}" opacity="{strength}"><title>{words}</title></rect>'
    )
    if len(labels) > NAMED_CLASSES:
        return drawn
    return (
        f'{drawn}<text class="count{" strong" if strength > 0.6 else ""}" x="{x + side / 2:.1f}" '
        f'y="{y + side / 2 + 4:.1f}" text-anchor="middle">{rows:,}</text>'
    )


def _short(label: str) -> str:
    return label if len(label) <= NAME_CHARACTERS else label[: NAME_CHARACTERS - 1] + "…"


def _names(labels: Sequence[str], edge: float, side: float, *, turned: bool) -> Iterable[str]:
    bottom = 360 - edge
    for place, label in enumerate(labels):
        middle, short = (place + 0.5) * side, escape(_short(label))
        across = f'x="{edge + middle:.1f}" y="{bottom + 14:g}" text-anchor="middle"'
        if turned:
            where = f"translate({edge + middle + 4:.1f} {bottom + 7:g}) rotate(-90)"
            across = f'text-anchor="end" transform="{where}"'
        yield (
            f'<text class="tick" x="{edge - 5:g}" y="{8 + middle:.1f}" text-anchor="end">{short}'
            f'</text><text class="tick" {across}>{short}</text>'
        )


def _numbers(labels: Sequence[str], edge: float, side: float) -> Iterable[str]:
    """Number every tenth class, fewer where they are very many."""
    every = 10 * math.ceil(len(labels) / 120)
    for number in range(every, len(labels) + 1, every):
        middle = (number - 0.5) * side
        yield (
            f'<text class="tick" x="{edge - 4:g}" y="{8 + middle:.1f}" text-anchor="end">{number}'
            f'</text><text class="tick" x="{edge + middle:.1f}" y="{374 - edge:g}" '
            f'text-anchor="middle">{number}</text>'
        )


def share(value: Mapping[str, float]) -> Markup:
    """Draw a share in [0, 1] with its error bar, small enough for a cell of a table."""
    axis = _Axis(0, 1, 5, 95)
    low, high, middle = axis.at(value["low"]), axis.at(value["high"]), axis.at(value["value"])
    parts = [
        '<path class="grid" d="M5 7H95"/>',
        f'<path class="whisker adapter" d="M{low} 7H{high}"/>',
        f'<circle class="dot adapter" cx="{middle}" cy="7" r="3"/>',
    ]
    return _svg(100, 14, "", parts)


def strip(values: Sequence[float], mean: float, low: float, high: float) -> Markup:
    """Draw single values and their mean with its error bar, small enough for a cell of a table."""
    axis = _Axis(*_room(min(low, *values), max(high, *values)), 5, 95)
    parts = [
        '<path class="grid" d="M5 9H95"/>',
        f'<path class="whisker adapter" d="M{axis.at(low)} 9H{axis.at(high)}"/>',
        *(f'<circle class="seed" cx="{axis.at(value)}" cy="9" r="2.6"/>' for value in values),
        f'<path class="mean" d="M{axis.at(mean)} 2v14"/>',
    ]
    return _svg(100, 18, "", parts)


def fitted(name: str, room: float) -> str:
    """Cut a name to the room that it has in a drawing."""
    wide = [12.0 if WIDE.match(sign) else 6.6 for sign in name]
    if sum(wide) <= room:
        return name
    kept = 0
    while kept < len(name) and sum(wide[: kept + 1]) <= room - 10:
        kept += 1
    return f"{name[:kept]}…"


def round_values(low: float, high: float, most: int) -> list[float]:
    """Give at most `most` + 1 round values in [low, high], evenly spaced."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _room(low: float, high: float) -> tuple[float, float]:
    """Widen a range a little, and an empty one to something that can be drawn."""
    margin = 0.08 * (high - low) or max(abs(high) * 0.05, 1e-3)
    return low - margin, high + margin


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> Markup:
    hidden = 'aria-hidden="true"' if not title else f'role="img" aria-label="{escape(title)}"'
    body = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {width:g} {height:g}" {hidden}>{body}</svg>')
