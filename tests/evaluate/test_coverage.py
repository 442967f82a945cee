"""Intervals hold the truth and tests keep their level, in worlds of which the truth is known.

The full table, 5,000 sets a world, is made by `make coverage`; `make deep` draws the quick worlds
5,000 times and the slow ones less often, `make test` a quarter of that, at least 150 times. There
is room for the sampling error of a share.
"""

from __future__ import annotations

import numpy as np
import pytest

from worlds import FALSE, HOLDS, LEVEL, classes, clusters, likelihoods, parted, seeds, spans, zipf

POINT = 0.01


def checked(world, sets, *, least=LEVEL - POINT, most=1.0):
    """Check a world's shares, within three standard errors of so many sets."""
    room = 3 * np.sqrt(LEVEL * (1 - LEVEL) / sets)
    for name, share in world.shares(sets, resamples=400).items():
        if name.endswith(FALSE):
            assert share <= 1 - LEVEL + POINT + room, (name, share)
        else:
            assert name.endswith(HOLDS)
            assert least - room <= share <= most + room, (name, share)


@pytest.fixture
def part(deep):
    """How many of so many sets are drawn in this run."""
    return lambda sets: sets if deep else max(sets // 4, 150)


@pytest.mark.slow
@pytest.mark.parametrize("world", [spans(100), likelihoods(100)], ids=lambda world: world.name)
def test_sums_over_rows(world, part):
    checked(world, part(5000), most=LEVEL + POINT)


@pytest.mark.slow
def test_clusters(part):
    checked(clusters(20), part(2000))


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [classes(100, [0.25] * 4), classes(300, zipf(12)), classes(200, [0.05] * 20, balanced=True)],
    ids=lambda world: world.name,
)
def test_classes(world, part):
    checked(world, part(300))


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "luck"), [(2, 0.4), (5, 0.1)])
def test_seeds_hold_at_least_what_they_say(runs, luck, part):
    checked(seeds(runs, luck), part(200))


@pytest.mark.slow
def test_slices_raise_no_false_alarms(part):
    checked(parted(300), part(200))


def test_a_wrong_interval_is_caught():
    """Rows that belong together, taken for independent ones, do not pass."""
    with pytest.raises(AssertionError):
        checked(clusters(20, told=False), 200)
