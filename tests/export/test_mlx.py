"""A LoRA for mlx-lm: what its loader computes from the files is the adapter."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.pytorch_utils import Conv1D

import writers
from attached import shake
from tenon.core.errors import AdapterError
from tenon.evaluate.answerer import open_answerer
from tenon.text.batch import of_ids
from tenon.verbs.export import export

TEXT = "a glad red fox and the old dog"


def written(tmp_path, arch="llama", **own):
    folder = writers.causal_folder(tmp_path, arch)
    model = writers.writer(folder, **own)
    shake(model, size=0.1)
    adapter = writers.save(model, folder, tmp_path / "mood", **own)
    return folder, adapter, export(adapter, tmp_path / "out", to="mlx")


def with_lora(model, layers, folder):
    """Give each layer of the last `num_layers` what mlx-lm's LoRALinear adds; say what was read."""
    told = json.loads((folder / "adapter_config.json").read_text())
    tensors, form, read = load_file(folder / "adapters.safetensors"), told["lora_parameters"], set()
    assert told["fine_tune_type"] == "lora" and form["dropout"] == 0.0
    for name, layer in list(layers.named_children())[-told["num_layers"] :]:
        for key, module in layer.named_modules():
            if key not in form["keys"]:
                continue
            prefix = f"model.{'h' if isinstance(module, Conv1D) else 'layers'}.{name}.{key}"
            a_IR, b_RO = tensors[f"{prefix}.lora_a"], tensors[f"{prefix}.lora_b"]
            read |= {f"{prefix}.lora_a", f"{prefix}.lora_b"}
            assert a_IR.shape[1] == len(b_RO) == form["rank"]
            module.register_forward_hook(
                lambda _, given, out, a=a_IR, b=b_RO: out + form["scale"] * ((given[0] @ a) @ b)
            )
    assert read == tensors.keys()
    return told


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gpt2"])
@torch.no_grad()
def test_the_loaders_arithmetic_gives_the_adapters_scores(arch, tmp_path):
    folder, adapter, made = written(tmp_path, arch)
    assert made.error < 1e-5
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with_lora(
        model, model.transformer.h if arch == "gpt2" else model.model.layers, tmp_path / "out"
    )
    ids = AutoTokenizer.from_pretrained(folder)(TEXT).input_ids
    found = model(input_ids=torch.tensor([ids])).logits[0, -1]
    expected = open_answerer(adapter).model.next_logits_BV(of_ids([ids]))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_layers_without_the_adapter_get_matrices_of_zeros(tmp_path):
    sites = ["layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"]
    _, _, made = written(tmp_path, sites=sites)
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert told["num_layers"] == 2
    assert told["lora_parameters"]["keys"] == ["mlp.down_proj", "self_attn.q_proj"]
    tensors = load_file(tmp_path / "out" / "adapters.safetensors")
    assert len(tensors) == 8
    empty = {name for name, tensor in tensors.items() if not tensor.any()}
    assert {name.rpartition(".")[0] for name in empty} == {
        "model.layers.0.mlp.down_proj",
        "model.layers.1.self_attn.q_proj",
    }


def test_only_the_layers_from_the_lowest_adapted_one_are_read(tmp_path):
    written(tmp_path, sites=["layers.1.self_attn.q_proj"])
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert told["num_layers"] == 1
    assert load_file(tmp_path / "out" / "adapters.safetensors").keys() == {
        f"model.layers.1.self_attn.q_proj.lora_{side}" for side in "ab"
    }


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"sites": ["embeddings"]}, "changes the vectors of tokens"),
        ({"kind": "bottleneck.v1", "preset": "pfeiffer"}, "is no LoRA and cannot be made one"),
    ],
)
def test_what_mlx_cannot_read_is_refused(own, why, tmp_path):
    with pytest.raises(AdapterError, match=why):
        written(tmp_path, **own)
    assert not (tmp_path / "out").exists()
