"""What a sweep says of itself: order, verdict, drawings, page."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError
from tenon.evaluate import sweep_plots
from tenon.evaluate.language import LANGUAGES, language
from tenon.evaluate.report import Report
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.statistics import Interval
from tenon.evaluate.sweep_page import html, rough
from tenon.evaluate.swept import (
    AS_IT_STANDS,
    Finalist,
    Lead,
    Open,
    Swept,
    Tried,
    best_first,
    judged,
    shown,
)
from tenon.evaluate.winner import verdict

EN = language("en")
ACCURACY, LOSS = SCORERS.get("accuracy"), SCORERS.get("log_loss")
RATE = Open("train.learning_rate", "log:1e-05..0.1", [], 1e-5, 1e-1, log=True)
KIND = Open("adapters.mood.kind", '"lora.v1","<b>.v1"', ["lora.v1", "<b>.v1"])
WARM = Open("train.warmup", "0.0..0.5", [], 0.0, 0.5)


def tried(count: int = 12) -> list[Tried]:
    """Give trials of all three states."""
    states = ["complete", "complete", "pruned", "complete", "failed", "complete"]
    return [
        Tried(
            number,
            {RATE.key: 10.0 ** (-5 + number / 3), KIND.key: KIND.choices[number % 2],
             WARM.key: 0.5 * (number % 5) / 4},
            states[number % 6],
            None if states[number % 6] == "failed" else 0.5 + 0.03 * number,
            [[1.0, 0.5]], 10, 1.5, 1000, 2048,
            "loss nan <script>" if states[number % 6] == "failed" else "",
        )
        for number in range(count)
    ]  # fmt: skip


def finalists(*means: float, seeds: int = 3) -> list[Finalist]:
    names = ["trial 9", AS_IT_STANDS, "trial 4"]
    numbers = [9, None, 4]
    return [
        Finalist(name, number, tried()[4].values, [[seed, mean] for seed in range(1, seeds + 1)])
        for name, number, mean in zip(names, numbers, means, strict=False)
    ]


def swept(**more) -> Swept:
    leads = judged([Lead(AS_IT_STANDS, 0.04, 0.01, 0.07, 0.01, 3)], ACCURACY, 0.95)
    made = finalists(0.9, 0.86)
    outcome, sentence = verdict(made, leads, ACCURACY, EN)
    return Swept(
        metric="accuracy", space=[RATE, KIND, WARM], trials=tried(),
        importance={RATE.key: 0.8, KIND.key: 0.15, WARM.key: 0.05}, finalists=made, leads=leads,
        outcome=outcome, verdict=sentence, settings=["train.learning_rate=0.001"],
        notes=["2 trials failed"], command="tenon sweep run.toml", title="mood <i>",
        rules={"seeds": 3},
    )  # fmt: skip


REPORT = Report(
    task="text-classification",
    part="test",
    metrics={"test": {"accuracy": Interval(0.9, 0.85, 0.93, 200)}},
    baselines={},
    paired={},
    outcome="unproved",
    verdict="Accuracy on test is 90.0 %.",
    intervals={"level": 0.95},
)


def test_it_is_read_as_it_is_written():
    made = swept()
    assert Swept.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"trials": [{"number": 1}]}, {"verdict": None, "more": 1}]
)
def test_another_form_is_refused(change):
    with pytest.raises(DataError, match="sweep"):
        Swept.from_json({**swept().to_json(), **change})


@pytest.mark.parametrize("scorer", [ACCURACY, LOSS])
def test_the_best_is_first_and_what_did_not_end_is_last(scorer):
    order = best_first(tried(), scorer)
    states = [trial.state for trial in order]
    assert states == sorted(states, key=["complete", "pruned", "failed"].index)
    known = [trial.value for trial in order if trial.state == "complete"]
    assert known == sorted(known, reverse=scorer.better == "higher")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holms_correction(ps):
    """Against the definition: p times the number of hypotheses left, never falling."""
    leads = [Lead(str(place), 0.1, 0.05, 0.15, p, 3) for place, p in enumerate(ps)]
    found = [lead.p for lead in judged(leads, ACCURACY, 0.95)]
    order = sorted(range(len(ps)), key=ps.__getitem__)
    running = 0.0
    for place, at in enumerate(order):
        running = max(running, min(1.0, ps[at] * (len(ps) - place)))
        assert found[at] == pytest.approx(running)
    assert [lead.rival for lead in judged(leads, ACCURACY, 0.95)] == [lead.rival for lead in leads]


@pytest.mark.parametrize(
    ("difference", "p", "scorer", "outcome"),
    [
        (0.03, 0.01, ACCURACY, "better"),
        (0.03, 0.2, ACCURACY, "no_difference"),
        (-0.03, 0.01, ACCURACY, "worse"),
        (-0.03, 0.01, LOSS, "better"),
    ],
)
def test_a_lead_counts_where_test_and_interval_say_so(difference, p, scorer, outcome):
    lead = Lead(AS_IT_STANDS, difference, difference - 0.01, difference + 0.01, p, 3)
    assert judged([lead], scorer, 0.95)[0].outcome == outcome


def test_the_verdict_tells_what_was_won():
    leads = [
        Lead(AS_IT_STANDS, 0.031, 0.022, 0.04, 0.0001, 3, "better"),
        Lead("trial 4", 0.001, -0.01, 0.012, 0.7, 3),
    ]
    outcome, said = verdict(finalists(0.9, 0.869, 0.899), leads, ACCURACY, EN)
    assert outcome == "better"
    assert said == (
        "Trial 9 wins: its accuracy on dev is 90.0 %, the mean of 3 fresh seeds. It is better than "
        "the plan as it stands: +3.1 points (+2.2 to +4.0; p < 0.001). Its lead over trial 4 is no "
        "more than noise: +0.1 points (−1.0 to +1.2; p = 0.70)."
    )


def test_the_verdict_tells_that_nothing_was_won():
    made = finalists(0.9, 0.89)[::-1]
    outcome, said = verdict(made, [Lead("trial 9", 0.0, 0.0, 0.0, 1.0, 3)], ACCURACY, EN)
    assert outcome == "no_difference"
    assert said.startswith("No trial beats the plan as it stands")
    assert "It is level with trial 9." in said


def test_without_seeds_nothing_is_proved():
    outcome, said = verdict(finalists(0.9, 0.8, seeds=1), [], ACCURACY, EN)
    assert outcome == "unproved"
    assert "was not tested: that takes 2 fresh seeds" in said


def test_a_finalist_of_whom_a_seed_failed_has_no_mean():
    made = Finalist("trial 1", 1, {}, [[1, 0.9], [2, None]])
    assert made.scores == [0.9]
    assert made.mean is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.001, "0.001"), (1.23456e-5, "1.235e-05"), (8, "8"), (True, "true"), ("cosine", "cosine"),
     (["mlp.in", "mlp.out"], "mlp.in mlp.out"), (None, "None")],
)  # fmt: skip
def test_values_are_shown_without_quotation_marks(value, text):
    assert shown(value) == text


@given(st.floats(1e-6, 1e5), st.floats(1.5, 1e5), st.booleans(), st.floats(0, 1))
def test_scales_keep_order_and_stay_within(low, factor, log, share):
    high = low * factor
    scale = sweep_plots.scale_of(Open("a.b", "", [], low, high, log=log))
    middle = low + share * (high - low)
    places = [scale.place(value) for value in (low, middle, high)]
    assert 0 < places[0] <= places[1] <= places[2] < 1
    assert all(0 <= place <= 1 for place, _ in scale.ticks)
    assert scale.ticks


def test_a_list_has_its_values_evenly_apart():
    scale = sweep_plots.scale_of(KIND)
    assert [scale.place(value) for value in KIND.choices] == [0.25, 0.75]


def test_lower_is_drawn_higher_where_lower_is_better():
    made = tried()
    for scorer in (ACCURACY, LOSS):
        scale = sweep_plots.goal(made, scorer, EN)
        good, *_, bad = [trial.value for trial in best_first(made, scorer)
                         if trial.state == "complete"]  # fmt: skip
        assert scale.place(good) > scale.place(bad)


def test_equal_values_can_be_drawn():
    made = [replace(trial, state="complete", value=0.5) for trial in tried()]
    for drawn in (
        sweep_plots.history(made, ACCURACY, EN),
        sweep_plots.pair(made, RATE, KIND, ACCURACY, EN),
        sweep_plots.pair(made, RATE, None, ACCURACY, EN),
        sweep_plots.parallel(made, [RATE, KIND, WARM], ACCURACY, EN),
    ):
        assert "nan" not in drawn
        assert "inf" not in drawn


def test_every_trial_with_a_value_is_drawn_once():
    made = tried()
    known = [trial for trial in made if trial.value is not None]
    assert sweep_plots.history(made, ACCURACY, EN).count("<circle") == len(known)
    assert sweep_plots.pair(made, RATE, KIND, ACCURACY, EN).count("<circle") == len(known)
    assert sweep_plots.parallel(made, [RATE, KIND], ACCURACY, EN).count("<polyline") == len(known)
    assert sweep_plots.bars([("a", 0.7), ("b", 0.3)], EN).count('class="hit"') == 2


def test_the_line_of_the_best_never_falls():
    drawn = str(sweep_plots.history(tried(), ACCURACY, EN))
    path = re.search(r'class="line adapter" d="([^"]+)"', drawn)
    assert path
    heights = [float(y) for y in re.findall(r"V([\d.]+)", path[1])]
    assert heights == sorted(heights, reverse=True)


def test_the_strongest_is_the_best():
    made = tried()
    strength = sweep_plots.strengths(made, ACCURACY)
    assert strength[best_first(made, ACCURACY)[0].number] == 1.0
    assert min(strength.values()) == pytest.approx(sweep_plots.FAINTEST)
    assert not any(math.isnan(each) for each in strength.values())


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_page_asks_for_nothing(code):
    page = html(swept(), REPORT, code, "best/report/report.html")
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["best/report/report.html"]
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=", html(swept(), REPORT, code))


def test_a_chinese_page_says_the_same_in_chinese():
    page = html(swept(), REPORT, "zh")
    assert 'lang="zh-CN"' in page
    assert "试验 9 胜出：用 3 个新随机种子重新训练，dev 上准确率的均值为 90.0 %。" in page
    assert "它优于原计划：+4.0 个百分点（+1.0 至 +7.0；p = 0.01）。" in page
    assert "2 个试验失败" in page


def test_the_page_is_whole_in_itself():
    page = html(swept(), REPORT)
    assert "<script" not in page
    assert len(page) < 100_000
    for words in ("Better than the plan as it stands", "train.learning_rate=0.001", "fANOVA",
                  "2 trials failed", "90.0 %", "given up", "tenon sweep run.toml"):  # fmt: skip
        assert words in page


def test_texts_of_the_user_are_escaped():
    page = html(swept(), REPORT)
    assert "mood &lt;i&gt;" in page
    assert "&lt;script&gt;" in page
    assert "<b>.v1" not in page


def test_what_cannot_be_told_is_said():
    made = swept()
    bare = replace(made, importance={}, settings=[], notes=[])
    page = html(bare, REPORT)
    assert "Too few trials" in page
    assert "Those of the plan as it stands" in page
    assert rough(made), "12 trials of 3 settings are few"
    one = replace(made, space=[RATE])
    assert not rough(one)
    assert "<svg" in html(replace(one, importance={RATE.key: 1.0}), REPORT)
