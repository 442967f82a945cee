"""Answers with several labels, and with numbers: scored, decided, listed and drawn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from formed import LABELS, NUMBER, SEVERAL, formed, renderer_of, rows_of, tokens_of
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.label_exam import entries, link, list_labels, replies, thresholds, tune
from tenon.evaluate.labelled import Labelled
from tenon.evaluate.language import language
from tenon.evaluate.number_exam import list_numbers
from tenon.evaluate.numbered import Numbered
from tenon.evaluate.prediction import renamed
from tenon.evaluate.scatter import scatter
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK, EvaluateSettings
from tenon.text.tokens import collect


def labelled(rows: int = 60, seed: int = 0, at: float = 0.5) -> Labelled:
    random = np.random.default_rng(seed)
    gold = (random.random((rows, 3)) < 0.4).astype(np.int8)
    logits = random.normal(size=(rows, 3)) + 2.0 * gold - 1
    return Labelled(
        LABELS,
        [f"{row:04}" for row in range(rows)],
        [f"t.csv:{row + 2}" for row in range(rows)],
        [f"text {row}" for row in range(rows)],
        None,
        gold,
        link(logits, {}),
        (at,) * 3,
        {},
    )


def numbered(rows: int = 60, seed: int = 0) -> Numbered:
    random = np.random.default_rng(seed)
    gold = random.normal(size=rows) * 3 + 10
    names = [f"{row:04}" for row in range(rows)]
    origins = [f"t.csv:{row + 2}" for row in range(rows)]
    texts = [f"text {row}" for row in range(rows)]
    return Numbered(names, origins, texts, None, gold, gold + random.normal(size=rows), {})


@given(st.integers(0, 50), st.floats(0.05, 0.95))
def test_label_scores_are_those_of_scikit_learn(seed, at):
    answers = labelled(40, seed, at)
    gold, found = answers.gold_RL > 0, answers.answers_RL
    score = {name: SCORERS.get(name).score(answers) for name in BY_TASK[SEVERAL].scorers}
    nan = {"zero_division": np.nan} if (gold | found).any(0).all() else {"zero_division": 0}
    assert score["label_micro_f1"] == pytest.approx(
        metrics.f1_score(gold, found, average="micro", zero_division=0)
    )
    if nan["zero_division"] != 0:
        expected = metrics.f1_score(gold, found, average="macro", zero_division=0)
        assert score["label_macro_f1"] == pytest.approx(expected)
    assert score["subset_accuracy"] == pytest.approx(metrics.accuracy_score(gold, found))
    chances = answers.probabilities_RL
    expected = metrics.label_ranking_average_precision_score(gold, chances)
    assert score["ranking_precision"] == pytest.approx(expected)
    nats = -np.where(gold, np.log(chances), np.log1p(-chances)).sum(1).mean()
    assert score["label_log_loss"] == pytest.approx(nats, rel=1e-4)


@given(st.integers(0, 50))
def test_number_scores_are_those_of_scipy(seed):
    answers = numbered(40, seed)
    score = {name: SCORERS.get(name).score(answers) for name in BY_TASK[NUMBER].scorers}
    gold, found = answers.gold_R, answers.answer_R
    assert score["pearson"] == pytest.approx(stats.pearsonr(gold, found)[0])
    assert score["spearman"] == pytest.approx(stats.spearmanr(gold, found)[0])
    assert score["mae"] == pytest.approx(np.abs(gold - found).mean())
    assert score["rmse"] == pytest.approx(math.sqrt(((gold - found) ** 2).mean()))


@pytest.mark.parametrize("answers", [labelled(), numbered()])
def test_answers_can_be_taken_compared_and_renamed(answers):
    some = answers.take(np.array([5, 3]))
    assert list(some.ids) == ["0005", "0003"] and len(some) == 2
    assert some.same_gold(answers.take(np.array([5, 3])))
    assert not some.same_gold(answers.take(np.array([3, 6])))
    assert renamed(answers, ["x"] * len(answers), {}).origins[0] == "x"
    assert answers.known_R.all() and answers.finite()
    assert len(answers.take(np.array([], np.int64))) == 0


def test_rows_without_gold_are_known_as_such():
    answers = labelled()
    answers.gold_RL[4] = -1
    assert np.flatnonzero(~answers.known_R).tolist() == [4]
    numbers = numbered()
    numbers.gold_R[7] = np.nan
    assert np.flatnonzero(~numbers.known_R).tolist() == [7]
    lines = list(entries(answers))
    assert lines[4]["gold"] is None and isinstance(lines[3]["gold"], list)


def test_tuned_thresholds_are_at_least_as_good_as_one_half():
    answers = labelled(200)
    how = EvaluateSettings()
    chosen = thresholds(answers.gold_RL, answers.log_probs_RL, how)
    score = SCORERS.get("label_micro_f1").score
    assert score(answers.decided(chosen)) >= score(answers)
    each = thresholds(answers.gold_RL, answers.log_probs_RL, EvaluateSettings(thresholds="each"))
    macro = SCORERS.get("label_macro_f1").score
    assert macro(answers.decided(each)) >= macro(answers.decided(chosen))
    assert len(set(each["thresholds"])) > 1 == len(set(chosen["thresholds"]))


def test_tuning_leaves_the_thresholds_in_the_head(folder_of):
    model, tokens = formed(folder_of("bert"), SEVERAL), tokens_of(folder_of("bert"), SEVERAL, 20)
    exam = EXAMS.get(SEVERAL)
    answers = exam.answer(model, tokens, LABELS, batch_tokens=100)
    assert answers.thresholds == (0.3, 0.5, 0.7)
    tuned = tune(model, answers, EvaluateSettings())
    assert model.head.constants["thresholds"] == tuned.thresholds
    again = exam.answer(model, tokens, LABELS, batch_tokens=100)
    assert again.thresholds == tuned.thresholds and (again.answers_RL == tuned.answers_RL).all()


def test_another_system_has_thresholds_of_its_own():
    answers = labelled(at=0.9)
    rival = answers.rescored(answers.log_probs_RL)
    assert rival.thresholds == (0.5, 0.5, 0.5)
    assert EXAMS.get(SEVERAL).form.apply(rival, {"thresholds": (0.1, 0.2, 0.3)}).thresholds == (
        0.1, 0.2, 0.3,
    )  # fmt: skip


@pytest.mark.parametrize("form", [SEVERAL, NUMBER])
def test_a_row_that_is_not_finite_fails_alone(form, folder_of):
    model, tokens = formed(folder_of("bert"), form), tokens_of(folder_of("bert"), form, 6)
    exam = EXAMS.get(form)
    logits = model.logits_BL

    def spoilt(given):
        found = logits(given)
        found[given.rows == 2] = math.nan
        return found

    model.logits_BL = spoilt
    answers = exam.answer(model, tokens, model_names(form), batch_tokens=10_000)
    assert len(answers) == 5 and list(answers.failed) == ["t.csv:4"]
    *_, last = exam.entries(answers)
    assert last == {"origin": "t.csv:4", "failed": answers.failed["t.csv:4"]}
    assert exam.kept(tokens, answers).tolist() == [True, True, False, True, True, True]


def model_names(form):
    return LABELS if form == SEVERAL else ("score",)


def test_numbers_are_exact_though_targets_are_float32(folder_of):
    rows = rows_of(NUMBER, 8)
    tokens = collect(rows, renderer_of(folder_of("bert"), NUMBER))
    assert EXAMS.get(NUMBER).gold(tokens).tolist() == [row.gold for row in rows]


def test_the_table_of_labels_has_their_thresholds():
    answers = labelled().decided({"thresholds": (0.2, 0.5, 0.8)})
    tables = list_labels(answers, answers.rescored(answers.log_probs_RL), 0.95)
    assert [entry["threshold"] for entry in tables["per_class"]] == [0.2, 0.5, 0.8]
    assert [entry["label"] for entry in tables["per_class"]] == list(LABELS)
    won, lost = tables["won"], tables["lost"]
    assert won["rows"] and lost["rows"] and won["count"] >= len(won["rows"])
    json.dumps(tables, allow_nan=False)
    wrong = (answers.answers_RL != (answers.gold_RL > 0)).any(1).sum()
    assert tables["surest_errors"]["count"] == wrong


def test_replies_name_labels_and_all_probabilities():
    answers = labelled(3)
    for row, reply in enumerate(replies(answers)):
        assert set(reply.probabilities) == set(LABELS)
        assert reply.labels == tuple(n for n, p in reply.probabilities.items() if p >= 0.5)
        assert list(reply.labels) == answers.names(row)


def test_the_largest_errors_come_first():
    answers, rival = numbered(80), numbered(80, 1)
    rival = rival.__class__(**{**rival.__dict__, "gold_R": answers.gold_R})
    tables = list_numbers(answers, rival, 0.95)
    rows = tables["surest_errors"]["rows"]
    error = np.abs(answers.gold_R - answers.answer_R)
    assert rows[0]["id"] == answers.ids[int(error.argmax())]
    assert len(rows) == 50 and tables["surest_errors"]["count"] == 80
    assert all(row["baseline_answer"] for row in rows)
    assert tables["scatter"]["rows"] == 80
    json.dumps(tables, allow_nan=False)


@pytest.mark.parametrize(
    "points", [[[1.0, 2.0]], [[0.0, 0.0]], [[1e30, -1e30], [0, 0]], [[3, 3], [3, 3.0001]]]
)
def test_a_scatter_plot_stays_within_its_frame(points):
    drawn = scatter({"points": points, "rows": len(points)}, title='a "plot"', words=language("en"))
    assert 'aria-label="a &#34;plot&#34;"' in drawn
    assert drawn.count("<circle") == len(points) and "nan" not in drawn
    for circle in drawn.split("<circle")[1:]:
        place = [float(circle.split(f'{name}="')[1].split('"')[0]) for name in ("cx", "cy")]
        assert 50 <= place[0] <= 352 and 8 <= place[1] <= 310
