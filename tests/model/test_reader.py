"""Reader: losses by hand, places that stand for no answer, what is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reading import CLASSES, examples, reader, renderer_of, tokens_of
from tenon.model.reader import place_nats, place_scores, places_B2
from tenon.text.batch import batch, of_ids
from tenon.text.tokens import collect


def by_hand(scores_T2, lengths, places):
    """The mean negative log-probability of both ends, summed over rows that have a place."""
    total, start = 0.0, 0
    for length, pair in zip(lengths, places, strict=True):
        logs = torch.log_softmax(scores_T2[start : start + length], 0)
        if pair[0] >= 0:
            total -= float(logs[pair[0], 0] + logs[pair[1], 1]) / 2
        start += length
    return total


@pytest.mark.parametrize("lengths", [(4,), (3, 7, 1), (5, 5)])
def test_the_loss_is_that_of_both_ends_within_each_row(lengths):
    generator = torch.Generator().manual_seed(len(lengths))
    scores_T2 = torch.randn(sum(lengths), 2, generator=generator)
    places = [(length // 2, length - 1) for length in lengths]
    places[-1] = (0, 0)
    found = place_nats(scores_T2, lengths, torch.tensor(places))
    assert float(found) == pytest.approx(by_hand(scores_T2, lengths, places), rel=1e-5)


def test_a_row_that_is_not_known_adds_nothing_and_leaves_no_nan():
    generator = torch.Generator().manual_seed(0)
    scores_T2 = torch.randn(6, 2, generator=generator, requires_grad=True)
    found = place_nats(scores_T2, (2, 4), torch.tensor([[-1, -1], [1, 3]]))
    found.backward()
    expected = by_hand(scores_T2.detach(), (2, 4), [(-1, -1), (1, 3)])
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    assert (scores_T2.grad[:2] == 0).all()
    assert torch.isfinite(scores_T2.grad).all()
    assert scores_T2.grad[2:].abs().sum() > 0


def test_rows_do_not_see_each_other():
    scores_T2 = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[1, 1], [2, 3]])
    together = place_nats(scores_T2, (2, 4), places)
    apart = place_nats(scores_T2[:2], (2,), places[:1]) + place_nats(
        scores_T2[2:], (4,), places[1:]
    )
    assert float(together) == pytest.approx(float(apart), rel=1e-5)


def test_the_first_token_of_a_row_is_scored_by_the_class_of_no_answer():
    logits_TL = torch.arange(15.0).reshape(5, 3)
    found = place_scores(logits_TL, (2, 3))
    assert found[[0, 2]].tolist() == [[2.0, 2.0], [8.0, 8.0]]
    assert torch.equal(found[[1, 3, 4]], logits_TL[[1, 3, 4], :2])
    assert torch.equal(logits_TL, torch.arange(15.0).reshape(5, 3))


def test_a_head_of_two_classes_scores_it_as_any_other():
    logits_TL = torch.randn(5, 2)
    assert torch.equal(place_scores(logits_TL, (2, 3)), logits_TL)


def test_targets_are_the_windows_whose_answer_is_known(folder_of):
    folder = folder_of("bert")
    known = examples(3)
    unknown = [type(e)(e.id, e.origin, e.text, e.pair, None) for e in examples(2, seed=1)]
    tokens = collect([*known, *unknown], renderer_of(folder, 60))
    assert len(tokens) >= 5
    rows = batch(tokens, np.arange(len(tokens)))
    targets = sum(origin is not None for origin in tokens.column("gold"))
    assert reader(folder).targets(rows) == targets < len(tokens)
    assert places_B2(rows).shape == (len(tokens), 2)


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:2]])
@pytest.mark.parametrize("arch", ["bert", "gpt2"])
def test_every_trainable_weight_that_can_learn_gets_a_gradient(arch, classes, folder_of):
    model = reader(folder_of(arch), classes=classes, dropout=0.0).train()
    tokens = tokens_of(folder_of(arch), classes=classes)
    model.nats(batch(tokens, np.arange(len(tokens)))).backward()
    for name, parameter in model.trainable().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name != "head.linear.bias":
            assert parameter.grad.abs().max() > 0, name
    bias = model.head.linear.bias.grad
    # The biases of start and end move all tokens but the first alike.
    assert (bias.abs().max() > 1e-4) == (len(classes) == 3)


def test_the_trunk_keeps_its_mode_and_its_weights(folder_of):
    model = reader(folder_of("bert"), dropout=0.1)
    model.train()
    assert model.training
    assert not model.trunk.model.encoder.layer[0].attention.self.dropout.training
    assert all(name.startswith(("base.", "head.")) for name in model.trainable())
    assert reader(folder_of("bert"), None).peft is None


def test_scores_need_no_targets(folder_of):
    model = reader(folder_of("bert"))
    found = model.scores_T2(of_ids([[1, 5, 6], [1, 7]]))
    assert found.shape == (5, 2)
    assert found.dtype == torch.float32
