"""Intervals cover, tests keep their level, and both agree with scipy where it has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats
from scipy.special import log_softmax

from answers import drawn, predictions
from tenon.evaluate import resampling, statistics
from tenon.evaluate.resampling import bootstrap, used_resamples
from tenon.evaluate.scorers import SCORERS, Scorer
from tenon.evaluate.settings import BY_TASK
from tenon.evaluate.shares import bonett_price, mcnemar, wilson
from tenon.evaluate.statistics import align, intervals, paired

ALL = [SCORERS.get(name) for name in BY_TASK["text-classification"].scorers]
QUICK = {"level": 0.95, "resamples": 300, "seed": 0}


@st.composite
def systems(draw):
    """Two systems on the same rows, from useless to perfect, from one row up."""
    rows, classes = draw(st.integers(1, 60)), draw(st.integers(2, 4))
    gold_seed = draw(st.integers(0, 9))
    first, second = (
        drawn(
            rows,
            classes,
            draw(st.sampled_from([0.0, 0.3, 0.9, 1.0])),
            seed=draw(st.integers(0, 99)),
            gold_seed=gold_seed,
            sharpness=draw(st.sampled_from([0.5, 4.0, 30.0])),
        )
        for _ in range(2)
    )
    return first, second


@settings(max_examples=40, deadline=None)
@given(both=systems())
def test_an_interval_holds_its_value(both):
    for name, interval in intervals(both[0], ALL, **QUICK).items():
        assert interval.low <= interval.value <= interval.high, name
        assert np.isfinite([interval.low, interval.high]).all(), name
        assert interval.n == len(both[0])
        assert interval.value == SCORERS.get(name).score(both[0])


@settings(max_examples=40, deadline=None)
@given(both=systems())
def test_a_paired_interval_holds_its_difference(both):
    for name, pair in paired(*both, ALL, **QUICK).items():
        assert pair.low <= pair.difference <= pair.high, name
        assert 0 < pair.p <= 1, name
        scores = [SCORERS.get(name).score(system) for system in both]
        assert pair.difference == pytest.approx(scores[0] - scores[1])


@settings(max_examples=25, deadline=None)
@given(both=systems())
def test_changing_sides_changes_signs(both):
    there, back = paired(*both, ALL, **QUICK), paired(both[1], both[0], ALL, **QUICK)
    for name, pair in there.items():
        other = back[name]
        assert pair.difference == pytest.approx(-other.difference)
        assert pair.low == pytest.approx(-other.high)
        assert pair.high == pytest.approx(-other.low)
        assert pair.p == other.p


def test_a_system_does_not_differ_from_itself():
    system = drawn(200, 3, 0.8, seed=1)
    for pair in paired(system, system, ALL, **QUICK).values():
        assert (pair.difference, pair.p) == (0, 1)
        assert pair.low <= 0 <= pair.high


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    system = drawn(200, 3, 0.8, seed=1)
    scorer = [SCORERS.get("macro_f1")]
    first = intervals(system, scorer, level=0.95, resamples=300, seed=1)
    assert first == intervals(system, scorer, level=0.95, resamples=300, seed=1)
    assert first != intervals(system, scorer, level=0.95, resamples=300, seed=2)


def test_a_higher_level_gives_a_wider_interval():
    system = drawn(300, 3, 0.8, seed=1)
    narrow = intervals(system, ALL, level=0.8, resamples=1000, seed=0)
    wide = intervals(system, ALL, level=0.99, resamples=1000, seed=0)
    for name in narrow:
        assert wide[name].low <= narrow[name].low
        assert wide[name].high >= narrow[name].high
        assert wide[name].high - wide[name].low > narrow[name].high - narrow[name].low


def test_more_rows_give_a_narrower_interval():
    few = intervals(drawn(100, 3, 0.8, seed=1), ALL, **QUICK)
    many = intervals(drawn(3000, 3, 0.8, seed=1), ALL, **QUICK)
    for name in few:
        assert many[name].high - many[name].low < 0.6 * (few[name].high - few[name].low)


@settings(max_examples=200, deadline=None)
@given(won=st.integers(0, 400), lost=st.integers(0, 400))
def test_mcnemar_is_the_binomial_test(won, lost):
    if won + lost == 0:
        assert mcnemar(0, 0) == 1
        return
    assert mcnemar(won, lost) == pytest.approx(stats.binomtest(won, won + lost, 0.5).pvalue)


@settings(max_examples=100, deadline=None)
@given(successes=st.integers(0, 300), more=st.integers(0, 300))
def test_wilson_is_scipys(successes, more):
    trials = successes + more
    if not trials:
        return
    theirs = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    low, high = wilson(successes, trials, 0.95)
    assert low == pytest.approx(theirs.low, abs=1e-12)
    assert high == pytest.approx(theirs.high, abs=1e-12)


@pytest.mark.parametrize("trials", [30, 100, 400])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_covers_exactly_enough(trials, level):
    counts = np.arange(trials + 1)
    bounds = np.array([wilson(int(count), trials, level) for count in counts])
    shares = np.linspace(0.02, 0.98, 49)
    inside = (bounds[:, :1] <= shares) & (shares <= bounds[:, 1:])
    coverage = (stats.binom.pmf(counts[:, None], trials, shares) * inside).sum(axis=0)
    assert coverage.mean() == pytest.approx(level, abs=0.015)
    assert coverage.min() > level - 0.12


@pytest.mark.parametrize("discordant", [5, 20, 61])
def test_mcnemar_never_exceeds_its_level(discordant):
    won = np.arange(discordant + 1)
    p = np.array([mcnemar(int(count), discordant - int(count)) for count in won])
    chance = stats.binom.pmf(won, discordant, 0.5)
    for alpha in (0.2, 0.05, 0.01):
        assert chance[p <= alpha].sum() <= alpha


@pytest.mark.parametrize(("gain", "loss", "rows"), [(0.1, 0.1, 100), (0.05, 0.02, 300)])
def test_bonett_price_covers(gain, loss, rows):
    table = np.random.default_rng(0).multinomial(rows, [gain, loss, 1 - gain - loss], size=3000)
    inside = 0
    for won, lost in table[:, :2].tolist():
        low, high = bonett_price(won, lost, rows, 0.95)
        inside += low <= gain - loss <= high
    assert inside / len(table) == pytest.approx(0.95, abs=0.02)


class World:
    """Rows of which the truth is known: gold, and logits around it, too sure of themselves."""

    def __init__(self, *, sharper: float) -> None:
        self.sharper = sharper
        self.generator = np.random.default_rng(0)
        everything = self.draw(200_000)[0]
        self.truth = {scorer.name: scorer.score(everything) for scorer in ALL}

    def draw(self, rows, systems=1):
        gold_R = self.generator.integers(0, 4, rows)
        logits = self.generator.normal(size=(systems, rows, 4))
        logits[:, np.arange(rows), gold_R] += 1.5
        return [predictions(gold_R, log_softmax(self.sharper * z, axis=1)) for z in logits]


@pytest.mark.parametrize("sharper", [1.6, pytest.param(2.5, marks=pytest.mark.deep)])
def test_intervals_cover_and_paired_tests_keep_their_level(sharper):
    """Of 200 samples of 300 rows: 95 % intervals cover 89 to 99.5 %; 5 % tests reject under 10 %.

    The bounds are three standard errors of 200 trials wide, around what BCa and
    the percentile are known to reach at this size.
    """
    world, trials = World(sharper=sharper), 200
    covered = dict.fromkeys(world.truth, 0)
    rejected = dict.fromkeys(world.truth, 0)
    for trial in range(trials):
        first, second = world.draw(300, systems=2)
        settings = {"level": 0.95, "resamples": 400, "seed": trial}
        for name, found in intervals(first, ALL, **settings).items():
            covered[name] += found.low <= world.truth[name] <= found.high
        for name, found in paired(first, second, ALL, **settings).items():
            rejected[name] += found.p < 0.05
    for name in world.truth:
        lowest = 0.84 if name == "calibration_error" else 0.89
        assert lowest <= covered[name] / trials <= 0.995, name
        assert rejected[name] / trials <= 0.10, name


def test_a_real_difference_is_found():
    pairs = paired(drawn(500, 4, 0.9, seed=1), drawn(500, 4, 0.7, seed=2), ALL, **QUICK)
    for name in ("accuracy", "macro_f1", "mcc", "log_loss"):
        assert pairs[name].p < 0.01, name
        assert not pairs[name].low <= 0 <= pairs[name].high, name


def test_the_bca_interval_is_scipys():
    """Compare with `scipy.stats.bootstrap` on a score that it can compute: a skewed mean."""
    system = drawn(120, 3, 0.7, seed=5)
    rows = np.arange(120)
    loss_R = -system.log_probs_RL[rows, system.gold_R].astype(float)
    theirs = stats.bootstrap(
        (loss_R,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    scorer = replace(SCORERS.get("log_loss"), interval="bca")
    ours = intervals(system, [scorer], level=0.95, resamples=20_000, seed=0)
    width = theirs.high - theirs.low
    assert ours["log_loss"].low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours["log_loss"].high == pytest.approx(theirs.high, abs=0.03 * width)


def test_the_bca_interval_of_a_biased_score_is_scipys():
    """Macro-F1 of few rows in many classes: a resample has fewer of them, so bias counts."""
    system = drawn(60, 8, 0.6, seed=5)
    gold_R, answer_R = system.gold_R, system.answer_R

    def macro_f1(rows):
        counts = [np.bincount(labels[rows], minlength=8) for labels in (gold_R, answer_R)]
        hit_L = np.bincount(gold_R[rows][gold_R[rows] == answer_R[rows]], minlength=8)
        both_L = counts[0] + counts[1]
        return float((2 * hit_L / np.maximum(both_L, 1)).sum() / (both_L > 0).sum())

    theirs = stats.bootstrap(
        (np.arange(60),),
        macro_f1,
        n_resamples=6000,
        vectorized=False,
        method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = intervals(system, [SCORERS.get("macro_f1")], level=0.95, resamples=6000, seed=0)
    width = theirs.high - theirs.low
    assert ours["macro_f1"].low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours["macro_f1"].high == pytest.approx(theirs.high, abs=0.04 * width)


def test_a_bootstrap_sample_is_a_score_of_resampled_rows():
    """The matrix product gives what scoring the drawn rows one by one gives."""
    system = drawn(40, 3, 0.7, seed=5)
    scorers = [SCORERS.get(name) for name in ("macro_f1", "mcc", "log_loss")]
    fast = bootstrap([system], scorers, resamples=25, seed=3)
    drawn_SR = np.random.default_rng(3).integers(0, 40, (25, 40), dtype=np.int64)
    for scorer in scorers:
        slow = [scorer.score(system.take(row)) for row in drawn_SR]
        assert fast[scorer.name][0] == pytest.approx(slow)


def test_blocks_of_resamples_are_all_drawn(monkeypatch):
    monkeypatch.setattr(resampling, "CHUNK_DRAWS", 70)
    values = bootstrap([drawn(30, 2, 0.7, seed=1)], ALL, resamples=25, seed=0)
    assert {value.shape for value in values.values()} == {(1, 25)}


def test_no_scorer_draws_nothing():
    assert bootstrap([drawn(30, 2, 0.7, seed=1)], [], resamples=25, seed=0) == {}


def test_resamples_are_fewer_only_where_rows_are_very_many():
    assert used_resamples(2000, 200_000) == 2000
    assert used_resamples(2000, 1_000_000) == 400
    assert used_resamples(2000, 50_000_000) == 200


def test_systems_are_paired_by_origin_whatever_their_order():
    first, second = drawn(80, 3, 0.9, seed=1), drawn(80, 3, 0.7, seed=2)
    shuffled = second.take(np.random.default_rng(0).permutation(80))
    assert paired(first, shuffled, ALL, **QUICK) == paired(first, second, ALL, **QUICK)


def test_rows_that_one_system_has_not_answered_are_left_out_of_both():
    first, second = drawn(80, 3, 0.9, seed=1), drawn(80, 3, 0.7, seed=2)
    kept = np.arange(10, 80)
    pairs = paired(first, second.take(kept), ALL, **QUICK)
    assert {pair.n for pair in pairs.values()} == {70}
    assert pairs == paired(first.take(kept), second.take(kept), ALL, **QUICK)


def test_systems_without_a_common_row_cannot_be_compared():
    first = drawn(10, 2, 0.9, seed=1)
    other = predictions(first.gold_R, first.log_probs_RL, origins=[f"x:{row}" for row in range(10)])
    with pytest.raises(ValueError, match="share no row"):
        align(first, other)


def test_systems_with_other_gold_cannot_be_compared():
    first = drawn(50, 2, 0.9, seed=1)
    with pytest.raises(ValueError, match="different labels"):
        align(first, drawn(50, 2, 0.9, seed=1, gold_seed=7))


def test_perfect_accuracy_is_not_certain():
    perfect = intervals(drawn(50, 2, 1.0, seed=1, sharpness=30), ALL, **QUICK)["accuracy"]
    assert perfect.value == perfect.high == 1
    assert 0.9 < perfect.low < 1


def test_a_calibration_error_that_noise_explains_may_be_zero():
    """Of a calibrated system the plain bootstrap would exclude the truth, which is 0."""
    generator = np.random.default_rng(0)
    share_R = generator.uniform(0.5, 1, 300)
    gold_R = (generator.random(300) > share_R).astype(int)
    log_probs = np.log(np.stack([share_R, 1 - share_R], axis=1))
    scorer = SCORERS.get("calibration_error")
    found = intervals(predictions(gold_R, log_probs), [scorer], **QUICK)["calibration_error"]
    assert found.value > 0.02
    assert found.low == 0


def test_an_overconfident_system_is_not_called_calibrated():
    found = intervals(drawn(500, 3, 0.5, seed=1, sharpness=12), ALL, **QUICK)["calibration_error"]
    assert found.low > 0.1


def first_two():
    """A scorer as a third party adds it: the share of rows whose gold is among the top two."""

    def terms(answers):
        rows = np.arange(len(answers))
        gold_R = answers.log_probs_RL[rows, answers.gold_R]
        ahead_R = (answers.log_probs_RL > gold_R[:, None]).sum(axis=1)
        return sparse.csr_array((ahead_R < 2).astype(float)[:, None])

    return Scorer(
        "first_two", "Among two", "higher", "percent", "wilson", terms, lambda s, n: s[:, 0] / n
    )


def test_a_third_partys_share_gets_wilson_and_mcnemar_of_its_own_hits():
    first, second = drawn(200, 5, 0.8, seed=1), drawn(200, 5, 0.5, seed=2)
    scorer = first_two()
    share = scorer.terms(first).toarray()[:, 0], scorer.terms(second).toarray()[:, 0]
    assert share[0].sum() > (first.answer_R == first.gold_R).sum()
    (interval,) = intervals(first, [scorer], **QUICK).values()
    assert (interval.low, interval.high) == wilson(int(share[0].sum()), 200, 0.95)
    (pair,) = paired(first, second, [scorer], **QUICK).values()
    won, lost = int((share[0] > share[1]).sum()), int((share[1] > share[0]).sum())
    assert pair.p == mcnemar(won, lost)
    assert pair.difference == pytest.approx((won - lost) / 200)


def test_a_third_partys_score_is_bootstrapped_like_ours():
    """The same terms under another name give the same interval."""
    ours = SCORERS.get("log_loss")
    theirs = replace(ours, name="nats")
    system = drawn(100, 3, 0.7, seed=1)
    found = intervals(system, [ours, theirs], **QUICK)
    assert found["log_loss"] == found["nats"]


@settings(max_examples=25, deadline=None)
@given(both=systems(), copies=st.integers(2, 4))
def test_one_scorer_alone_gets_what_it_gets_among_all(both, copies):
    """What else is asked for does not change the resamples that a scorer sees."""
    scorer = ALL[copies % len(ALL)]
    alone = intervals(both[0], [scorer], **QUICK)[scorer.name]
    assert alone == intervals(both[0], ALL, **QUICK)[scorer.name]
    alone_pair = paired(*both, [scorer], **QUICK)[scorer.name]
    assert alone_pair == paired(*both, ALL, **QUICK)[scorer.name]


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "log_loss"])
def test_the_sharpest_p_is_bounded_by_what_was_drawn(name):
    """S exchanges cannot claim a p under 1 / (S + 1); McNemar's can."""
    good, bad = drawn(400, 4, 1.0, seed=1), drawn(400, 4, 0.1, seed=2)
    pair = paired(good, bad, [SCORERS.get(name)], level=0.95, resamples=200, seed=0)[name]
    if name == "accuracy":
        assert pair.p < 1e-20
        assert "McNemar" in pair.method
    else:
        assert pair.p == pytest.approx(1 / 201)
        assert "200 exchanges" in pair.method
        assert "jackknife" in pair.method


def test_the_interval_of_a_skewed_score_leans_to_its_long_side():
    """Losses have a long upper tail; BCa reaches further up than down."""
    system = drawn(150, 3, 0.9, seed=4, sharpness=8)
    found = intervals(system, [SCORERS.get("log_loss")], level=0.95, resamples=4000, seed=0)
    loss = found["log_loss"]
    assert loss.high - loss.value > 1.1 * (loss.value - loss.low)


def test_rows_beyond_the_jackknife_are_not_accelerated(monkeypatch):
    system = drawn(150, 3, 0.9, seed=4, sharpness=8)
    scorer = [replace(SCORERS.get("log_loss"), interval="bca")]
    full = intervals(system, scorer, **QUICK)["log_loss"]
    monkeypatch.setattr(statistics, "JACKKNIFE_UNITS", 100)
    plain = intervals(system, scorer, **QUICK)["log_loss"]
    assert plain.value == full.value
    assert plain.high < full.high
    assert plain.low <= full.low


def test_no_labelled_row_is_refused():
    blind = replace(drawn(9, 2, 0.5, seed=0), gold_R=np.full(9, -1, np.int32))
    with pytest.raises(ValueError, match="no row has a known label"):
        intervals(blind, ALL, **QUICK)
