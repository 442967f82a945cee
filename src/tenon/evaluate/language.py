"""Language: the words of a page, in English or Chinese; what a user wrote is never translated.

A catalogue maps keys to words with places for values. Sentences that are stored in a report are
in English; another language knows them by their form, as `{n} row(s) [is|are] …`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from markupsafe import Markup, escape

from tenon.core.errors import PlanError, did_you_mean

LANGUAGES = ("en", "zh")
FORMS = "|"
"""Stands between the word for one and the word for several."""
HTML = "_html"
"""How a key ends whose words hold elements; values in them are escaped."""
PLACE = re.compile(r"\{(\w+)\}|\[([^\]|]*\|[^\]]*)\]|\((s|es)\)")
NAMED = re.compile(r"\{(\w+)\}")
HAN, LETTER = re.compile(r"[\u4e00-\u9fff]"), re.compile(r"[A-Za-z0-9%@]")
ANY, NUMBER, WORD = r"(.+?)", r"([\d,.]+)", r"([^\s:,;]+)"
SHARED = r"[\d,]+ of [\d,]+ \([\d.]+ %\)"
SHARE = re.compile(r"(?:(.+?) )?(?P<n>[\d,]+) of (?P<of>[\d,]+) \((?P<percent>[\d.]+) %\)")
POINT = re.compile(r"(?P<percent>[\d.]+) % of (?P<of>[\d,]*\d)")
INNER = ("note", "why", "cause")
"""Places of a sentence whose values are sentences themselves; a note has to be known."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of a report, by its form.

    Args:
        pattern: matches the English one.
        places: names of the groups, in their order.
        words: what it is in the other language.
    """

    pattern: re.Pattern[str]
    places: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Language:
    """The words of one language.

    Args:
        code: "en" or "zh".
        words: key to words.
        sentences: those that are known by their form; the first that matches is taken.
    """

    code: str
    words: Mapping[str, str]
    sentences: tuple[Sentence, ...] = ()

    def __call__(self, key: str, /, **values: Any) -> str:
        """Give the words of a key; whole numbers get their thousands apart.

        Args:
            key: of the catalogue; one that ends in "_html" gives markup, its values escaped.
            values: for the places; where there are forms for one and for several, by `n`.

        Raises:
            KeyError: there is no such key.
        """
        one, _, several = self.words[key].partition(FORMS)
        words = several if several and values.get("n") != 1 else one
        if key.endswith(HTML):
            return Markup(filled(words, values, escape))
        return filled(words, values)

    def name(self, group: str, key: str, unknown: str = "") -> str:
        """Give what a thing is called, or `unknown`, or its key as people write it."""
        return self.words.get(f"{group}.{key}") or unknown or key.replace("_", " ")

    def said(self, sentence: str) -> str:
        """Give a stored sentence in this language; as it is where it is not known."""
        return self.known(sentence) or sentence

    def known(self, sentence: str) -> str:
        """Give a stored sentence in this language; "" where it is not known."""
        if not self.sentences:
            return sentence
        for each in self.sentences:
            if found := each.pattern.fullmatch(sentence):
                values = dict(zip(each.places, found.groups(), strict=True))
                if "note" not in values or self.known(values["note"]):
                    shown = {name: self._value(name, value) for name, value in values.items()}
                    return filled(each.words, shown)
        return ""

    def _value(self, name: str, value: str) -> str:
        """Give what stands at a place: a sentence, share or noun of ours is translated as well."""
        if name in INNER:
            return self.said(value)
        if name == "check":
            return self.words.get(f"check.{value}", value)
        if name == "points":
            return POINT.sub(lambda found: self("formed.point", **found.groupdict()), value)
        if name == "change":
            return value.replace(" points", self("unit.points"))
        if name in ("share", "shares"):
            told = [self._share(each) for each in value.split(", ")]
            return self("list.between").join(told)
        return self.words.get(f"noun.{value}", value)

    def _share(self, value: str) -> str:
        """Give "Latin script 3 of 4 (75.0 %)" in this language."""
        found = SHARE.fullmatch(value)
        if not found:
            return value
        what = found[1] or ""
        values = {name: found[name] for name in ("n", "of", "percent")}
        named = self.words.get(f"noun.{what}", what)
        return f"{named} " * bool(what) + self("formed.share", **values)


def language(code: str) -> Language:
    """Give a language by its code.

    Raises:
        PlanError: there is no such one.
    """
    if code not in LANGUAGES:
        raise PlanError(
            f"lang {code!r}: pages are written in {' and '.join(LANGUAGES)}; "
            f"{did_you_mean(code, LANGUAGES)}"
        )
    return _read(code)


@cache
def _read(code: str) -> Language:
    folder = resources.files("tenon.evaluate") / "words"
    words = _flat(tomllib.loads((folder / f"{code}.toml").read_text(encoding="utf-8")))
    told = folder / f"{code}_sentences.toml"
    pairs = tomllib.loads(told.read_text(encoding="utf-8"))["said"] if told.is_file() else []
    return Language(code, words, tuple(_sentence(*pair) for pair in pairs))


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Give `a.b` for each entry of a nested table."""
    found: dict[str, str] = {}
    for name, value in table.items():
        found |= (
            _flat(value, f"{before}{name}.")
            if isinstance(value, dict)
            else {f"{before}{name}": value}
        )
    return found


def _sentence(form: str, words: str) -> Sentence:
    """Make a pattern of a form: places, plurals `(s)` and choices `[is|are]`."""
    places: list[str] = []
    parts: list[str] = []
    last = 0
    for found in PLACE.finditer(form):
        parts.append(re.escape(form[last : found.start()]))
        parts.append(_group(found, places))
        last = found.end()
    parts.append(re.escape(form[last:]))
    return Sentence(re.compile("".join(parts), re.DOTALL), tuple(places), words)


def _group(found: re.Match[str], places: list[str]) -> str:
    name, choices, plural = found.groups()
    if plural:
        return f"(?:{plural})?"
    if choices:
        return f"(?:{'|'.join(re.escape(choice) for choice in choices.split('|'))})"
    places.append(name)
    if name == "share":
        return f"({SHARED})"
    return NUMBER if re.fullmatch(r"n\d*", name) else WORD if name == "part" else ANY


def filled(words: str, values: Mapping[str, Any], shown: Callable[[str], str] = str) -> str:
    """Fill the places of some words; beside a Chinese character, other letters get a blank.

    Args:
        values: by the names of the places; whole numbers get their thousands apart.
        shown: makes of a value what is put in.

    Raises:
        KeyError: a place has no value.
    """

    def put(found: re.Match[str]) -> str:
        value = values[found[1]]
        text = f"{value:,}" if isinstance(value, int) else str(value)
        before, after = words[: found.start()][-1:], words[found.end() :][:1]
        left = " " * bool(HAN.match(before) and LETTER.match(text[:1]))
        right = " " * bool(HAN.match(after) and LETTER.match(text[-1:]))
        return f"{left}{shown(text)}{right}"

    return NAMED.sub(put, words)
