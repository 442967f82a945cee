"""AdapterDrop: layers of a trained adapter are left out, and what is left is an adapter."""

from __future__ import annotations

import dataclasses
import json

import peft
import pytest
import torch

from attached import FAMILY, attached, config_of, hidden, shake
from bases import ARCHITECTURES, input_ids, tiny
from packed import adapter_on, fingerprint_of
from tenon.adapters import pack, weights
from tenon.adapters.blocks import is_among
from tenon.adapters.bottleneck import layers_of
from tenon.adapters.bottleneck_layer import BottleneckLayer
from tenon.adapters.drop import drop, narrowed
from tenon.adapters.kind import settle
from tenon.core.errors import AdapterError, PlanError
from whole import ENCODER_DECODERS, adapted, logits, whole

every_preset = pytest.mark.parametrize("which", sorted(FAMILY))


def inside(model, name="default"):
    return {m.module for m in layers_of(model) if name in m.configs and m.place != "coupled"}


@pytest.mark.cells
@every_preset
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_without_its_first_layer_it_answers_as_with_that_layer_silenced(arch, which, tmp_path):
    silenced = attached(arch, which)
    shake(silenced)
    full = inside(silenced)
    for layer in layers_of(silenced):
        if is_among(layer.module, ["0"]):
            layer.enable_adapters(False)
    expected = hidden(silenced)

    model = attached(arch, which)
    shake(model)
    gone = drop(model, [0])
    assert torch.equal(hidden(model), expected)
    assert set(gone) | inside(model) == full and not set(gone) & inside(model)
    wrapped = {name for name, m in model.named_modules() if isinstance(m, BottleneckLayer)}
    assert not wrapped & {f"base_model.model.{name}" for name in gone}

    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["leave_out"] == ["0"]
    theirs = peft.PeftModel.from_pretrained(tiny(arch), tmp_path).eval()
    assert torch.equal(hidden(theirs), expected)
    plain = tiny(arch)
    plain.load_adapter(str(tmp_path))
    assert torch.equal(hidden(plain.eval()), expected)


@every_preset
def test_what_is_left_trains_on(which):
    model = attached("bert", which)
    shake(model)
    before = {n: p.clone() for n, p in model.named_parameters() if p.requires_grad}
    drop(model, [0])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(input_ids=input_ids()).last_hidden_state.square().mean().backward()
    optimizer.step()
    after = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert 0 < len(after) < len(before)
    kept = [n for n in after if n in before]
    assert kept and all(not torch.equal(after[n], before[n]) for n in kept)


@pytest.mark.parametrize("which", ["compacter", "compacter++"])
def test_the_shared_rule_goes_to_the_first_layer_that_stays(which):
    model = attached("bert", which)
    shake(model)
    rule = next(layers_of(model)).rule("default")
    drop(model, [0])
    first, *rest = layers_of(model)
    assert first.bottleneck_rule["default"] is rule and rule.requires_grad
    assert all(layer.rule("default") is rule for layer in rest)
    held = [key for key in weights.take(model) if key.endswith("bottleneck_rule")]
    assert held == [f"base_model.model.{first.module}.bottleneck_rule"]


@pytest.mark.cells
@pytest.mark.parametrize("which", ["houlsby", "compacter++", "mad-x", "parallel"])
@pytest.mark.parametrize("arch", ENCODER_DECODERS)
def test_a_stack_of_an_encoder_decoder_can_be_named(arch, which, tmp_path):
    model = adapted(arch, which)
    shake(model)
    full = inside(model)
    drop(model, ["decoder.0", 1])
    left = inside(model)
    assert left and all("encoder" in name and ".0." in f"{name}." for name in left)
    assert left < full
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    theirs = peft.PeftModel.from_pretrained(whole(arch), tmp_path).eval()
    assert torch.equal(logits(theirs), logits(model))


def test_another_adapter_on_the_same_layers_stays_and_stays_active():
    model = attached("bert", "houlsby")
    model.add_adapter("other", config_of(tiny("bert"), settle("mood", FAMILY["houlsby"])))
    model.set_adapter("other")
    shake(model)
    model.eval()
    expected = hidden(model)
    drop(model, [0], "default")
    assert torch.equal(hidden(model), expected)
    assert len(inside(model, "other")) == 4 and len(inside(model)) == 2
    model.set_adapter("default")
    assert not torch.equal(hidden(model.eval()), expected)
    assert drop(model, [0], "other") and len(inside(model, "other")) == 2


def test_it_works_on_a_model_of_transformers():
    model = tiny("bert")
    model.add_adapter(config_of(tiny("bert"), settle("mood", FAMILY["compacter"])), "mood")
    shake(model)
    before = hidden(model.eval())
    assert drop(model, [1], "mood")
    assert not torch.equal(hidden(model), before)
    assert model.peft_config["mood"].leave_out == ["1"]


def test_what_the_config_said_of_the_layers_goes_with_them():
    model = attached("bert", "houlsby", reduction={"0": 4, "encoder.1": 8})
    drop(model, ["encoder.0"])
    config = model.peft_config["default"]
    assert config.reduction == {"encoder.1": 8}
    assert config.leave_out == ["encoder.0"]
    assert not any(name.startswith("encoder.layer.0.") for name in config.target_modules)


@pytest.mark.parametrize("which", ["houlsby", "compacter", "mad-x"])
def test_the_directory_of_a_dropped_adapter_is_written_and_read(which, tmp_path):
    model, adapter = adapter_on_family("bert", which)
    drop(model, [0])
    config = model.peft_config["default"]
    adapter = dataclasses.replace(
        adapter,
        config=config,
        weights=weights.take(model),
        settings=narrowed(adapter.settings, config),
    )
    found = pack.read(pack.write(tmp_path / "mood", adapter, card="# mood"), fingerprint_of("bert"))
    assert found.settings.own["leave_out"] == ["0"]
    again = peft.get_peft_model(tiny("bert"), found.config).eval()
    weights.put(again, found.weights)
    assert torch.equal(hidden(again), hidden(model))


def adapter_on_family(arch, which):
    return adapter_on(arch, "houlsby", **FAMILY[which])


@pytest.mark.parametrize(
    ("layers", "name", "error", "cause"),
    [
        ([0], "other", AdapterError, "adapter other: the model has no bottleneck"),
        ([2], "default", PlanError, "layers: 2 has no effect"),
        (["decoder.0"], "default", PlanError, "layers: decoder.0 has no effect"),
        ([0, 1], "default", AdapterError, "no layer would keep it"),
    ],
)
def test_what_cannot_be_dropped_is_refused_and_nothing_changes(layers, name, error, cause):
    model = attached("bert", "mad-x")
    shake(model)
    before = hidden(model)
    with pytest.raises(error, match=cause):
        drop(model, layers, name)
    assert torch.equal(hidden(model), before)
    assert model.peft_config["default"].leave_out is None


def test_other_kinds_are_refused():
    with pytest.raises(AdapterError, match="no bottleneck adapter"):
        drop(attached("bert", "lora"), [0])


def test_a_module_that_nothing_sits_on_is_the_bases_own_again():
    model = attached("bert", "parallel")
    drop(model, [0])
    assert type(model.base_model.model.encoder.layer[0].output).__name__ == "BertOutput"
    assert isinstance(model.base_model.model.encoder.layer[1].output, BottleneckLayer)
