"""Script: in which signs texts are written, as far as it decides how they are cut into words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal, cast

from tenon.data.example import Example

Script = Literal["han", "kana", "other"]
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
KANA = re.compile(r"[\u3040-\u30ff]")
HAN_SHARE = 0.3
KANA_SHARE = 0.1


def answer_texts(examples: Iterable[Example]) -> Iterator[str]:
    """Give the first answer of each row of a task that writes, by which their script is told."""
    for example in examples:
        if example.gold is not None:
            yield str(cast("tuple[str, ...]", example.gold)[0])


def script_of(texts: Iterable[str]) -> Script:
    """Tell Chinese ("han") and Japanese ("kana") from scripts with blanks between words."""
    text = " ".join(texts)
    letters = max(1, len(text))
    if len(KANA.findall(text)) > KANA_SHARE * letters:
        return "kana"
    return "han" if len(HAN.findall(text)) > HAN_SHARE * letters else "other"
