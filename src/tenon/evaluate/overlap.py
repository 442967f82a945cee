"""Overlap: how much of a written text stands in its references.

BLEU and chrF are functions of sums over the corpus, as sacreBLEU defines them; ROUGE and
exact match are means over rows. A row has one reference or several. All scores are shares,
0 to 1: sacreBLEU's numbers divided by 100.

R rows, S samples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tenon.data.script import Script
from tenon.evaluate import counts
from tenon.evaluate.extractors import Extract, strip

if TYPE_CHECKING:
    from types import ModuleType

Doubles = npt.NDArray[np.float64]
References = Sequence[Sequence[str]]
Segment = Callable[[str], Sequence[str]]
Tokenizer = Literal["13a", "zh", "intl", "char", "none"]

TOKENIZERS: dict[Script, Tokenizer] = {"han": "zh", "kana": "char", "other": "13a"}
WORD_ORDER = 4
CHARACTER_ORDER = 6
CHRF_BETA = 2
ENGLISH = re.compile(r"[a-z0-9]+")
EAST = "぀-ヿ㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff"
CHARACTERS = re.compile(rf"[{EAST}]|[^\W_{EAST}]+")


def tokenizer_of(script: Script) -> Tokenizer:
    """Give sacreBLEU's tokenizer for the script of the answers."""
    return TOKENIZERS[script]


def bleu_terms(golds: References, answers: Sequence[str], tokenizer: Tokenizer = "13a") -> Any:
    """Count matches and n-grams of each order 1 to 4, and both lengths, sparse [R, 10].

    Args:
        golds: references of each row, one at least.
        answers: one of each row.
        tokenizer: of sacreBLEU; "zh" for Chinese targets.

    Raises:
        ValueError: rows differ in number, or a row has no reference.
    """
    _check(golds, answers)
    # Single sentences get the same counts with and without effective order, which spares a warning.
    metric: Any = _sacrebleu().BLEU(tokenize=tokenizer, effective_order=True)
    counted_RK = np.zeros((len(answers), 2 * WORD_ORDER + 2))
    for row, (right, answer) in enumerate(zip(golds, answers, strict=True)):
        one = metric.sentence_score(answer, list(right))
        counted_RK[row] = [*one.counts, *one.totals, one.sys_len, one.ref_len]
    return sparse.csr_array(counted_RK)


def bleu(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give corpus BLEU with exponential smoothing, [S].

    Source: Papineni et al. 2002; Post 2018, "A Call for Clarity in Reporting BLEU Scores".
    """
    compute: Any = _sacrebleu().BLEU.compute_bleu
    scores = [
        compute(
            correct=sums[:WORD_ORDER],
            total=sums[WORD_ORDER : 2 * WORD_ORDER],
            sys_len=int(sums[-2]),
            ref_len=int(sums[-1]),
            smooth_method="exp",
        ).score
        for sums in np.rint(sums_SK).tolist()
    ]
    return np.array(scores) / 100


def chrf_terms(golds: References, answers: Sequence[str]) -> Any:
    """Count n-grams of answer, of reference and of both, for each order 1 to 6, sparse [R, 18].

    Blanks do not count. Of several references the one with the best chrF of the row is taken.

    Raises:
        ValueError: rows differ in number, or a row has no reference.
    """
    _check(golds, answers)
    counted_RK = np.zeros((len(answers), 3 * CHARACTER_ORDER))
    for row, (right, answer) in enumerate(zip(golds, answers, strict=True)):
        found = _character_ngrams(answer)
        counted_GK = np.array([_matches(found, _character_ngrams(gold)) for gold in right])
        counted_RK[row] = counted_GK[chrf(counted_GK, 1).argmax()]
    return sparse.csr_array(counted_RK)


def _character_ngrams(text: str) -> list[Counter[str]]:
    signs = "".join(text.split())
    return [
        Counter(signs[start : start + order] for start in range(len(signs) - order + 1))
        for order in range(1, CHARACTER_ORDER + 1)
    ]


def _matches(found: list[Counter[str]], wanted: list[Counter[str]]) -> list[float]:
    """Give the counts of all orders: answers', references', both's; as many columns each."""
    answer = [float(f.total() if w else 0) for f, w in zip(found, wanted, strict=True)]
    gold = [float(w.total()) for w in wanted]
    both = [float((f & w).total()) for f, w in zip(found, wanted, strict=True)]
    return [*answer, *gold, *both]


def chrf(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give corpus chrF2: the F of mean precision and recall over the orders that occur, [S].

    Source: Popović 2015, "chrF: character n-gram F-score"; sacreBLEU 2 without epsilon smoothing.
    """
    answer_SN, gold_SN, both_SN = np.split(sums_SK, 3, axis=1)
    occurs_SN = (answer_SN > 0) & (gold_SN > 0)
    orders_S = occurs_SN.sum(axis=1).astype(np.float64)
    precision_S = counts.ratio(counts.ratio(both_SN, answer_SN).sum(axis=1), orders_S)
    recall_S = counts.ratio(counts.ratio(both_SN, gold_SN).sum(axis=1), orders_S)
    return counts.ratio(
        (1 + CHRF_BETA**2) * precision_S * recall_S, CHRF_BETA**2 * precision_S + recall_S
    )


def signature(score: Literal["bleu", "chrf"], references: int, tokenizer: Tokenizer = "13a") -> str:
    """Give sacreBLEU's signature, which says how to get the same number again.

    Args:
        score: which.
        references: of each row; 0 where rows differ ("var").
        tokenizer: of BLEU.
    """
    library = _sacrebleu()
    metric: Any = library.BLEU(tokenize=tokenizer) if score == "bleu" else library.CHRF()
    # Two segments with unequal numbers of references are what sacreBLEU calls variable.
    streams = [["a", "a"]] * references if references else [["a", "a"], ["a", None]]
    metric.corpus_score(["a", "a"], streams)
    return str(metric.get_signature())


def english(text: str) -> list[str]:
    """Part a text into words of a-z and digits, lower-cased: rouge-score's own, no stemming."""
    return ENGLISH.findall(text.lower())


def characters(text: str) -> list[str]:
    """Part a text into Chinese and Japanese characters, and words of all other scripts."""
    return CHARACTERS.findall(text.lower())


SEGMENTS: dict[str, Segment] = {"english": english, "characters": characters}


def rouge_terms(golds: References, answers: Sequence[str], segment: Segment = english) -> Any:
    """Give the F-measures of ROUGE-1, ROUGE-2 and ROUGE-L of each row, sparse [R, 3].

    Of several references the best counts, for each measure by itself.

    Args:
        golds: references of each row, one at least.
        answers: one of each row.
        segment: `english`, or `characters` for Chinese and whatever is not written in a-z.

    Raises:
        ValueError: rows differ in number, or a row has no reference.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"; rouge-score.
    """
    _check(golds, answers)
    scored_RK = np.zeros((len(answers), 3))
    for row, (right, answer) in enumerate(zip(golds, answers, strict=True)):
        found = segment(answer)
        scored_RK[row] = np.max([_rouge(segment(gold), found) for gold in right], axis=0)
    return sparse.csr_array(scored_RK)


def _rouge(gold: Sequence[str], found: Sequence[str]) -> list[float]:
    scores: list[float] = []
    for order in (1, 2):
        mine, theirs = _ngrams(gold, order), _ngrams(found, order)
        scores.append(_f1((mine & theirs).total(), mine.total(), theirs.total()))
    return [*scores, _f1(longest_subsequence(gold, found), len(gold), len(found))]


def _ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + order]) for at in range(len(tokens) - order + 1))


def _f1(shared: int, gold: int, found: int) -> float:
    return 2 * shared / (gold + found) if shared else 0.0


def longest_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Give the length of the longest common subsequence.

    Source: Hyyrö 2004, "Bit-Parallel LCS-length Computation Revisited": a column of the table is
    one integer, so that long texts take milliseconds.
    """
    places: dict[str, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(first)) - 1
    open_places = full
    for token in second:
        matched = open_places & places.get(token, 0)
        open_places = ((open_places + matched) | (open_places - matched)) & full
    return len(first) - open_places.bit_count()


def exact_terms(golds: References, answers: Sequence[str], extract: Extract = strip) -> Any:
    """Say of each row whether its answer equals a reference after extraction, sparse [R, 1].

    Args:
        golds: references of each row, one at least.
        answers: one of each row; one from which nothing can be extracted is wrong.
        extract: what of a text is compared; see `tenon.evaluate.extractors`.

    Raises:
        ValueError: rows differ in number, or nothing can be extracted from a row's references.
    """
    _check(golds, answers)
    hit_R1 = np.zeros((len(answers), 1))
    for row, (right, answer) in enumerate(zip(golds, answers, strict=True)):
        wanted = {extracted for gold in right if (extracted := extract(gold)) is not None}
        if not wanted:
            raise ValueError(f"row {row} has no reference with an answer in it: {right[0][:80]!r}")
        hit_R1[row] = extract(answer) in wanted
    return sparse.csr_array(hit_R1)


def _check(golds: References, answers: Sequence[str]) -> None:
    counts.check_rows(golds, answers)
    for row, right in enumerate(golds):
        if not right:
            raise ValueError(f"row {row} has no reference")


def _sacrebleu() -> ModuleType:
    from sacrebleu import metrics

    return metrics


def rouge_1(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the mean ROUGE-1, [S]."""
    return sums_SK[:, 0] / rows


def rouge_2(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the mean ROUGE-2, [S]."""
    return sums_SK[:, 1] / rows


def rouge_l(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the mean ROUGE-L of whole texts, [S]."""
    return sums_SK[:, 2] / rows


def exact_match(sums_SK: Doubles, rows: int) -> Doubles:
    """Give the share of rows whose answer is right, [S]."""
    return sums_SK[:, 0] / rows


COMBINE: dict[str, Callable[[Doubles, int], Doubles]] = {
    "bleu": bleu,
    "chrf": chrf,
    "rouge_1": rouge_1,
    "rouge_2": rouge_2,
    "rouge_l": rouge_l,
    "exact_match": exact_match,
}
