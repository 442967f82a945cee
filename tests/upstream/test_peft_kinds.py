"""What the kinds and the refused methods lean on in PEFT; each message says what to change."""

from __future__ import annotations

import inspect
import warnings

import peft
import pytest
import torch
from peft.tuners.lily import layer as lily
from peft.tuners.tuners_utils import BaseTunerLayer

import families
from attached import hidden
from bases import input_ids, tiny
from kinds import TABLES
from tenon.adapters.fresh import fresh
from tenon.adapters.kind import settle

REFUSALS = "adapters/refused.py"


def test_every_layer_names_its_parts_so_that_they_are_told_from_the_trunks():
    """`model/model.py` lets these train while the trunk is quiet."""
    for name in TABLES:
        trunk = tiny("llama")
        model = fresh(trunk, settle("mood", TABLES[name])).peft
        layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
        assert layers and all(layer.adapter_layer_names for layer in layers), name


def test_names_of_a_dense_mlp_beside_fused_experts_are_still_taken_for_the_experts():
    trunk = families.tiny("qwen3_moe")
    names = [f"layers.1.mlp.{part}_proj" for part in ("gate", "up", "down")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(trunk, peft.LoraConfig(target_modules=names))
    placed = {n for n, p in model.named_parameters() if p.requires_grad}
    assert any(".experts." in name for name in placed), (
        "PEFT takes module names as they are given now: adapters/sites.py may offer `mlp` beside "
        "experts, where it is dense"
    )


def test_lily_still_mixes_over_all_rows():
    assert ".mean(dim=0)" in inspect.getsource(lily), (
        f"Lily's router may be a row's own now: {REFUSALS} refuses it for that alone"
    )
    trunk = tiny("bert")
    names = ["encoder.layer.0.attention.self.query"]
    model = peft.get_peft_model(trunk, peft.LilyConfig(r=4, num_B=2, target_modules=names)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator()))
    rows = input_ids()
    alone = torch.cat([hidden(model, row[None]) for row in rows])
    assert not torch.allclose(hidden(model, rows), alone, atol=1e-4)


def test_boft_still_drops_its_factors_without_a_compiler():
    if torch.cuda.is_available():
        pytest.skip("the extension may be there")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peft.get_peft_model(
            tiny("bert"),
            peft.BOFTConfig(target_modules=["query"], boft_n_butterfly_factor=2),
        )
    assert any("boft_n_butterfly_factor to 1" in str(w.message) for w in caught), (
        f"BOFT works without its CUDA kernel now: {REFUSALS} refuses it for that alone"
    )


def test_t5s_encoder_still_ignores_a_prefix():
    config = peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="FEATURE_EXTRACTION")
    before = hidden(tiny("t5"))
    model = peft.get_peft_model(tiny("t5"), config).eval()
    assert torch.equal(hidden(model), before), f"{REFUSALS}: what it says of prefix tuning changed"


def test_a_fresh_prefix_still_is_not_the_base():
    config = peft.PrefixTuningConfig(
        num_virtual_tokens=3, task_type="FEATURE_EXTRACTION", init_weights="zero"
    )
    before = hidden(tiny("bert"))
    model = peft.get_peft_model(tiny("bert"), config).eval()
    assert not torch.allclose(hidden(model), before, atol=1e-3), f"{REFUSALS}: see prefix tuning"


def test_randlora_still_saves_its_bases_once_a_layer():
    trunk = tiny("bert")
    config = peft.RandLoraConfig(r=4, target_modules=["query", "value"], save_projection=True)
    held = peft.get_peft_model_state_dict(peft.get_peft_model(trunk, config))
    copies = [key for key in held if key.endswith("randlora_A")]
    assert len(copies) > 1, "adapters/shared_kinds.py: RandLoRA may save its bases now"


def test_files_of_trainable_tokens_still_have_no_place_for_a_head():
    assert "modules_to_save" not in inspect.signature(peft.TrainableTokensConfig).parameters, (
        f"{REFUSALS} refuses trainable tokens for that"
    )


def test_adalora_still_keeps_its_averages_outside_of_weights_and_optimizer():
    config = peft.AdaLoraConfig(target_modules=["query"], init_r=4, target_r=2, total_step=10)
    allocator = peft.get_peft_model(tiny("bert"), config).base_model.rankallocator
    assert isinstance(allocator.exp_avg_ipt, dict) and isinstance(allocator.exp_avg_unc, dict), (
        f"AdaLoRA's averages are elsewhere now: see whether {REFUSALS} can offer it"
    )


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_these_starts_still_rewrite_the_base(init):
    trunk = tiny("bert")
    before = trunk.encoder.layer[0].attention.self.query.weight.clone()
    config = peft.LoraConfig(r=4, target_modules=["query"], init_lora_weights=init)
    model = peft.get_peft_model(trunk, config)
    layer = model.base_model.model.encoder.layer[0].attention.self.query
    assert not torch.equal(layer.get_base_layer().weight, before), (
        f"PEFT leaves the base as it is with {init} now: adapters/starts.py may do as PEFT does"
    )
