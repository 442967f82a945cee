"""Normal: the form in which two texts are one that a reader takes for the same."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

from tenon.data.simplified import table

_KEPT = frozenset("#%&@*/\\§†‡‰‱")
"""Signs that Unicode calls punctuation, and that say something where they stand: C#, 5 %, a/b."""
_APOSTROPHES = "'\u2019\u02bc`"
_SIGN = re.compile(r"-(?=\d)")
_MINUS = "\u2212"
_HAN = "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_BLANK_BY_HAN = re.compile(f"(?<=[{_HAN}]) | (?=[{_HAN}])")


def normal(text: str) -> str:
    """Give `text` without what a reader passes over.

    That is compatibility form (NFKC), without case, in simplified characters, without punctuation
    but for the sign of a number, its blanks squeezed, and none beside Chinese and Japanese. A text
    of punctuation alone keeps it.
    """
    if text.isascii():
        lower = text.lower()
        if "-" in lower:
            lower = _SIGN.sub(_MINUS, lower)
        return " ".join(lower.translate(_ascii()).split()) or " ".join(lower.split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    folded = _SIGN.sub(_MINUS, folded).translate(table())
    bare = " ".join(folded.translate(_all()).split()) or " ".join(folded.split())
    return unicodedata.normalize("NFKC", _BLANK_BY_HAN.sub("", bare))


def _replacement(character: str) -> str:
    return "" if character in _APOSTROPHES else " "


@cache
def _ascii() -> dict[int, str]:
    return {code: sign for code, sign in _all().items() if code < 128}


@cache
def _all() -> dict[int, str]:
    """Give all punctuation with what stands in its place."""
    signs = (chr(code) for code in range(sys.maxunicode + 1))
    return {
        ord(sign): _replacement(sign)
        for sign in signs
        if sign in _APOSTROPHES or (unicodedata.category(sign)[0] == "P" and sign not in _KEPT)
    }
