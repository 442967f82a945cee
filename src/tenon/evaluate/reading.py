"""Reading: answers to questions, scored against the golds as the official scripts score them.

A row has several golds, of which the best counts, or none: then the right answer is none,
the empty text. Scripts:

squad_1.1: words, lower-cased, without ASCII punctuation and the articles a, an, the; two
    texts without a word in common have F1 0, two empty ones too; every row has a gold.
squad_2.0: the same; golds without a word left are dropped, and two empty texts have F1 1.
cmrc_2018: Chinese characters and words of other scripts; F1 of the longest common run of
    them; the script's list of punctuation is dropped. It knows no row without an answer;
    here such a row is right or wrong as in squad_2.0.

R rows, S samples, K = 5 terms: exact, F1, whether there is a gold, and both scores of rows
that have one.

Source: Rajpurkar et al. 2016 and 2018; Cui et al. 2019, "A Span-Extraction Dataset for
Chinese Machine Reading Comprehension".
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.evaluate import counts

Doubles = npt.NDArray[np.float64]
Script = Literal["squad_1.1", "squad_2.0", "cmrc_2018"]
TERMS = 5

ARTICLE = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The script lists the ellipsis as two characters at once, which no single character equals.
CMRC_DROPPED = frozenset(r"-:_*^/\~`+=" + "，。：？！“”；’《》·、「」（）－～『』")
HAN = re.compile(r"([一-龥])")
# Where Penn Treebank segmentation, which the script leaves to NLTK, parts what blanks do not:
# signs, a comma before anything but a digit, the last full stop, clitics, and quotes.
APART = re.compile(
    r"([;@#$%&?!\[\](){}<>\"«»‘„‒–—―]|\.{2,}|[:,](?!\d)"
    r"|(?<=[^.])\.(?=[\])}>\"'»\s]*$)|(?:n't|'(?:s|m|d|ll|re|ve))(?=\s|$)"
    r"|(?<!\w)'(?=\w)|'(?=\s|$))"
)


def terms(golds: Sequence[Sequence[str]], answers: Sequence[str], script: Script) -> Any:
    """Score each row, sparse [R, 5].

    Args:
        golds: the right answers of each row; none where the text does not answer.
        answers: one of each row; empty for none.
        script: whose rules.

    Raises:
        ValueError: rows differ in number, or a row has no gold under squad_1.1.
    """
    counts.check_rows(golds, answers)
    judge = SCRIPTS[script]
    scored_RK = np.zeros((len(golds), TERMS))
    for row, (right, answer) in enumerate(zip(golds, answers, strict=True)):
        if not right and script == "squad_1.1":
            raise ValueError(f"row {row} has no gold answer; squad_1.1 has no such rows")
        exact, overlap = judge(right, answer)
        answerable = float(bool(right))
        scored_RK[row] = exact, overlap, answerable, exact * answerable, overlap * answerable
    return sparse.csr_array(scored_RK)


def normalise(text: str) -> str:
    """Give the words that SQuAD compares, joined by blanks."""
    return " ".join(ARTICLE.sub(" ", text.lower().translate(NO_PUNCTUATION)).split())


def _squad_1(golds: Sequence[str], answer: str) -> tuple[float, float]:
    found = normalise(answer)
    wanted = [normalise(gold) for gold in golds]
    shares = [_word_f1(gold.split(), found.split()) for gold in wanted]
    return float(found in wanted), max(shares)


def _squad_2(golds: Sequence[str], answer: str) -> tuple[float, float]:
    found = normalise(answer)
    wanted = [words for gold in golds if (words := normalise(gold))]
    if not wanted or not found:
        agree = float(not wanted and not found)
        return agree, agree
    return float(found in wanted), max(_word_f1(gold.split(), found.split()) for gold in wanted)


def _word_f1(gold: list[str], found: list[str]) -> float:
    shared = (Counter(gold) & Counter(found)).total()
    return _f1(shared, len(gold), len(found))


def _f1(shared: int, gold: int, found: int) -> float:
    return 2 * shared / (gold + found) if shared else 0.0


def _cmrc(golds: Sequence[str], answer: str) -> tuple[float, float]:
    found = cmrc_text(answer)
    if not golds:
        agree = float(not found)
        return agree, agree
    found_segments = segments(answer)
    shares = [_run_f1(segments(gold), found_segments) for gold in golds]
    return float(found in {cmrc_text(gold) for gold in golds}), max(shares)


def cmrc_text(text: str) -> str:
    """Lower and strip a text, and drop what CMRC 2018 drops, for comparison as a whole."""
    return "".join(sign for sign in text.lower().strip() if sign not in CMRC_DROPPED)


@lru_cache(maxsize=4096)
def segments(text: str) -> tuple[str, ...]:
    """Part a text into Chinese characters and words of other scripts, as CMRC 2018 does.

    The script parts the words by NLTK's `word_tokenize`. Here they are parted by Penn Treebank's
    rules without NLTK's sentence splitting and its list of contractions such as "gonna".
    """
    parts: list[str] = []
    for piece in HAN.split(cmrc_text(text)):
        parts.extend([piece] if HAN.fullmatch(piece) else APART.sub(r" \1 ", piece).split())
    return tuple(parts)


def _run_f1(gold: tuple[str, ...], found: tuple[str, ...]) -> float:
    return _f1(longest_run(gold, found), len(gold), len(found))


def longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Give the length of the longest stretch of segments that both contain."""
    longest = 0
    ended_before = [0] * (len(second) + 1)
    for segment in first:
        ended = [0] * (len(second) + 1)
        for place, other in enumerate(second, 1):
            if segment == other:
                ended[place] = ended_before[place - 1] + 1
        longest = max(longest, *ended)
        ended_before = ended
    return longest


SCRIPTS: dict[Script, Callable[[Sequence[str], str], tuple[float, float]]] = {
    "squad_1.1": _squad_1,
    "squad_2.0": _squad_2,
    "cmrc_2018": _cmrc,
}


def exact(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the share of rows answered exactly, [S]."""
    return sums_SK[:, 0] / rows


def f1(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the mean F1, [S]."""
    return sums_SK[:, 1] / rows


def has_answer_exact(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give the share answered exactly among rows with a gold, [S]; 0 where there is none."""
    return counts.ratio(sums_SK[:, 3], sums_SK[:, 2])


def has_answer_f1(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give the mean F1 of rows with a gold, [S]; 0 where there is none."""
    return counts.ratio(sums_SK[:, 4], sums_SK[:, 2])


def no_answer(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the share left unanswered among rows without a gold, [S]; 0 where there is none.

    The official NoAns_exact and NoAns_f1 are both this number.
    """
    return counts.ratio(sums_SK[:, 0] - sums_SK[:, 3], rows - sums_SK[:, 2])


COMBINE: dict[str, Callable[[Doubles, int], Doubles]] = {
    "exact": exact,
    "f1": f1,
    "has_answer_exact": has_answer_exact,
    "has_answer_f1": has_answer_f1,
    "no_answer": no_answer,
}
