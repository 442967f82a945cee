"""States: what is written is read again, whole or not at all, whatever the order and the files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenon.core.errors import FileError
from tenon.text.states import FILL_TOKENS, MOST_FILES, Layout, States, rows_missing

CHANNELS = 8
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


def layout_of(folder, lengths, form="float32", file_bytes=400) -> Layout:
    return Layout(folder, np.array(lengths, np.int64), CHANNELS, form, file_bytes)


def made_up(layout: Layout, row: int) -> torch.Tensor:
    """Give the states of a row, which no other row has."""
    generator = torch.Generator().manual_seed(int(row))
    return torch.randn(int(layout.lengths_R[row]), layout.channels, generator=generator) * 3


def write(layout: Layout, numbers=None, done=lambda _: None) -> None:
    for number in layout.missing() if numbers is None else numbers:
        layout.write(number, lambda rows: torch.cat([made_up(layout, r) for r in rows]), done)


@settings(max_examples=25)
@given(lengths=LENGTHS, file_bytes=st.sampled_from([1, 400, 1 << 20]), data=st.data())
def test_rows_are_read_in_any_order(tmp_path_factory, lengths, file_bytes, data):
    layout = layout_of(tmp_path_factory.mktemp("s"), lengths, file_bytes=file_bytes)
    done: list[int] = []
    write(layout, done=done.append)
    assert layout.missing() == []
    assert sum(done) == len(lengths)
    assert len(layout.paths) <= MOST_FILES
    assert sum(path.stat().st_size for path in layout.paths) == layout.total_bytes
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=9))
    found = States(layout, 1).states_TD(np.array(rows))
    assert torch.equal(found, torch.cat([made_up(layout, row) for row in rows]))


@pytest.mark.parametrize("form", ["float32", "float16", "bfloat16", "int8"])
def test_what_a_form_loses(tmp_path, form):
    """Of 8 and 11 bits of a float, and of the steps between -127 and 127."""
    layout = layout_of(tmp_path, [3, 30, 7], form)
    write(layout)
    whole = torch.cat([made_up(layout, row) for row in (2, 0, 1)])
    found = States(layout, 1).states_TD(np.array([2, 0, 1]))
    lost = (found.float() - whole).abs()
    if form == "int8":
        assert found.dtype == torch.float32
        assert bool((lost <= whole.abs().amax(1, keepdim=True) / 127 * 0.51).all())
    else:
        assert found.dtype == getattr(torch, form)
        parts = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8}
        assert bool((lost <= whole.abs() * parts[form]).all())
    assert (form == "float32") == (float(lost.max()) == 0)


def test_rows_of_like_length_are_computed_together(tmp_path):
    """At most so many tokens at once, whoever asks, so that all get the same numbers."""
    random = np.random.default_rng(0)
    layout = layout_of(tmp_path, random.integers(1, 200, 200), file_bytes=1 << 30)
    sizes = []

    def compute(rows):
        lengths = layout.lengths_R[rows]
        sizes.append(int(lengths.sum()))
        assert (np.diff(lengths) >= 0).all()
        return torch.zeros(sizes[-1], CHANNELS)

    layout.write(0, compute, lambda _: None)
    assert len(sizes) > 2
    assert max(sizes) <= FILL_TOKENS


def test_who_is_interrupted_leaves_whole_files_and_the_next_goes_on(tmp_path):
    layout = layout_of(tmp_path, [20] * 12)
    count = len(layout.paths)
    assert count > 3
    write(layout, [0])

    def interrupted(rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layout.write(1, interrupted, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["000.states"]
    assert layout.missing() == list(range(1, count))
    assert rows_missing(layout, layout.missing()) == 12 - int(layout.firsts[1])
    before = layout.paths[0].stat().st_mtime_ns
    write(layout)
    assert layout.missing() == []
    assert layout.paths[0].stat().st_mtime_ns == before


def test_a_file_of_another_size_counts_as_missing(tmp_path):
    layout = layout_of(tmp_path, [20] * 12)
    write(layout)
    with layout.paths[1].open("r+b") as file:
        file.truncate(layout.bytes_of(1) - 1)
    assert layout.missing() == [1]


def test_a_file_that_was_cut_or_removed_is_refused_with_its_name(tmp_path):
    layout = layout_of(tmp_path, [20] * 12)
    write(layout)
    states = States(layout, 1)
    with layout.paths[1].open("r+b") as file:
        file.truncate(5)
    layout.paths[2].unlink()
    with pytest.raises(FileError, match=r"001\.states: is shorter than it was; remove it"):
        states.states_TD(np.array([int(layout.firsts[1])]))
    with pytest.raises(FileError, match=r"002\.states: no such file"):
        states.states_TD(np.array([int(layout.firsts[2])]))
