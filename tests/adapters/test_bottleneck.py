"""Bottlenecks: the maths of each placement, the settings, and what is refused."""

from __future__ import annotations

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from attached import FAMILY, TABLES, attach, attached, config_of, hidden, shake
from bases import ARCHITECTURES, HIDDEN, tiny
from tenon.adapters import bottleneck, sites
from tenon.adapters.bottleneck import BottleneckConfig
from tenon.adapters.bottleneck_kind import PRESETS, BottleneckSettings
from tenon.adapters.bottleneck_layer import BottleneckLayer
from tenon.adapters.bottleneck_placement import place_of
from tenon.adapters.bottleneck_places import POST_NORM
from tenon.adapters.kind import KINDS, settle
from tenon.adapters.method import enter
from tenon.core.errors import AdapterError, PlanError

KIND = "bottleneck.v1"
ACTS = {"relu": F.relu, "swish": F.silu, "silu": F.silu, "gelu": F.gelu, "tanh": torch.tanh}


def bottleneck_by_hand(layer, x, activation, scale):
    """The adapter's own formula, from its tensors."""
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    return scale * (ACTS[activation](x @ down.weight.T + down.bias) @ up.weight.T + up.bias)


def block_by_hand(output, h, x, adapter, *, before, after, residual_before):
    """One post-norm block's output with an adapter, as AdapterHub computes it.

    Source: AdapterHub adapters 1.3, `Adapter.pre_forward`, `forward`, `post_forward`.
    """
    dense, norm = output.dense, output.LayerNorm
    while hasattr(dense, "base_layer"):
        dense = dense.base_layer
    while hasattr(norm, "base_layer"):
        norm = norm.base_layer
    hidden_states = dense(h)
    residual = hidden_states
    if before:
        hidden_states = norm(hidden_states + x)
    if not residual_before:
        residual = hidden_states
    hidden_states = adapter(hidden_states) + residual
    return norm(hidden_states + x) if after else hidden_states


@pytest.mark.parametrize("flags", [(False, True, True), (True, True, True), (True, False, False)])
@pytest.mark.parametrize("activation", list(ACTS))
def test_the_sequential_placements_compute_what_adapterhub_computes(flags, activation):
    before, after, residual = flags
    preset = "pfeiffer" if before else "houlsby"
    more = {"original_ln_after": after, "residual_before_ln": residual}
    table = {
        "kind": KIND,
        "preset": preset,
        "sites": ["mlp.out"],
        "activation": activation,
        "scale": 0.5,
        **more,
    }
    model = attach(tiny("bert"), table)
    shake(model)
    output = model.base_model.model.encoder.layer[0].output
    layer = next(m for m in output.modules() if isinstance(m, BottleneckLayer))
    h, x = torch.randn(2, 3, 48), torch.randn(2, 3, HIDDEN)
    expected = block_by_hand(
        output,
        h,
        x,
        lambda y: bottleneck_by_hand(layer, y, activation, 0.5),
        before=before,
        after=after,
        residual_before=residual,
    )
    torch.testing.assert_close(output(h, x), expected, rtol=1e-5, atol=1e-5)


def test_parallel_adds_the_adapter_of_the_mlps_input_to_its_output_before_the_norm():
    model = attached("bert", "parallel")
    shake(model)
    block = model.base_model.model.encoder.layer[1]
    layer, base = block.output, block.output.base_layer
    x = torch.randn(2, 3, HIDDEN)
    h = block.intermediate(x)
    expected = base.LayerNorm(base.dense(h) + bottleneck_by_hand(layer, x, "relu", 4.0) + x)
    torch.testing.assert_close(layer(h, x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(h, input_tensor=x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ["distilbert", "modernbert", "llama", "gpt2", "t5"])
def test_parallel_beside_an_mlp_of_one_input(arch):
    model = attached(arch, "parallel")
    shake(model)
    for layer in (m for m in model.modules() if isinstance(m, BottleneckLayer)):
        x = torch.randn(2, 3, HIDDEN)
        expected = layer.base_layer(x) + bottleneck_by_hand(layer, x, "relu", 4.0)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_preset_sits_where_its_paper_has_it(arch):
    trunk = tiny(arch)
    here = sites.places(trunk).modules
    outs = {
        name: set(config_of(trunk, settle("mood", FAMILY[name])).target_modules) for name in PRESETS
    }
    assert outs["houlsby"] == outs["compacter"] == {*here["attention.out"], *here["mlp.out"]}
    assert all(len(outs[name]) == len(here["mlp.out"]) for name in ("pfeiffer", "parallel"))
    assert outs["adapterplus"] == outs["compacter++"] == outs["pfeiffer"]
    assert outs["scaled-parallel"] == outs["parallel"]
    modules = dict(trunk.named_modules())
    (table,) = outs["mad-x"] - outs["pfeiffer"]
    assert isinstance(modules[table], nn.Embedding | nn.Dropout) or table == "embeddings"
    if arch in POST_NORM:
        assert all(isinstance(modules[name], nn.LayerNorm) for name in outs["pfeiffer"])
    else:
        ends = zip(sorted(outs["pfeiffer"]), sorted(here["mlp.out"]), strict=True)
        assert all(out.startswith(f"{block}.") for block, out in ends)
    for block, out in zip(sorted(outs["parallel"]), sorted(here["mlp.out"]), strict=True):
        assert out.startswith(f"{block}.") and out.count(".") == block.count(".") + 1


def test_the_papers_near_identity_is_near_and_no_identity():
    before = hidden(tiny("bert").requires_grad_(False))
    model = attached("bert", "houlsby", init="near")
    after = hidden(model)
    assert not torch.equal(after, before)
    assert (after - before).abs().max() < 0.05
    ups = [p for n, p in model.named_parameters() if "bottleneck_up" in n and n.endswith("weight")]
    assert all(0 < p.abs().max() <= 0.02 for p in ups)


def test_a_learned_scale_and_an_own_norm_are_trained_and_saved():
    model = attached("bert", "houlsby", scale="learned", ln_before=True)
    trained = {n.split(".bottleneck_")[1] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        *(
            f"{part}.default.{kind}"
            for part in ("down", "up", "norm")
            for kind in ("weight", "bias")
        ),
        "scale.default",
    }
    saved = peft.get_peft_model_state_dict(model)
    assert sum(name.endswith("bottleneck_scale") for name in saved) == 4
    assert sum(name.endswith("bottleneck_norm.weight") for name in saved) == 4


def test_dropout_falls_on_the_delta_alone_and_in_training_only():
    model = attached("bert", "houlsby", dropout=0.999)
    shake(model)
    layer = next(m for m in model.modules() if isinstance(m, BottleneckLayer))
    x = torch.randn(4, layer.base_layer.in_features)
    assert not torch.equal(layer(x), layer.base_layer(x))
    torch.manual_seed(0)
    layer.train()
    dropped = layer(x) == layer.base_layer(x)
    assert dropped.float().mean() > 0.9


def test_several_active_adapters_act_one_after_the_other():
    model = attached("bert", "houlsby")
    model.add_adapter("other", config_of(tiny("bert"), settle("mood", TABLES["houlsby"])))
    model.base_model.set_adapter(["default", "other"])
    shake(model)
    model.eval()
    layer = next(m for m in model.modules() if isinstance(m, BottleneckLayer))
    x = torch.randn(4, layer.base_layer.in_features)
    y = layer.base_layer(x)
    y = y + layer.delta("default", y)
    assert torch.equal(layer(x), y + layer.delta("other", y))


@given(
    width=st.none() | st.integers(1, 40),
    reduction=st.none() | st.floats(1, 64),
    preset=st.sampled_from(list(PRESETS)),
)
def test_settings_say_the_same_after_a_round_trip_and_width_wins_over_the_preset(
    width, reduction, preset
):
    given_ = {"preset": preset, "width": width, "reduction": reduction}
    given_ = {key: value for key, value in given_.items() if value is not None}
    if width is not None and reduction is not None:
        with pytest.raises(ValueError, match="give one"):
            BottleneckSettings(**given_)
        return
    products = PRESETS[preset]["phm_dim"] or 1
    if width is not None and width % products:
        with pytest.raises(ValueError, match="does not divide width"):
            BottleneckSettings(**given_)
        return
    settings = BottleneckSettings(**given_)
    assert BottleneckSettings(**settings.model_dump()) == settings
    config = KINDS.get(KIND).config(settings, {}, tiny_config())
    derived = int(768 / (reduction or PRESETS[preset]["reduction"]))
    expected = width or max(products, derived - derived % products)
    assert config.width_for(768) == expected
    assert config.activation == PRESETS[preset]["activation"]


def tiny_config():
    return tiny("llama").config


@pytest.mark.parametrize(
    ("arch", "more", "cause"),
    [
        ("llama", {"preset": "pfeiffer", "original_ln_before": True}, "no effect on this llama"),
        ("bert", {"preset": "pfeiffer", "sites": ["mlp.in"]}, "no place for"),
        ("bert", {"preset": "pfeiffer", "residual_before_ln": False}, "not the identity"),
        ("bert", {"preset": "houlsby", "original_ln_after": False}, "not the identity"),
        ("bert", {"preset": "parallel", "sites": ["attention.out"]}, "no place for"),
        ("bert", {"preset": "parallel", "original_ln_before": True}, "no effect with preset"),
        ("bert", {"width": 4, "reduction": 4}, "give one"),
        ("bert", {"width": 0}, "width"),
        ("bert", {"activation": "sine"}, "activation"),
        ("bert", {"widht": 4}, "did you mean adapters.mood.width"),
        ("bert", {"sites": ["layer"]}, "no place for"),
        ("bert", {"preset": "pfeiffer", "sites": ["*.query"]}, "followed by no norm"),
        ("bert", {"preset": "parallel", "sites": ["*.query"]}, "beside an MLP"),
    ],
)
def test_what_has_no_place_or_no_effect_is_refused_with_its_cause(arch, more, cause):
    with pytest.raises(PlanError, match=cause):
        attach(tiny(arch), {"kind": KIND, **more})


@pytest.mark.parametrize("preset", ["pfeiffer", "parallel"])
def test_an_unknown_architecture_has_no_norms_or_mlps_to_sit_at(preset):
    config = type("Other", (type(tiny_config()),), {"model_type": "other"})(hidden_size=HIDDEN)
    settings = BottleneckSettings(preset=preset)
    with pytest.raises(PlanError, match="other"):
        KINDS.get(KIND).config(settings, {"mlp.out": ("layers.0.mlp.down_proj",)}, config)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"width": 4, "reduction": 2},
        {"width": 4, "activation": "sine"},
        {"width": 4, "init": "zeros"},
        {"width": 4, "parallel": True, "original_ln_before": True},
        {"width": 4, "original_ln_before": True, "original_ln_after": False},
        {"width": 4, "original_ln_after": False},
    ],
)
def test_a_config_that_means_nothing_is_refused(fields):
    with pytest.raises(PlanError):
        BottleneckConfig(target_modules=["a"], **fields)


@pytest.mark.parametrize(
    ("base", "fields"),
    [
        (nn.Linear(2, 2), {"parallel": True}),
        (nn.Linear(2, 2), {"original_ln_before": True}),
        (nn.LayerNorm(2), {}),
        (nn.Sequential(nn.Linear(2, 2)), {}),
        (nn.Dropout(), {"parallel": True}),
    ],
)
def test_a_module_of_the_wrong_sort_is_refused(base, fields):
    config = BottleneckConfig(target_modules=["a"], width=2, **fields)
    with pytest.raises(PlanError):
        BottleneckLayer(base).update_layer("default", config)


def test_a_linear_layer_an_embedding_and_a_norm_can_each_be_wrapped():
    sequential = BottleneckConfig(target_modules=["a"], width=2)
    around = BottleneckConfig(target_modules=["a"], width=2, original_ln_before=True)
    assert place_of(nn.Linear(2, 2), sequential) == place_of(nn.Embedding(2, 2), sequential)
    assert place_of(nn.LayerNorm(2), around) == "around"
    layer = BottleneckLayer(nn.Embedding(7, 5))
    layer.update_layer("default", sequential)
    layer.set_adapter("default")
    assert torch.equal(layer(torch.arange(7)), layer.base_layer.weight)


def test_merging_is_refused_with_the_reason_and_changes_nothing():
    model = attached("bert", "houlsby")
    shake(model)
    before = hidden(model)
    layer = next(m for m in model.modules() if isinstance(m, BottleneckLayer))
    refused = (
        model.merge_and_unload,
        model.merge_adapter,
        layer.merge,
        layer.unmerge,
    )
    for merge in refused:
        with pytest.raises(AdapterError, match="not linear"):
            merge()
    assert torch.equal(hidden(model), before)


def test_an_adapter_per_row_is_refused_and_leaves_no_trace():
    model = attached("bert", "houlsby")
    before = hidden(model)
    with pytest.raises(AdapterError, match="adapter_names"):
        model(input_ids=torch.ones(2, 3, dtype=torch.long), adapter_names=["default", "default"])
    assert torch.equal(hidden(model), before)


@pytest.mark.parametrize(
    ("first", "second"),
    [("houlsby", "parallel"), ("parallel", "houlsby"), ("pfeiffer", "parallel")],
)
@pytest.mark.parametrize("way", ["peft", "transformers"])
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
def test_placements_that_would_wrap_each_other_are_refused_on_one_model(first, second, way):
    config = config_of(tiny("bert"), settle("mood", TABLES[second]))
    if way == "peft":
        model = attached("bert", first)
        add = model.add_adapter
        arguments = ("other", config)
    else:
        model = tiny("bert")
        model.add_adapter(config_of(tiny("bert"), settle("mood", TABLES[first])), "default")
        add = model.add_adapter
        arguments = (config, "other")
    before = sorted(model.state_dict())
    with pytest.raises(PlanError, match="placed otherwise"):
        add(*arguments)
    assert sorted(model.state_dict()) == before


def test_houlsby_and_pfeiffer_share_a_model_as_they_wrap_different_modules():
    model = attached("bert", "houlsby")
    model.add_adapter("other", config_of(tiny("bert"), settle("mood", TABLES["pfeiffer"])))
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable and not any("other" in name for name in trainable)
    shake(model)
    alone = attached("bert", "houlsby")
    shake(alone)
    assert torch.equal(hidden(model), hidden(alone))
    model.set_adapter("other")
    before = hidden(tiny("bert").requires_grad_(False))
    assert torch.equal(hidden(model.eval()), before), "pfeiffer is still fresh"


def test_registering_twice_changes_nothing():
    before = dict(peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING)
    enter(bottleneck.BottleneckType.BOTTLENECK, BottleneckConfig, bottleneck.BottleneckModel)
    assert before == peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING


def test_transformers_adds_removes_and_switches_the_adapter():
    model = tiny("bert").requires_grad_(False)
    before = hidden(model)
    model.add_adapter(config_of(tiny("bert"), settle("mood", TABLES["houlsby"])), "mood")
    shake(model)
    assert not torch.equal(hidden(model), before)
    model.disable_adapters()
    assert torch.equal(hidden(model), before)
    model.enable_adapters()
    assert not torch.equal(hidden(model), before)
    model.delete_adapter("mood")
    assert torch.equal(hidden(model), before)
