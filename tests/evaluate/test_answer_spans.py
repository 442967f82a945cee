"""Extracts: the best pair of places, windows of one context, no answer; baselines without fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.data.gold import AnswerSpan
from tenon.evaluate import answer_exam, reading
from tenon.evaluate.answer_leaning import best_leaning
from tenon.evaluate.answer_overlap import extract, overlapping, silent
from tenon.evaluate.answer_spans import Candidate, Extracts, log_softmax, pairs, script_of
from tenon.evaluate.scorers import SCORERS

LABELS = ("start", "end", "no answer")
WORDS = ["Ann", "wrote", "the", "letter", "in", "May", "and", "Ben", "read", "it", "in", "June"]
CONTEXT = " ".join(WORDS)
PLACES = [(CONTEXT.index(f" {word}") + 1 if place else 0, word) for place, word in enumerate(WORDS)]


def made(windows, gold, labels=LABELS, longest=8, **more):
    """Give answers to questions about `CONTEXT`; of each, windows of (words, best, scores)."""
    starts, ends, scores, sizes, counts = [], [], [], [], []
    for of_row in windows:
        counts.append(len(of_row))
        for first, last, said in of_row:
            places = [(-1, -1)] + [(at, at + len(word)) for at, word in PLACES[first:last]]
            starts += [start for start, _ in places]
            ends += [end for _, end in places]
            block = np.zeros((len(places), 2), np.float32)
            for place, side, score in said:
                block[place, side] = score
            scores.append(block)
            sizes.append(len(places))
    rows = range(len(windows))
    return Extracts(
        labels=labels,
        ids=[f"{row:032x}" for row in rows],
        origins=[f"q.json:{row + 2}" for row in rows],
        questions=["Who wrote it?"] * len(windows),
        contexts=[CONTEXT] * len(windows),
        gold=gold,
        script="squad_2.0",
        first_R=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        first_W=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        starts_T=np.array(starts, np.int32),
        ends_T=np.array(ends, np.int32),
        scores_T2=np.concatenate(scores),
        longest=longest,
        leaning=0.0,
        given=None,
        failed={},
        **more,
    )


def ann(count=1):
    return [(AnswerSpan("Ann", 0),)] * count


WHOLE = (0, len(WORDS))


@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 10_000))
def test_the_best_pairs_are_those_of_a_search_through_all(count, longest, seed):
    random = np.random.default_rng(seed)
    logs_N2 = log_softmax(random.normal(size=(count, 2)).astype(np.float32))
    open_N = random.random(count) < 0.7
    every = sorted(
        (
            (float(logs_N2[first, 0] + logs_N2[last, 1]), first, last)
            for first in range(count)
            for last in range(first, min(count, first + longest))
            if open_N[first] and open_N[last]
        ),
        reverse=True,
    )
    found = pairs(logs_N2, open_N, longest)
    assert [score for *_, score in found] == pytest.approx([score for score, *_ in every[:20]])
    assert {(first, last) for first, last, _ in found[:1]} == {each[1:] for each in every[:1]}


def test_probabilities_of_a_window_sum_to_one():
    logs_N2 = log_softmax(np.array([[1e4, -3.0], [2.0, 5.0]], np.float32))
    assert np.exp(logs_N2).sum(0) == pytest.approx([1.0, 1.0])


@given(st.integers(0, 10_000))
def test_an_answer_is_always_a_part_of_its_context(seed):
    random = np.random.default_rng(seed)
    answers = made([[(*WHOLE, [])]] * 3, [()] * 3)
    answers = answers.rescored(random.normal(size=answers.scores_T2.shape).astype(np.float32) * 4)
    for row, listed in enumerate(answers.listed):
        assert 1 <= len(listed) <= 5
        for candidate in listed:
            text = answers.text(row, candidate)
            assert text == ("" if candidate.start < 0 else CONTEXT[candidate.start : candidate.end])
            assert candidate.start < 0 or len(text.split()) <= 8
        assert len({candidate[:2] for candidate in listed}) == len(listed)


def test_an_end_before_the_start_is_never_answered():
    said = [(6, 0, 9.0), (2, 1, 9.0), (7, 1, 3.0)]
    assert made([[(*WHOLE, said)]], ann()).texts == ["May and"]


def test_an_answer_is_not_longer_than_the_most_tokens():
    said = [(1, 0, 9.0), (6, 1, 9.0), (2, 1, 2.0)]
    assert made([[(*WHOLE, said)]], ann(), longest=6).texts == ["Ann wrote the letter in May"]
    assert made([[(*WHOLE, said)]], ann(), longest=5).texts == ["Ann wrote"]


def test_windows_of_one_context_give_one_answer():
    sure = [(2, 0, 9.0), (2, 1, 9.0)]
    nowhere = [(0, 0, 9.0), (0, 1, 9.0)]
    halves = [[(0, 6, nowhere), (5, 12, sure)], [(0, 6, sure), (5, 12, nowhere)]]
    answers = made(halves, ann(2))
    assert answers.texts == ["and", "wrote"]
    assert made([[(0, 6, nowhere), (5, 12, nowhere)]], ann()).texts == [""]


def test_the_same_place_in_two_windows_is_one_answer():
    both = [(0, 8, [(6, 0, 3.0), (6, 1, 3.0)]), (4, 12, [(2, 0, 9.0), (2, 1, 9.0)])]
    (listed,) = made([both], ann(), LABELS[:2]).listed
    places = [candidate[:2] for candidate in listed]
    assert len(set(places)) == len(places)
    assert listed[0].score > -0.1


def test_a_head_without_the_class_always_answers():
    nowhere = [(0, 0, 9.0), (0, 1, 9.0), (1, 0, 1.0), (1, 1, 1.0)]
    assert made([[(*WHOLE, nowhere)]], ann()).texts == [""]
    assert made([[(*WHOLE, nowhere)]], ann(), LABELS[:2]).texts == ["Ann"]


def test_a_context_without_tokens_has_no_answer():
    assert made([[(0, 0, [])]], ann(), LABELS[:2]).texts == [""]


def test_leaning_decides_between_an_answer_and_none():
    said = [(0, 0, 2.0), (0, 1, 2.0), (1, 0, 2.5), (1, 1, 2.5)]
    answers = made([[(*WHOLE, said)]], ann())
    assert answers.texts == ["Ann"]
    assert answers.decided({"leaning": (0.9,)}).texts == ["Ann"]
    assert answers.decided({"leaning": (1.1,)}).texts == [""]
    assert answers.decided({"leaning": (1.1,)}).decided({}).texts == ["Ann"]


def leads(values, golds):
    """Questions whose answer "Ann" leads no answer by so many nats."""
    rows = [[(*WHOLE, [(1, 0, 9.0), (1, 1, 9.0), (0, 0, 9.0 - v), (0, 1, 9.0)])] for v in values]
    return made(rows, golds)


@pytest.mark.parametrize(
    ("golds", "low", "high"),
    [
        ([(), (), ann()[0], ann()[0]], 2.0, 3.0),
        ([ann()[0]] * 4, -100.0, 1.0),
        ([()] * 4, 4.0, 100.0),
        ([(), ann()[0], (), ann()[0]], 1.0, 4.0),
    ],
)
def test_the_leaning_is_the_one_with_the_best_f1(golds, low, high):
    answers = leads([1.0, 2.0, 3.0, 4.0], golds)
    leaning = best_leaning(answers)
    assert low < leaning < high
    best = answers.decided({"leaning": (leaning,)}).judged_RK[:, 1].mean()
    for other in np.linspace(-6, 6, 49):
        tried = answers.decided({"leaning": (float(other),)}).judged_RK[:, 1].mean()
        assert tried <= best + 1e-9


def test_leaning_is_nothing_where_it_changes_nothing():
    assert best_leaning(leads([2.0], [None])) == 0.0
    assert best_leaning(made([[(0, 0, [])]], [()])) == 0.0
    assert abs(best_leaning(leads([2.0, 2.0], [(), ann()[0]]))) <= 3.0


@given(st.lists(st.integers(0, 5), max_size=8))
def test_taking_rows_keeps_all_that_belongs_to_them(chosen):
    random = np.random.default_rng(0)
    whole = made([[(0, 6 + n % 3, []), (4, 12, [])][: 1 + n % 2] for n in range(6)], ann(6))
    whole = whole.rescored(random.normal(size=whole.scores_T2.shape).astype(np.float32))
    taken = whole.take(np.array(chosen, np.int64))
    assert list(taken.listed) == [whole.listed[row] for row in chosen]
    assert list(taken.ids) == [whole.ids[row] for row in chosen]
    assert taken.first_W[-1] == len(taken.starts_T) == len(taken.scores_T2)


def test_given_answers_stay_given_until_scores_come():
    answers = made([[(*WHOLE, [])]], ann()).answered([Candidate(0, 3, 0.0)])
    assert answers.texts == ["Ann"]
    assert answers.take(np.array([0])).texts == ["Ann"]
    assert answers.rescored(answers.scores_T2).given is None


@pytest.mark.parametrize(
    ("contexts", "gold", "script"),
    [
        (["A red fox."], [ann()[0]], "squad_1.1"),
        (["A red fox."], [ann()[0], ()], "squad_2.0"),
        (["一只红色的狐狸。"], [ann()[0]], "cmrc_2018"),
        (["一只红色的狐狸。"], [()], "cmrc_2018"),
        ([], [None], "squad_1.1"),
    ],
)
def test_the_script_follows_language_and_questions(contexts, gold, script):
    assert script_of(contexts, gold) == script


@given(st.integers(0, 10_000))
def test_scores_are_those_of_the_official_script(seed):
    random = np.random.default_rng(seed)
    gold = [ann()[0] if random.random() < 0.6 else () for _ in range(5)]
    answers = made([[(*WHOLE, [])]] * 5, gold)
    answers = answers.rescored(random.normal(size=answers.scores_T2.shape).astype(np.float32) * 3)
    golds = [[answer.text for answer in each] for each in gold]
    terms = reading.terms(golds, answers.texts, "squad_2.0").toarray()
    assert SCORERS.get("answer_f1").score(answers) == pytest.approx(terms[:, 1].mean())
    assert SCORERS.get("answer_exact").score(answers) == pytest.approx(terms[:, 0].mean())


def test_rows_that_are_not_known_are_in_no_score():
    said = [(1, 0, 9.0), (1, 1, 9.0)]
    answers = made([[(*WHOLE, said)]] * 2, [ann()[0], None])
    assert answers.known_R.tolist() == [True, False]
    assert SCORERS.get("answer_exact").score(answers) == 1.0


@pytest.mark.parametrize(
    ("question", "context", "answer"),
    [
        ("Who wrote the letter?", "Ben read it. Ann wrote the letter in May.", "in May"),
        ("When did Ben read?", "Ann sang. Ben read a book in June.", "a book in June"),
        ("谁写了信？", "天气很好。安妮写了信。", "安妮"),
        ("", "One. Two.", "One"),
        ("One?", "One", "One"),
        ("What?", "…", "…"),
    ],
)
def test_the_overlap_baseline_takes_what_the_question_does_not_say(question, context, answer):
    found = extract(question, context)
    assert context[found.start : found.end] == answer


@given(st.text(max_size=40), st.text(min_size=1, max_size=120))
def test_the_overlap_baseline_answers_everything_with_a_part_of_the_context(question, context):
    found = extract(question, context)
    assert 0 <= found.start < found.end <= len(context)


def test_baselines_that_need_no_fit_answer_the_same_rows():
    answers = made([[(*WHOLE, [])]] * 2, [ann()[0], ()])
    assert list(answer_exam.rivals(answers)) == ["question_overlap", "always_no_answer"]
    assert list(answer_exam.rivals(replace(answers, labels=LABELS[:2]))) == ["question_overlap"]
    assert silent(answers).texts == ["", ""]
    assert overlapping(answers).same_gold(answers)
    assert SCORERS.get("answer_f1").score(silent(answers)) == 0.5
