"""L5: a step from stored states of the lower layers is the step that computes them.

Tolerance: 1e-5 of the largest value of each tensor, in float32: the stored states were computed in
other batches. What is stored in fewer bits differs by what these bits lose.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attached import KIND_NAMES
from bases import ARCHITECTURES, LAYERS
from models import classifier, laid, rows_of
from tenon.model.classifier import Classifier, loss_sum
from tenon.model.lower import entry_of, lower_TD
from tenon.text.batch import Batch, Below, of_ids

TOLERANCE = 1e-5
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=7).map(lambda rows: [*rows, 1])
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


def by_row(model: Classifier, batch: Batch, layers: int) -> torch.Tensor:
    """Compute the stored states, each row by itself."""
    ids = [row.tolist() for row in torch.split(batch.ids_T, list(batch.lengths))]
    rows = [lower_TD(model.trunk, of_ids([row]), layers) for row in ids]
    return torch.cat(rows)


def gradients(model: Classifier, batch: Batch) -> dict[str, torch.Tensor]:
    """Give the loss, the logits and all gradients of a step."""
    model.train()
    model.zero_grad(set_to_none=True)
    logits_BL = model.logits_BL(batch)
    loss = loss_sum(logits_BL, batch.classes_X)[0] / len(batch)
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
    batch = rows_of(lengths, seed)
    for packed in (True, False):
        shape = laid(model, packed=packed)
        states_TD = by_row(shape.eval(), batch, entry.layers)
        stored = replace(batch, below=Below(entry.layers, states_TD))
        expected = gradients(shape, batch)
        assert_close(gradients(shape, stored), expected)
        other = replace(batch, below=Below(entry.layers, states_TD.flip(1)))
        assert not torch.allclose(gradients(shape, other)["logits"], expected["logits"])
