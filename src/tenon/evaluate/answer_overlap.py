"""Question overlap: the sentence of a context that shares most with the question, trimmed.

What one answers who only compares words: of the context's sentences the one with the rarest
words of the question, and in it the longest run of words that the question does not have.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from tenon.data.gold import Place
from tenon.evaluate.answer_spans import Candidate, Extracts

SENTENCE = re.compile(r"[^.!?。！？；;\n]+(?:[.!?](?=\S)[^.!?。！？；;\n]*)*")
WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_]+(?:['’.,\-][^\W_]+)*")


def overlapping(answers: Extracts) -> Extracts:
    """Give the same questions, answered by the words that they share with their contexts."""
    asked = zip(answers.questions, answers.contexts, strict=True)
    return answers.answered([extract(question, context) for question, context in asked])


def silent(answers: Extracts) -> Extracts:
    """Give the same questions, all of them without an answer."""
    return answers.answered([Candidate(-1, -1, 0.0)] * len(answers))


def extract(question: str, context: str) -> Candidate:
    """Give the run of words that is most likely an answer, for all that words tell."""
    asked = {_folded(word) for word in WORD.findall(question)}
    sentences = [_words(context, at.start(), at.end()) for at in SENTENCE.finditer(context)]
    sentences = [words for words in sentences if words] or [[(0, len(context))]]
    held = [{_folded(context[start:end]) for start, end in words} for words in sentences]
    often = Counter(word for words in held for word in words)
    shared = [
        sum(math.log(1 + len(sentences) / often[word]) for word in sorted(words & asked))
        for words in held
    ]
    words = sentences[max(range(len(sentences)), key=shared.__getitem__)]
    run = _longest_run(words, [_folded(context[start:end]) in asked for start, end in words])
    return Candidate(run[0][0], run[-1][1], 0.0)


def _longest_run(words: Sequence[Place], known: Sequence[bool]) -> Sequence[Place]:
    """Give the longest run of words that are not known, the first of equals; else all words."""
    best, begun = (0, 0), 0
    for place, old in enumerate([*known, True]):
        if old:
            best = (begun, place) if place - begun > best[1] - best[0] else best
            begun = place + 1
    return words[best[0] : best[1]] or words


def _words(context: str, start: int, end: int) -> list[Place]:
    return [(at.start(), at.end()) for at in WORD.finditer(context, start, end)]


def _folded(word: str) -> str:
    return word.casefold()
