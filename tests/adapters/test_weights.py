"""Weights taken from a model and put on one: copies, strictly."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from attached import attached
from tenon.adapters import weights
from tenon.core.errors import AdapterError


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def _first(tensors):
    return sorted(tensors)[0]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda t: t.pop(_first(t)), "the model has this tensor, the adapter does not"),
        (lambda t: t.update({"x.y": torch.zeros(1)}), "the adapter has this tensor"),
        (lambda t: t.update({_first(t): torch.zeros(2, 2)}), "is 2x2 in the adapter"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_moves(change, cause):
    model = attached("bert", "houlsby")
    before = weights.take(model)
    held = {key: torch.ones_like(tensor) for key, tensor in before.items()}
    change(held)
    with pytest.raises(AdapterError, match=cause):
        weights.put(model, held)
    assert same(weights.take(model), before)


def test_taken_weights_are_copies_in_safetensors_form():
    model = attached("bert", "houlsby")
    held = weights.take(model)
    assert save(held)
    before = {key: tensor.clone() for key, tensor in held.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert same(held, before)


def test_an_adapter_on_the_embeddings_does_not_drag_the_embeddings_along():
    model = attached("llama", "lora", sites=["embeddings"])
    assert sorted(name.rpartition(".")[2] for name in weights.take(model)) == [
        "lora_embedding_A",
        "lora_embedding_B",
    ]
