"""The layout "transformers": AutoModelForSequenceClassification gives our logits."""

from __future__ import annotations

import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from attached import KIND_NAMES
from bases import ARCHITECTURES, input_ids, tiny
from packed import LABELS, adapter_on, fingerprint_of
from tenon.adapters.manifest import HEADS, Pooling, layout_for
from tenon.adapters.pack import read, write
from tenon.core.errors import AdapterError

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gpt2")
CASES = [("bert", "pooler"), *((arch, "last") for arch in DECODERS)]


def with_head_class(arch):
    """The tiny base of `arch` under transformers' own classifier, whose head is random."""
    trunk = tiny(arch)
    config = trunk.config
    config.num_labels = len(LABELS)
    torch.manual_seed(99)
    model = AutoModelForSequenceClassification.from_config(config)
    model.base_model.load_state_dict(trunk.state_dict())
    return model.eval()


@torch.no_grad()
def logits_by_hand(model, adapter, pooling, ids):
    out = model(input_ids=ids)
    pooled = out.pooler_output if pooling == "pooler" else out.last_hidden_state[:, -1]
    return pooled @ adapter.head["weight"].T + adapter.head["bias"]


def test_the_cases_are_the_table():
    assert set(CASES) == set(HEADS)


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize(("arch", "pooling"), CASES)
def test_plain_peft_on_the_head_class_gives_the_logits_of_trunk_and_head(
    arch, pooling, which, tmp_path
):
    model, adapter = adapter_on(arch, which, pooling, "transformers")
    write(tmp_path / "mood", adapter, card="# mood")
    theirs = peft.PeftModel.from_pretrained(with_head_class(arch), tmp_path / "mood").eval()
    ids = input_ids()
    expected = logits_by_hand(model, adapter, pooling, ids)
    with torch.no_grad():
        found = theirs(input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.abs().max() > 0.01


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize(("arch", "pooling"), CASES)
def test_it_is_read_back_under_our_own_names(arch, pooling, which, tmp_path):
    _, adapter = adapter_on(arch, which, pooling, "transformers")
    folder = write(tmp_path / "mood", adapter, card="# mood")
    assert not (folder / "head.safetensors").exists()
    found = read(folder, fingerprint_of(arch))
    for ours, theirs in ((adapter.weights, found.weights), (adapter.head, found.head)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert found.config.modules_to_save is None and found.config.task_type is None


def test_the_files_say_what_they_are(tmp_path):
    _, adapter = adapter_on("llama", "lora", "last", "transformers")
    folder = write(tmp_path / "mood", adapter, card="# mood")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS" and config["modules_to_save"] == ["score"]
    names = load_file(folder / "adapter_model.safetensors").keys()
    assert "base_model.model.score.weight" in names
    assert all(n.startswith("base_model.model.model.layers.") for n in names if "lora" in n)


def test_a_bias_that_the_head_class_does_not_have_is_refused(tmp_path):
    _, adapter = adapter_on("llama", "lora", "last", "transformers")
    adapter.head["bias"][1] = 0.5
    with pytest.raises(AdapterError, match="is not 0, and score has none"):
        write(tmp_path / "mood", adapter, card="# mood")


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("mode", ["mean", "cls", "pooler", "last"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_the_layout_is_chosen_where_the_head_class_computes_the_same(
    arch, mode, normalize, has_bias
):
    pooling = Pooling(mode=mode, normalize=normalize)
    expected = (arch, mode) in CASES and not normalize and (arch == "bert" or not has_bias)
    found = layout_for(arch, pooling, has_bias=has_bias)
    assert found == ("transformers" if expected else "trunk")
