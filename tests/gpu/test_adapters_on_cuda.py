"""Adapters on CUDA: rows of their own, compositions, fusions, merging and compiled graphs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from attached import TABLES, shake
from kinds import TABLES as PEFT_TABLES
from kinds import kind_of
from models import rows_of, trunk_of
from racks import adapter_in, alone, mixed, put, rack_of
from tenon.adapters import pack
from tenon.adapters.composition import Average, Stack
from tenon.adapters.fusion_parts import read_parts
from tenon.adapters.kind import settle
from tenon.model.attach import attach
from tenon.model.merge import TOLERANCE, merge_modules, relative

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CLOSE = {"float32": 1e-4, "bfloat16": 5e-2}
MANY = {
    **{name: TABLES[name] for name in ("lora", "houlsby", "pfeiffer")},
    "ia3": {"kind": "ia3.v1"},
}
LENGTHS = (3, 7, 5, 4, 6)
every_dtype = pytest.mark.parametrize("dtype", CLOSE)
every_arch = pytest.mark.parametrize("arch", ["bert", "llama"])


def on_cuda(lengths=LENGTHS):
    return rows_of(lengths).to(torch.device("cuda"))


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).abs().max() / expected.float().abs().max())


@every_dtype
@every_arch
@pytest.mark.parametrize("name", ["lora.v1", "dora.v1", "vera.v1", "oft.v1", "ln_tuning.v1"])
def test_rows_have_adapters_of_their_own(name, arch, dtype, folder_of):
    rack = rack_of(folder_of(arch), MANY, size=0.05, device="cuda", dtype=dtype)
    put(rack, "z", PEFT_TABLES[name], seed=9, size=0.02)
    batch, owners = on_cuda(), ["z", "lora", None, "pfeiffer", "z"]
    expected = {own: alone(rack, own, batch).split(LENGTHS) for own in dict.fromkeys(owners)}
    with rack.all() as router, torch.no_grad(), router.on(rack.route(owners, LENGTHS)):
        together = rack.trunk.hidden_TD(batch).split(LENGTHS)
    for row, own in enumerate(owners):
        assert error(together[row], expected[own][row]) <= CLOSE[dtype], own


@every_arch
@pytest.mark.parametrize("name", sorted(TABLES | PEFT_TABLES))
def test_packed_is_padded(name, arch, folder_of):
    table = {**PEFT_TABLES, **TABLES}[name]
    trunk = trunk_of(folder_of(arch), device="cuda", dtype="float32")
    held = attach(trunk, settle("mood", table), seed=3)
    shake(held.peft, size=0.02)
    held.peft.eval()
    with torch.no_grad():
        packed, padded = (replace(trunk, packed=on).hidden_TD(on_cuda()) for on in (True, False))
    assert error(packed, padded) <= CLOSE["float32"]


@every_dtype
@every_arch
def test_compositions_add_up(arch, dtype, folder_of):
    rack = rack_of(folder_of(arch), MANY, size=0.05, device="cuda", dtype=dtype)
    batch = on_cuda()
    one = mixed(rack, Average({"houlsby": 1.0}), batch)
    assert error(one, alone(rack, "houlsby", batch)) == 0
    both = mixed(rack, Average({"lora": 0.5, "houlsby": 0.5}), batch)
    back = mixed(rack, Average([("houlsby", 0.5), ("lora", 0.5)]), batch)
    assert error(both, back) <= CLOSE[dtype]
    assert error(mixed(rack, Stack("lora", "pfeiffer"), batch), both) > 0


@every_dtype
@every_arch
def test_a_fresh_fusion_is_the_average(arch, dtype, folder_of, tmp_path):
    tables = {"a": TABLES["lora"], "b": TABLES["pfeiffer"]}
    rack = rack_of(folder_of(arch), tables, size=0.05, device="cuda", dtype=dtype)
    for name, table in tables.items():
        pack.write(tmp_path / name, adapter_in(rack, name, table), card="# part")
    parts = [
        part.model_dump(mode="json") for part in read_parts([str(tmp_path / n) for n in tables])
    ]
    expected = mixed(rack, Average({"a": 0.5, "b": 0.5}), on_cuda())
    trunk = trunk_of(folder_of(arch), device="cuda", dtype=dtype)
    attach(trunk, settle("mix", {"kind": "fusion.v1", "parts": parts}), seed=1).peft.eval()
    with torch.no_grad():
        assert error(trunk.hidden_TD(on_cuda()), expected) <= CLOSE[dtype]


@torch.no_grad()
def hidden(model):
    ids = torch.arange(5, 17, device="cuda")[None]
    return model(input_ids=ids).last_hidden_state


@every_dtype
@every_arch
@pytest.mark.parametrize("name", [name for name in PEFT_TABLES if kind_of(name).mergeable])
def test_merged_is_unmerged(name, arch, dtype, folder_of):
    trunk = trunk_of(folder_of(arch), device="cuda", dtype=dtype)
    held = attach(trunk, settle("mood", PEFT_TABLES[name]), seed=3)
    shake(held.peft, size=0.01)
    expected = hidden(held.peft.eval())
    merge_modules("mood", trunk, held.peft, partial(hidden, held.peft))
    most = TOLERANCE[trunk.model.dtype] * (10 if dtype == "float32" else 3)
    assert relative(expected, hidden(trunk.model)) <= most


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch's own compiler
def test_a_compiled_trunk_routes_rows(folder_of):
    rack = rack_of(
        folder_of("bert"), MANY, size=0.05, device="cuda", dtype="float32", batches="padded"
    )
    batch, owners = on_cuda([4] * 5), ["lora", "houlsby", None, "pfeiffer", "ia3"]
    parts = [alone(rack, own, batch).split(4)[row] for row, own in enumerate(owners)]
    ids = batch.ids_T.view(5, 4)
    with rack.all() as router, torch.no_grad(), router.on(rack.route(owners, batch.lengths)):
        compiled = torch.compile(rack.trunk.model)
        found = compiled(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert error(found.flatten(0, 1), torch.cat(parts)) <= CLOSE["float32"]
