"""L2: training leaves every byte of the base as it was."""

from __future__ import annotations

import pytest
import torch

from attached import KIND_NAMES
from runs import base_digests, classifier, settings, tokens, weights
from tenon.train.loop import Course, Loop

ARCHITECTURES = ("bert", "roberta", "llama", "qwen3", "gpt2", "t5")


@pytest.mark.cells
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("which", KIND_NAMES)
def test_the_base_is_as_it_was(folder_of, tmp_path, arch, which):
    model = classifier(folder_of(arch), which, trunk_dropout=True)
    own = {name.split(".")[-1] for name in model.trainable() if not name.startswith("head.")}
    assert own
    before, adapter = base_digests(model), weights(model)
    bare = sum(p.numel() for n, p in model.named_parameters() if n in before)
    assert bare == model.trunk.parameters
    Loop(model, tokens(16), Course(tmp_path, "plan", 1, settings(epochs=3))).run()
    assert base_digests(model) == before
    changed = [name for name, old in adapter.items() if not torch.equal(old, weights(model)[name])]
    assert changed == list(adapter), "a trained tensor that never moves is no part of an adapter"
    assert not any(p.grad is not None for n, p in model.named_parameters() if n in before)
