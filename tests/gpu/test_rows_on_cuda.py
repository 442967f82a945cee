"""On a GPU passes over rows that a head reads are replayed, and learn what computed ones do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reading
import runs
import taggers
from attached import TABLES
from tenon.adapters.kind import settle
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import Base
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.last import proved
from tenon.model.reader import Reader
from tenon.model.settings import ModelSettings
from tenon.model.tagger import Tagger
from tenon.text.batch import batch
from tenon.train.passes import Passes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CLOSE = 3e-2
"""Of all gradients in bfloat16, by their size."""
PARTS = ([0, 1, 2], [3, 4], [5, 6, 7, 8, 9, 10])


def trunk_of(folder, *, pooler=False):
    settings = ModelSettings(device="cuda", dtype="bfloat16")
    trunk = proved(trunks.load(Base("tiny", folder), settings, pooler=pooler))
    torch.manual_seed(0)
    held = attach(trunk, settle("mood", TABLES["lora"]), seed=3)
    with torch.no_grad():
        for parameter in held.peft.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return trunk, held.peft


def head(trunk, labels):
    return Head(trunk.hidden_size, labels, normalize=False, bias=True)


def passed(model, batches, passes):
    """Give the gradients of a step and its loss."""
    model.zero_grad(set_to_none=True)
    targets = sum(model.targets(each) for each in batches)
    losses = [passes.passed(each, targets, torch.Tensor.backward) for each in batches]
    return [p.grad.clone() for p in model.trainable().values()], float(sum(losses))


def replayed(model, tokens):
    model.train()
    parts = [batch(tokens, np.array(part)) for part in PARTS]
    expected, loss = passed(model, parts, Passes(model, model.trainable(), "plain"))
    passes = Passes(model, model.trainable())
    assert passes.why == ""
    for _ in range(3):
        found, near = passed(model, parts, passes)
    assert passes.why == ""
    assert passes.replayed == 3 * len(parts) - passes.computed > 0
    assert near == pytest.approx(loss, rel=CLOSE)
    apart = sum(float((a - b).square().sum()) for a, b in zip(found, expected, strict=True))
    size = sum(float(each.square().sum()) for each in expected)
    assert size > 0
    assert apart <= CLOSE**2 * size


@pytest.mark.parametrize("arch", ["bert", "roberta", "modernbert", "qwen3"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_classes(arch, pooling, folder_of):
    trunk, peft = trunk_of(folder_of(arch))
    replayed(Classifier(trunk, peft, head(trunk, 3), pooling), runs.tokens(11))


def test_classes_by_the_pooler(folder_of):
    trunk, peft = trunk_of(folder_of("bert"), pooler=True)
    assert trunk.alone
    replayed(Classifier(trunk, peft, head(trunk, 3), "pooler"), runs.tokens(11))


@pytest.mark.parametrize("arch", ["bert", "qwen3"])
def test_tags(arch, folder_of):
    trunk, peft = trunk_of(folder_of(arch))
    model = Tagger(trunk, peft, head(trunk, len(taggers.TAGS)))
    replayed(model, taggers.tokens_of(folder_of(arch), 11))


@pytest.mark.parametrize("arch", ["bert", "qwen3"])
def test_answers_in_a_context(arch, folder_of):
    trunk, peft = trunk_of(folder_of(arch))
    replayed(Reader(trunk, peft, head(trunk, 3)), reading.tokens_of(folder_of(arch), 11))
