"""Marks: a text with its spans, as HTML in which a right span looks other than a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

GOLDEN_ANGLE = 137
FIRST_HUE = 200


def marked(
    text: str,
    spans: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    colours: Mapping[str, int] | None = None,
    *,
    named: bool = True,
) -> Markup:
    """Give a text with marks around its spans.

    Args:
        text: as shown; what lies behind its end is not marked.
        spans: to mark: start, end, label.
        other: the spans they are compared with; one that is not among these is marked as odd.
        colours: label to its hue in degrees; others have a hue of their letters.
        named: write the label behind each span.
    """
    agreed = {(span["start"], span["end"], span["label"]) for span in other}
    parts: list[Markup] = []
    place = 0
    for span in sorted(spans, key=lambda span: (span["start"], span["end"])):
        start, end, label = span["start"], span["end"], str(span["label"])
        if start < place or end > len(text):
            continue
        kind = "span" if (start, end, label) in agreed else "span odd"
        parts.append(escape(text[place:start]))
        sub = Markup("<sub>{}</sub>").format(label) if named else ""
        parts.append(
            Markup('<mark class="{}" style="--hue: {}">{}{}</mark>').format(
                kind, (colours or {}).get(label, hue(label)), text[start:end], sub
            )
        )
        place = end
    parts.append(escape(text[place:]))
    return Markup("").join(parts)


def hues(labels: Iterable[str]) -> dict[str, int]:
    """Give each of a report's labels a colour, in degrees, as far from the others as may be."""
    known = sorted(labels)
    return {label: (FIRST_HUE + 360 * n // len(known)) % 360 for n, label in enumerate(known)}


def hue(label: str) -> int:
    """Give a label's colour, in degrees: the same in every report."""
    return sum(label.encode()) * GOLDEN_ANGLE % 360
