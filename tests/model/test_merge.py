"""Merge: what PEFT can put into LoRA, folded into the weights of every architecture."""

from __future__ import annotations

from functools import partial

import peft
import pytest
import torch

from attached import shake
from bases import ARCHITECTURES, input_ids, tiny
from tenon.adapters import sites
from tenon.adapters.names import modules
from tenon.core.errors import AdapterError
from tenon.model.merge import TOLERANCE, adapted, merge_modules, relative
from tenon.model.trunk import Trunk

VARIANTS = {
    "plain": {},
    "rslora": {"use_rslora": True, "r": 16},
    "dora": {"use_dora": True},
    "ranks": {"rank_pattern": {".*0.*": 3}, "alpha_pattern": {".*1.*": 40}},
    "alpha": {"lora_alpha": 5.5},
}


def trunk_of(model) -> Trunk:
    return Trunk(model, decoder=False, packed=False, why="", offset=0, pad=0, parameters=0)


def on(model, **more) -> peft.PeftModel:
    """Put a shaken LoRA on all linear layers of a tiny model."""
    found = sites.resolve(model, ["attention", "mlp"])
    config = peft.LoraConfig(
        target_modules=list(modules(found)),
        fan_in_fan_out=model.config.model_type == "gpt2",
        **more,
    )
    made = peft.get_peft_model(model, config).eval()
    shake(made, size=0.05)
    return made


@torch.no_grad()
def hidden(model, seed=0):
    return model(input_ids=input_ids(seed=seed)).last_hidden_state


@pytest.mark.cells
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_hidden_states_stay_and_no_layer_of_peft_is_left(arch, variant):
    base = tiny(arch)
    plain = hidden(base)
    model = on(base, **VARIANTS[variant])
    expected = hidden(model, seed=1)
    found = merge_modules("mood", trunk_of(base), model, partial(hidden, model))
    assert relative(expected, hidden(base, seed=1)) < TOLERANCE[torch.float32]
    assert relative(plain, hidden(base)) > 1e-2
    assert max(folded.error for folded in found) < 2e-6
    assert [f.error for f in found] == sorted((f.error for f in found), reverse=True)
    assert (
        not adapted(base)
        and type(base)(base.config).state_dict().keys() == base.state_dict().keys()
    )


@pytest.mark.cells
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", ["plain", "dora"])
@pytest.mark.parametrize("arch", ["bert", "qwen3", "gpt2"])
def test_a_float32_adapter_on_a_half_base_is_rounded_once(arch, variant, dtype):
    """The weight is the nearest one to the exact sum; rounding the update first would miss it."""
    base = tiny(arch, dtype=dtype)
    model = on(base, **VARIANTS[variant])
    exact = {}
    for path, layer in adapted(base).items():
        twin = peft.get_peft_model(tiny(arch), model.peft_config["default"])
        peft.set_peft_model_state_dict(twin, peft.get_peft_model_state_dict(model))
        wide = adapted(twin.base_model.model)[path]
        wide.base_layer.weight.data = layer.base_layer.weight.float()
        wide.merge()
        exact[path] = wide.base_layer.weight.to(dtype)
        if len(exact) == 3:
            break
    merge_modules("mood", trunk_of(base), model, partial(hidden, model))
    for path, weight in exact.items():
        assert torch.equal(base.get_submodule(path).weight, weight), path


def test_a_second_merge_is_refused_and_so_is_one_that_peft_began():
    base = tiny("bert")
    model = on(base)
    merge_modules("mood", trunk_of(base), model, partial(hidden, model))
    with pytest.raises(AdapterError, match="adapter mood: has been merged into this base already"):
        merge_modules("mood", trunk_of(base), model, partial(hidden, model))
    model = on(tiny("bert"))
    model.merge_adapter()
    with pytest.raises(AdapterError, match="has been merged into this base already"):
        merge_modules("mood", trunk_of(model.base_model.model), model, partial(hidden, model))


def test_a_module_that_no_row_reaches_is_refused_by_name():
    model = on(tiny("bert"))
    base = model.base_model.model
    with pytest.raises(AdapterError, match=r"encoder.layer.0.*is reached by none of the texts"):
        merge_modules("mood", trunk_of(base), model, lambda: None)


def test_a_weight_that_float16_cannot_hold_is_refused_by_name():
    base = tiny("bert", dtype=torch.float16)
    model = on(base)
    layer = adapted(base)["encoder.layer.1.output.dense"]
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(1e7)
    rows = partial(hidden, model)
    with pytest.raises(AdapterError, match=r"layer.1.output.dense does not fit into torch.float16"):
        merge_modules("mood", trunk_of(base), model, rows)


@pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed")
def test_what_peft_cannot_merge_is_refused_by_name():
    base = tiny("llama")
    config = peft.LoraConfig(target_modules=["q_proj"], lora_bias=True)
    model = peft.get_peft_model(base, config).eval()
    with pytest.raises(AdapterError, match=r"q_proj cannot be merged \(Impossible to merge LoRA"):
        merge_modules("mood", trunk_of(base), model, partial(hidden, model))


def test_weights_that_two_modules_share_are_parted_before_one_of_them_changes():
    base = tiny("bert")
    beside = torch.nn.Linear(32, 100, bias=False)
    base.add_module("beside", beside)
    beside.weight = base.embeddings.word_embeddings.weight
    before = beside.weight.clone()
    config = peft.LoraConfig(target_modules=["word_embeddings"])
    model = peft.get_peft_model(base, config).eval()
    shake(model, size=0.05)
    merge_modules("mood", trunk_of(base), model, partial(hidden, model))
    assert torch.equal(beside.weight, before)
    assert not torch.equal(base.embeddings.word_embeddings.weight, before)
    assert base.config.tie_word_embeddings is False
