"""Answer exam: the probe, what a report lists, what a caller gets, rows that fail."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from reading import CLASSES, examples, reader, renderer_of, tokens_of
from tenon.evaluate import baselines
from tenon.evaluate.answer import (
    answered_tokens,
    extracts,
    places_W2,
    read,
    token_classes,
    token_features,
)
from tenon.evaluate.answer_exam import AROUND, SCRIPTS, told
from tenon.evaluate.answer_spans import Candidate
from tenon.evaluate.assessment import assess
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.page import html
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK, EvaluateSettings
from tenon.evaluate.verdict import strongest_first
from tenon.model.reader import place_nats, place_scores
from tenon.text.tokens import collect

TASK = "question-answering"
EXAM = EXAMS.get(TASK)


@pytest.fixture(scope="module")
def bare(folder_of):
    return reader(folder_of("bert"), None)


@pytest.fixture(scope="module")
def parts(folder_of):
    folder = folder_of("bert")
    return {"train": tokens_of(folder, 40, 1), "dev": tokens_of(folder, 16, 2)}


@pytest.fixture(scope="module")
def known(bare, parts):
    return baselines.fit(EXAM, bare, parts, CLASSES, seed=0, batch_tokens=500)


@pytest.fixture(scope="module")
def answers(folder_of, parts):
    return read(reader(folder_of("bert")), parts["dev"], CLASSES, batch_tokens=500)


def test_the_probe_is_the_best_head_on_the_frozen_base(bare, parts, known):
    features_TD = torch.from_numpy(token_features(bare, parts["train"], batch_tokens=500))
    lengths = tuple(parts["train"].lengths_R.tolist())
    places = torch.tensor(places_W2(parts["train"]))

    def nats(weight, bias):
        logits_TL = features_TD @ torch.as_tensor(weight).T + torch.as_tensor(bias)
        return float(place_nats(place_scores(logits_TL, lengths), lengths, places))

    fitted = nats(known.weight_LD, known.bias_L)
    assert fitted < 0.9 * nats(np.zeros_like(known.weight_LD), np.zeros_like(known.bias_L))
    random = np.random.default_rng(0)
    noise = random.normal(size=known.weight_LD.shape).astype(np.float32)
    assert fitted < nats(known.weight_LD + noise, known.bias_L)
    assert known.fitted_rows == len(parts["train"])


def test_the_probe_is_the_same_each_time(bare, parts, known):
    again = baselines.fit(EXAM, bare, parts, CLASSES, seed=0, batch_tokens=500)
    assert (again.weight_LD == known.weight_LD).all()
    assert again.constants == known.constants


def test_the_baselines_are_read_as_they_were_written(known, tmp_path):
    known.save(tmp_path)
    again = baselines.load(tmp_path)
    assert (again.weight_LD == known.weight_LD).all()
    assert (again.log_probs["dev"] == known.log_probs["dev"]).all()
    assert dict(again.constants) == dict(known.constants)


def test_the_probe_answers_other_rows_as_it_did_those_of_its_run(bare, parts, known):
    found = EXAM.probed(bare, known, parts["dev"], batch_tokens=500)
    assert (found == known.log_probs["dev"]).all()


def test_every_baseline_answers_the_rows_of_the_adapter(answers, parts, known):
    found = known.predictions(EXAM, "dev", answers, parts["dev"])
    assert set(found) == set(BY_TASK[TASK].baselines)
    for rival in found.values():
        assert list(rival.origins) == list(answers.origins)
        assert rival.same_gold(answers)
        assert len(rival.texts) == len(answers)
    assert found["linear_probe"].leaning == known.constants["linear_probe"]["leaning"][0]


def test_without_a_dev_part_there_is_a_probe_too(bare, parts):
    found = baselines.fit(EXAM, bare, {"train": parts["train"]}, CLASSES, seed=0, batch_tokens=500)
    assert np.isfinite(found.weight_LD).all()
    assert not found.constants


def test_tuning_changes_the_constant_of_the_head_and_no_weight(folder_of, parts):
    model = reader(folder_of("bert"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = read(model, parts["dev"], CLASSES, batch_tokens=500)
    tuned = EXAM.tune(model, plain, EvaluateSettings())
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())
    assert tuned.judged_RK[:, 1].mean() >= plain.judged_RK[:, 1].mean()
    again = read(model, parts["dev"], CLASSES, batch_tokens=500)
    assert again.texts == tuned.texts
    two = reader(folder_of("bert"), classes=CLASSES[:2])
    plain = read(two, parts["dev"], CLASSES[:2], batch_tokens=500)
    assert EXAM.tune(two, plain, EvaluateSettings()) is plain


def test_a_row_that_is_not_finite_fails_with_all_its_windows(parts):
    tokens = parts["dev"]
    whole = extracts(tokens, CLASSES, np.zeros((tokens.total, 2), np.float32))
    row = next(r for r in range(len(whole)) if len(whole.windows(r)) > 1)
    scores_T2 = np.zeros((tokens.total, 2), np.float32)
    scores_T2[whole.tokens(whole.windows(row)[1]).start] = np.nan
    found = extracts(tokens, CLASSES, scores_T2)
    assert list(found.failed) == [whole.origins[row]]
    assert len(found) == len(whole) - 1
    kept_T = answered_tokens(tokens, found)
    lost = sum(whole.tokens(w).stop - whole.tokens(w).start for w in whole.windows(row))
    assert (~kept_T).sum() == lost
    assert found.rescored(scores_T2[kept_T]).texts == found.texts
    assert list(EXAM.entries(found))[-1] == {
        "origin": whole.origins[row],
        "failed": found.failed[whole.origins[row]],
    }


def test_tokens_know_whether_they_end_an_answer(parts):
    classes_T = token_classes(parts["dev"])
    assert len(classes_T) == parts["dev"].total
    assert set(classes_T.tolist()) == {0, 1}


def test_entries_are_json_and_hold_the_answer_where_it_stands(answers):
    for row, entry in enumerate(EXAM.entries(answers)):
        assert json.loads(json.dumps(entry, allow_nan=False)) == entry
        assert 0 <= entry["probability"] <= 1
        context = answers.contexts[row]
        if entry["start"] is None:
            assert entry["answer"] == ""
        else:
            assert context[entry["start"] : entry["end"]] == entry["answer"]
        assert len(entry["others"]) <= 4
        assert entry["gold"] == [{"text": g.text, "start": g.start} for g in answers.gold[row]]


def test_replies_say_the_same_as_entries(answers):
    for reply, entry in zip(EXAM.replies(answers), EXAM.entries(answers), strict=True):
        assert (reply.answer, reply.start, reply.end) == tuple(
            entry[name] for name in ("answer", "start", "end")
        )
        assert reply.probability == pytest.approx(entry["probability"], abs=1e-6)
        assert [other.answer for other in reply.others] == [o["answer"] for o in entry["others"]]


def reported(answers, parts, known):
    rivals = known.predictions(EXAM, "dev", answers, parts["dev"])
    own = BY_TASK[TASK]
    return assess(
        {"dev": answers},
        {name: {"dev": rival} for name, rival in rivals.items()},
        EvaluateSettings(scorers=own.scorers, against=own.baselines, resamples=200),
        task=TASK,
        cost={},
        data={},
        curve={},
        notes=[],
    )


def test_a_report_lists_answers_where_they_stand(answers, parts, known):
    found = reported(answers, parts, known)
    assert Report.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert [entry["label"] for entry in found.per_class] == ["has an answer", "no answer"]
    assert sum(entry["rows"] for entry in found.per_class) == len(answers)
    for group in (found.sample, found.won, found.lost, found.surest_errors):
        for entry in group["rows"]:
            for name in ("gold", "answer", "baseline_answer"):
                view = entry[name]
                if view is None:
                    continue
                for span in view["spans"]:
                    assert view["text"][span["start"] : span["end"]].strip()
                assert len(view["text"]) < 4 * AROUND
    assert any("scored by the rules of SQuAD 2.0" in note for note in found.notes)


def test_the_page_shows_questions_and_marks(answers, parts, known):
    found = html(reported(answers, parts, known))
    assert "<mark" in found
    assert "no answer" in found
    assert answers.questions[0] in found
    assert "Each sort of question" in found


def test_what_a_user_writes_is_never_html(folder_of, parts, known):
    evil = "<script>alert(1)</script>"
    rows = [type(e)(e.id, e.origin, evil, f"{e.pair} {evil}", ()) for e in examples(16, 2)]
    tokens = collect(rows, renderer_of(folder_of("bert"), 60))
    answers = read(reader(folder_of("bert")), tokens, CLASSES, batch_tokens=500)
    answers = answers.answered([Candidate(0, len(c), 0.0) for c in answers.contexts])
    page = html(
        assess(
            {"dev": answers},
            {},
            EvaluateSettings(scorers=("answer_f1", "answer_exact"), resamples=200),
            task=TASK,
            cost={},
            data={},
            curve={},
            notes=[],
        )
    )
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_questions_without_an_answer_are_told_where_none_can_be_given(parts, folder_of):
    model = reader(folder_of("bert"), classes=CLASSES[:2])
    answers = read(model, parts["dev"], CLASSES[:2], batch_tokens=500)
    notes = told(answers)
    assert SCRIPTS["squad_2.0"] in notes[0]
    assert "4 questions have no answer" in notes[1]


def test_the_strongest_baseline_is_the_one_that_scores_best():
    lead = SCORERS.get("answer_f1")
    values = {"always_no_answer": 0.5, "question_overlap": 0.2, "linear_probe": 0.2}
    assert strongest_first(lead, values) == ["always_no_answer", "linear_probe", "question_overlap"]


def test_longest_comes_with_the_tokens(folder_of):
    for longest in (3, 8):
        tokens = tokens_of(folder_of("bert"), 4, longest=longest)
        answers = extracts(tokens, CLASSES, np.zeros((tokens.total, 2), np.float32))
        assert answers.longest == longest
