"""Turns: rows in grids say what evaluation writes, however many turns are computed ahead."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from decoders import BASES, OWNERS, alone, decoder, prompts, row, slotted, written
from tenon.core.errors import RunError
from tenon.evaluate.decoding import Decoding
from tenon.evaluate.together import Limits
from tenon.evaluate.turns import PATIENCE
from tenon.model.grid import BLOCKS, NEW, ROWS, size_of
from tenon.model.rack import Rack

LENGTHS = (1, 30, 4, 9, 2, 17, 5, 12, 7, 3, 21, 6, 40, 8, 3, 3, 5)
SMALL = Limits(batch_rows=64, prompt_tokens=24, cache_tokens=640)
LARGE = Limits(batch_rows=64, prompt_tokens=512, cache_tokens=4096)


@pytest.fixture(scope="module")
def rack_of(tmp_path_factory):
    """Give a tiny decoder with its adapters in slots, where they can be, made once."""
    cache, made = tmp_path_factory.mktemp("decoders"), {}

    def give(arch: str) -> Rack:
        if arch not in made:
            made[arch] = slotted(decoder(cache, arch))
        return made[arch]

    return give


@pytest.mark.parametrize("arch", BASES)
def test_rows_in_grids_say_what_evaluation_writes(arch, rack_of):
    """Rows of the base and of all kinds: those that are in no slot are computed beside grids."""
    rack = rack_of(arch)
    rows = [row(OWNERS[n % len(OWNERS)], ids) for n, ids in enumerate(prompts(LENGTHS))]
    decoding = Decoding(rack, SMALL, grids=True)
    told = written(decoding, rows)
    assert not decoding.why and decoding.turns.recordings.computed > 12
    grids, others = decoding.passes.grids, decoding.passes.others
    assert (
        grids == decoding.turns.recordings.computed and others > 12 and not decoding.passes.replayed
    )
    assert [each.new for each in rows] == [alone(rack, e.owner, e.prompt.ids) for e in rows]
    for each in rows:
        assert [token for piece in told[each] for token in piece.ids] == each.new
        assert [piece.finish for piece in told[each] if piece.finish] == [each.finish]
    assert decoding.cells.free == decoding.cells.blocks and not decoding.rows


def test_rows_that_end_or_go_in_a_turn_that_was_computed_ahead_change_no_other(rack_of):
    rack = rack_of("qwen3")
    asked = prompts([9] * 20, seed=3)
    how = [{"max_new_tokens": 40 if n % 9 else 5 + n} for n in range(20)]
    rows = [row(OWNERS[n % 3], ids, **how[n]) for n, ids in enumerate(asked)]
    decoding = Decoding(rack, LARGE, grids=True)
    for each in rows[:19]:
        decoding.begin(each)
    flights = 0
    for turn in range(60):
        decoding.step()
        flights += decoding.turns._flight is not None
        if turn == 12:
            decoding.cancel(rows[4])
            assert rows[4].finish == "cancelled"
            decoding.begin(rows[19])
    assert flights > 10, "turns are computed ahead"
    for n, each in enumerate(rows):
        expected = alone(rack, each.owner, each.prompt.ids, how[n]["max_new_tokens"])
        assert each.new == (expected[: len(each.new)] if n == 4 else expected)
    assert decoding.cells.free == decoding.cells.blocks


def test_what_is_drawn_is_what_is_drawn_without_grids(rack_of):
    rack, asked = rack_of("gpt2"), prompts([5, 9, 3, 12], seed=8)

    def said(grids: bool):
        rows = [row(OWNERS[n % 3], ids, temperature=0.9, top_p=0.9, seed=n, logprobs=1)
                for n, ids in enumerate(asked)]  # fmt: skip
        rows.append(row("lora", asked[0]))
        decoding = Decoding(rack, SMALL, grids=grids)
        told = written(decoding, rows, at_once=5)
        return [(each.new, [log.id for p in told[each] for log in p.logprobs]) for each in rows]

    assert said(grids=True) == said(grids=False)


def test_prompts_wait_for_others_no_longer_than_they_may(rack_of):
    rack = rack_of("llama")
    decoding = Decoding(rack, LARGE, grids=True)
    many = [row(None, ids, max_new_tokens=40) for ids in prompts([3] * 40)]
    for each in many:
        decoding.begin(each)
    while not all(each.new or each.finish for each in many):
        decoding.step()
    late = row("lora", prompts([7])[0])
    decoding.begin(late)
    assert len(decoding.rows) > 2 * PATIENCE
    turns = 0
    while not late.new:
        decoding.step()
        turns += 1
    assert turns == PATIENCE
    assert late.new == alone(rack, "lora", late.prompt.ids)[:1]


def test_a_long_prompt_is_read_in_parts_and_holds_up_nobody(rack_of):
    rack = rack_of("mistral")
    decoding = Decoding(rack, SMALL, grids=True)
    long, short = (row("lora", ids) for ids in prompts([50, 4]))
    decoding.begin(long)
    decoding.begin(short)
    decoding.step()
    decoding.step()
    assert short.new and not long.new and 0 < long.past < 50
    while decoding.rows:
        decoding.step()
    assert [r.new for r in (long, short)] == [
        alone(rack, "lora", r.prompt.ids) for r in (long, short)
    ]


def test_grids_that_fail_are_left_and_no_row_is_lost(rack_of, monkeypatch):
    rack = rack_of("llama")
    decoding = Decoding(rack, SMALL, grids=True)
    rows = [row(OWNERS[n % 3], ids) for n, ids in enumerate(prompts([4, 9, 6]))]
    for each in rows:
        decoding.begin(each)
    for _ in range(5):
        decoding.step()
    assert decoding.turns is not None

    def fail(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(decoding.turns.recordings, "_run", fail)
    while decoding.rows:
        assert not any(isinstance(said, RunError) for _, said in decoding.step())
    assert decoding.turns is None and "RuntimeError: planted" in decoding.why
    assert [each.new for each in rows] == [alone(rack, e.owner, e.prompt.ids) for e in rows]


def test_a_row_that_is_not_finite_spoils_no_other(rack_of):
    rack = rack_of("qwen3")
    decoding = Decoding(rack, SMALL, grids=True)
    bad, *good = (row(OWNERS[n % 3], ids) for n, ids in enumerate(prompts([8, 5, 11, 3])))
    for each in (bad, *good):
        decoding.begin(each)
    while len(bad.new) < 3:
        decoding.step()
    for store in decoding.cells.stores.values():
        with torch.inference_mode():
            store.key_NSKD[torch.from_numpy(bad.blocks)] = torch.nan
            store.value_NSKD[torch.from_numpy(bad.blocks)] = torch.nan
            # Nor does what nobody reads.
            store.value_NSKD[decoding.cells.nobody] = torch.nan
    told = []
    while decoding.rows:
        told += [said for who, said in decoding.step() if who is bad]
    assert isinstance(told[-1], RunError) and "not finite" in str(told[-1])
    assert [each.new for each in good] == [alone(rack, e.owner, e.prompt.ids) for e in good]


def test_sizes_of_grids_waste_little():
    for sizes in (ROWS, NEW, BLOCKS):
        assert list(sizes) == sorted(set(sizes))
        assert all(size_of(sizes, each) == each for each in sizes)
        assert all(after <= 2 * before for before, after in pairwise(sizes[1:]))
        assert size_of(sizes, sizes[-1] + 1) == 0
