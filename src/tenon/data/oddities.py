"""Oddities: texts that can be used and yet may not say what their author meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from unicodedata import category

from tenon.data.finder import Seen, Sightings, Sort
from tenon.data.findings import Finding
from tenon.data.ledger import Ledger
from tenon.data.markup import holds_markup
from tenon.data.mojibake import is_mojibake

ODDITIES: dict[str, Sort] = {
    "bidi-marks": Sort(
        "warning",
        "text",
        "hold marks that turn the direction of writing, which hide what is said",
        "remove U+202A to U+202E and U+2066 to U+2069 unless the language needs them; --fix does",
    ),
    "control-characters": Sort(
        "warning", "text", "hold control characters", "remove them; they come from a damaged source"
    ),
    "invisible-characters": Sort(
        "note",
        "text",
        "hold characters without width",
        "remove U+200B, U+2060 and U+FEFF; --fix does",
    ),
    "replacement-characters": Sort(
        "warning",
        "text",
        "hold U+FFFD (or 锟斤拷), which stands for a character that was lost",
        "decode the original again with its true encoding",
    ),
    "mojibake": Sort(
        "warning",
        "text",
        'look as if decoded with the wrong encoding ("Ã©" for "é")',
        "decode the original again with its true encoding, or mend the texts with --fix",
    ),
    "control-tokens": Sort(
        "warning",
        "text",
        "hold what tokenizers take for control tokens (<|im_end|>, [SEP], </s> ...)",
        "remove them unless they are meant",
    ),
    "html": Sort(
        "warning",
        "text",
        "hold tags or entities of HTML",
        "take the text out of the page unless the task is about markup",
    ),
    "placeholders": Sort(
        "warning",
        "text",
        'say nothing but that something is missing ("nan", "[deleted]", "此用户没有填写评价" ...)',
        "they are missing values that became words; remove these rows",
    ),
    "no-words": Sort(
        "warning",
        "text",
        "hold punctuation alone",
        "remove these rows unless such texts are an input",
    ),
    "quoted-texts": Sort(
        "warning",
        "text",
        "stand wholly within quotation marks",
        'if the file quotes its fields, set data.quoting = "rfc4180"',
    ),
    "blanks-around-text": Sort("note", "text", "have outer blanks", "they are kept as they are"),
}
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_TOKENS = re.compile(
    r"<\|[^|<>]{1,40}\|>|</?s>|\[/?(?:CLS|SEP|PAD|MASK|UNK|INST)\]|<(?:pad|unk|mask|bos|eos)>|"
    r"<(?:start|end)_of_turn>"
)
_PLACEHOLDERS = frozenset({
    "nan", "null", "none", "n/a", "#n/a", "na", "<na>", "nil", "#ref!", "#value!", "undefined",
    "tbd", "todo", "[deleted]", "[removed]", "deleted", "lorem ipsum", "no text", "no comment",
    "no content", "404 not found", "page not found", "access denied", "[object object]",
    "click here to read more", "read more", "无", "暂无", "空", "略", "无内容", "暂无内容",
    "此用户没有填写评价", "该用户没有填写评价", "系统默认好评", "此用户没有填写评价。",
})  # fmt: skip
_LONGEST_PLACEHOLDER = max(map(len, _PLACEHOLDERS))


@dataclass
class Oddities:
    """Finds odd texts."""

    sightings: Sightings = field(default_factory=lambda: Sightings(ODDITIES))

    def see(self, seen: Seen) -> None:
        """Take in one row; several texts of it that are odd in one way count once."""
        example = seen.example
        if len(seen.texts) == 1:
            kinds = list(oddities_of(seen.texts[0]))
        else:
            kinds = list(dict.fromkeys(kind for text in seen.texts for kind in oddities_of(text)))
        for kind in kinds:
            # Of joined tokens no field was quoted.
            if not (example.words and kind == "quoted-texts"):
                self.sightings.add(kind, example.origin)

    def found(self, ledgers: Mapping[str, Ledger]) -> Iterator[Finding]:
        """Give a finding for each sort of oddity."""
        del ledgers
        return self.sightings.findings()


def oddities_of(text: str) -> Iterator[str]:
    """Name what is odd in `text`; most texts pass a few quick tests and nothing more."""
    if not text:
        return
    if not text.isprintable():
        yield from _unprintable(text)
    if not text.isascii():
        if "\ufffd" in text or "锟斤拷" in text:
            yield "replacement-characters"
        if is_mojibake(text):
            yield "mojibake"
    if ("<" in text or "[" in text) and _TOKENS.search(text):
        yield "control-tokens"
    if holds_markup(text):
        yield "html"
    yield from _of_the_whole(text)


def _of_the_whole(text: str) -> Iterator[str]:
    first, last = text[0], text[-1]
    if first == '"' and last == '"' and len(text) > 1:
        yield "quoted-texts"
    if first.isspace() or last.isspace():
        yield "blanks-around-text"
    if len(text) <= _LONGEST_PLACEHOLDER and text.casefold() in _PLACEHOLDERS:
        yield "placeholders"
    elif len(text) <= _LONGEST_PLACEHOLDER and all(map(_is_punctuation, text)):
        yield "no-words"


def _is_punctuation(character: str) -> bool:
    return character.isspace() or category(character)[0] == "P"


def _unprintable(text: str) -> Iterator[str]:
    if _BIDI.search(text):
        yield "bidi-marks"
    if _INVISIBLE.search(text):
        yield "invisible-characters"
    if _CONTROL.search(text):
        yield "control-characters"
