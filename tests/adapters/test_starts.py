"""Starts of LoRA: PEFT's own starts on a copy of the base are the oracle; the base stays."""

from __future__ import annotations

import math

import peft
import pytest
import torch

from attached import hidden, shake
from bases import input_ids, tiny
from tenon.adapters import weights
from tenon.adapters.fresh import fresh
from tenon.adapters.halves import Halves
from tenon.adapters.kind import settle
from tenon.adapters.starts import balance, fixed_numbers, mica, olora, pissa
from tenon.core.errors import PlanError

RANK = 4
SITES = ["attention.query", "mlp.out"]
QUERY = "encoder.layer.0.attention.self.query"
doubled = pytest.mark.parametrize("init", ["pissa", "olora"])


def started(init: str, arch: str = "bert", dtype=torch.float32, **own) -> peft.PeftModel:
    """Put a fresh LoRA with a start on a tiny base, in eval mode."""
    table = {"kind": "lora.v1", "init": init, "rank": RANK, "sites": SITES, **own}
    trunk = tiny(arch, dtype=dtype).requires_grad_(False)
    torch.manual_seed(0)
    return fresh(trunk, settle("mood", table)).peft.eval()


def oracle(init: str, arch: str = "bert", **more) -> peft.PeftModel:
    """Let PEFT start at the same layers on a copy of the base, whose weights it changes."""
    ours = started("kaiming", arch).peft_config["default"]
    config = peft.LoraConfig(
        r=RANK,
        lora_alpha=16,
        init_lora_weights=init,
        target_modules=ours.target_modules,
        fan_in_fan_out=ours.fan_in_fan_out,
        **more,
    )
    return peft.get_peft_model(tiny(arch), config).eval()


def trained(model) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def learn(model, steps: int = 4) -> list[float]:
    """Take some steps of AdamW without decay towards 0; give the losses before each."""
    optimizer = torch.optim.AdamW(trained(model).values(), 1e-2, weight_decay=0)
    losses = []
    for seed in range(steps):
        loss = model(input_ids=input_ids(seed=seed)).last_hidden_state.square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


@pytest.mark.cells
@pytest.mark.parametrize(
    ("init", "arch", "stabilized"),
    [
        ("pissa", "bert", False),
        ("pissa", "bert", True),
        ("pissa", "llama", False),
        ("pissa", "gpt2", False),
        ("olora", "bert", False),
        ("olora", "llama", True),
        ("mica", "bert", False),
        ("mica", "gpt2", False),
    ],
)
def test_it_trains_as_pefts_own_start_does_on_a_base_that_is_changed(init, arch, stabilized):
    ours, theirs = started(init, arch, rank_stabilized=stabilized), oracle(init, arch)
    if stabilized:
        theirs = oracle(init, arch, use_rslora=True)
    for model in (ours, theirs):
        hidden(model)
        model(input_ids=input_ids()).last_hidden_state.square().mean().backward()
    expected = [p.grad for p in trained(theirs).values()]
    found = [p.grad for p in trained(ours).values()]
    assert [grad.shape for grad in found] == [grad.shape for grad in expected]
    for ours_g, theirs_g in zip(found, expected, strict=True):
        # singular vectors are known up to a sign, which their factor's row or column has as well
        torch.testing.assert_close(ours_g.abs(), theirs_g.abs(), rtol=1e-3, atol=1e-6)
    for model in (ours, theirs):
        model.zero_grad()
    torch.testing.assert_close(learn(ours), learn(theirs), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(hidden(ours), hidden(theirs), rtol=1e-3, atol=1e-3)


def test_pefts_own_olora_is_still_none_of_a_transposed_layer():
    """It decomposes the weight as it is stored, so that there is no oracle for GPT-2."""
    theirs = oracle("olora", "gpt2")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        hidden(theirs)


@pytest.mark.parametrize("arch", ["bert", "gpt2"])
def test_each_start_is_the_part_of_the_weight_that_its_paper_says(arch):
    weight_OI = torch.randn(24, 16, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(weight_OI)
    a_RI, b_OR = pissa(weight_OI, RANK, 2.0)
    rest = torch.linalg.svdvals(weight_OI - 2.0 * b_OR @ a_RI)
    torch.testing.assert_close(rest[: 16 - RANK], values[RANK:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(a_RI.norm(dim=1), b_OR.norm(dim=0))
    a_RI, b_OR = olora(weight_OI, RANK, 2.0)
    torch.testing.assert_close(b_OR.T @ b_OR, torch.eye(RANK), rtol=0, atol=1e-5)
    torch.testing.assert_close((b_OR @ a_RI)[:, :RANK], weight_OI[:, :RANK], rtol=1e-4, atol=1e-5)
    a_RI, b_OR = mica(weight_OI, RANK, 2.0)
    assert not a_RI.any()
    torch.testing.assert_close(
        (b_OR.T @ weight_OI).norm(dim=1), values[-RANK:], rtol=1e-4, atol=1e-5
    )


def test_a_large_weight_is_decomposed_fast_and_nearly_as_well():
    generator = torch.Generator().manual_seed(1)
    weight_OI = torch.randn(96, 64, generator=generator)
    torch.manual_seed(0)
    fast, exact = pissa(weight_OI, RANK, 1.0, exact=32), pissa(weight_OI, RANK, 1.0)
    lost = [float((weight_OI - f.b_OR @ f.a_RI).norm()) for f in (fast, exact)]
    assert not torch.equal(fast.a_RI, exact.a_RI)
    assert lost[1] <= lost[0] * (1 + 1e-6) and lost[0] <= 1.01 * lost[1]


@doubled
def test_what_is_trained_is_half_of_the_file(init):
    model = started(init)
    held = weights.take(model)
    count = sum(p.numel() for p in trained(model).values())
    assert count == fixed_numbers(model) == sum(t.numel() for t in held.values()) // 2
    assert count == sum(p.numel() for p in trained(started("kaiming")).values())
    assert model.peft_config["default"].r == 2 * RANK
    assert all(key.endswith((".lora_A.weight", ".lora_B.weight")) for key in held)


@doubled
@pytest.mark.parametrize("stabilized", [False, True])
def test_the_factor_is_that_of_the_rank_that_is_trained(init, stabilized):
    model = started(init, rank_stabilized=stabilized, alpha=8)
    layer = model.base_model.model.get_submodule(QUERY)
    expected = 8 / math.sqrt(RANK) if stabilized else 8 / RANK
    assert math.isclose(layer.scaling["default"], expected, rel_tol=1e-12)


@doubled
def test_the_fixed_half_neither_moves_nor_decays(init):
    model = started(init)
    before = {name: b.clone() for name, b in model.named_buffers() if name.endswith(".fixed")}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.5)
    model(input_ids=input_ids()).last_hidden_state.square().mean().backward()
    optimizer.step()
    after = dict(model.named_buffers())
    assert before and all(torch.equal(after[name], before[name]) for name in before)


def test_b_of_mica_is_not_trained():
    names = trained(started("mica"))
    assert names and all(".lora_A." in name for name in names)


@pytest.mark.parametrize("init", ["pissa", "olora", "mica"])
def test_first_weights_that_are_known_are_put_in_and_not_computed_again(init, monkeypatch):
    table = {"kind": "lora.v1", "init": init, "rank": RANK, "sites": SITES}
    model = started(init)
    learn(model, 1)
    held = weights.take(model)
    for name in ("svd", "qr"):
        monkeypatch.delattr(torch.linalg, name)
    again = fresh(tiny("bert"), settle("mood", table), held).peft.eval()
    assert torch.equal(hidden(again), hidden(model))
    assert trained(again).keys() == trained(model).keys()


@doubled
def test_balanced_it_is_the_same_update_and_survives_bfloat16(init):
    """As an engine of LoRA holds it: in bfloat16, two products that nearly cancel do not."""
    model = started(init)
    shake(model, size=0.005)
    expected, base = hidden(model), hidden(tiny("bert"))
    moved = (expected - base).abs().max()
    raw = lost_in_bfloat16(model, expected)
    balance(model)
    assert (hidden(model) - expected).abs().max() <= 1e-4 * moved
    assert lost_in_bfloat16(model, expected) <= 0.03 * moved
    assert raw > 3 * lost_in_bfloat16(model, expected)
    assert isinstance(model.base_model.model.get_submodule(QUERY).lora_A["default"], Halves)


def lost_in_bfloat16(model, expected) -> float:
    plain = peft.get_peft_model(tiny("bert"), model.peft_config["default"]).eval()
    rounded = {key: t.bfloat16().float() for key, t in weights.take(model).items()}
    weights.put(plain, rounded)
    return float((hidden(plain) - expected).abs().max())


def test_what_draws_its_factors_is_left_as_it_is_by_balancing():
    model = started("gaussian")
    before = weights.take(model)
    balance(model)
    after = weights.take(model)
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ({"init": "pissa", "rank": 40}, "mood.rank: 40 is more than .*, 32 to 32, has directions"),
        ({"init": "eva", "rank": 33}, "mood.rank: 33 is more than .* for init eva to begin with"),
        ({"init": "orthogonal", "rank": 3}, "rank = 3 is odd, and init orthogonal halves it"),
        (
            {"init": "olora", "sites": ["embeddings"]},
            "embeddings is no place for lora.v1 with init",
        ),
        (
            {"init": "eva", "sites": ["*.word_embeddings"]},
            r"pattern \*.word_embeddings matches no linear layer",
        ),
    ],
)
def test_what_has_no_such_start_is_refused_by_name(table, cause):
    with pytest.raises(PlanError, match=cause):
        fresh(tiny("bert"), settle("mood", {"kind": "lora.v1", **table}))


def test_a_weight_that_is_not_plain_numbers_is_refused():
    trunk = tiny("bert").requires_grad_(False)
    layer = trunk.get_submodule(QUERY)
    layer.weight = torch.nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(PlanError, match="init: pissa is computed from a layer's weight.*int8"):
        fresh(trunk, settle("mood", {"kind": "lora.v1", "init": "pissa"}))


@pytest.mark.parametrize("name", ["pissa", "OLoRA", "eva.v1", "mica", "rslora", "lora-plus"])
def test_a_start_that_is_taken_for_a_kind_is_told_as_a_setting(name):
    with pytest.raises(PlanError, match='is a setting of LoRA; write kind = "lora.v1" and '):
        settle("mood", {"kind": name})


def test_halves_say_what_does_not_fit_them():
    half = Halves(torch.ones(2, 3), torch.zeros(2, 3), 0)
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        half.load_state_dict({"weight": torch.ones(3, 3)})
    with pytest.raises(RuntimeError, match="Missing key"):
        half.load_state_dict({})
