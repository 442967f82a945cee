"""L11: predicting changes nothing: no weight, no random state, no module's mode."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from attached import KIND_NAMES
from bases import ARCHITECTURES
from models import LABELS, classifier, renderer_of, rows_of, tokens_of
from tenon.evaluate.predict import features, inference, predict
from tenon.evaluate.probes import probe
from tenon.model.classifier import loss_sum
from tenon.text.batch import batch


def state(model):
    """Give all that a prediction must leave as it is."""
    return {
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "grads": {
            n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()
        },
        "wanted": {name: p.requires_grad for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
        "python": random.getstate(),
        "attention": model.trunk.model.config._attn_implementation,
        "grad": torch.is_grad_enabled(),
    }


def assert_same(found, expected):
    for name, before in expected.items():
        after = found[name]
        if isinstance(before, dict):
            assert after.keys() == before.keys()
            pairs = [(after[key], before[key]) for key in before]
        else:
            pairs = [(after, before)]
        for now, then in pairs:
            same = torch.equal(now, then) if isinstance(then, torch.Tensor) else np.all(now == then)
            assert same, name


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_predicting_in_the_midst_of_training_changes_nothing(arch, which, folder_of):
    model = classifier(folder_of(arch), which, dropout=0.1).train()
    tokens = tokens_of(folder_of(arch))
    loss_sum(model.logits_BL(batch(tokens, np.arange(4))), torch.zeros(4).long())[0].backward()
    before = state(model)
    predict(model, tokens, LABELS, batch_tokens=40)
    features(model, tokens, batch_tokens=40)
    assert_same(state(model), before)


@pytest.mark.cells
@pytest.mark.parametrize("trunk_dropout", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_modes_of_any_mixture_are_given_back(seed, trunk_dropout, folder_of):
    model = classifier(folder_of("bert"), "houlsby", trunk_dropout=trunk_dropout)
    chance = random.Random(seed)
    for module in model.modules():
        module.training = chance.random() < 0.5
    before = state(model)
    with inference(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
    assert_same(state(model), before)


def test_modes_are_given_back_after_an_error(folder_of):
    model = classifier(folder_of("bert")).train()
    before = state(model)
    with pytest.raises(KeyError), inference(model):
        raise KeyError
    assert_same(state(model), before)


def test_the_probe_changes_nothing(folder_of):
    model = classifier(folder_of("bert")).train()
    before = state(model)
    probe("text-classification", model, renderer_of(folder_of("bert")))
    assert_same(state(model), before)


@pytest.mark.parametrize("arch", ["bert", "roberta", "llama", "qwen3", "gpt2", "t5"])
def test_a_step_after_predicting_is_the_step_without_it(arch, folder_of):
    def step(*, predicting: bool):
        model = classifier(folder_of(arch), "lora", dropout=0.3).train()
        torch.manual_seed(11)
        if predicting:
            predict(model, tokens_of(folder_of(arch)), LABELS, batch_tokens=30)
        rows = rows_of([5, 3, 8])
        loss_sum(model.logits_BL(rows), rows.classes_X)[0].backward()
        return {name: parameter.grad for name, parameter in model.trainable().items()}

    plain, disturbed = step(predicting=False), step(predicting=True)
    assert all(torch.equal(plain[name], disturbed[name]) for name in plain)
