"""L14: equal inputs are never in two parts, and adding rows moves none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.data.example import content_id
from tenon.data.split import part_of

ids = st.text().map(content_id)
seeds = st.integers(0, 2**32)
shares = st.floats(0.001, 0.5)


@given(ids, seeds, shares)
def test_the_part_depends_on_seed_and_id_alone(id, seed, share):
    assert part_of(id, seed, share) == part_of(id, seed, share)
    assert part_of(id, seed, share) in ("train", "dev")


@given(ids, seeds, shares, shares)
def test_a_larger_share_only_moves_rows_to_dev(id, seed, one, other):
    small, large = sorted((one, other))
    if part_of(id, seed, small) == "dev":
        assert part_of(id, seed, large) == "dev"


@given(ids, seeds)
def test_the_ends(id, seed):
    assert part_of(id, seed, 0.0) == "train"
    assert part_of(id, seed, 1.0) == "dev"


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_share_is_kept(share, seed):
    """20,000 ids: within five standard deviations of the share."""
    count = 20_000
    dev = sum(part_of(content_id(str(n)), seed, share) == "dev" for n in range(count))
    assert abs(dev - share * count) < 5 * (count * share * (1 - share)) ** 0.5


def test_another_seed_is_another_split():
    """Two seeds agree on dev as often as independent splits do."""
    known = [content_id(str(n)) for n in range(10_000)]
    both = sum(part_of(id, 1, 0.5) == part_of(id, 2, 0.5) == "dev" for id in known)
    assert abs(both - 2_500) < 250


def test_it_is_the_same_on_every_machine():
    """A frozen answer: were the hash to change, every dev set in the world would change."""
    parts = [part_of(content_id(f"text {n}"), 7, 0.5) for n in range(16)]
    assert "".join(part[0] for part in parts) == EXPECTED


EXPECTED = "dtdtdttdddtttttd"
