"""L5: rows that a head reads, laid out in a size, have the loss and gradients of the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import reading
import runs
import taggers
from attached import shake
from tenon.model.classifier import Classifier
from tenon.model.goal import LABELS, NUMBER
from tenon.model.last import proved
from tenon.text.batch import batch
from tenon.train.passes import Passes

PARTS = ([0, 1, 2], [3, 4], [5], [6, 7, 8, 9, 10])
ARCHS = ("bert", "roberta", "modernbert", "llama", "gpt2")
POOLINGS = ("mean", "cls", "last")


def classes(folder, pooling):
    return runs.classifier(folder, pooling=pooling, dropout=0.0), runs.tokens(11, labelled=0.8)


def passed(model, batches, passes):
    """Give the gradients of a step and its loss."""
    model.train()
    model.zero_grad(set_to_none=True)
    targets = sum(model.targets(each) for each in batches)
    losses = [passes.passed(each, targets, torch.Tensor.backward) for each in batches]
    return {n: p.grad.clone() for n, p in model.trainable().items()}, float(sum(losses))


def same(model, batches):
    """Compare a step as computed with one that is laid out."""
    assert any(model.targets(each) for each in batches)
    expected, loss = passed(model, batches, Passes(model, model.trainable(), "plain"))
    passes = Passes(model, model.trainable(), "plain", sizes=True)
    found, near = passed(model, batches, passes)
    assert passes.computed == len(batches)
    assert passes.filling > 0
    assert near == pytest.approx(loss, rel=1e-5)
    whole = max(float(gradient.norm()) for gradient in expected.values())
    assert whole > 0
    for name, gradient in expected.items():
        assert torch.isfinite(found[name]).all(), name
        assert float((found[name] - gradient).norm()) <= 1e-5 * whole, name


def parts_of(tokens):
    return [batch(tokens, np.array(part)) for part in PARTS]


@pytest.mark.cells
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("arch", ARCHS)
def test_filling_changes_no_gradient_of_classes(arch, pooling, folder_of):
    model, tokens = classes(folder_of(arch), pooling)
    shake(model.base)
    same(model, parts_of(tokens))


def test_nor_where_the_last_block_computes_what_is_read(folder_of):
    model, tokens = classes(folder_of("bert"), "pooler")
    shake(model.base)
    model.trunk = proved(model.trunk)
    assert model.trunk.alone
    same(model, parts_of(tokens))


@pytest.mark.parametrize("goal", [LABELS, NUMBER])
def test_nor_of_several_labels_or_numbers_some_of_which_are_not_known(goal, folder_of):
    model, tokens = classes(folder_of("bert"), "mean")
    model = Classifier(model.trunk, model.peft, model.head, "mean", goal=goal)
    shake(model.base)
    model.head.constants = {"mean": (0.5,), "spread": (2.0,)}
    each = len(runs.LABELS) if goal is LABELS else 1
    drawn = [torch.arange(each * len(part)).float() % 2 for part in PARTS]
    for targets_X in drawn[1:]:
        targets_X[:each] = goal.none
    parts = zip(parts_of(tokens), drawn, strict=True)
    same(model, [replace(part, targets_X=targets_X) for part, targets_X in parts])


@pytest.mark.parametrize("arch", ["bert", "qwen3"])
def test_nor_of_tags(arch, folder_of):
    model = taggers.tagger(folder_of(arch), "lora", dropout=0.0)
    same(model, parts_of(taggers.tokens_of(folder_of(arch), 11)))


@pytest.mark.parametrize("arch", ["bert", "qwen3"])
@pytest.mark.parametrize("answers", [2, 3])
def test_nor_of_answers_in_a_context(arch, answers, folder_of):
    model = reading.reader(folder_of(arch), "lora", classes=reading.CLASSES[:answers])
    same(model, parts_of(reading.tokens_of(folder_of(arch), 11)))
