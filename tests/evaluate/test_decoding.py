"""Decoding: rows written together say what each says alone, whatever comes and goes beside it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from decoders import BASES, OWNERS, alone, decoder, prompts, row, slotted, spelled, written
from tenon.core.errors import PlanError, RequestError, RunError
from tenon.evaluate.decoding import Decoding
from tenon.evaluate.running import Running
from tenon.model.continuing import continuing_fault
from tenon.model.rack import Rack
from tenon.model.writer import Writer
from tenon.serve.settings import EngineSettings
from tenon.text.batch import of_ids

SMALL = EngineSettings(device="cpu", cache_tokens=640, prompt_tokens=24)


@pytest.fixture(scope="module")
def rack_of(tmp_path_factory):
    """Give a tiny decoder with an adapter of each kind, made once."""
    cache, made = tmp_path_factory.mktemp("decoders"), {}

    def give(arch: str) -> Rack:
        if arch not in made:
            made[arch] = decoder(cache, arch)
        return made[arch]

    return give


def text_of(pieces) -> str:
    return "".join(piece.text for piece in pieces)


LENGTHS = (1, 30, 4, 9, 2, 17, 5, 12, 7, 3, 21, 6, 40, 8)


@pytest.mark.parametrize("arch", BASES)
def test_rows_of_all_kinds_say_together_what_evaluation_writes(arch, rack_of):
    rack = rack_of(arch)
    rows = [row(OWNERS[n % len(OWNERS)], ids) for n, ids in enumerate(prompts(LENGTHS))]
    decoding = Decoding(rack, SMALL)
    told = written(decoding, rows)
    expected = [alone(rack, each.owner, each.prompt.ids) for each in rows]
    assert [each.new for each in rows] == expected
    assert len({tuple(ids) for ids in expected}) > len(OWNERS), "adapters and prompts tell"
    for each in rows:
        assert text_of(told[each]) == spelled(each.new)
        ends = [piece.finish for piece in told[each] if piece.finish]
        assert ends == ["length" if len(each.new) == 12 else "stop"]
        assert [token for piece in told[each] for token in piece.ids] == each.new
    assert decoding.cells.free == decoding.cells.blocks and not decoding.rows


@pytest.mark.parametrize("arch", ["qwen3", "gpt2"])
def test_adapters_in_slots_say_what_they_say_in_layers(arch, tmp_path):
    rack = slotted(decoder(tmp_path, arch))
    assert {"lora", "houlsby"} <= set(rack.slots.held) < set(OWNERS)
    rows = [row(OWNERS[n % len(OWNERS)], ids) for n, ids in enumerate(prompts(LENGTHS, seed=2))]
    decoding = Decoding(rack, SMALL)
    written(decoding, rows, at_once=5)
    assert [each.new for each in rows] == [alone(rack, e.owner, e.prompt.ids) for e in rows]


def test_what_runs_beside_a_row_changes_no_token_of_it(rack_of):
    """Greedy or drawn, with logprobs; rows beside it are cancelled, late, or not finite."""
    rack = rack_of("mistral")
    asked = prompts([11, 5, 30, 8, 3])
    drawn = {"temperature": 0.9, "seed": 7, "logprobs": 2, "max_new_tokens": 15}

    def watched():
        return row("lora", asked[0], **drawn), row("prefix", asked[1], logprobs=0)

    def values(pieces):
        return [log for piece in pieces for log in piece.logprobs]

    first, second = watched()
    calm = written(Decoding(rack, SMALL), [first]) | written(Decoding(rack, SMALL), [second])
    again = watched()
    decoding = Decoding(rack, SMALL)
    others = [row("houlsby", asked[2]), row(None, asked[3], temperature=2.0), row("lora", asked[4])]
    told = {each: [] for each in again}
    for each in (*again, *others):
        decoding.begin(each)
    for turn in range(40):
        for who, piece in decoding.step():
            told.setdefault(who, []).append(piece)
        if turn == 1:
            assert decoding.cancel(others[0]).finish == "cancelled"
        if turn == 3:
            others[1].prompt = replace(others[1].prompt, deadline=1e-9)
        if turn == 4:
            spoil(decoding, others[2])
    assert told[others[1]][-1].finish == "deadline"
    assert isinstance(told[others[2]][-1], RunError) and "not finite" in str(told[others[2]][-1])
    assert [each.new for each in again] == [first.new, second.new]
    for mine, theirs in zip((first, second), again, strict=True):
        assert text_of(calm[mine]) == text_of(told[theirs])
        for a, b in zip(values(calm[mine]), values(told[theirs]), strict=True):
            assert a.id == b.id and a.logprob == pytest.approx(b.logprob, abs=1e-4)
            assert [i for i, _ in a.top] == [i for i, _ in b.top]
    assert len(values(calm[first])) == 15 == len(first.new)
    assert decoding.cells.free == decoding.cells.blocks
    # What the row that was not finite has left in its cells is nobody's.
    late = [row("lora", asked[2], max_new_tokens=30) for _ in range(10)]
    for each in late:
        decoding.begin(each)
    assert decoding.cells.free == 0
    while decoding.rows:
        decoding.step()
    expected = alone(rack, "lora", asked[2], most=30)
    assert [each.new for each in late] == [expected] * 10


def spoil(decoding: Decoding, which: Running) -> None:
    """Let the keys and values of a row be no numbers."""
    for store in decoding.cells.stores.values():
        with torch.inference_mode():
            store.key_NSKD[torch.from_numpy(which.blocks)] = math.nan
            store.value_NSKD[torch.from_numpy(which.blocks)] = math.nan


def test_a_pass_that_fails_ends_the_row_alone_that_fails(rack_of):
    rack = rack_of("llama")
    long, short, other = prompts([50, 4, 9])
    bad, *good = row("houlsby", long), row("houlsby", short), row("lora", other)

    def fail(module, given, named):
        if named["position_ids"].max() >= 54:
            raise ValueError("planted")

    hook = rack.trunk.model.rotary_emb.register_forward_pre_hook(fail, with_kwargs=True)
    decoding = Decoding(rack, SMALL)
    try:
        told = written(decoding, [bad, *good])
    finally:
        hook.remove()
    error = told[bad][-1]
    assert isinstance(error, RunError) and len(bad.new) == 5
    assert "adapter houlsby" in str(error) and "ValueError: planted" in str(error)
    assert [each.new for each in good] == [alone(rack, e.owner, e.prompt.ids) for e in good]
    assert decoding.cells.free == decoding.cells.blocks and rack.router.route is None


def test_an_answer_ends_before_a_stop_text_wherever_tokens_part_it(rack_of):
    rack = rack_of("gpt2")
    (ids,) = prompts([8])
    said = alone(rack, "ia3", ids)
    text = spelled(said)
    for begin in range(2, len(text) - 4, 3):
        stop = text[begin : begin + 5]
        each = row("ia3", ids, stop=("never", stop))
        pieces = written(Decoding(rack, SMALL), [each])[each]
        assert text_of(pieces) == text[: text.index(stop)]
        assert pieces[-1].finish == "stop"
    each = row("ia3", ids, stop=(text[-3:] + "x",))
    pieces = written(Decoding(rack, SMALL), [each])[each]
    assert text_of(pieces) == text and pieces[-1].finish == "length"
    each = row("ia3", ids, stop_ids=(said[4],))
    written(Decoding(rack, SMALL), [each])
    assert each.new == said[: said.index(said[4])] and each.finish == "stop"


@pytest.mark.parametrize("top_k", [0, 3])
def test_a_seed_decides_what_is_drawn(top_k, rack_of):
    rack = rack_of("qwen3")
    (ids,) = prompts([9])
    how = {"temperature": 1.5, "max_new_tokens": 6, "top_k": top_k}
    rows = [row("lora", ids, seed=seed, **how) for seed in (*range(12), *range(12))]
    written(Decoding(rack, SMALL.model_copy(update={"cache_tokens": 4096})), rows, at_once=24)
    said = [tuple(each.new) for each in rows]
    assert said[:12] == said[12:]
    assert len(set(said)) > 6


def test_logprobs_are_those_of_the_scores_and_the_likeliest_come_first(rack_of):
    rack = rack_of("gpt2")
    (ids,) = prompts([7])
    each = row("houlsby", ids, logprobs=3, max_new_tokens=4)
    pieces = written(Decoding(rack, SMALL), [each])[each]
    found = [log for piece in pieces for log in piece.logprobs]
    assert [log.id for log in found] == each.new
    with torch.no_grad(), rack.only("houlsby") as peft:
        model = Writer(rack.trunk, peft).eval()
        for place, log in enumerate(found):
            batch = of_ids([[*ids, *each.new[:place]]])
            logs = torch.log_softmax(model.next_logits_BV(batch)[0], 0)
            best, tokens = logs.topk(3)
            assert log.top[0] == (log.id, log.logprob)
            assert [token for token, _ in log.top] == tokens.tolist()
            assert [value for _, value in log.top] == pytest.approx(best.tolist(), abs=1e-4)


def test_a_long_prompt_holds_up_nobody(rack_of):
    """A pass reads no more of prompts than it may, and short ones are read whole before."""
    rack = rack_of("llama")
    settings = SMALL.model_copy(update={"prompt_tokens": 16})
    decoding = Decoding(rack, settings)
    long, short = (row("lora", ids) for ids in prompts([50, 4]))
    decoding.begin(long)
    decoding.step()
    decoding.begin(short)
    decoding.step()
    assert len(short.new) == 1 and not long.new and 16 < long.past <= 32
    while not long.new:
        decoding.step()
    assert len(short.new) >= 2
    assert long.new == alone(rack, "lora", long.prompt.ids)[:1]


class TestRoom:
    def test_rows_wait_for_cells_and_give_them_back(self, rack_of):
        settings = EngineSettings(device="cpu", cache_tokens=64, batch_rows=3)
        decoding = Decoding(rack_of("llama"), settings)
        rows = [row(None, ids) for ids in prompts([20, 20, 5])]
        decoding.begin(rows[0])
        decoding.begin(rows[1])
        assert not decoding.room(rows[2].prompt)
        with pytest.raises(RunError, match="0 blocks of cells are free"):
            decoding.begin(rows[2])
        decoding.cancel(rows[0])
        assert decoding.room(rows[2].prompt)
        decoding.begin(rows[2])
        assert set(rows[2].blocks) <= set(rows[0].blocks)

    def test_no_more_rows_run_than_may(self, rack_of):
        decoding = Decoding(rack_of("llama"), SMALL.model_copy(update={"batch_rows": 2}))
        rows = [row(None, ids) for ids in prompts([3, 4, 5])]
        for each in rows[:2]:
            decoding.begin(each)
        assert not decoding.room(rows[2].prompt)

    @pytest.mark.parametrize(
        ("ids", "how", "told"),
        [
            ((), {}, "both must be at least 1"),
            ((5,), {"max_new_tokens": 0}, "both must be at least 1"),
            ((5, 100), {}, "token ids from 5 to 100, and the base knows 0 to 99"),
            ((5,) * 60, {}, "takes 71 places, and the base knows 64"),
            ((5,) * 40, {}, "takes 51 places, and there are cells for 32"),
        ],
    )
    def test_what_could_never_begin_is_told_at_once(self, ids, how, told, rack_of):
        settings = EngineSettings(device="cpu", cache_tokens=32)
        decoding = Decoding(rack_of("llama"), settings)
        with pytest.raises(RequestError, match=told):
            decoding.room(row(None, ids, **how).prompt)


def test_what_cannot_be_continued_is_told(rack_of):
    trunk = rack_of("llama").trunk
    assert continuing_fault(trunk) == ""
    with rack_of("llama").all():
        Decoding(rack_of("llama"), SMALL, inside=nullcontext)
    padded = Rack(replace(trunk, packed=False, why="asked for"))
    with pytest.raises(PlanError, match=r"at once: its rows are padded \(asked for\); write one"):
        Decoding(padded, SMALL)
    assert "asked row by row" in continuing_fault(replace(trunk, start=(0,)))


def test_a_base_that_continues_wrongly_is_found_out(rack_of, monkeypatch):
    """Keys that are kept in a wrong cell, or a window that is forgotten, are seen by the proof."""
    from tenon.model import cached, cells

    put = cells.Store.put
    with monkeypatch.context() as patch:
        patch.setattr(cells.Store, "put", lambda s, at, k, v: put(s, at.roll(1), k, v))
        assert "hidden states differ" in continuing_fault(rack_of("qwen3").trunk)
    view = cached.Group._view
    with monkeypatch.context() as patch:
        patch.setattr(cached.Group, "_view", lambda group, _: view(group, None))
        assert "hidden states differ" in continuing_fault(rack_of("mistral").trunk)
        assert continuing_fault(rack_of("llama").trunk) == ""
