"""Quantised bases on CUDA: what they compute is what their weights say, there as on the CPU."""

from __future__ import annotations

import pytest
import torch

from attached import TABLES, shake
from models import rows_of
from quantised import ARCHITECTURES, QUANTIZE, in_floats, relative
from runs import settings, tokens, weights
from tenon.adapters.kind import settle
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.quantized import quantized
from tenon.model.settings import ModelSettings
from tenon.train.loop import Course, Loop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CHOSEN = {"float32": 1e-5, "bfloat16": 3e-2}


def trunk_on(folder, quantize, device, dtype="float32"):
    asked = ModelSettings(device=device, quantize=quantize, dtype=dtype)
    return trunks.load(locate(str(folder)), asked)


def classifier_on(folder, quantize, dtype, which):
    trunk = trunk_on(folder, quantize, "cuda", dtype)
    held = attach(trunk, settle("mood", TABLES[which]), seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = Head(trunk.hidden_size, 3, normalize=False, bias=True)
    return Classifier(trunk, held.peft, head.to("cuda"), "mean")


def digest(model):
    return {
        f"{name}.{key}": piece.clone()
        for name, layer in quantized(model).items()
        for key, piece in layer.named_buffers(recurse=False)
    }


@pytest.mark.parametrize("dtype", CHOSEN)
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@torch.no_grad()
def test_it_computes_what_its_weights_say(arch, quantize, dtype, folder_of):
    trunk = trunk_on(folder_of(arch), quantize, "cuda", dtype)
    assert {layer.weight.device.type for layer in quantized(trunk.model).values()} == {"cuda"}
    ids = rows_of([7, 5]).ids_T[None].to("cuda")
    expected = in_floats(trunk.model)(input_ids=ids).last_hidden_state
    found = trunk.model(input_ids=ids).last_hidden_state
    assert relative(found.float(), expected.float()) <= CHOSEN[dtype]


@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_it_is_nearly_the_base_that_the_cpu_holds(arch, quantize, folder_of):
    """A number on the border of two codes may take the other one: few do, and by one step."""
    here, there = (trunk_on(folder_of(arch), quantize, device) for device in ("cuda", "cpu"))
    cpu = quantized(there.model)
    for name, layer in quantized(here.model).items():
        found, expected = layer.weight.cpu(), cpu[name].weight
        far = (found - expected).abs() > 1e-4 * expected.abs().max()
        assert far.float().mean() <= 0.01, name


@pytest.mark.parametrize("which", ["lora", "houlsby"])
@pytest.mark.parametrize("quantize", QUANTIZE)
def test_training_changes_the_adapter_alone(quantize, which, folder_of, tmp_path):
    model = classifier_on(folder_of("llama"), quantize, "bfloat16", which)
    before, start = digest(model.trunk.model), weights(model)
    Loop(model, tokens(16), Course(tmp_path, "plan", 5, settings(epochs=2))).run()
    after = digest(model.trunk.model)
    assert all(torch.equal(after[key], piece) for key, piece in before.items())
    ended = weights(model)
    moved = [key for key, old in start.items() if not torch.equal(ended[key], old)]
    assert len(moved) > len(start) // 2


@pytest.mark.parametrize("quantize", QUANTIZE)
@torch.no_grad()
def test_rows_do_not_see_each_other(quantize, folder_of):
    model = classifier_on(folder_of("bert"), quantize, "float32", "lora")
    shake(model.cpu())
    model.to("cuda").eval()
    both = model.logits_BL(rows_of([7, 5]).to(torch.device("cuda")))
    assert both.isfinite().all()
    for layer in quantized(model.trunk.model).values():
        hidden_TI = torch.randn(5, layer.pieces.shape[1], device="cuda")
        hidden_TI[0, 3] = 80.0
        assert relative(layer(hidden_TI)[1:], layer(hidden_TI[1:])) <= 1e-5
