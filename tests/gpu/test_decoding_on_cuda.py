"""Decoding on CUDA: rows of all kinds are written together as each is alone."""

from __future__ import annotations

import pytest
import torch

from decoders import BASES, KINDS, OWNERS, STOP, alone, decoder, prompts, row, slotted, written
from racks import adapter_in
from tenon.evaluate.decoding import Decoding
from tenon.model.continuing import continuing_fault
from tenon.model.stacked import stacked
from tenon.model.trunk import TOLERANCE
from tenon.model.writer import Writer
from tenon.serve.settings import EngineSettings
from tenon.text.batch import of_ids

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
LENGTHS = (1, 30, 4, 9, 2, 17, 5, 12, 7, 3, 21, 6, 40, 8)
SMALL = EngineSettings(cache_tokens=640, prompt_tokens=24)


@pytest.mark.parametrize("arch", BASES)
def test_in_float32_the_tokens_are_those_of_evaluation(arch, tmp_path):
    rack = decoder(tmp_path, arch, device="cuda", dtype="float32")
    rows = [row(OWNERS[n % len(OWNERS)], ids) for n, ids in enumerate(prompts(LENGTHS))]
    decoding = Decoding(rack, SMALL)
    written(decoding, rows)
    assert all(store.key_NSKD.is_cuda for store in decoding.cells.stores.values())
    assert [each.new for each in rows] == [alone(rack, e.owner, e.prompt.ids) for e in rows]
    assert decoding.cells.free == decoding.cells.blocks


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("arch", BASES)
def test_in_half_each_token_is_among_the_likeliest(arch, dtype, tmp_path):
    """Rounding may change the order of tokens that are as likely, and no more."""
    rack = decoder(tmp_path, arch, device="cuda", dtype=dtype)
    assert continuing_fault(rack.trunk) == ""
    rows = [row(OWNERS[n % len(OWNERS)], ids) for n, ids in enumerate(prompts(LENGTHS))]
    written(Decoding(rack, SMALL), rows)
    for each in rows:
        if each.owner is None:
            check(Writer(rack.trunk, None).eval(), each, TOLERANCE[rack.trunk.model.dtype])
            continue
        with rack.only(each.owner) as peft:
            check(Writer(rack.trunk, peft).eval(), each, TOLERANCE[rack.trunk.model.dtype])


def check(model: Writer, each, tolerance: float) -> None:
    """Compare what was written to the scores of the whole row, computed at once."""
    # An answer that has come to its end has chosen the stop token as well, maybe that alone.
    said = [*each.new, *(STOP if each.finish == "stop" else ())]
    ids = [*each.prompt.ids, *said]
    with torch.no_grad():
        hidden_TD = model.trunk.hidden_TD(of_ids([ids]).to(model.trunk.device))
        logits_TV = model.trunk.logits_UV(hidden_TD)[len(each.prompt.ids) - 1 : -1]
    new_T = torch.tensor(said, dtype=torch.int64, device=logits_TV.device)
    chosen = logits_TV.gather(1, new_T[:, None])[:, 0]
    assert bool((chosen >= logits_TV.max(1).values - tolerance * logits_TV.abs().max()).all())


@pytest.mark.parametrize("how", [{"temperature": 0.8}, {"temperature": 1.2, "top_p": 0.8}])
def test_what_is_drawn_does_not_depend_on_what_else_runs(how, tmp_path):
    rack = decoder(tmp_path, "qwen3", device="cuda", dtype="float32")
    asked = prompts(LENGTHS, seed=4)
    rows = [row(OWNERS[n % 7], ids, seed=n, logprobs=2, **how) for n, ids in enumerate(asked)]
    again = [row(OWNERS[n % 7], ids, seed=n, logprobs=2, **how) for n, ids in enumerate(asked)]
    written(Decoding(rack, SMALL), rows)
    for each in again:
        written(Decoding(rack, SMALL), [each])
    assert [each.new for each in rows] == [each.new for each in again]


@pytest.mark.parametrize("arch", BASES)
def test_what_is_recorded_says_what_evaluation_writes(arch, tmp_path):
    """Rows of the base and of slots come and go in grids, which are recorded and replayed."""
    rack = slotted(decoder(tmp_path, arch, device="cuda", dtype="float32"))
    owners = (None, *rack.slots.held)
    rows = [row(owners[n % len(owners)], ids) for n, ids in enumerate(prompts(LENGTHS * 3))]
    decoding = Decoding(rack, SMALL)
    written(decoding, rows, at_once=5)
    turns = decoding.turns
    assert turns is not None and not decoding.why and not turns.recordings.why
    assert turns.recordings.recorded and turns.recordings.replayed > turns.recordings.computed
    assert [each.new for each in rows] == [alone(rack, e.owner, e.prompt.ids) for e in rows]
    assert decoding.cells.free == decoding.cells.blocks


def test_an_adapter_that_takes_anothers_slot_is_the_one_that_is_replayed(tmp_path):
    """What is recorded reads slots in their place: their contents may change, and they may move."""
    rack = slotted(decoder(tmp_path, "qwen3", device="cuda", dtype="float32"))
    decoding, table = Decoding(rack, SMALL), {**KINDS["lora"]}
    pool, (ids,) = rack.slots.held["lora"], prompts([9])
    expected = {name: alone(rack, name, ids) for name in ("lora", None)}

    def said(owner: str | None) -> list[int]:
        each = row(owner, ids)
        written(decoding, [each])
        return each.new

    for _ in range(3):
        assert said("lora") == expected["lora"]
    made = stacked(rack.trunk.model, adapter_in(rack, "lora", table))
    for tensor in (delta.up_OW for delta in made.deltas.values()):
        tensor.zero_()
    rack.slots.drop("lora")
    rack.slots.put("lora", made)
    assert said("lora") == expected[None] != expected["lora"]
    pool.resize(pool.capacity + 3)
    assert said("lora") == said(None) == expected[None]
    rack.slots.drop("lora")
    rack.slots.put("lora", stacked(rack.trunk.model, adapter_in(rack, "lora", table)))
    assert said("lora") == expected["lora"]
    assert not decoding.why and not decoding.turns.recordings.why
