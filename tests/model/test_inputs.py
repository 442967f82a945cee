"""Inputs: the directions that EVA starts with, against a decomposition of all inputs at once."""

from __future__ import annotations

import numpy as np
import peft
import pytest
import torch
from torch.utils.data import DataLoader

import encoder_decoders
import writers
from attached import hidden
from bases import tiny
from models import trunk_of
from runs import LABELS, equal, tokens
from tenon.adapters import weights
from tenon.adapters.kind import settle
from tenon.core.errors import PlanError
from tenon.model import inputs
from tenon.model.attach import attach
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.inputs import Spread, begin_from_rows, chosen
from tenon.model.model import Model
from tenon.text.batch import batch

RANK = 4
QUERY = "base_model.model.encoder.layer.0.attention.self.query"
OUT = "base_model.model.encoder.layer.1.output.dense"


def model_of(folder, **own) -> Classifier:
    """Give a classifier with a fresh LoRA that waits for rows."""
    trunk = trunk_of(folder)
    settings = settle("mood", {"kind": "lora.v1", "init": "eva", "rank": RANK, **own})
    held = attach(trunk, settings, seed=3)
    head = Head(trunk.hidden_size, len(LABELS), normalize=False, bias=True)
    return Classifier(trunk, held.peft, head, "mean")


def factor(model: Model, path: str) -> torch.Tensor:
    return weights.take(model.peft)[f"{path}.lora_A.weight"]


def inputs_of(model: Classifier, path: str, rows) -> torch.Tensor:
    """Give everything that a layer is given by `rows`, centred; float64 [N, I]."""
    found = []
    layer = model.peft.get_submodule(path)
    hook = layer.register_forward_pre_hook(lambda _, given: found.append(given[0].flatten(0, -2)))
    with torch.no_grad():
        for row in rows:
            model.eval().nats(batch(TOKENS, row[None]))
    hook.remove()
    whole_NI = torch.cat(found).double()
    return whole_NI - whole_NI.mean(0)


TOKENS = tokens(60)


def caught(inputs_NI: torch.Tensor, a_RI: torch.Tensor) -> float:
    """Give the share of what can be caught of the inputs' squares by so many directions."""
    best = torch.linalg.svdvals(inputs_NI)[: len(a_RI)].square().sum()
    basis_RI = torch.linalg.qr(a_RI.double().T)[0].T
    return float((inputs_NI @ basis_RI.T).square().sum() / best)


@pytest.mark.parametrize("path", [QUERY, OUT])
def test_a_reads_the_leading_directions_of_the_inputs(folder_of, path):
    model = model_of(folder_of("bert"))
    rows = chosen(TOKENS, 5)
    inputs_NI = inputs_of(model, path, rows)
    before = caught(inputs_NI, factor(model, path))
    begin_from_rows(model, model.peft, TOKENS, 5)
    a_RI = factor(model, path)
    assert caught(inputs_NI, a_RI) > 0.98 > before + 0.1
    torch.testing.assert_close(a_RI @ a_RI.T, torch.eye(RANK), rtol=0, atol=1e-5)


def test_nothing_is_kept_but_what_fits_and_it_is_exact_where_all_fits():
    generator = torch.Generator().manual_seed(0)
    whole_NI = torch.randn(700, 12, generator=generator, dtype=torch.float64) * torch.arange(1, 13)
    spread = Spread(whole_NI[:0], whole_NI[:0].sum(0))
    for part in whole_NI.split([300, 1, 399]):
        spread.add(part, 12)
    centred_NI = whole_NI - whole_NI.mean(0)
    _, values, right = torch.linalg.svd(centred_NI, full_matrices=False)
    torch.testing.assert_close(spread.scaled_KI.norm(dim=1), values)
    torch.testing.assert_close(spread.mean_I, whole_NI.mean(0))
    found = torch.nn.functional.normalize(spread.scaled_KI)
    torch.testing.assert_close((found * right).sum(1).abs(), torch.ones(12, dtype=torch.float64))
    assert (spread.count, spread.directions) == (700, 12)


@pytest.mark.filterwarnings("ignore:lora with eva initialization:UserWarning")
def test_the_directions_are_those_of_pefts_own_eva(folder_of):
    """PEFT goes round and round until they settle, so that they are only nearly the same."""
    ids = torch.randint(5, 100, (16, 24), generator=torch.Generator().manual_seed(2))
    config = peft.LoraConfig(
        r=RANK,
        init_lora_weights="eva",
        target_modules=["query"],
        eva_config=peft.EvaConfig(rho=1.0),
    )
    theirs = peft.get_peft_model(tiny("bert"), config)
    loader = DataLoader([{"input_ids": row} for row in ids], batch_size=4)
    peft.initialize_lora_eva_weights(
        theirs,
        loader,
        prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=lambda given, *_: given[0].flatten(0, 1),
        show_progress_bar=False,
    )
    expected = peft.get_peft_model_state_dict(theirs)[f"{QUERY}.lora_A.weight"]
    whole = []
    layer = theirs.get_submodule(QUERY)
    layer.register_forward_pre_hook(lambda _, given: whole.append(given[0].flatten(0, 1)))
    hidden(theirs, ids)
    inputs_NI = torch.cat(whole)
    spread = Spread(inputs_NI[:0].double(), inputs_NI[:0].double().sum(0))
    for part in inputs_NI.double().split(96):
        spread.add(part, 2 * RANK)
    centred_NI = inputs_NI.double() - inputs_NI.double().mean(0)
    assert caught(centred_NI, expected) > 0.95
    assert caught(centred_NI, spread.scaled_KI[:RANK]) > 0.98


def test_a_fresh_adapter_changes_nothing_and_only_a_has_moved(folder_of):
    model = model_of(folder_of("bert"))
    before = weights.take(model.peft)
    base = hidden(tiny("bert"))
    begin_from_rows(model, model.peft, TOKENS, 5)
    after = weights.take(model.peft)
    for key, tensor in after.items():
        assert torch.equal(tensor, before[key]) == (".lora_B." in key)
    assert torch.equal(hidden(model.trunk.model), base)


def test_it_is_a_function_of_the_seed_and_the_rows_alone(folder_of):
    folder, found = folder_of("bert"), {}
    for name, seed, packed in (("a", 5, "packed"), ("b", 5, "padded"), ("c", 6, "packed")):
        model = model_of(folder)
        model.trunk = trunk_of(folder, batches=packed) if name == "b" else model.trunk
        torch.manual_seed(ord(name))
        state = torch.get_rng_state()
        if name == "b":
            model = Classifier(
                model.trunk, attach(model.trunk, OWN, seed=3).peft, model.head, "mean"
            )
        begin_from_rows(model, model.peft, tokens(400), seed)
        assert torch.equal(torch.get_rng_state(), state)
        found[name] = weights.take(model.peft)
    again = model_of(folder)
    begin_from_rows(again, again.peft, tokens(400), 5)
    assert equal(weights.take(again.peft), found["a"])
    assert not torch.equal(found["c"][f"{QUERY}.lora_A.weight"], factor(again, QUERY))
    for key, tensor in found["b"].items():
        torch.testing.assert_close(tensor.abs(), found["a"][key].abs(), rtol=0.05, atol=0.02)


OWN = settle("mood", {"kind": "lora.v1", "init": "eva", "rank": RANK})


def test_layers_that_are_given_the_same_are_read_once(folder_of):
    model = model_of(folder_of("bert"), sites=["attention"])
    begin_from_rows(model, model.peft, TOKENS, 5)
    key, value = (QUERY.replace("query", name) for name in ("key", "value"))
    for other in (key, value):
        assert torch.equal(factor(model, QUERY), factor(model, other))
    out = QUERY.replace("self.query", "output.dense")
    assert not torch.equal(factor(model, QUERY), factor(model, out))


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_a_decoder_that_writes(arch, tmp_path):
    folder = writers.causal_folder(tmp_path, arch)
    model = writers.writer(folder, shaken=False, init="eva", rank=RANK)
    started(model, writers.tokens_of(folder))


@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_an_encoder_decoder(arch, tmp_path):
    folder = encoder_decoders.folder_of(tmp_path, arch)
    model = encoder_decoders.seq2seq(folder, shaken=False, init="eva", rank=RANK)
    started(model, encoder_decoders.tokens_of(folder))


def started(model: Model, rows) -> None:
    """Start from rows: every A then has orthogonal rows of length 1."""
    begin_from_rows(model, model.peft, rows, 5)
    held = {key: t for key, t in weights.take(model.peft).items() if ".lora_A." in key}
    for tensor in held.values():
        torch.testing.assert_close(tensor @ tensor.T, torch.eye(RANK), rtol=0, atol=1e-4)


def test_rows_are_read_until_there_are_tokens_enough(monkeypatch):
    rows = tokens(300, lengths=[10])
    assert len(np.unique(chosen(rows, 5))) == inputs.ROWS
    monkeypatch.setattr(inputs, "TOKENS", 95)
    assert len(chosen(rows, 5)) == 10
    assert (chosen(rows, 5) != chosen(rows, 6)).any()
    assert len(chosen(tokens(7), 5)) == 7


def test_too_few_directions_are_told_with_the_layer(folder_of):
    model = model_of(folder_of("bert"), rank=9)
    with pytest.raises(PlanError, match=r"init: eva: .* give .*query 3 directions, and rank is 9"):
        begin_from_rows(model, model.peft, tokens(1, lengths=[4]), 5)
