"""Entities are counted as seqeval counts them, and overlaps are paired as well as can be."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import maximum_bipartite_matching

from tenon.data.gold import Span
from tenon.evaluate import entities
from tenon.evaluate.entities import COMBINE

TYPES = ("PER", "ORG", "LOC")
STRICT = ("entity_f1", "entity_precision", "entity_recall", "entity_macro_f1")


def score(name, gold, answers):
    sums_1K = np.asarray(entities.terms(gold, answers).sum(axis=0)).reshape(1, -1)
    return float(COMBINE[name](sums_1K, len(gold))[0])


def drawn_tags(generator, tokens):
    """Tags in BIO that any span list can be written as."""
    tags = []
    while len(tokens) > len(tags):
        left = len(tokens) - len(tags)
        length = min(left, generator.choice([1, 1, 2, 3]))
        if generator.random() < 0.5:
            tags += ["O"] * length
        else:
            kind = generator.choice(TYPES)
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
    return tags


def spans_of(tags, tokens):
    """The spans of BIO tags in characters of the tokens joined by blanks."""
    starts = np.concatenate([[0], np.cumsum([len(token) + 1 for token in tokens])]).tolist()
    found = []
    for index, tag in enumerate(tags):
        if tag.startswith("B-"):
            last = index
            while last + 1 < len(tags) and tags[last + 1] == "I" + tag[1:]:
                last += 1
            found.append(Span(starts[index], starts[last] + len(tokens[last]), tag[2:]))
    return tuple(found)


def tagged(seed, rows):
    """Gold tags, answers that are often right, and both as spans."""
    generator = random.Random(seed)
    gold_tags, answer_tags, gold, answers = [], [], [], []
    for _ in range(rows):
        tokens = ["x" * generator.randint(1, 7) for _ in range(generator.randint(1, 15))]
        wanted = drawn_tags(generator, tokens)
        given = wanted if generator.random() < 0.3 else drawn_tags(generator, tokens)
        gold_tags.append(wanted)
        answer_tags.append(given)
        gold.append(spans_of(wanted, tokens))
        answers.append(spans_of(given, tokens))
    return gold_tags, answer_tags, gold, answers


@pytest.mark.parametrize(("seed", "rows"), [(0, 1_000), (1, 20), (2, 3), (3, 1)])
def test_strict_scores_are_seqevals(seed, rows):
    metrics = pytest.importorskip("seqeval.metrics")
    gold_tags, answer_tags, gold, answers = tagged(seed, rows)
    expected = {
        "entity_f1": metrics.f1_score(gold_tags, answer_tags),
        "entity_precision": metrics.precision_score(gold_tags, answer_tags),
        "entity_recall": metrics.recall_score(gold_tags, answer_tags),
        "entity_macro_f1": metrics.f1_score(gold_tags, answer_tags, average="macro"),
    }
    for name, value in expected.items():
        assert score(name, gold, answers) == pytest.approx(value, abs=1e-12)


def test_the_table_of_types_is_seqevals():
    metrics = pytest.importorskip("seqeval.metrics")
    gold_tags, answer_tags, gold, answers = tagged(5, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval divides by numpy scalars of old kinds
        report = metrics.classification_report(gold_tags, answer_tags, output_dict=True)
    table = entities.per_type(gold, answers, 0.95)
    assert [entry["label"] for entry in table] == sorted(TYPES)
    for entry in table:
        expected = report[entry["label"]]
        assert entry["entities"] == expected["support"]
        assert entry["f1"] == pytest.approx(expected["f1-score"])
        for name in ("precision", "recall"):
            assert entry[name]["value"] == pytest.approx(expected[name])
            assert entry[name]["low"] < expected[name] < entry[name]["high"]


def test_token_accuracy_is_the_share_of_equal_tags():
    gold_tags, answer_tags, _, _ = tagged(6, 200)
    sums_1K = np.asarray(entities.token_terms(gold_tags, answer_tags).sum(axis=0)).reshape(1, -1)
    expected = np.mean(np.concatenate(gold_tags) == np.concatenate(answer_tags))
    assert entities.token_accuracy(sums_1K, 200)[0] == pytest.approx(expected)


@st.composite
def span_lists(draw, labels=TYPES[:2]):
    """Any spans, nested, touching and crossing ones among them."""
    starts = draw(st.lists(st.integers(0, 14), max_size=7))
    return tuple(
        Span(start, start + draw(st.integers(1, 6)), draw(st.sampled_from(labels)))
        for start in starts
    )


def most_pairs(first, second):
    """Ask scipy for the largest matching."""
    first, second = sorted(set(first), key=str), sorted(set(second), key=str)
    if not first or not second:
        return 0
    touching = [[a.start < b.end and b.start < a.end for b in second] for a in first]
    return int((maximum_bipartite_matching(sparse.csr_array(np.array(touching, int))) >= 0).sum())


@given(first=span_lists(labels=("PER",)), second=span_lists(labels=("PER",)))
def test_overlaps_are_a_largest_matching(first, second):
    first, second = frozenset(first), frozenset(second)
    assert entities.overlaps(tuple(first), tuple(second)) == most_pairs(first, second)


@given(rows=st.lists(st.tuples(span_lists(), span_lists()), min_size=1, max_size=6))
def test_scores_keep_their_order(rows):
    gold, answers = zip(*rows, strict=True)
    assert 0 <= score("entity_f1", gold, answers) <= score("entity_lenient_f1", gold, answers) <= 1
    assert score("entity_precision", gold, answers) == score("entity_recall", answers, gold)
    assert score("entity_f1", gold, answers) == pytest.approx(score("entity_f1", answers, gold))


@given(rows=st.lists(span_lists(), min_size=1, max_size=6))
def test_the_gold_itself_is_a_perfect_answer(rows):
    expected = 1.0 if any(rows) else 0.0
    shuffled = [tuple(reversed(spans)) + spans for spans in rows]
    for name in COMBINE:
        assert score(name, rows, shuffled) == expected


@given(rows=st.lists(st.tuples(span_lists(), span_lists()), min_size=1, max_size=6))
def test_samples_are_scored_as_the_rows_they_hold(rows):
    gold, answers = (list(side) for side in zip(*rows, strict=True))
    terms_RK = entities.terms(gold, answers)
    generator = np.random.default_rng(0)
    drawn_SR = generator.integers(0, len(rows), (4, len(rows)))
    count_SR = np.stack([np.bincount(drawn, minlength=len(rows)) for drawn in drawn_SR])
    for name, combine in COMBINE.items():
        score_S = combine(np.asarray(count_SR @ terms_RK), len(rows))
        for drawn, value in zip(drawn_SR, score_S, strict=True):
            taken = [gold[row] for row in drawn], [answers[row] for row in drawn]
            assert value == pytest.approx(score(name, *taken))


def test_one_long_answer_finds_one_entity():
    gold = [(Span(0, 3, "PER"), Span(4, 7, "PER"), Span(8, 11, "PER"))]
    answers = [(Span(0, 11, "PER"),)]
    assert score("entity_f1", gold, answers) == 0
    assert score("entity_lenient_f1", gold, answers) == pytest.approx(2 * 1 / (3 + 1))


def test_a_span_of_another_type_or_next_to_the_gold_is_no_overlap():
    gold = [(Span(0, 3, "PER"),)]
    assert score("entity_lenient_f1", gold, [(Span(0, 3, "ORG"),)]) == 0
    assert score("entity_lenient_f1", gold, [(Span(3, 5, "PER"),)]) == 0
    assert score("entity_lenient_f1", gold, [(Span(2, 5, "PER"),)]) == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_without_a_span_score_nothing(rows):
    nothing = [()] * rows
    assert {score(name, nothing, nothing) for name in COMBINE} == {0.0}
    assert entities.terms(nothing, nothing).shape == (rows, 4)
    assert entities.per_type(nothing, nothing, 0.95) == []


def test_gold_without_answers_and_answers_without_gold_score_nothing():
    some = [(Span(0, 2, "PER"),)]
    for gold, answers in ((some, [()]), ([()], some)):
        assert {score(name, gold, answers) for name in COMBINE} == {0.0}
    entry = entities.per_type(some, [()], 0.95)[0]
    assert (entry["precision"], entry["recall"]["value"], entry["f1"]) == (None, 0, 0)


def test_unequal_rows_and_tags_are_refused():
    with pytest.raises(ValueError, match="2 rows of gold and 1 of answers"):
        entities.terms([(), ()], [()])
    with pytest.raises(ValueError, match="row 1 has 2 gold tags and 1 answers"):
        entities.token_terms([["O"], ["O", "O"]], [["O"], ["O"]])
    empty = entities.token_terms([[]], [[]])
    assert entities.token_accuracy(np.asarray(empty.sum(axis=0)).reshape(1, -1), 1)[0] == 0
