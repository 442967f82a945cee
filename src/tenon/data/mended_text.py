"""Mended text: a text without what damaged it on its way, and what was mended."""

from __future__ import annotations

import re
from unicodedata import is_normalized, normalize

from tenon.data.mojibake import repaired

_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")


def mended_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Give a text as its author wrote it, and the codes of what was mended.

    Mojibake is undone, characters without width and marks of direction go, and letters that are
    written as several code points become one (NFC). Texts in Hebrew, Arabic and their kin keep the
    marks of direction, which they may need. A text of which nothing is left stays as it is.
    """
    if text.isascii():
        return text, ()
    mends: list[str] = []
    undone = repaired(text)
    if undone != text:
        mends.append("mojibake")
    visible = _INVISIBLE.sub("", undone)
    if visible != undone:
        mends.append("invisible-characters")
    if _BIDI.search(visible) and not _RIGHT_TO_LEFT.search(visible):
        visible = _BIDI.sub("", visible)
        mends.append("bidi-marks")
    if not is_normalized("NFC", visible):
        visible = normalize("NFC", visible)
        mends.append("composed-characters")
    if not visible or visible.isspace():
        return text, ()
    return visible, tuple(mends)
