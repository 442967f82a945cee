"""L5: a step from stored states of the lower layers is the step that computes them.

Tolerance: 1e-5 of the largest value of each tensor, in float32: the stored states were computed in
other batches. What is stored in fewer bits differs by what these bits lose.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attached import KIND_NAMES
from bases import ARCHITECTURES, LAYERS
from models import classifier, laid, rows_of
from tenon.model.classifier import Classifier, loss_sum
from tenon.model.lower import entry_of, lower_TD
from tenon.model.writer import Writer
from tenon.text.batch import Batch, Below, batch, of_ids
from writers import causal_folder, tokens_of, writer

TOLERANCE = 1e-5
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=7).map(lambda rows: [*rows, 1])
TYPED = ("bert", "electra")
MODES = {"gpt2": "last", "llama": "last", "modernbert": "cls", "roberta": "cls"}
REFUSED = {"t5": "its layers hand on more than hidden states"}
"""Bases that cannot be entered, and why."""


@pytest.fixture(scope="module")
def model_of(folder_of):
    """Give a shaken classifier with adapters in the last layer alone, loaded once."""

    @cache
    def load(arch: str, which: str) -> Classifier:
        own = {"dropout": 0.0, "layers": "last:1"}
        return classifier(folder_of(arch), which, pooling=MODES.get(arch, "mean"), **own)

    return load


def by_row(model: Classifier | Writer, rows: Batch, layers: int) -> torch.Tensor:
    """Compute the stored states, each row by itself."""
    ids = [row.tolist() for row in torch.split(rows.ids_T, list(rows.lengths))]
    types = [None] * len(ids)
    if rows.types_T is not None:
        types = [[row.tolist()] for row in torch.split(rows.types_T, list(rows.lengths))]
    alone = [of_ids([row], typed) for row, typed in zip(ids, types, strict=True)]
    return torch.cat([lower_TD(model.trunk, row, layers) for row in alone])


def gradients(model: Classifier, rows: Batch) -> dict[str, torch.Tensor]:
    """Give the loss, the logits and all gradients of a step."""
    model.train()
    model.zero_grad(set_to_none=True)
    logits_BL = model.logits_BL(rows)
    loss = loss_sum(logits_BL, rows.classes_X)[0] / len(rows)
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.trainable().items()}
    assert all(grad is not None for grad in found.values())
    return {**found, "loss": loss.detach(), "logits": logits_BL.detach()}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max(float(grad.abs().max()) for name, grad in expected.items() if name != "logits")
    for name, tensor in expected.items():
        size = max(float(tensor.abs().max()), 1e-3 * largest)
        assert float((found[name] - tensor).abs().max()) <= TOLERANCE * size, name


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@settings(max_examples=3)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_from_stored_states(arch, which, model_of, lengths, seed):
    model = model_of(arch, which)
    entry = entry_of(model.eval().trunk)
    if arch in REFUSED:
        assert (entry.layers, entry.why) == (0, REFUSED[arch])
        return
    assert (entry.layers, entry.of, entry.why) == (1, LAYERS, "")
    rows = rows_of(lengths, seed, typed=arch in TYPED)
    for packed in (True, False):
        shape = laid(model, packed=packed)
        states_TD = by_row(shape.eval(), rows, entry.layers)
        stored = replace(rows, below=Below(entry.layers, states_TD))
        expected = gradients(shape, rows)
        assert_close(gradients(shape, stored), expected)
        other = replace(rows, below=Below(entry.layers, states_TD.flip(1)))
        assert not torch.allclose(gradients(shape, other)["logits"], expected["logits"])


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_a_base_that_writes_goes_on_from_stored_states(arch, tmp_path):
    """Its own language-model head is above all layers."""
    folder = causal_folder(tmp_path, arch)
    model = writer(folder, "lora", shaken=True, dropout=0.0, layers="last:1")
    rows = tokens_of(folder)
    some = batch(rows, np.arange(len(rows)))
    entry = entry_of(model.eval().trunk)
    assert (entry.layers, entry.why) == (1, "")
    found = []
    for below in (None, Below(1, by_row(model, some, 1))):
        model.zero_grad(set_to_none=True)
        nats = model.train().nats(replace(some, below=below)) / model.targets(some)
        nats.backward()
        grads = {name: p.grad for name, p in model.trainable().items()}
        found.append({**grads, "loss": nats.detach()})
    assert_close(found[1], found[0])
