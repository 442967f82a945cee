"""Tag: from the scores of units to spans, without one that tags could not say."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from taggers import LABELS, TAGS, renderer_of, tagged, tagger, tokens_of
from tenon.data.tags import breaches_of
from tenon.evaluate.entity_scorers import span_terms
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.marks import hue, hues, marked
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK
from tenon.evaluate.tag import answered_units, tag, unit_classes, unit_names
from tenon.evaluate.tag import tagged as put
from tenon.evaluate.tagged import Tagged, best_path, follows
from tenon.text.tokens import collect


def scores(count: int, seed: int, tags: int = len(TAGS)) -> np.ndarray:
    raw = np.random.default_rng(seed).normal(size=(count, tags)).astype(np.float32) * 3
    return torch.log_softmax(torch.from_numpy(raw), -1).numpy()


def answers_of(folder, seed: int = 0, count: int = 8) -> Tagged:
    tokens = collect(tagged(count, seed), renderer_of(folder))
    return put(tokens, TAGS, scores(len(unit_classes(tokens)), seed))


class TestBestPath:
    @given(count=st.integers(0, 5), seed=st.integers(0, 1000))
    def test_it_is_the_likeliest_that_is_allowed(self, count, seed):
        log_probs = scores(count, seed).astype(np.float64)
        allowed = [
            path
            for path in itertools.product(range(len(TAGS)), repeat=count)
            if not breaches_of([TAGS[tag] for tag in path], "bio")
        ]
        best = max(allowed, key=lambda path: sum(log_probs[n, tag] for n, tag in enumerate(path)))
        assert tuple(best_path(log_probs, follows(TAGS))) == best

    @given(seed=st.integers(0, 1000))
    def test_where_the_likeliest_tags_are_allowed_it_is_these(self, seed):
        log_probs = scores(6, seed)
        likeliest = log_probs.argmax(1).tolist()
        if not breaches_of([TAGS[tag] for tag in likeliest], "bio"):
            assert best_path(log_probs, follows(TAGS)) == likeliest

    def test_nothing_follows_from_plain_tags(self):
        plain = ("O", "B-ADJ", "B-NOUN")
        assert not follows(plain).any()


class TestTagged:
    def test_gold_tags_give_gold_spans(self, folder_of):
        """What the tokens hold as classes is what the examples hold as spans."""
        for units in ("words", "tokens"):
            tokens = collect(tagged(30), renderer_of(folder_of("roberta"), 12, units))
            sure = np.full((len(unit_classes(tokens)), len(TAGS)), -20.0, np.float32)
            sure[np.arange(len(sure)), unit_classes(tokens)] = 0.0
            answers = put(tokens, TAGS, sure)
            assert answers.spans == list(answers.gold) == [each.gold for each in tagged(30)]
            assert SCORERS.get("entity_f1").score(answers) == 1.0
            assert SCORERS.get("tag_accuracy").score(answers) == 1.0

    @cases(max_examples=20)
    @given(seed=st.integers(0, 200), limit=st.integers(6, 16))
    def test_a_text_in_windows_is_one_answer(self, folder_of, seed, limit):
        """The units are those of the text read whole, each once; scores go where they belong."""
        examples = tagged(5, seed, most=30)
        whole = collect(examples, renderer_of(folder_of("bert"), 500))
        cut = collect(examples, renderer_of(folder_of("bert"), limit))
        log_probs = scores(len(unit_classes(whole)), seed)
        first, second = put(whole, TAGS, log_probs), put(cut, TAGS, log_probs)
        assert len(first) == len(second) == 5
        assert first.spans == second.spans
        assert (first.starts_U == second.starts_U).all()
        assert unit_names(whole) == unit_names(cut)

    def test_a_text_whose_scores_are_not_finite_has_failed_alone(self, folder_of):
        tokens = collect(tagged(6), renderer_of(folder_of("bert"), 9))
        log_probs = scores(len(unit_classes(tokens)), 1)
        before = put(tokens, TAGS, log_probs)
        log_probs[before.units(2).start] = np.nan
        after = put(tokens, TAGS, log_probs)
        assert list(after.failed) == [before.origins[2]]
        assert after.ids == [*before.ids[:2], *before.ids[3:]]
        assert after.spans == [*before.spans[:2], *before.spans[3:]]
        kept = answered_units(tokens, after)
        assert kept.sum() == len(after.log_probs_UL)
        rival = after.rescored(log_probs[kept])
        assert rival.finite() and rival.same_gold(after)

    @given(order=st.permutations(range(8)), size=st.integers(0, 8))
    def test_texts_that_are_taken_stay_as_they_are(self, folder_of, order, size):
        answers = answers_of(folder_of("bert"))
        taken = answers.take(np.array(order[:size], np.int64))
        assert taken.spans == [answers.spans[row] for row in order[:size]]
        assert taken.gold == [answers.gold[row] for row in order[:size]]
        assert taken.texts == [answers.texts[row] for row in order[:size]]
        assert len(taken.first_R) == size + 1

    def test_spans_lie_on_units_and_have_a_probability(self, folder_of):
        answers = answers_of(folder_of("bert"), 5, 40)
        assert sum(map(len, answers.spans)) > 20
        for row, spans in enumerate(answers.spans):
            places = answers.places(row)
            assert list(spans) == sorted(spans, key=lambda span: span.start)
            for span in spans:
                inside = [p for p in places if span.start <= p[0] and p[1] <= span.end]
                assert inside[0][0] == span.start and inside[-1][1] == span.end
                logs = answers.log_probs_UL[answers.units(row)]
                chosen = [
                    logs[n, TAGS.index(tag)]
                    for n, tag in enumerate(answers.tags[row])
                    if places[n] in inside
                ]
                expected = float(np.exp(sum(chosen)))
                assert answers.probability(row, span) == pytest.approx(expected, rel=1e-5)


class TestExam:
    exam = EXAMS.get("token-classification")

    def test_entries_are_json_and_whole(self, folder_of):
        answers = answers_of(folder_of("bert"))
        lines = [json.loads(json.dumps(entry)) for entry in self.exam.entries(answers)]
        assert [line["text"] for line in lines] == list(answers.texts)
        for line, spans in zip(lines, answers.spans, strict=True):
            assert [(s["start"], s["end"], s["label"]) for s in line["answer"]] == [
                (span.start, span.end, span.label) for span in spans
            ]
            for span in [*line["answer"], *line["gold"]]:
                assert line["text"][span["start"] : span["end"]] == span["text"]

    def test_every_scorer_of_the_task_scores(self, folder_of):
        answers = answers_of(folder_of("bert"))
        for name in BY_TASK["token-classification"].scorers:
            assert np.isfinite(SCORERS.get(name).score(answers)), name
        assert span_terms(answers).shape[0] == len(answers)

    def test_won_and_lost_are_mirrors(self, folder_of):
        first = answers_of(folder_of("bert"), 1)
        second = first.rescored(scores(len(first.log_probs_UL), 9))
        there, back = (self.exam.tables(*pair, 0.95) for pair in ((first, second), (second, first)))
        assert there["won"]["count"] == back["lost"]["count"]
        assert there["lost"]["count"] == back["won"]["count"]
        assert there["won"]["count"] + there["lost"]["count"] > 0
        assert {entry["label"] for entry in there["per_class"]} == set(LABELS)

    def test_the_mean_logits_of_a_text_are_those_of_its_units(self, folder_of):
        model, renderer = tagger(folder_of("bert")), renderer_of(folder_of("bert"), 9)
        with torch.no_grad():
            found = self.exam.logits(model, renderer.rows(tagged(5))).numpy()
        assert found.shape == (5, len(TAGS))
        answers = tag(model, collect(tagged(5), renderer), TAGS, batch_tokens=500)
        for row in range(5):
            means = torch.log_softmax(torch.from_numpy(found[row]), -1)
            assert torch.isfinite(means).all()
            assert len(answers.places(row)) > 0


class TestMarks:
    def test_a_text_is_escaped_and_whole(self):
        text = "<b>Anna</b> & Oslo"
        spans = [{"start": 3, "end": 7, "label": "<PER>"}, {"start": 14, "end": 18, "label": "LOC"}]
        page = str(marked(text, spans, spans[:1]))
        assert "<b>" not in page and "&lt;b&gt;" in page and "&lt;PER&gt;" in page
        assert page.count('class="span"') == 1 and page.count('class="span odd"') == 1

    def test_what_lies_behind_the_end_is_not_marked(self):
        assert "<mark" not in str(marked("short", [{"start": 3, "end": 9, "label": "A"}], []))

    @given(st.sets(st.text(min_size=1), min_size=2, max_size=9))
    def test_the_labels_of_a_report_are_told_apart(self, labels):
        found = sorted(hues(labels).values())
        assert min(b - a for a, b in zip(found, [*found[1:], found[0] + 360], strict=True)) >= 25

    def test_a_label_keeps_its_colour(self):
        assert hue("PER") == hue("PER") != hue("LOC")
        assert 0 <= hue("人名") < 360


def test_units_are_named_by_their_characters(folder_of):
    tokens = tokens_of(folder_of("bert"), 3)
    words = [each.text[a:b] for each in tagged(3) for a, b in each.words]
    assert unit_names(tokens) == [word.lower() for word in words]
