"""Differing: a text with marks around the words that another text has not at their place."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from tenon.evaluate.overlap import EAST

PIECES = re.compile(rf"[{EAST}]|[^\W{EAST}]+|\s+|[^\w\s]")


def differing(text: str, other: str) -> Markup:
    """Give a text with marks around the words that `other` has not, as HTML.

    Words are compared in their order; where there are no words, characters are.

    Args:
        text: what is shown.
        other: what it is compared with.
    """
    mine, theirs = PIECES.findall(text), PIECES.findall(other)
    found = SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes()
    parts: list[Markup] = []
    for what, start, end, _, _ in found:
        piece = escape("".join(mine[start:end]))
        if piece:
            parts.append(
                piece if what == "equal" else Markup('<mark class="other">{}</mark>').format(piece)
            )
    return Markup("").join(parts)
