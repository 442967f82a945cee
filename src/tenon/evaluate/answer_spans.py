"""Extracts: start and end scores for the tokens of contexts, and the answers that they say.

Legend: R questions, W windows of all contexts, T tokens of all windows, N tokens of one window,
K places that an answer's end may have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tenon.data.gold import AnswerSpan
from tenon.data.question_answering import NO_ANSWER
from tenon.evaluate import reading
from tenon.evaluate.prediction import Bools, Floats, Index, picked
from tenon.evaluate.reading import Script

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
LISTED = 20
"""Answers of one window that are looked at; as many as the official scripts take."""
KEPT = 5
HAN = re.compile(r"[\u4e00-\u9fff]")
HAN_SHARE = 0.3
SEEN_CONTEXTS, SEEN_CHARACTERS = 200, 1_000
WORST = -1e9
LEANING = "leaning"
"""The constant of a head that is added to the score of no answer; chosen on dev."""


class Candidate(NamedTuple):
    """One answer that a context may give.

    Args:
        start: its first character; -1 for no answer.
        end: after its last character; -1 for no answer.
        score: natural logarithm of the probability of both ends.
    """

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Extracts:
    """Answers to R questions.

    Args:
        labels: what the head scores: start, end, and "no answer" where some have none.
        ids: content ids of the R questions.
        origins: `file:line` of the R questions.
        questions: as asked.
        contexts: in which the answers stand.
        gold: the right answers of each question; none where the context does not answer; None
            where they are not known.
        script: by whose rules the answers are scored.
        first_R: the first window of each question; R + 1 numbers.
        first_W: the first token of each window; W + 1 numbers.
        starts_T, ends_T: the characters of each token, end exclusive; -1 for none of the context.
        scores_T2: float32, of each token as the first and the last one of the answer.
        longest: most tokens of an answer.
        leaning: what is added to the score of no answer where it is compared with others.
        given: the answers of a system that does not score tokens; None for one that does.
        failed: origin to cause, for questions that could not be answered; they are in nothing else.
    """

    labels: tuple[str, ...]
    ids: Sequence[str]
    origins: Sequence[str]
    questions: Sequence[str]
    contexts: Sequence[str]
    gold: Sequence[tuple[AnswerSpan, ...] | None]
    script: Script
    first_R: Longs
    first_W: Longs
    starts_T: Ints
    ends_T: Ints
    scores_T2: Floats
    longest: int
    leaning: float
    given: Sequence[Candidate] | None
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_R(self) -> Bools:
        """Which questions have gold answers, be they none."""
        return np.array([answers is not None for answers in self.gold], np.bool_)

    def finite(self) -> bool:
        """Whether every score is a finite number."""
        return self.given is not None or bool(np.isfinite(self.scores_T2).all())

    @cached_property
    def found(self) -> list[tuple[list[Candidate], Candidate]]:
        """The best spans of each question, best first, and what speaks for no answer."""
        return [self._found(row) for row in range(len(self))]

    @cached_property
    def listed(self) -> list[list[Candidate]]:
        """The best answers of each question, best first; at least one."""
        if self.given is not None:
            return [[candidate] for candidate in self.given]
        return [self._listed(spans, empty) for spans, empty in self.found]

    def text(self, row: int, candidate: Candidate) -> str:
        """Give an answer's text, a part of its context; "" for no answer."""
        if candidate.start < 0:
            return ""
        return self.contexts[row][candidate.start : candidate.end]

    @cached_property
    def texts(self) -> list[str]:
        """The best answer to each question; "" for none."""
        return [self.text(row, found[0]) for row, found in enumerate(self.listed)]

    @cached_property
    def judged_RK(self) -> npt.NDArray[np.float64]:
        """What each answer is worth; see `tenon.evaluate.reading`. All golds must be known."""
        golds = [[answer.text for answer in answers or ()] for answers in self.gold]
        return reading.terms(golds, self.texts, self.script).toarray()

    def windows(self, row: int) -> range:
        """Give the windows of a question."""
        return range(int(self.first_R[row]), int(self.first_R[row + 1]))

    def tokens(self, window: int) -> slice:
        """Give the tokens of a window."""
        return slice(int(self.first_W[window]), int(self.first_W[window + 1]))

    def take(self, rows: Index) -> Extracts:
        """Give the questions at `rows`, in that order."""
        chosen: list[int] = rows.tolist()
        windows = [window for row in chosen for window in self.windows(row)]
        kept = [np.arange(*self.tokens(window).indices(len(self.starts_T))) for window in windows]
        tokens = np.concatenate([*kept, np.zeros(0, np.int64)]).astype(np.int64)
        return replace(
            self,
            **picked(self, rows, "questions", "contexts", "gold", "given"),
            first_R=_borders(np.diff(self.first_R)[rows]),
            first_W=_borders(np.diff(self.first_W)[windows]),
            starts_T=self.starts_T[tokens],
            ends_T=self.ends_T[tokens],
            scores_T2=self.scores_T2[tokens],
        )

    def same_gold(self, other: Extracts) -> bool:
        """Whether the questions of both have the same gold answers."""
        return list(self.gold) == list(other.gold)

    def rescored(self, log_probs: Floats) -> Extracts:
        """Give the same questions with other scores of tokens, [T, 2]."""
        return replace(self, scores_T2=log_probs, given=None, failed={})

    def answered(self, given: Sequence[Candidate]) -> Extracts:
        """Give the same questions with the answers of a system that does not score tokens."""
        return replace(self, given=given, failed={})

    def decided(self, constants: Mapping[str, tuple[float, ...]]) -> Extracts:
        """Give the same scores, decided with the leaning among `constants` if there is one."""
        return replace(self, leaning=constants.get(LEANING, (0.0,))[0])

    def _listed(self, spans: Sequence[Candidate], empty: Candidate) -> list[Candidate]:
        if spans and NO_ANSWER not in self.labels:
            return list(spans)
        before = sum(span.score >= empty.score + self.leaning for span in spans)
        return [*spans[:before], empty, *spans[before:]][:KEPT]

    def _found(self, row: int) -> tuple[list[Candidate], Candidate]:
        best: dict[tuple[int, int], float] = {}
        empty = 0.0
        for window in self.windows(row):
            tokens = self.tokens(window)
            logs_N2 = log_softmax(self.scores_T2[tokens])
            # A context answers where one of its windows does.
            empty = min(empty, float(logs_N2[0].sum()))
            starts_N, ends_N = self.starts_T[tokens], self.ends_T[tokens]
            for first, last, score in pairs(logs_N2, starts_N >= 0, self.longest):
                place = int(starts_N[first]), int(ends_N[last])
                best[place] = max(score, best.get(place, -np.inf))
        spans = [Candidate(*place, score) for place, score in best.items()]
        spans.sort(key=lambda span: -span.score)
        return spans[:KEPT], Candidate(-1, -1, empty)


def log_softmax(scores_N2: Floats) -> npt.NDArray[np.float64]:
    """Give the logarithms of each token's probability to be the first, and the last, [N, 2]."""
    shifted_N2 = scores_N2.astype(np.float64) - scores_N2.max(0)
    return shifted_N2 - np.log(np.exp(shifted_N2).sum(0))


def pairs(logs_N2: npt.NDArray[np.float64], open_N: Bools, longest: int) -> list[Any]:
    """Give the best pairs of a first and a last token, with their score, best first.

    The last token is not before the first, and not `longest` or more tokens behind it.

    Args:
        logs_N2: logarithms of each token's probability to be the first, and the last.
        open_N: which tokens are of the context.
        longest: most tokens of an answer.
    """
    starts_N, ends_N = np.where(open_N[:, None], logs_N2, WORST).T
    reach = min(longest, len(starts_N))
    padded = np.concatenate([ends_N, np.full(reach - 1, WORST)])
    joint_NK = starts_N[:, None] + np.lib.stride_tricks.sliding_window_view(padded, reach)
    count = min(LISTED, joint_NK.size)
    top = np.argpartition(joint_NK, -count, axis=None)[-count:]
    top = top[np.argsort(-joint_NK.flat[top], kind="stable")]
    firsts, shifts = np.divmod(top, reach)
    scores = joint_NK[firsts, shifts]
    found = zip(firsts.tolist(), (firsts + shifts).tolist(), scores.tolist(), strict=True)
    return [pair for pair in found if pair[2] > WORST / 2]


def script_of(contexts: Sequence[str], gold: Sequence[tuple[AnswerSpan, ...] | None]) -> Script:
    """Choose the official script by the contexts' language, and by questions without answer."""
    text = "".join(context[:SEEN_CHARACTERS] for context in contexts[:SEEN_CONTEXTS])
    if len(HAN.findall(text)) > HAN_SHARE * len(text):
        return "cmrc_2018"
    return "squad_2.0" if any(answers == () for answers in gold) else "squad_1.1"


def _borders(sizes: npt.NDArray[Any]) -> Longs:
    return np.concatenate([[0], sizes.cumsum()]).astype(np.int64)
