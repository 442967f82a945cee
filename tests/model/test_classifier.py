"""Classifier: modes, dropout, poolings, the Trainer's call, number formats, and the loss."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModel

from attached import KIND_NAMES, MARKS
from bases import ARCHITECTURES
from models import LABELS, bare, classifier, laid, rows_of
from tenon.model.classifier import loss_sum
from tenon.model.trunk import padded

BATCH = (9, 3, 1, 6)
DROPS = ("bert", "roberta", "distilbert", "electra", "gpt2", "t5")


def twice(model, *, packed=False):
    """Give the logits of two forward passes that follow one another."""
    laid(model, packed=packed)
    torch.manual_seed(0)
    with torch.no_grad():
        return model.logits_BL(rows_of(BATCH)), model.logits_BL(rows_of(BATCH))


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_in_training_the_base_does_not_drop_out_and_the_adapter_does(arch, which, folder_of):
    still = classifier(folder_of(arch), which, dropout=0.0)
    for packed in {still.trunk.packed, False}:
        expected, again = twice(still.eval(), packed=packed)
        assert torch.equal(expected, again)
        assert all(torch.equal(expected, found) for found in twice(still.train(), packed=packed))
    lively = classifier(folder_of(arch), which, dropout=0.5)
    one, two = twice(lively.train())
    assert not torch.equal(one, two)
    one, two = twice(lively.eval())
    assert torch.equal(one, two)


@pytest.mark.cells
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("arch", DROPS)
def test_the_base_drops_out_where_it_is_asked_to(arch, packed, folder_of):
    model = classifier(folder_of(arch), "lora", trunk_dropout=True, dropout=0.0)
    packed = packed and model.trunk.packed
    one, two = twice(model.train(), packed=packed)
    assert not torch.equal(one, two)
    one, two = twice(model.eval(), packed=packed)
    assert torch.equal(one, two)


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2"])
def test_training_mode_is_that_of_the_adapters_and_the_head(arch, which, folder_of):
    model = classifier(folder_of(arch), which, dropout=0.1)
    assert not any(modes(model).values())
    found = modes(model.train())
    on = {name for name, training in found.items() if training}
    assert "head" in on and "head.linear" in on and "" in on
    wraps = {n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    other = on - {"", "head", "head.linear"} - wraps
    assert wraps <= on and all(any(part in name for part in MARKS) for name in other)
    dropouts = [name for name in on if name.endswith(("dropout", "lora_dropout.default"))]
    assert dropouts
    assert not any(modes(model.eval()).values())


def test_the_bare_base_is_never_in_training_mode(folder_of):
    model = bare(folder_of("bert")).train()
    assert model.training and model.head.training and model.peft is None
    assert not any(module.training for module in model.base.modules())


@pytest.mark.parametrize("which", KIND_NAMES)
def test_the_adapter_and_the_head_are_what_training_changes(which, folder_of):
    model = classifier(folder_of("bert"), which)
    names = set(model.trainable())
    assert {"head.linear.weight", "head.linear.bias"} < names
    assert all(n.startswith("head.") or any(mark in n for mark in MARKS) for n in names)
    base = [p for n, p in model.named_parameters() if n not in names]
    assert base and not any(parameter.requires_grad for parameter in base)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "pooler"])
def test_the_logits_are_those_of_the_base_and_a_head_by_hand(pooling, folder_of):
    model = bare(folder_of("bert"), pooling)
    batch = rows_of(BATCH, typed=True)
    ids_BP, mask_BP, types_BP = padded(batch, 0)
    plain = AutoModel.from_pretrained(folder_of("bert")).eval()
    with torch.no_grad():
        out = plain(input_ids=ids_BP, attention_mask=mask_BP, token_type_ids=types_BP)
        vectors = {
            "mean": (out.last_hidden_state * mask_BP[..., None]).sum(1) / mask_BP.sum(1)[:, None],
            "cls": out.last_hidden_state[:, 0],
            "last": out.last_hidden_state[torch.arange(4), mask_BP.sum(1) - 1],
            "pooler": out.pooler_output,
        }
        expected = model.head.linear(vectors[pooling])
        for packed in (True, False):
            found = laid(model, packed=packed).logits_BL(batch)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "pooler"])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_features_are_what_the_linear_layer_reads(pooling, normalize, folder_of):
    model = classifier(folder_of("bert"), pooling=pooling, normalize=normalize)
    batch = rows_of(BATCH)
    with torch.no_grad():
        features_BD = model.features_BD(batch)
        torch.testing.assert_close(model.head.linear(features_BD), model.logits_BL(batch))
    if normalize:
        torch.testing.assert_close(features_BD.norm(dim=-1), torch.ones(len(BATCH)))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_trainers_call_gives_the_same_logits_and_the_mean_loss(arch, folder_of):
    model = classifier(folder_of(arch), "houlsby", pooling="last" if arch == "llama" else "mean")
    batch = rows_of(BATCH, typed=arch in ("bert", "electra", "gpt2"))
    batch.targets_X[2] = -1
    ids_BP, mask_BP, types_BP = padded(batch, model.trunk.pad)
    args = (ids_BP, mask_BP, types_BP)
    expected = model.logits_BL(batch)
    torch.testing.assert_close(model(*args).logits, expected, rtol=1e-5, atol=1e-5)
    assert model(*args).loss is None
    nats, rows = loss_sum(expected, batch.classes_X)
    assert rows == 3
    for count, divisor in ((None, 3), (12, 12), (torch.tensor(6), 6)):
        out = model(*args, labels=batch.classes_X, num_items_in_batch=count)
        torch.testing.assert_close(out.loss, nats / divisor, rtol=1e-5, atol=1e-6)


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("arch", "pooling"), [("bert", "pooler"), ("llama", "last")])
def test_a_half_precision_base_gives_float32_logits_and_gradients(
    arch, pooling, dtype, which, folder_of
):
    model = classifier(
        folder_of(arch), which, pooling=pooling, settings={"dtype": dtype}, shaken=False
    )
    whole = classifier(folder_of(arch), which, pooling=pooling, shaken=False)
    model.head.load_state_dict(whole.head.state_dict())
    batch = rows_of(BATCH)
    logits_BL = model.train().logits_BL(batch)
    assert logits_BL.dtype == torch.float32
    torch.testing.assert_close(logits_BL, whole.logits_BL(batch), rtol=0.1, atol=0.05)
    loss_sum(logits_BL, batch.classes_X)[0].backward()
    for name, parameter in model.trainable().items():
        assert parameter.dtype == parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name


@given(st.lists(st.integers(-1, 2), min_size=1, max_size=9), st.integers(0, 99))
def test_rows_without_a_label_count_for_nothing(labels, seed):
    logits_BL = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed))
    logits_BL.requires_grad_()
    nats, rows = loss_sum(logits_BL, torch.tensor(labels))
    known = [(row, label) for row, label in enumerate(labels) if label >= 0]
    expected = -sum(float(logits_BL.detach().log_softmax(-1)[at]) for at in known)
    assert rows == len(known)
    assert math.isclose(float(nats.detach()), expected, rel_tol=1e-5, abs_tol=1e-5)
    nats.backward()
    silent = [row for row, label in enumerate(labels) if label < 0]
    assert not logits_BL.grad[silent].any()
    assert len(LABELS) == logits_BL.shape[1]
