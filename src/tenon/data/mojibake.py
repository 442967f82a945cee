"""Mojibake: texts that were read in another encoding than they were written in.

UTF-8 and the code pages of Windows are told and mended by ftfy. GB 18030, in which Chinese texts
are often kept, is told here: as it was read for Latin-1 (ÖÐ¹ú), and as UTF-8 was read for it
(涓浗).
"""

from __future__ import annotations

import re

from ftfy import TextFixerConfig, fix_encoding

_CONFIG = TextFixerConfig(fix_c1_controls=False)
_HAN = re.compile("[\u4e00-\u9fff]")
_HIGH = re.compile("[\xa1-\xff]{4,}")
_FEWEST_HAN = 2
_LEAST = "\xa0"
"""No text without a character from here on was UTF-8."""


def repaired(text: str) -> str:
    """Give a text as it was written, or as it is where nothing tells that it was misread."""
    if max(text, default="") < _LEAST:
        return text
    return _from_gbk_as_latin(text) or _from_utf8_as_gbk(text) or fix_encoding(text, _CONFIG)


def is_mojibake(text: str) -> bool:
    """Tell whether a text was misread in a way that can be undone."""
    return repaired(text) != text


def _from_gbk_as_latin(text: str) -> str:
    """Undo Latin-1 for GB 2312, where whole runs of letters are common Chinese characters."""
    if _HIGH.search(text) is None:
        return ""
    try:
        return text.encode("latin-1").decode("gb2312")
    except UnicodeError:
        return ""


def _from_utf8_as_gbk(text: str) -> str:
    """Undo GB 18030 for UTF-8: by chance no Chinese text of some length is UTF-8 as well."""
    if _HAN.search(text) is None:
        return ""
    try:
        undone = text.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return ""
    return undone if len(_HAN.findall(undone)) >= _FEWEST_HAN else ""
