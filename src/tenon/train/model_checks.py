"""Model checks: what must hold of the model before a run, its weights as they are.

Legend: B rows, T tokens, D hidden, L labels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor

from tenon.adapters.blocks import block_of
from tenon.adapters.weights import PEFT_NAME
from tenon.adapters.wrapped import adapted
from tenon.core.proof import Check, failed, passed
from tenon.data.findings import counted, said
from tenon.evaluate.predict import inference
from tenon.model.classifier import Classifier
from tenon.model.merge import relative
from tenon.model.model import Model
from tenon.model.seq2seq import Seq2Seq
from tenon.model.trunk import TOLERANCE
from tenon.text.batch import Batch
from tenon.train.step import gradients
from tenon.train.subject import Subject
from tenon.train.untouched import untouched

COARSE = 5e-2
"""Tolerance where layers in few bits round otherwise from batch to batch."""
GRADIENT = 10
"""How many times more than a loss a gradient may differ by rounding."""
SHOWN = 3


def sites(subject: Subject) -> Check:
    """Check that for each module that the sites stand for, one of its block carries the adapter.

    Some presets of a bottleneck wrap the norm or the block behind a module in its place, and one
    module behind several tables of embeddings.
    """
    name, carried = "sites", adapted(subject.model.trunk.model)
    wanted = [module for modules in subject.places.values() for module in modules]
    others = Counter(block_of(module) for module in carried if module not in wanted)
    bare: list[str] = []
    for module in wanted:
        block = block_of(module)
        if module not in carried:
            bare += [] if others[block] else [module]
            others[block] -= bool(block and others[block])
    said = ", ".join(f"{site} ({len(found)})" for site, found in subject.places.items())
    if carried and not bare:
        return passed(name, f"{counted(len(carried), 'module')} carry the adapter: {said}")
    return failed(
        name,
        f"{len(bare):,} of {len(wanted):,} modules carry no adapter, such as {named(bare)}",
        f"adapters.{subject.adapter.name}.sites: give the names as tenon plan lists them; PEFT "
        "passes over a misspelt name where another one matches",
    )


def saved(subject: Subject) -> Check:
    """Check that what is trained comes back where it is written and read, the head aside."""
    name, lost = "saved", subject.trial.lost
    if not lost:
        amount = sum(parameter.numel() for parameter in subject.model.trainable().values())
        return passed(name, f"{amount:,} parameters are trained, and all of them are written")
    return failed(
        name,
        f"{counted(len(lost), 'tensor')} would be trained and not be written with the adapter: "
        f"{named(lost)}",
        "freeze the base (requires_grad_(False)); rows of added tokens belong into a base that is "
        "saved with them, not into an adapter",
    )


def _written(model: Model) -> set[str]:
    peft: PeftModel | None = model.peft
    if peft is None:
        return set()
    held = get_peft_model_state_dict(peft, adapter_name=PEFT_NAME, save_embedding_layers=False)
    return {_plain(key) for key in held}


def _plain(name: str) -> str:
    """Give a tensor's name as PEFT writes it, from within the PEFT model."""
    _, _, inner = name.rpartition("base_model.model.")
    return ".".join(part for part in (inner or name).split(".") if part != PEFT_NAME)


def frozen(subject: Subject) -> Check | None:
    """Check that no layer is left out of what its neighbours are trained in."""
    name, model = "frozen", subject.model
    trained = {_plain(each) for each in model.trainable()}
    by_sort: dict[str, list[str]] = {}
    for tensor in sorted(_written(model)):
        by_sort.setdefault(_sort(tensor), []).append(tensor)
    still = [
        tensor
        for tensors in by_sort.values()
        if any(tensor in trained for tensor in tensors)
        for tensor in tensors
        if tensor not in trained
    ]
    if not still:
        return None
    return failed(
        name,
        f"{counted(len(still), 'tensor')} of the adapter cannot be trained, though others like "
        f"them can: {named(still)}",
        "let all of the adapter want gradients: model.set_adapter(name), with nothing frozen after",
    )


def _sort(tensor: str) -> str:
    parts = tensor.split(".")
    return ".".join(part for part in parts[-2:] if not part.isdigit())


def start(subject: Subject) -> Check | None:
    """Check that a fresh adapter loses on the rows what the base alone does."""
    name, model, kind = "start", subject.model, subject.kind
    peft = model.peft
    if peft is None or not adapted(model.trunk.model):
        return None
    with untouched(model), inference(model):
        fresh = _mean(model, subject.batch)
        with peft.disable_adapter():
            base = _mean(model, subject.batch)
    said = f"a fresh adapter loses {fresh:.4f} nats, the base {base:.4f}"
    error = abs(fresh - base) / max(abs(base), 1e-6)
    if not fresh < float("inf"):
        return failed(name, f"{said}: not finite", "see what is said of finite")
    if error <= _tolerance(model):
        return passed(name, said)
    if kind.start:
        return passed(name, f"{said}: {kind.start}")
    return failed(
        name,
        f"{said}: it does not begin as the base, as {kind.name} does",
        "give it first weights of its kind: is the adapter fresh, and one alone on the base?",
    )


def _mean(model: Model, batch: Batch) -> float:
    return float(model.nats(batch)) / max(1, model.targets(batch))


def packing(subject: Subject) -> Check | None:
    """Check that rows laid end to end lose what padded rows do."""
    name, model = "packing", subject.model
    if not model.trunk.packed:
        return None
    with untouched(model), inference(model):
        packed = _mean(model, subject.batch)
        with _padded(model):
            padded = _mean(model, subject.batch)
    rows = said(len(subject.rows), "row", "lose")
    told = f"{rows} {packed:.4f} nats packed and {padded:.4f} padded"
    if abs(packed - padded) <= _tolerance(model) * max(abs(padded), 1.0):
        return passed(name, told)
    return failed(name, told, 'model.batches="padded"')


class _padded:  # noqa: N801 - reads as a function
    """Let a model pad its rows for a while."""

    def __init__(self, model: Model) -> None:
        self.model, self.trunk = model, model.trunk

    def __enter__(self) -> None:
        self.model.trunk = replace(self.trunk, packed=False)

    def __exit__(self, *_: object) -> None:
        self.model.trunk = self.trunk


def apart(subject: Subject) -> Check | None:
    """Check that what a row gives does not depend on the rows beside it."""
    name, model = "rows apart", subject.model
    if len(subject.rows) < 2:  # noqa: PLR2004 - a row and a neighbour
        return None
    with untouched(model), inference(model):
        beside = _states(model, subject.batch)
        errors = {
            place: relative(_states(model, single)[0], beside[place])
            for place, single in subject.alone.items()
        }
    row, worst = max(errors.items(), key=lambda item: (math.isnan(item[1]), item[1]))
    if worst <= _tolerance(model):
        near = f"within {worst:.0e}" if worst else "bit for bit"
        return passed(name, f"a row beside {len(subject.rows) - 1} others is read as alone, {near}")
    origin = subject.taught.tokens.table["origin"][int(subject.rows[row])].as_py()
    how = "packed" if model.trunk.packed else "padded"
    remedy = (
        'model.batches="padded"'
        if model.trunk.packed
        else "use another base, or another version of transformers"
    )
    return failed(
        name,
        f"{origin} is read otherwise beside other rows than alone, {how}, by {worst:.1e} of its "
        "size: rows see each other",
        remedy,
    )


def _states(model: Model, batch: Batch) -> list[Tensor]:
    """Give the hidden states of each row; of an encoder-decoder the loss of each learned token."""
    if isinstance(model, Seq2Seq):
        lengths = list(batch.lengths)
        learned = [int((weights > 0).sum()) for weights in batch.targets_X.split(lengths)]
        return list(model.nats_U(batch).split(learned))
    on_device = batch.to(model.trunk.device)
    return list(model.trunk.hidden_TD(on_device).float().split(list(batch.lengths)))


def pooling(subject: Subject) -> Check | None:
    """Check that each row's vector is of its own tokens where rows are padded: of its last one."""
    name, model = "pooling", subject.model
    if not isinstance(model, Classifier):
        return None
    with untouched(model), inference(model), _padded(model):
        rows = list(subject.alone)
        beside_BD = model.pooled_BD(subject.batch)[rows]
        alone_BD = torch.cat([model.pooled_BD(single) for single in subject.alone.values()])
        states = _states(model, subject.batch)
        last_BD = torch.stack([states[row][-1] for row in rows])
    error = relative(alone_BD, beside_BD)
    if model.pooling == "last":
        error = max(error, relative(last_BD, beside_BD))
    what = "its last real token" if model.pooling == "last" else f"its own tokens ({model.pooling})"
    if error <= _tolerance(model):
        return passed(name, f"each row is read at {what}, whatever is padded behind it")
    return failed(
        name,
        f"rows of other lengths beside it change what is read of a row, by {error:.1e}: padding is "
        f"pooled instead of {what}",
        "give the base a pad token (pad_token_id in its config.json) and pool by lengths, or "
        "model.pooling=mean",
    )


def step_mean(subject: Subject) -> Check | None:
    """Check that a step in several micro-batches is the step in one."""
    name, model = "mean of a step", subject.model
    if len(subject.rows) < 2:  # noqa: PLR2004 - two micro-batches
        return None
    with untouched(model):
        model.eval()
        whole = _gradient(model, [subject.batch])
        parts = _gradient(model, subject.uneven)
    losses = f"{whole[0]:.4f} nats in one micro-batch, {parts[0]:.4f} in two of unlike sizes"
    allowed, size = _tolerance(model), max(abs(whole[0]), 1.0)
    same = abs(whole[0] - parts[0]) <= allowed * size
    norms = abs(whole[1] - parts[1]) <= GRADIENT * allowed * max(whole[1], 1e-6)
    if same and norms:
        return passed(name, f"{losses}: a mean over the step's targets")
    return failed(
        name,
        f"{losses}; gradients of {whole[1]:.4g} and {parts[1]:.4g}: the loss is a mean of means",
        "sum the loss of each micro-batch and divide by the targets of the whole step",
    )


def _gradient(model: Model, batches: Sequence[Batch]) -> tuple[float, float]:
    """Give the loss of a step and the norm of its gradient."""
    for parameter in model.parameters():
        parameter.grad = None

    def backward(loss: Tensor) -> None:
        if loss.requires_grad:
            loss.backward()

    _, losses = gradients(model, batches, backward)
    found = [p.grad for p in model.trainable().values() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(found) if found else torch.zeros(())
    return float(torch.stack(losses).sum()), float(norm)


def named(names: Sequence[str]) -> str:
    """Give some names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _tolerance(model: Model) -> float:
    trunk: Any = model.trunk
    allowed = TOLERANCE[trunk.model.dtype]
    return max(allowed, COARSE) if trunk.quantize != "none" else allowed
