"""What cannot be quantised, or not here, is refused with the reason before anything is loaded."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from transformers import BertConfig, BertModel

from bases import VOCAB
from quantised import QUANTIZE, relative, stored, trunk_of
from tenon.core.errors import MissingExtra, PlanError
from tenon.model.quantization import SCHEMES, require, stored_method, way
from tenon.model.quantized import quantized

CPU = torch.device("cpu")


def base_of(folder, **sizes):
    """Write a base whose layers are too narrow or few to be quantised."""
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    config = BertConfig(
        vocab_size=VOCAB, num_hidden_layers=1, max_position_embeddings=16, **{**small, **sizes}
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_base_without_a_fitting_layer_is_refused_with_the_reasons(tmp_path):
    base = base_of(tmp_path / "base")
    with pytest.raises(PlanError) as refused:
        trunk_of(base, "int4")
    told = str(refused.value)
    assert told.startswith('model.quantize = "int4": base ')
    assert "has no linear layer that can be held so (6 whose inputs are no multiple of 32)" in told
    assert told.endswith("leave it out")
    assert len(quantized(trunk_of(base, "int8").model)) == 6


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_a_package_that_is_not_installed_is_named_with_the_command(quantize, monkeypatch):
    found = importlib.util.find_spec
    package = SCHEMES[quantize].package
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(MissingExtra, match=rf'{package}.*pip install "tenonlm\[quantize\]"'):
        way("tiny", BertConfig(), quantize, CPU, lambda: torch.nn.Module())


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_bitsandbytes_is_refused_on_a_device_that_it_is_not_used_on(quantize):
    package = SCHEMES[quantize].package
    if package == "torchao":
        require("model.quantize", package, torch.device("meta"))
        return
    with pytest.raises(PlanError, match="used on cpu and cuda, model.device is meta; take"):
        require("model.quantize", package, torch.device("meta"))


def test_a_base_stored_in_a_way_that_is_not_read_is_refused(folder_of, tmp_path):
    base = stored(folder_of("bert"), tmp_path / "base", "int8")
    path = base / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    path.write_text(json.dumps(config))
    with pytest.raises(PlanError, match=r"is stored quantised by gptq, which is not read here \("):
        trunk_of(base, "none")


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_a_stored_base_is_not_quantised_again(quantize, folder_of, tmp_path):
    base = stored(folder_of("bert"), tmp_path / "base", "bnb-nf4")
    with pytest.raises(PlanError, match="is stored quantised by bitsandbytes already; leave"):
        trunk_of(base, quantize)


@pytest.mark.cells
@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("quantize", ["bnb-int8", "bnb-nf4", "int8"])
@torch.no_grad()
def test_a_stored_base_is_the_one_that_is_quantised_here(quantize, arch, folder_of, tmp_path):
    if arch == "gpt2" and quantize == "int8":
        pytest.skip("transformers passes over transposed layers")
    base = stored(folder_of(arch), tmp_path / "base", quantize)
    ours, theirs = trunk_of(folder_of(arch), quantize), trunk_of(base, "none")
    ids = torch.tensor([[7, 11, 13, 17]])
    expected = ours.model(input_ids=ids).last_hidden_state
    assert torch.equal(theirs.model(input_ids=ids).last_hidden_state, expected)
    assert theirs.holding.after_bytes == ours.holding.after_bytes
    assert theirs.holding.quantize == "stored"
    assert theirs.parameters == ours.parameters


def test_scales_that_were_quantised_themselves_are_read(folder_of, tmp_path):
    nested = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    base = stored(folder_of("llama"), tmp_path / "base", "bnb-nf4", **nested)
    trunk, near = trunk_of(base, "none"), trunk_of(folder_of("llama"), "bnb-nf4")
    for name, layer in quantized(trunk.model).items():
        error = relative(layer.weight, near.model.get_submodule(name).weight)
        assert 0 < error < 0.05, name


def test_what_transformers_is_told_of_a_stored_base_is_found(folder_of, tmp_path):
    assert stored_method(BertConfig()) == ""
    assert stored_method(BertConfig(quantization_config={"quant_method": "awq"})) == "awq"
    told = {"load_in_4bit": True}
    assert stored_method(BertConfig(quantization_config=told)) == "unknown"


@torch.no_grad()
def test_a_writer_and_a_pooler_keep_their_heads_in_floats(folder_of, tmp_path):
    trunk = trunk_of(folder_of("bert"), "int8", pooler=True)
    assert "pooler.dense" not in quantized(trunk.model)
    assert trunk.holding.kept == 1
    assert trunk.holding.kept_why == "1 outside of the blocks"
