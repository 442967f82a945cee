"""Seeds: the mean of several runs, what it may be on other rows and seeds, and whose luck it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import drawn, predictions
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.seeded import across_seeds
from tenon.evaluate.statistics import intervals

SCORERS_HERE = [SCORERS.get(name) for name in ("accuracy", "macro_f1", "log_loss")]
QUICK = {"level": 0.95, "resamples": 300, "seed": 0}


def runs(seeds, rows, *, seed_spread, place=1.0, generator=None, easy_R=None):
    """Give runs whose logit of the gold varies by seed, by row and by both."""
    generator = generator or np.random.default_rng(0)
    easy_R = generator.normal(0, 1, rows) if easy_R is None else easy_R
    luck = generator.normal(0, seed_spread, (seeds, 1))
    logit = place + luck + easy_R + generator.normal(0, 1, (seeds, rows))
    scores = np.stack([-np.logaddexp(0, -logit), -np.logaddexp(0, logit)], axis=2)
    return [predictions(np.zeros(rows, int), each) for each in scores]


def test_the_mean_is_that_of_the_seeds_scores():
    systems = [drawn(120, 3, 0.8, seed=seed) for seed in range(4)]
    found = across_seeds(systems, None, SCORERS_HERE, **QUICK, seeds=[7, 8, 9, 11])
    assert found["seeds"] == [7, 8, 9, 11]
    assert found["paired"] == {}
    for scorer in SCORERS_HERE:
        entry = found["scores"][scorer.name]
        assert entry["values"] == [scorer.score(system) for system in systems]
        assert entry["mean"] == pytest.approx(np.mean(entry["values"]))
        assert entry["low"] < entry["mean"] < entry["high"]
    json.dumps(found, allow_nan=False)


@settings(max_examples=20, deadline=None)
@given(
    seeds=st.integers(2, 6),
    rows=st.integers(1, 40),
    accuracy=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.integers(0, 9),
)
def test_every_number_is_finite_and_in_order(seeds, rows, accuracy, seed):
    systems = [drawn(rows, 3, accuracy, seed=seed + run) for run in range(seeds)]
    found = across_seeds(systems, drawn(rows, 3, 0.5, seed=99), SCORERS_HERE, **QUICK)
    json.dumps(found, allow_nan=False)
    for entry in found["scores"].values():
        assert entry["low"] <= entry["mean"] <= entry["high"]
        assert 0 <= entry["share_seed"] <= 1
    for entry in found["paired"]["rival"].values():
        assert entry["low"] <= entry["difference"] <= entry["high"]
        assert 0 <= entry["p"] <= 1


def test_runs_that_agree_owe_nothing_to_the_seed():
    system = drawn(300, 3, 0.8, seed=1)
    found = across_seeds([system] * 3, None, SCORERS_HERE, **QUICK)["scores"]
    alone = intervals(system, SCORERS_HERE, **QUICK)
    for name, entry in found.items():
        assert entry["sd_seed"] == entry["share_seed"] == 0
        assert entry["low"] == pytest.approx(alone[name].low, abs=0.03)
        assert entry["high"] == pytest.approx(alone[name].high, abs=0.03)


def test_the_seeds_share_of_the_variance_is_found():
    """With 200 runs both standard deviations are known from how the rows were made, within 20 %."""
    generator = np.random.default_rng(3)
    systems = runs(200, 500, seed_spread=0.3, generator=generator)
    entry = across_seeds(systems, None, [SCORERS.get("log_loss")], **QUICK)["scores"]["log_loss"]
    means = [SCORERS.get("log_loss").score(run) for run in runs(400, 4000, seed_spread=0.3)]
    assert entry["sd_seed"] == pytest.approx(np.std(means), rel=0.2)
    rows = np.logaddexp(0, -generator.normal(1, np.sqrt(2), 100_000))
    assert entry["sd_sample"] == pytest.approx(rows.std() / np.sqrt(500), rel=0.2)
    share = entry["sd_seed"] ** 2 / (entry["sd_seed"] ** 2 + entry["sd_sample"] ** 2)
    assert entry["share_seed"] == pytest.approx(share)


def test_rivals_are_told_by_name_and_may_have_seeds_too():
    easy_R = np.random.default_rng(1).normal(0, 1, 400)
    good = runs(3, 400, seed_spread=0.05, place=2.0, easy_R=easy_R)
    bad = runs(3, 400, seed_spread=0.05, place=0.5, easy_R=easy_R)
    found = across_seeds(good, {"probe": bad[0], "full": bad}, SCORERS_HERE, **QUICK)["paired"]
    assert list(found) == ["probe", "full"]
    for entry in (*found["probe"].values(), *found["full"].values()):
        assert entry["p"] < 0.05
        assert not entry["low"] <= 0 <= entry["high"]
    back = across_seeds(bad, {"full": good}, SCORERS_HERE, **QUICK)["paired"]["full"]
    for name, entry in back.items():
        assert entry["difference"] == pytest.approx(-found["full"][name]["difference"])
        assert entry["low"] == pytest.approx(-found["full"][name]["high"], abs=1e-4)


def test_only_rows_that_all_runs_answered_count():
    systems = [drawn(90, 3, 0.8, seed=seed) for seed in range(3)]
    fewer = [systems[0], systems[1].take(np.arange(5, 90)), systems[2].take(np.arange(85))]
    kept = [system.take(np.arange(5, 85)) for system in systems]
    assert across_seeds(fewer, None, SCORERS_HERE, **QUICK) == across_seeds(
        kept, None, SCORERS_HERE, **QUICK
    )


def test_rows_that_belong_together_make_the_interval_wider():
    """Each row stands there eight times: as clusters they are 60 rows, else they seem to be 480."""
    once = runs(6, 60, seed_spread=0.0, easy_R=np.random.default_rng(0).normal(1, 3, 60))
    eight = [predictions(np.tile(run.gold_R, 8), np.tile(run.log_probs_RL, (8, 1))) for run in once]
    keys = {origin: str(row % 60) for row, origin in enumerate(eight[0].origins)}
    plain = across_seeds(once, None, SCORERS_HERE, **QUICK)["scores"]
    blind = across_seeds(eight, None, SCORERS_HERE, **QUICK)["scores"]
    grouping = Grouping("texts", keys)
    told = across_seeds(eight, None, SCORERS_HERE, **QUICK, grouping=grouping)["scores"]
    for name in ("accuracy", "log_loss"):
        widths = [found[name]["high"] - found[name]["low"] for found in (plain, blind, told)]
        assert widths[2] == pytest.approx(widths[0], rel=0.05)
        assert widths[1] < 0.8 * widths[2]


@pytest.mark.parametrize(("seeds", "named"), [(1, ()), (3, (1, 2))])
def test_what_says_nothing_is_refused(seeds, named):
    systems = [drawn(30, 2, 0.8, seed=seed) for seed in range(seeds)]
    with pytest.raises(ValueError, match="seed"):
        across_seeds(systems, None, SCORERS_HERE, **QUICK, seeds=named)
