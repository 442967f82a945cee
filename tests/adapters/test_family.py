"""The bottleneck's presets and options, each against its published formula in plain torch."""

from __future__ import annotations

import json
import math

import peft
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, BertConfig

from attached import FAMILY, attach, attached, config_of, hidden, shake
from bases import ARCHITECTURES, HIDDEN, input_ids, tiny
from tenon.adapters.bottleneck import BottleneckConfig, layers_of
from tenon.adapters.bottleneck_faults import faults
from tenon.adapters.bottleneck_kind import PRESETS, BottleneckSettings
from tenon.adapters.kind import KINDS, settle
from tenon.core.errors import PlanError

KIND = "bottleneck.v1"
ACTS = {"relu": F.relu, "swish": F.silu, "gelu": F.gelu}


def of(model, place=None):
    return [layer for layer in layers_of(model) if place in (None, layer.place)]


def product_by_hand(layer, rule):
    """H = sum of A_n (x) (left_n right_n), one Kronecker product after the other."""
    terms = zip(rule, layer.left, layer.right, strict=True)
    return sum(torch.kron(a, left @ right) for a, left, right in terms)


def delta_by_hand(layer, h, activation, scale):
    """scale * up(act(down(h))), from the tensors of adapter `default` alone."""
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    if "default" in layer.rule_holders:
        rule = layer.rule_holders["default"].bottleneck_rule["default"]
        matrices = product_by_hand(down, rule), product_by_hand(up, rule)
    else:
        matrices = down.weight.T, up.weight.T
    narrow = ACTS[activation](h @ matrices[0] + down.bias)
    return scale * (narrow @ matrices[1] + up.bias)


def bert_block_by_hand(block, x, before_norm, after_norm):
    """A BERT block, with what an adapter does before and after each norm.

    Args:
        before_norm: what an adapter makes of (sublayer output, residual, norm, which).
        after_norm: what it makes of a norm's output.
    """
    attention, output = block.attention, block.output
    mixed = attention.self(x, None)[0]
    for which, dense, norm in (
        ("attention", attention.output.dense, attention.output.LayerNorm),
        ("mlp", output.dense, output.LayerNorm),
    ):
        inner = mixed if which == "attention" else block.intermediate(x)
        y = bare(dense)(inner)
        x = after_norm(bare(norm)(before_norm(y, x, bare(norm), which)), which)
    return x


def bare(module):
    return module.base_layer if hasattr(module, "base_layer") else module


DOUBLE = ("houlsby", "compacter")
ON_BERT = (*DOUBLE, "pfeiffer", "compacter++", "mad-x", "adapterplus")


def adapter_of(block, which, part):
    """The wrapped module of a block that preset `which` has at a part of it."""
    if which in DOUBLE:
        return block.attention.output.dense if part == "attention" else block.output.dense
    return block.output.LayerNorm


@pytest.mark.parametrize("which", ON_BERT)
def test_a_bert_block_computes_what_the_paper_writes(which):
    """Of y, the sublayer's output, and x, the residual.

    Houlsby: norm(y + delta(y) + x). Pfeiffer: norm(delta(norm(y + x)) + y + x). Adapter+: n + c *
    delta(n) of n = norm(y + x).
    """
    model = attached("bert", which)
    shake(model)
    block = model.base_model.model.encoder.layer[1]
    activation = PRESETS[which]["activation"]
    x = torch.randn(2, 5, HIDDEN)

    def before_norm(y, residual, norm, part):
        if which in DOUBLE:
            return y + delta_by_hand(adapter_of(block, which, part), y, activation, 1.0) + residual
        if which == "adapterplus" or part == "attention":
            return y + residual
        layer = adapter_of(block, which, part)
        return delta_by_hand(layer, norm(y + residual), activation, 1.0) + y + residual

    def after_norm(normed, part):
        if which != "adapterplus" or part == "attention":
            return normed
        layer = adapter_of(block, which, part)
        channels = layer.bottleneck_scale["default"]
        assert channels.shape == (HIDDEN,) and channels.std() > 0.1
        return normed + delta_by_hand(layer, normed, activation, channels)

    found = block(x, attention_mask=None)
    found = found[0] if isinstance(found, tuple) else found
    expected = bert_block_by_hand(block, x, before_norm, after_norm)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.cells
@pytest.mark.parametrize("which", ["pfeiffer", "adapterplus", "compacter++", "mad-x"])
@pytest.mark.parametrize("arch", ["llama", "gpt2", "modernbert", "t5"])
def test_behind_a_block_without_a_norm_the_adapter_reads_the_stream(arch, which):
    """y = s + delta(s), s being the sum of the sublayer's output and the residual."""
    model = attached(arch, which)
    shake(model)
    seen = {}
    layer = of(model, "stream")[1]
    layer.base_layer.register_forward_hook(lambda _m, _i, out: seen.update(sum=first(out)))
    layer.register_forward_hook(lambda _m, _i, out: seen.update(out=first(out)))
    hidden(model)
    scale = layer.bottleneck_scale["default"] if which == "adapterplus" else 1.0
    expected = seen["sum"] + delta_by_hand(layer, seen["sum"], PRESETS[which]["activation"], scale)
    torch.testing.assert_close(seen["out"], expected, rtol=1e-5, atol=2e-5)


def first(out):
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("arch", ["llama", "t5"])
def test_the_stream_is_the_residual_and_the_mlps_output(arch):
    model = attached(arch, "pfeiffer")
    seen = {}
    layer = of(model, "stream")[0]
    norm = "post_attention_layernorm" if arch == "llama" else "layer_norm"
    mlp = "mlp" if arch == "llama" else "DenseReluDense"
    for name in (norm, mlp):
        module = getattr(layer.base_layer, name)
        module.register_forward_hook(lambda _m, i, out, n=name: seen.update({n: (i[0], out)}))
    layer.base_layer.register_forward_hook(lambda _m, _i, out: seen.update(sum=first(out)))
    hidden(model)
    torch.testing.assert_close(seen["sum"], seen[norm][0] + seen[mlp][1])


def test_scaled_parallel_learns_its_factor_from_one():
    model = attached("bert", "scaled-parallel")
    scales = [layer.bottleneck_scale["default"] for layer in of(model)]
    assert [scale.item() for scale in scales] == [1.0, 1.0]
    assert all(scale.shape == () and scale.requires_grad for scale in scales)
    shake(model)
    block = model.base_model.model.encoder.layer[1]
    layer, base = block.output, block.output.base_layer
    x = torch.randn(2, 3, HIDDEN)
    h = block.intermediate(x)
    added = delta_by_hand(layer, x, "relu", layer.bottleneck_scale["default"].item())
    expected = base.LayerNorm(base.dense(h) + added + x)
    torch.testing.assert_close(layer(h, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ln", ["ln_before", "ln_after"])
def test_norms_of_its_own_stand_before_the_first_matrix_and_behind_the_scale(ln):
    model = attached("llama", "houlsby", scale=2.0, **{ln: True})
    shake(model)
    layer = of(model)[0]
    h = torch.randn(4, HIDDEN)
    if ln == "ln_before":
        norm = layer.bottleneck_norm["default"]
        normed = F.layer_norm(h, (HIDDEN,), norm.weight, norm.bias)
        expected = delta_by_hand(layer, normed, "swish", 2.0)
    else:
        norm = layer.bottleneck_norm_after["default"]
        plain = delta_by_hand(layer, h, "swish", 2.0)
        expected = F.layer_norm(plain, (HIDDEN,), norm.weight, norm.bias)
    torch.testing.assert_close(layer.delta("default", h), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("which", ["houlsby", "compacter", "adapterplus"])
def test_a_norm_behind_begins_with_a_gain_of_zero_and_is_not_stuck_there(which):
    before = hidden(tiny("bert").requires_grad_(False))
    model = attached("bert", which, ln_after=True)
    assert torch.equal(hidden(model), before)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(input_ids=input_ids()).last_hidden_state.square().mean().backward()
        optimizer.step()
    ups = [p for n, p in model.named_parameters() if "bottleneck_up" in n and p.requires_grad]
    assert all(p.grad.abs().max() > 0 for p in ups)


# Where it starts ---------------------------------------------------------------------------------


def drawn(init, which="houlsby"):
    torch.manual_seed(3)
    config = BottleneckConfig(target_modules=["output.dense"], width=64, init=init)
    trunk = AutoModel.from_config(
        BertConfig(hidden_size=256, num_hidden_layers=1, num_attention_heads=4)
    )
    layer = of(peft.get_peft_model(trunk, config))[0]
    return layer.bottleneck_down["default"], layer.bottleneck_up["default"]


@pytest.mark.parametrize(
    ("init", "std", "most"), [("near", 0.0088, 0.02), ("bert", 0.02, math.inf)]
)
def test_near_identity_draws_both_matrices_from_their_normal(init, std, most):
    for linear in drawn(init):
        assert linear.weight.std().item() == pytest.approx(std, rel=0.03)
        assert linear.weight.abs().max() <= most
        assert not linear.bias.any()


def test_mam_is_kaimings_uniform_distribution_and_zero():
    down, up = drawn("mam")
    bound = 1 / math.sqrt(256)
    assert down.weight.abs().max() <= bound
    assert down.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert not down.bias.any() and not up.weight.any() and not up.bias.any()


def test_the_identity_leaves_the_first_matrix_as_torch_draws_it():
    down, up = drawn("identity")
    assert down.bias.any() and down.weight.any() and not up.weight.any()


@pytest.mark.cells
@pytest.mark.parametrize("which", sorted(FAMILY))
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_near_inits_are_near_and_not_the_identity(arch, which):
    """Of an input of size 1, less than a twentieth of the scale is added."""
    before = hidden(tiny(arch).requires_grad_(False))
    kronecker = which.startswith("compacter")
    for init in ["near"] if kronecker else ["near", "bert"]:
        model = attached(arch, which, init=init)
        assert not torch.equal(hidden(model), before)
        for layer in of(model):
            if layer.place == "coupled":
                unit = torch.randn(50, layer.bottleneck_coupling["default"].first_up.shape[0] * 2)
                moved, most = layer.bottleneck_coupling["default"](unit) - unit, 0.05
            else:
                moved = layer.delta("default", torch.randn(50, HIDDEN))
                most = 0.05 * (4.0 if which == "parallel" else 1.0)
            assert 0 < moved.abs().max() < most, init


def test_adapterplus_starts_near_as_published():
    settings = BottleneckSettings(preset="adapterplus")
    assert (settings.init, settings.scale, settings.reduction) == ("near", "channel", 96)
    assert settings.norms() == (True, False, False)


# Layers ------------------------------------------------------------------------------------------


def test_each_layer_has_the_reduction_of_its_label_or_the_default():
    model = attached("bert", "houlsby", reduction={"1": 4, "default": 16})
    widths = {layer.module: layer.bottleneck_down["default"].out_features for layer in of(model)}
    assert {name.split(".")[2]: width for name, width in widths.items()} == {"0": 2, "1": 8}
    assert len(widths) == 4


@pytest.mark.cells
@pytest.mark.parametrize("which", sorted(FAMILY))
@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2", "t5", "distilbert"])
def test_a_layer_that_is_left_out_has_no_adapter_and_the_rest_is_saved_and_loaded(
    arch, which, tmp_path
):
    before = hidden(tiny(arch))
    model = attached(arch, which, leave_out=[0])
    assert torch.equal(hidden(model), before)
    inside = [layer.module for layer in of(model) if layer.place != "coupled"]
    full = [layer.module for layer in of(attached(arch, which)) if layer.place != "coupled"]
    assert 2 * len(inside) == len(full) and set(inside) < set(full)
    shake(model)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    theirs = peft.PeftModel.from_pretrained(tiny(arch), tmp_path).eval()
    assert torch.equal(hidden(theirs), hidden(model))


def test_peft_alone_leaves_out_what_the_config_says():
    config = BottleneckConfig(target_modules=["output.dense"], width=4, leave_out=[0])
    model = peft.get_peft_model(tiny("bert"), config)
    names = {layer.module for layer in of(model)}
    assert names and all(name.startswith("encoder.layer.1.") for name in names)


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"leave_out": [2]}, "leave_out: 2 has no effect, .* they are 0 to 1"),
        ({"leave_out": ["decoder.0"]}, "leave_out: decoder.0 has no effect"),
        ({"leave_out": [0, 1]}, "leaves out every layer"),
        ({"leave_out": ["first"]}, "'first' is no layer"),
        ({"leave_out": [-1]}, "is no layer"),
        ({"reduction": {"0": 4}}, "reduction: says nothing of encoder.layer.1"),
        ({"reduction": {"7": 4, "default": 16}}, "reduction: 7 has no effect"),
        ({"reduction": {"0": 4, "1": 4, "default": 16}}, "default has no effect"),
        ({"reduction": {"0": 4, "default": 16}, "leave_out": [0]}, "reduction: 0 has no effect"),
        ({"reduction": {"last": 4, "default": 16}}, "'last' is no layer"),
        ({"reduction": {"0": 0.5, "default": 16}}, "reduction"),
        ({"scale": 0}, "would add nothing"),
        ({"scale": "twice"}, "scale"),
        ({"ln_after": True, "init": "near"}, "take init"),
        ({"phm_rank": 2}, "phm_rank has no effect without phm_dim"),
        ({"phm_shared": True}, "phm_shared has no effect without phm_dim"),
        ({"phm_dim": 4, "init": "bert"}, "none of Kronecker products"),
        ({"phm_dim": 4, "width": 6}, "phm_dim = 4 does not divide width = 6"),
        ({"phm_dim": 3}, "phm_dim: 3 does not divide the hidden size 32"),
        ({"invertible": 2, "sites": ["mlp.out"]}, 'invertible: has no effect without "embeddings"'),
        ({"invertible": 0.5}, "invertible"),
        ({"invertible": 2, "sites": ["embeddings", "pooler.*"]}, "lies in no layer"),
    ],
)
def test_what_means_nothing_or_has_no_effect_is_refused_with_its_cause(more, cause):
    with pytest.raises(PlanError, match=cause):
        attach(tiny("bert"), {"kind": KIND, **more})


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"leave_out": ["9"]}, "leave_out: 9 has no effect"),
        ({"reduction": {"9": 4, "default": 8}, "width": None}, "reduction: 9 has no effect"),
        ({"invertible": 2}, "no target module lies outside of the layers"),
    ],
)
def test_peft_alone_refuses_it_too_and_leaves_the_model_as_it_was(fields, cause):
    trunk = tiny("bert")
    names = [name for name, _ in trunk.named_modules()]
    given = {"width": 4, **fields}
    with pytest.raises(PlanError, match=cause):
        peft.get_peft_model(trunk, BottleneckConfig(target_modules=["output.dense"], **given))
    assert [name for name, _ in trunk.named_modules()] == names


@pytest.mark.cells
@pytest.mark.parametrize("which", sorted(FAMILY))
@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_another_value_of_a_setting_is_another_adapter_or_is_refused(arch, which):
    """L13 for the presets: the same steps from the same seed go elsewhere."""
    own = {**FAMILY[which]}
    plain = trained(arch, own)
    assert torch.equal(plain, trained(arch, own))
    settings = settle("mood", own).own
    others = {
        "activation": ["tanh", "leakyrelu"],
        "scale": [3.0, "learned", "channel"],
        "width": [12],
        "reduction": [2.0, {"1": 2.0, "default": 8.0}],
        "ln_before": [True],
        "ln_after": [True],
        "leave_out": [[1]],
        "phm_dim": [2],
        "phm_rank": [3],
        "phm_shared": [False],
        "invertible": [3.0],
        "init": ["near", "bert", "mam"],
    }
    refused = 0
    for name, values in others.items():
        for value in values:
            if value == settings[name]:
                continue
            width = {"width": None} if name == "reduction" else {}
            try:
                found = trained(arch, {**own, **width, name: value})
            except PlanError as error:
                assert name in str(error), (name, str(error))
                refused += 1
                continue
            assert found.shape != plain.shape or not torch.equal(found, plain), (name, value)
    assert refused <= 3


def trained(arch, table):
    model = attach(tiny(arch), table)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for seed in range(2):
        optimizer.zero_grad()
        model(input_ids=input_ids(seed=seed)).last_hidden_state.square().mean().backward()
        optimizer.step()
    return hidden(model)


# What it costs -----------------------------------------------------------------------------------

COUNTS = {
    "houlsby": 24 * (2 * 768 * 48 + 48 + 768),
    "pfeiffer": 12 * (2 * 768 * 48 + 48 + 768),
    "parallel": 12 * (2 * 768 * 192 + 192 + 768),
    "scaled-parallel": 12 * (2 * 768 * 192 + 192 + 768 + 1),
    "adapterplus": 12 * (2 * 768 * 8 + 8 + 768 + 768),
    "compacter": 24 * (2 * (768 + 24) + 24 + 768) + 4**3,
    "compacter++": 12 * (2 * (768 + 24) + 24 + 768) + 4**3,
    "mad-x": 12 * (2 * 768 * 48 + 48 + 768) + 2 * (2 * 384 * 192 + 192 + 384),
}


@pytest.mark.parametrize("which", sorted(FAMILY))
def test_the_parameters_of_each_preset_on_bert_base_are_those_of_its_formula(which):
    with torch.device("meta"):
        trunk = AutoModel.from_config(BertConfig())
    table = {"kind": KIND, "preset": which}
    model = peft.get_peft_model(trunk, config_of(trunk, settle("mood", table)))
    trained_ = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained_ == COUNTS[which]


# The config --------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", sorted(FAMILY))
def test_the_config_survives_json_and_is_what_the_settings_say(which, tmp_path):
    table = {**FAMILY[which], "leave_out": [1, "encoder.0"], "dropout": 0.25}
    settings = KINDS.get(KIND).settings(**settle("mood", table).own)
    config = KINDS.get(KIND).config(settings, {}, tiny("bert").config)
    config.target_modules = {"a.b"}
    config.save_pretrained(tmp_path)
    assert peft.PeftConfig.from_pretrained(tmp_path) == config
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told["leave_out"] == ["1", "encoder.0"] and told["dropout"] == 0.25
    assert list(faults(settings.fields())) == []


def test_kronecker_products_take_the_papers_defaults_where_they_are_left_out():
    config = BottleneckConfig(target_modules=["a"], width=8, phm_dim=2)
    assert (config.phm_rank, config.phm_shared) == (1, True)
    settings = BottleneckSettings(preset="houlsby", phm_dim=2, phm_rank=3)
    assert (settings.phm_rank, settings.phm_shared) == (3, True)


@pytest.mark.parametrize("which", sorted(FAMILY))
def test_the_adapter_survives_a_copy_of_its_model(which):
    import copy

    model = attached("bert", which)
    shake(model)
    twin = copy.deepcopy(model)
    assert torch.equal(hidden(twin), hidden(model))
    shake(twin, seed=2)
    moved = hidden(twin)
    assert not torch.equal(moved, hidden(model))
    shake(model, seed=2)
    assert torch.equal(hidden(model), moved), "the copy shares something with its original"


@pytest.mark.parametrize(("arch", "which"), [("llama", "parallel"), ("bert", "pfeiffer")])
def test_an_input_that_is_given_by_name_is_the_input(arch, which):
    model = attached(arch, which)
    shake(model)
    layer = of(model)[0]
    x = torch.randn(2, 3, HIDDEN)
    name = "x" if which == "parallel" else "input"
    assert torch.equal(layer(**{name: x}), layer(x))


def test_a_module_of_a_block_keeps_what_the_model_asks_it_for():
    layer = of(attached("modernbert", "pfeiffer"))[0]
    assert layer.attention_type == layer.base_layer.attention_type
    with pytest.raises(AttributeError, match="no_such_thing"):
        layer.no_such_thing  # noqa: B018
    plain = of(attached("bert", "houlsby"))[0]
    with pytest.raises(AttributeError, match="in_features"):
        plain.in_features  # noqa: B018 - a wrapper hides the layer, which PEFT asks of it
    assert isinstance(plain.base_layer, nn.Linear)
