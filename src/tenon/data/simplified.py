"""Simplified: traditional Chinese characters, each with the simplified one that it is written as.

Source: OpenCC (Apache-2.0), TSCharacters.txt: of several simplified forms the first. It goes by
single characters, so that a word in which a character has another form is not known.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def table() -> dict[int, str]:
    """Give traditional to simplified, as `str.translate` takes it."""
    text = files("tenon.data").joinpath("simplified.txt").read_text(encoding="utf-8")
    paired = "".join(line for line in text.splitlines() if not line.startswith("#"))
    return dict(zip(map(ord, paired[::2]), paired[1::2], strict=True))


@cache
def traditional() -> frozenset[str]:
    """Give the characters that simplified text does not have."""
    return frozenset(map(chr, table()))


@cache
def simplified() -> frozenset[str]:
    """Give the characters that stand for a traditional one."""
    return frozenset(table().values())
