"""Languages: in which scripts, and in which languages, the rows of a check are written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tenon.data.finder import Seen
from tenon.data.findings import EXAMPLES, ROWS, Finding, agreed, counted, share_of
from tenon.data.ledger import Ledger
from tenon.data.normal import normal as normal_form
from tenon.data.simplified import simplified, traditional

_SCRIPTS: dict[str, re.Pattern[str]] = {
    "Latin": re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]"),
    "Japanese": re.compile("[\u3040-\u30ff]"),
    "Han": re.compile("[\u3400-\u4dbf\u4e00-\u9fff]"),
    "Korean": re.compile("[\u1100-\u11ff\uac00-\ud7af]"),
    "Cyrillic": re.compile("[\u0400-\u052f]"),
    "Greek": re.compile("[\u0370-\u03ff]"),
    "Arabic": re.compile("[\u0600-\u06ff\u0750-\u077f]"),
    "Hebrew": re.compile("[\u0590-\u05ff]"),
    "Devanagari": re.compile("[\u0900-\u097f]"),
    "Thai": re.compile("[\u0e00-\u0e7f]"),
}
_WORDS = {
    "English": "the and of is with this that are was have you for not",
    "German": "der die und das ist nicht ein eine mit auf für ich sich dem wird",
    "French": "le les des est une dans pour pas vous que qui sur avec sont",
    "Spanish": "el los las una por para con que es pero muy está como del",
    "Italian": "il gli che non una per sono con della di è questo anche nel",
    "Portuguese": "não uma com para os que você mais em ao são muito do da",
    "Dutch": "het een niet van en dat voor met zijn aan wordt naar ook deze",
}
"""Words of which two or three stand in most sentences of a language."""
_COMMON = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_FEWEST_WORDS = 3
FEW = 0.05
"""The largest share of rows that a language is foreign with."""
_ANY_COMMON = frozenset().union(*_COMMON.values())
_LATIN = "Latin script"
_TRADITIONAL = "traditional Chinese"
_SIMPLIFIED = "simplified Chinese"
_MIXED_WORD = re.compile("[A-Za-z][\u0400-\u052f]|[\u0400-\u052f][A-Za-z]")


@dataclass
class Languages:
    """Finds rows in another script or language than nearly all others."""

    counts: Counter[str] = field(default_factory=Counter[str])
    rows: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    mixed: int = 0
    mixed_rows: list[str] = field(default_factory=list[str])

    def see(self, seen: Seen) -> None:
        """Take in one row."""
        text, origin = seen.example.text, seen.example.origin
        language = language_of(text, seen.normal)
        self.counts[language] += 1
        rows = self.rows.setdefault(language, [])
        if len(rows) < ROWS:
            rows.append(origin)
        if not text.isascii() and _MIXED_WORD.search(text):
            self.mixed += 1
            if self.mixed <= ROWS:
                self.mixed_rows.append(origin)

    def found(self, ledgers: Mapping[str, Ledger]) -> Iterator[Finding]:
        """Give the mix, and the rows in a language that few have."""
        del ledgers
        known = _settled(self.counts)
        total = sum(known.values())
        if len(known) > 1:
            shares = ", ".join(f"{name} {share_of(n, total)}" for name, n in known.most_common())
            what = f"the texts are in {len(known)} scripts or languages: {shares}"
            yield Finding("languages", "note", len(known), what)
        for name, count in known.most_common():
            if count <= FEW * total:
                yield _foreign(name, count, total, self.rows[name])
        if self.mixed:
            what = f"{counted(self.mixed, 'text')} {agreed(self.mixed, 'hold')} words that mix "
            what += "Latin and Cyrillic letters"
            yield Finding(
                "mixed-scripts",
                "warning",
                self.mixed,
                what,
                "letters that look alike are not the same to a model; write a word in one script",
                tuple(self.mixed_rows[:EXAMPLES]),
                tuple(self.mixed_rows),
            )


def _settled(counts: Mapping[str, int]) -> Counter[str]:
    """Count texts that only their letters tell to the commonest language with such letters."""
    known = Counter({name: count for name, count in counts.items() if name})
    latin = Counter({name: known[name] for name in _COMMON if known[name]})
    if latin:
        known[latin.most_common(1)[0][0]] += known.pop(_LATIN, 0)
    return known


def languages_of(texts: Iterable[str]) -> list[str]:
    """Give the language of each text, as `language_of` does.

    Texts that only their letters tell are in the commonest language with such letters.
    """
    found = [language_of(text, normal_form(text)) for text in texts]
    latin = Counter(name for name in found if name in _COMMON).most_common(1)
    return [latin[0][0] if latin and name == _LATIN else name for name in found]


def language_of(text: str, normal: str) -> str:
    """Give the language of a text, its script where that is all that tells, or "" for neither.

    Args:
        text: as it is.
        normal: the same in normal form.
    """
    script = "Latin" if text.isascii() else _script_of(text)
    if script == "Latin":
        return _by_words(normal)
    return _hand_of(text) if script == "Han" else script


def _script_of(text: str) -> str:
    letters = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    if letters["Japanese"] and letters["Japanese"] * 5 >= letters["Han"]:
        letters["Japanese"] += letters.pop("Han")
    if "Han" in letters:
        letters["Han"] *= 3  # one character says as much as a few letters
    most = max(letters, key=lambda name: letters[name])
    return most if letters[most] else ""


def _by_words(normal: str) -> str:
    """Tell languages of Latin script by their commonest words; a few words tell nothing."""
    words = _ANY_COMMON.intersection(normal.split())
    if len(words) < _FEWEST_WORDS:
        return _LATIN if any(map(str.isalpha, normal)) else ""
    hits = sorted(((len(words & known), name) for name, known in _COMMON.items()), reverse=True)
    sure = hits[0][0] >= _FEWEST_WORDS and hits[0][0] >= 2 * hits[1][0]
    return hits[0][1] if sure else _LATIN


def _hand_of(text: str) -> str:
    signs = frozenset(text)
    old, new = len(signs & traditional()), len(signs & simplified())
    return _TRADITIONAL if old > new and old > 1 else _SIMPLIFIED


def _foreign(name: str, count: int, total: int, rows: list[str]) -> Finding:
    return Finding(
        "foreign-texts",
        "note",
        count,
        f"{share_of(count, total)} texts {agreed(count, 'are')} in {name}",
        "remove them if the model is not to meet that; else gather more of them",
        tuple(rows[:EXAMPLES]),
        tuple(rows),
    )
