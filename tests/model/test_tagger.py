"""Tagger: the loss is the cross-entropy of the tokens that have a class, and of no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from taggers import TAGS, renderer_of, tagged, tagger, tokens_of
from tenon.text.batch import batch
from tenon.text.tokens import collect


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_the_loss_is_the_summed_cross_entropy_of_known_tokens(arch, folder_of):
    model, tokens = tagger(folder_of(arch)), tokens_of(folder_of(arch))
    rows = batch(tokens, np.arange(len(tokens)))
    known_T = rows.classes_X >= 0
    assert 0 < int(known_T.sum()) < rows.tokens
    assert model.targets(rows) == int(known_T.sum())
    everything_TL = model.logits_UL(rows, torch.ones(rows.tokens, dtype=torch.bool))
    assert everything_TL.shape == (rows.tokens, len(TAGS))
    expected = cross_entropy(everything_TL[known_T], rows.classes_X[known_T], reduction="sum")
    torch.testing.assert_close(model.nats(rows), expected)


def test_a_batch_without_classes_has_no_loss(folder_of):
    blind = [replace(each, gold=None) for each in tagged(3)]
    tokens = collect(blind, renderer_of(folder_of("bert")))
    model, rows = tagger(folder_of("bert")), batch(tokens, np.arange(3))
    assert model.targets(rows) == 0
    assert float(model.nats(rows).detach()) == 0.0


def test_chosen_tokens_come_in_the_order_of_the_batch(folder_of):
    model, tokens = tagger(folder_of("gpt2")), tokens_of(folder_of("gpt2"))
    rows = batch(tokens, np.arange(len(tokens)))
    everything_TD = model.features_UD(rows, torch.ones(rows.tokens, dtype=torch.bool))
    chosen_T = torch.arange(rows.tokens) % 3 == 1
    torch.testing.assert_close(model.features_UD(rows, chosen_T), everything_TD[chosen_T])
    assert everything_TD.dtype == torch.float32


@pytest.mark.parametrize("trunk_dropout", [True, False])
def test_the_trunk_drops_out_only_if_asked(trunk_dropout, folder_of):
    model = tagger(folder_of("bert"), dropout=0.1, trunk_dropout=trunk_dropout).train()
    training = {type(module).__name__ for module in model.base.modules() if module.training}
    assert ("BertLayer" in training) == trunk_dropout
    assert model.head.training
    assert not any(module.training for module in model.eval().modules())


def test_what_is_trained_are_adapter_and_head(folder_of):
    names = set(tagger(folder_of("bert")).trainable())
    assert {name for name in names if name.startswith("head.")} == {
        "head.linear.weight", "head.linear.bias",
    }  # fmt: skip
    assert all("lora" in name for name in names if not name.startswith("head."))
