"""Oddities: texts that can be used and yet may not say what their author meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tenon.data.findings import Severity


class Oddity(NamedTuple):
    """A sort of odd text: how grave, what several such texts do, what to do about it."""

    severity: Severity
    what: str
    remedy: str


ODDITIES: dict[str, Oddity] = {
    "bidi_marks": Oddity(
        "warning",
        "hold marks that turn the direction of writing, which hide what is said",
        "remove U+202A to U+202E and U+2066 to U+2069 unless the language needs them",
    ),
    "control_characters": Oddity(
        "warning", "hold control characters", "remove them; they come from a damaged source"
    ),
    "invisible_characters": Oddity(
        "note", "hold characters without width", "remove U+200B, U+2060 and U+FEFF"
    ),
    "replacement_characters": Oddity(
        "warning",
        "hold U+FFFD, which stands for a character that was lost",
        "decode the original again with its true encoding",
    ),
    "mojibake": Oddity(
        "warning",
        'look like UTF-8 that was read as Latin-1 ("Ã©" for "é")',
        "decode the original again as UTF-8",
    ),
    "control_tokens": Oddity(
        "warning",
        "hold what tokenizers take for control tokens (<|im_end|>, [SEP], </s> ...)",
        "remove them unless they are meant",
    ),
    "placeholders": Oddity(
        "warning",
        'say only "nan", "null", "none" or "n/a"',
        "they are missing values that became words; remove these rows",
    ),
    "quoted_texts": Oddity(
        "warning",
        "stand wholly within quotation marks",
        'if the file quotes its fields, set data.quoting = "rfc4180"',
    ),
    "blanks_around_text": Oddity("note", "have outer blanks", "they are kept as they are"),
}
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MOJIBAKE = re.compile("[ÃÂ][\x80-\xbf]|â€|ï¿½|ä¸|å›")
_TOKENS = re.compile(
    r"<\|[^|<>]{1,40}\|>|</?s>|\[(?:CLS|SEP|PAD|MASK|UNK|INST)\]|<(?:pad|unk|mask|bos|eos)>"
)
_PLACEHOLDERS = frozenset({"nan", "null", "none", "n/a", "#n/a", "na", "<na>", "nil"})
_LONGEST_PLACEHOLDER = 4


def oddities_of(text: str) -> Iterator[str]:
    """Name what is odd in `text`; most texts pass four quick tests and nothing more."""
    if not text:
        return
    if not text.isprintable():
        yield from _unprintable(text)
    if not text.isascii():
        if "\ufffd" in text:
            yield "replacement_characters"
        if _MOJIBAKE.search(text):
            yield "mojibake"
    if ("<" in text or "[" in text) and _TOKENS.search(text):
        yield "control_tokens"
    first, last = text[0], text[-1]
    if first == '"' and last == '"' and len(text) > 1:
        yield "quoted_texts"
    if first.isspace() or last.isspace():
        yield "blanks_around_text"
    if len(text) <= _LONGEST_PLACEHOLDER and text.casefold() in _PLACEHOLDERS:
        yield "placeholders"


def _unprintable(text: str) -> Iterator[str]:
    if _BIDI.search(text):
        yield "bidi_marks"
    if _INVISIBLE.search(text):
        yield "invisible_characters"
    if _CONTROL.search(text):
        yield "control_characters"
