"""Which values are tried next: a function of what was told, none tried twice, the best sought."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tenon.core.errors import MissingExtra
from tenon.plan.space import space
from tenon.verbs import search
from tenon.verbs.search import Told, ask, importance, startup
from tenon.verbs.trial import Result

TABLE = {
    "base": "some/encoder",
    "data": {"train": "x.csv"},
    "adapters": {"mood": {"kind": "lora.v1"}},
}
RATE, RANK, SCHEDULE = "train.learning_rate", "adapters.mood.rank", "train.schedule"


def space_of(*over: str):
    return space(TABLE, Path("run.toml"), (), over)


WIDE = ("learning_rate=log:1e-5..1e-1", "rank=2,4,8,16", "schedule=cosine,linear")


def value_of(values) -> float:
    """Best at a rate of 1e-3; the rank matters a little, the schedule not at all."""
    return 0.9 - 0.1 * abs(math.log10(values[RATE]) + 3) + 0.002 * math.log2(values[RANK])


def told_of(values, state: str = "complete", value: float | None = None) -> Told:
    found = value_of(values) if value is None else value
    if state == "failed":
        return Told(values, Result("failed", None, reason="loss nan"))
    return Told(values, Result(state, found, curve=[(0.5, found - 0.05), (1.0, found)]))


def searched(made, trials: int, seed: int = 0, batch: int = 4) -> list[Told]:
    told: list[Told] = []
    while len(told) < trials:
        for values in ask(made, told, batch, seed=seed, lower=False, whole=False):
            told.append(told_of(values))
    return told


def test_what_is_asked_follows_from_what_was_told():
    made = space_of(*WIDE)
    told = searched(made, 16)
    for count in (0, 4, 12, 16):
        first = ask(made, told[:count], 4, seed=3, lower=False, whole=False)
        again = ask(made, told[:count], 4, seed=3, lower=False, whole=False)
        assert first == again
        assert first != ask(made, told[:count], 4, seed=4, lower=False, whole=False)


def test_what_is_asked_is_of_the_space_and_new():
    made = space_of(*WIDE, "epochs=1..4", "warmup=0..0.5/0.25")
    told = searched(made, 20)
    seen = [tuple(each.values.items()) for each in told]
    assert len(set(seen)) == len(seen)
    for each in told:
        plan = made.plan(each.values)
        assert 1e-5 <= plan.train.learning_rate <= 1e-1
        assert plan.adapter.own["rank"] in (2, 4, 8, 16)
        assert plan.train.epochs in (1, 2, 3, 4)
        assert plan.train.warmup in (0, 0.25, 0.5)


def test_good_values_are_found():
    """After the start by chance, what is tried is nearer to the best rate; over several seeds."""
    made = space_of(*WIDE)
    begun = startup(made)
    first, later = [], []
    for seed in range(4):
        near = [abs(math.log10(each.values[RATE]) + 3) for each in searched(made, 28, seed)]
        first += near[:begun]
        later += near[begun:]
    assert sum(later) / len(later) < 0.75 * sum(first) / len(first)


def test_lower_is_sought_where_lower_is_better():
    made = space_of("learning_rate=log:1e-5..1e-1")
    told: list[Told] = []
    while len(told) < 24:
        for values in ask(made, told, 4, seed=1, lower=True, whole=False):
            told.append(told_of(values, value=-value_of({**values, RANK: 1})))
    last = [abs(math.log10(each.values[RATE]) + 3) for each in told[-8:]]
    assert sum(last) / len(last) < 1.0


def test_a_space_of_few_choices_is_not_tried_twice():
    made = space_of("rank=2,4", "epochs=1..2")
    told: list[Told] = []
    for _ in range(6):
        told += [told_of({**v, RATE: 1e-3}) for v in ask(made, told, 2, seed=0, lower=False,
                                                         whole=False)]  # fmt: skip
        told = [Told({k: v for k, v in t.values.items() if k != RATE}, t.result) for t in told]
    assert len(told) == 4


def test_lists_that_are_tried_whole_are_a_grid():
    made = space_of("rank=2,4,8", "schedule=cosine,linear")
    told: list[Told] = []
    while batch := ask(made, told, 4, seed=0, lower=False, whole=True):
        told += [Told(values, Result("complete", 0.5)) for values in batch]
    assert [each.values for each in told] == list(made.grid())


def test_where_trials_failed_less_is_tried():
    """A failure teaches as much as a bad value does."""
    made = space_of("learning_rate=log:1e-5..1e-1")
    told: list[Told] = []
    while len(told) < 28:
        for values in ask(made, told, 4, seed=2, lower=False, whole=False):
            value = 0.9 + 0.1 * math.log10(values[RATE])
            bad = Result("failed", None, reason="loss nan")
            good = Result("complete", value, [(1.0, value)])
            told.append(Told(values, bad if values[RATE] > 1e-3 else good))
    failed = [sum(e.result.state == "failed" for e in part) for part in (told[:8], told[-8:])]
    assert failed[1] < failed[0]


def test_pruned_trials_are_told():
    made = space_of(*WIDE)
    told = [
        told_of(each.values, "pruned" if place % 2 else "complete")
        for place, each in enumerate(searched(made, 12))
    ]
    assert len(ask(made, told, 3, seed=0, lower=False, whole=False)) == 3


def test_what_matters_is_found():
    made = space_of(*WIDE)
    found = importance(made, searched(made, 24), seed=0, lower=False)
    assert next(iter(found)) == RATE
    assert found[RATE] > 0.6
    assert sum(found.values()) == pytest.approx(1.0)
    assert set(found) == {RATE, RANK, SCHEDULE}
    assert found == importance(made, searched(made, 24), seed=0, lower=False)


def test_of_too_few_or_equal_trials_nothing_is_said():
    made = space_of(*WIDE)
    told = searched(made, 12)
    assert importance(made, told[:3], seed=0, lower=False) == {}
    same = [told_of(each.values, value=0.5) for each in told]
    assert importance(made, same, seed=0, lower=False) == {}
    pruned = [told_of(each.values, "pruned") for each in told]
    assert importance(made, pruned, seed=0, lower=False) == {}


def test_one_setting_explains_all():
    made = space_of("learning_rate=log:1e-5..1e-1")
    told = [told_of({RATE: rate, RANK: 2}) for rate in (1e-5, 1e-4, 1e-3, 1e-2)]
    assert importance(made, told, seed=0, lower=False) == {RATE: 1.0}


def test_without_optuna_the_install_line_is_told(monkeypatch):
    monkeypatch.setattr(search, "NAME", "absent_package")
    with pytest.raises(MissingExtra, match=r'pip install "tenonlm\[sweep\]"'):
        ask(space_of(*WIDE), [], 1, seed=0, lower=False, whole=False)
