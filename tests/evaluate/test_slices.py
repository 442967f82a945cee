"""Slices: where an adapter is worse, and whether that is more than noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from answers import drawn, predictions
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.slices import (
    MOST_SLICES,
    Trait,
    by_cell,
    by_file,
    by_language,
    by_length,
    slices,
)
from tenon.evaluate.statistics import intervals

ACCURACY, LOSS = SCORERS.get("accuracy"), SCORERS.get("log_loss")
QUICK = {"level": 0.95, "resamples": 300, "seed": 0}


def halves(rows, *, weak, strong=0.95, seed=0):
    """Give a system that is right less often on the rows of even number, and which these are."""
    one, two = (drawn(rows, 3, accuracy, seed=seed) for accuracy in (weak, strong))
    even_R = np.arange(rows) % 2 == 0
    mixed = np.where(even_R[:, None], one.log_probs_RL, two.log_probs_RL)
    names = [("even",) if even else ("odd",) for even in even_R]
    return replace(one, log_probs_RL=mixed), Trait("place", names)


@pytest.mark.parametrize("scorer", [ACCURACY, LOSS, SCORERS.get("macro_f1")], ids=lambda s: s.name)
def test_the_worst_slice_is_found(scorer):
    system, trait = halves(400, weak=0.6)
    found = slices(system, scorer, [trait], **QUICK)
    (worst,) = [entry for entry in found if entry["worst"]]
    assert worst["slice"] == "even"
    assert worst["p"] < 0.001
    assert (worst["difference"] < 0) == (scorer.better == "higher")
    own = intervals(system.take(np.arange(0, 400, 2)), [scorer], **QUICK)[scorer.name]
    rest = scorer.score(system.take(np.arange(1, 400, 2)))
    assert worst["value"] == pytest.approx(own.value)
    assert worst["low"] == pytest.approx(own.low)
    assert worst["difference"] == pytest.approx(own.value - rest)


def test_noise_is_no_worst_slice():
    """Of 200 systems alike on all rows, with 8 slices looked at, at most one in ten names one."""
    named = 0
    for seed in range(200):
        system = drawn(240, 2, 0.7, seed=seed, gold_seed=seed)
        generator = np.random.default_rng(seed)
        traits = [
            Trait(by, [(f"{by}{cell}",) for cell in generator.integers(0, 4, 240)])
            for by in ("a", "b")
        ]
        named += any(entry["worst"] for entry in slices(system, ACCURACY, traits, **QUICK))
    assert named <= 20


def test_slices_are_corrected_for_their_number():
    system, trait = halves(400, weak=0.85)
    alone = slices(system, ACCURACY, [trait], **QUICK)
    more = [Trait(str(n), np.random.default_rng(n).permutation(trait.names)) for n in range(5)]
    among = slices(system, ACCURACY, [trait, *more], **QUICK)
    assert among[0]["raw_p"] == alone[0]["raw_p"]
    assert among[0]["p"] > alone[0]["p"] > alone[0]["raw_p"] / 1.01


def test_few_rows_are_no_slice():
    system = drawn(100, 2, 0.7, seed=0)
    names = [("few",) if row < 15 else ("many",) if row < 60 else ("rest",) for row in range(100)]
    found = slices(system, ACCURACY, [Trait("size", names)], **QUICK)
    assert {entry["slice"] for entry in found} == {"many", "rest"}
    assert slices(system, ACCURACY, [Trait("all", [("same",)] * 100)], **QUICK) == []


def test_of_many_slices_the_lowest_are_listed():
    system = drawn(1000, 2, 0.7, seed=0)
    found = slices(
        system, ACCURACY, [Trait("n", [(str(row % 30),) for row in range(1000)])], **QUICK
    )
    assert len(found) == MOST_SLICES
    values = [entry["value"] for entry in found]
    assert values == sorted(values)


def test_rows_of_one_cluster_are_no_evidence_against_a_slice():
    """Ten documents, each right or wrong as a whole: rows say a difference, documents do not."""
    hit_G = np.array([1, 1, 1, 0, 0, 1, 1, 1, 1, 1])
    hit_R = np.repeat(hit_G, 40)
    log_probs = np.log(np.where(hit_R[:, None] > 0, [[0.9, 0.1]], [[0.1, 0.9]]))
    system = predictions(np.zeros(400, int), log_probs)
    trait = Trait("half", [("first",) if row < 200 else ("second",) for row in range(400)])
    grouping = Grouping("docs", {o: str(row // 40) for row, o in enumerate(system.origins)})
    blind = slices(system, ACCURACY, [trait], **QUICK)
    told = slices(system, ACCURACY, [trait], **QUICK, grouping=grouping)
    assert blind[0]["p"] < 1e-6
    assert told[0]["p"] > 0.05
    assert not any(entry["worst"] for entry in told)


def test_lengths_part_rows_evenly_and_in_order():
    texts = ["x" * length for length in np.random.default_rng(0).integers(1, 200, 400)]
    trait = by_length(texts)
    members = trait.members()
    assert len(members) == 4
    assert sum(map(len, members.values())) == 400
    assert all(80 <= len(rows) <= 120 for rows in members.values())
    system = drawn(400, 2, 0.8, seed=0)
    found = [entry["slice"] for entry in slices(system, ACCURACY, [trait], **QUICK)]
    lows = [int(name.split("–")[0]) for name in found]
    assert lows == sorted(lows)
    assert by_length(["abc"] * 30).members() == {"3–3 characters": list(range(30))}


def test_languages_files_and_columns_part_rows():
    texts = ["the cat is on the mat and this is it"] * 3 + ["猫坐在垫子上,这是真的"] * 2
    assert list(by_language(texts).members()) == ["English", "simplified Chinese"]
    origins = ["a.csv:2", "a.csv:3", "b.csv:2"]
    assert by_file(origins).members() == {"a.csv": [0, 1], "b.csv": [2]}
    trait = by_cell("source", {"a.csv:2": "web", "b.csv:2": "mail"}, origins)
    assert trait.members() == {"web": [0], "mail": [2]}
