"""The coupling: NICE by hand, its inverse, and the heads before which it is undone."""

from __future__ import annotations

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attached import FAMILY, attach, attached, hidden, shake
from bases import ARCHITECTURES, input_ids, tiny
from tenon.adapters.bottleneck import layers_of, uncouple_head
from tenon.adapters.coupling import Coupling, UncoupledHead
from whole import WHOLE, adapted, logits, put_on, whole

TABLE = FAMILY["mad-x"]


def coupled(model):
    (layer,) = (layer for layer in layers_of(model) if layer.place == "coupled")
    return layer


def nice_by_hand(c, x):
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    net = lambda n, h: (  # noqa: E731
        F.relu(h @ getattr(c, f"{n}_down").T + getattr(c, f"{n}_down_bias"))
        @ getattr(c, f"{n}_up").T
        + getattr(c, f"{n}_up_bias")
    )
    first = first + net("first", second)
    return torch.cat([first, second + net("second", first)], -1)


@given(st.integers(2, 33), st.floats(1, 8))
def test_it_is_nice_and_its_inverse_takes_it_back(hidden_size, reduction):
    torch.manual_seed(hidden_size)
    coupling = Coupling(hidden_size, reduction, nn.ReLU).double()
    x = torch.randn(4, 3, hidden_size, dtype=torch.float64)
    there = coupling(x)
    torch.testing.assert_close(there, nice_by_hand(coupling, x))
    torch.testing.assert_close(coupling.inverse(there), x, rtol=1e-10, atol=1e-10)
    assert not torch.equal(there, x)
    half = hidden_size // 2
    widths = {
        name: int((hidden_size - half if name == "first" else half) // reduction) or 1
        for name in ("first", "second")
    }
    for name, width in widths.items():
        assert getattr(coupling, f"{name}_down").shape[0] == width


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_it_lies_behind_all_that_makes_the_first_blocks_input(arch):
    model = attached(arch, "mad-x")
    shake(model)
    seen = {}
    layer = coupled(model)
    layer.base_layer.register_forward_hook(lambda _m, _i, out: seen.update(before=out))
    layer.register_forward_hook(lambda _m, _i, out: seen.update(after=out))
    hidden(model)
    coupling = layer.bottleneck_coupling["default"]
    torch.testing.assert_close(seen["after"], nice_by_hand(coupling, seen["before"]))
    block = model.base_model.model.get_submodule(FIRST[arch])
    block.register_forward_pre_hook(
        lambda _m, args, kwargs: seen.update(block=first_of(args, kwargs)), with_kwargs=True
    )
    hidden(model)
    if arch != "electra":  # which projects in between
        torch.testing.assert_close(seen["block"], seen["after"])


def first_of(args, kwargs):
    return args[0] if args else kwargs["hidden_states"]


FIRST = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), "encoder.layer.0"),
    "distilbert": "transformer.layer.0",
    **dict.fromkeys(("modernbert", "llama", "mistral", "qwen2", "qwen3"), "layers.0"),
    "gpt2": "h.0",
    "t5": "encoder.block.0",
}


@pytest.mark.parametrize("arch", sorted(WHOLE))
def test_before_the_head_it_is_undone(arch):
    before = logits(whole(arch))
    model = adapted(arch, "mad-x")
    assert torch.equal(logits(model), before)
    shake(model, size=0.1)
    head = model.base_model.model.get_output_embeddings()
    assert isinstance(head, UncoupledHead)
    seen = {}
    head.register_forward_hook(lambda _m, i, out: seen.update(states=i[0], scores=out))
    logits(model)
    layer = coupled(model)
    coupling = layer.bottleneck_coupling["default"]
    expected = head.base_layer(coupling.inverse(seen["states"]))
    torch.testing.assert_close(seen["scores"], expected)
    there = coupling(coupling.inverse(seen["states"]))
    torch.testing.assert_close(there, seen["states"], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(seen["scores"], head.base_layer(seen["states"]), atol=1e-3)


@pytest.mark.parametrize("arch", sorted(WHOLE))
def test_switched_off_deleted_and_unloaded_the_base_answers(arch):
    before = logits(whole(arch))
    model = adapted(arch, "mad-x")
    shake(model)
    moved = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)
    assert torch.equal(logits(model), moved) and not torch.equal(moved, before)
    model.base_model.delete_adapter("default")
    assert torch.equal(logits(model.base_model.model), before)
    bare = model.unload()
    assert torch.equal(logits(bare), before)
    assert sorted(bare.state_dict()) == sorted(whole(arch).state_dict())


def test_several_couplings_are_undone_in_the_order_that_takes_them_back():
    model = adapted("llama", "mad-x")
    config = model.peft_config["default"]
    model.add_adapter("other", config)
    model.base_model.set_adapter(["default", "other"])
    shake(model, size=0.1)
    layer = coupled(model)
    x = torch.randn(2, 3, 32)
    there = layer._changed(x, ["default", "other"])
    torch.testing.assert_close(layer.uncoupled(there), x, rtol=1e-4, atol=1e-4)


def test_a_trunk_that_was_adapted_alone_gets_its_head_uncoupled():
    expected = adapted("llama", "mad-x")
    shake(expected, size=0.1)
    model = whole("llama")
    inner = attach(model.model, TABLE)
    shake(inner, size=0.1)
    assert not torch.equal(logits(model), logits(expected)), "the head knows nothing of it yet"
    uncouple_head(model)
    uncouple_head(model)
    assert torch.equal(logits(model), logits(expected))
    assert isinstance(model.lm_head, UncoupledHead)
    assert not isinstance(model.lm_head.base_layer, UncoupledHead)


def test_a_model_without_a_coupling_keeps_its_head():
    model = whole("llama")
    put_on(model, FAMILY["houlsby"])
    head = model.lm_head
    uncouple_head(model)
    assert model.lm_head is head


def test_a_bfloat16_base_is_taken_there_and_back_within_its_precision():
    model = put_on(whole("llama", dtype=torch.bfloat16), TABLE)
    assert torch.equal(logits(model), logits(whole("llama", dtype=torch.bfloat16)))
    shake(model, size=0.1)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    layer = coupled(model)
    x = torch.randn(2, 3, 32).bfloat16()
    there = layer._through("default", x, inverse=False)
    assert there.dtype == torch.bfloat16
    back = layer.uncoupled(there)
    assert (back - x).abs().max() < 0.05


def test_it_can_stand_with_other_presets():
    for preset in ("houlsby", "compacter", "adapterplus", "parallel"):
        model = attach(tiny("bert"), {"kind": "bottleneck.v1", "preset": preset, "invertible": 4})
        coupling = coupled(model).bottleneck_coupling["default"]
        assert coupling.first_down.shape == (4, 16)
        model(input_ids=input_ids())


def test_the_embeddings_of_an_encoder_decoder_are_coupled_in_the_encoder_alone():
    for arch, name in (
        ("t5", "encoder.embed_tokens"),
        ("bart", "model.encoder.layernorm_embedding"),
    ):
        assert coupled(adapted(arch, "mad-x")).module == name


@pytest.mark.parametrize("arch", ["bert", "llama", "t5"])
def test_it_is_read_by_transformers_into_a_model_with_its_head(arch, tmp_path):
    model = adapted(arch, "mad-x")
    shake(model, size=0.1)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    theirs = peft.PeftModel.from_pretrained(whole(arch), tmp_path).eval()
    assert torch.equal(logits(theirs), logits(model))
    plain = whole(arch)
    plain.load_adapter(str(tmp_path))
    assert torch.equal(logits(plain.eval()), logits(model))
