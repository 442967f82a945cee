"""Scatter: numbers that were answered against those that are right, as a small SVG drawing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from tenon.evaluate.language import Language
from tenon.evaluate.plots import round_values

LEFT, RIGHT, TOP, BOTTOM = 52, 350, 10, 308
MARGIN = 0.04


def scatter(drawn: Mapping[str, Any], *, title: str, words: Language) -> Markup:
    """Draw answers against gold on one scale; on the diagonal they are equal.

    Args:
        drawn: `points`, pairs of gold and answer, as `tenon.evaluate.number_exam` gives them.
        title: what a screen reader says.
        words: the language of what is written in it.
    """
    points = drawn["points"]
    ends = [value for point in points for value in point]
    low, high = min(ends), max(ends)
    room = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
    low, high = low - room, high + room
    size = max(1.4, min(3.2, 60 / len(points) ** 0.5))
    parts = [
        f'<path class="diagonal" d="M{LEFT} {BOTTOM}L{RIGHT} {TOP}"/>',
        f'<path class="frame" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>',
        *_ticks(low, high),
    ]
    for gold, answer in points:
        across = LEFT + (gold - low) / (high - low) * (RIGHT - LEFT)
        up = BOTTOM - (answer - low) / (high - low) * (BOTTOM - TOP)
        parts.append(
            f'<circle class="dot adapter" fill-opacity=".45" cx="{across:.1f}" cy="{up:.1f}" '
            f'r="{size:.1f}"><title>{words("gold")} {gold:.6g}, {words("answer")} {answer:.4g}'
            "</title></circle>"
        )
    parts.append(
        f'<text class="tick" x="{(LEFT + RIGHT) / 2}" y="342" text-anchor="middle">'
        f"{words('gold')}</text>"
    )
    parts.append(f'<text class="tick" x="{LEFT + 6}" y="{TOP + 10}">{words("answer")}</text>')
    head = f'<svg viewBox="0 0 362 350" role="img" aria-label="{escape(title)}">'
    return Markup(f"{head}{''.join(parts)}</svg>")


def _ticks(low: float, high: float) -> list[str]:
    """Number both scales, which are the same."""
    drawn: list[str] = []
    for value in round_values(low, high, 5):
        share, text = (value - low) / (high - low), escape(f"{value:g}")
        across, up = LEFT + share * (RIGHT - LEFT), BOTTOM - share * (BOTTOM - TOP)
        drawn.append(
            f'<text class="tick" x="{across:.1f}" y="{BOTTOM + 17}" text-anchor="middle">'
            f"{text}</text>"
            f'<text class="tick" x="{LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{text}</text>'
        )
    return drawn
