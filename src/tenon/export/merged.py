"""Merged: an adapter folded into its base, written as a plain model of transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, cast

import safetensors.torch
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tenon.adapters.files import CARD, HEAD
from tenon.adapters.manifest import HEADS
from tenon.adapters.pack import head_of
from tenon.core.errors import AdapterError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.merged import Proof, proof_texts, same_scores
from tenon.evaluate.merged_card import merged_card
from tenon.evaluate.probes import scores
from tenon.export.again import scores_again
from tenon.export.beside import copy_beside
from tenon.export.case import no_merge
from tenon.export.target import TARGETS, Order, Target, Written
from tenon.model.base import Base
from tenon.model.head import Head
from tenon.model.settings import ModelSettings

Problem = Literal["single_label_classification", "multi_label_classification", "regression"]
PROBLEMS: dict[str, Problem] = {
    "text-classification": "single_label_classification",
    "multi-label-classification": "multi_label_classification",
    "text-regression": "regression",
}
"""What transformers calls the forms of classification."""


def write(order: Order, folder: Path) -> Written:
    """Merge the adapter, write the model into `folder`, and read it again.

    Raises:
        AdapterError: the adapter cannot be merged, or not within the tolerance of the number
            format; or the files give other scores than the merged model.
    """
    merged = order.answerer.merge()
    manifest, proof = merged.manifest, cast(Proof, merged.proof)
    texts, pairs = proof_texts(manifest, merged.renderer)
    expected_BL = scores(manifest.task, merged.model, merged.renderer, texts, pairs)
    model = _plain(merged)
    _save(model, folder, order.shard_size)
    if manifest.layout == "trunk":
        _save_head(merged, folder)
    copy_beside(order.base.folder, folder, manifest)
    (folder / CARD).write_text(merged_card(manifest, proof, type(model).__name__), "utf-8")
    _open_rights(folder)
    device = str(merged.model.trunk.device)
    settings = ModelSettings(device=device, dtype=cast(Any, proof.dtype))
    found_BL = scores_again(manifest, Base(str(folder), folder), settings)
    error = same_scores(manifest.name, proof, expected_BL, found_BL)
    return Written(proof, error, f"{type(model).__name__}.from_pretrained")


def _plain(merged: Answerer) -> PreTrainedModel:
    """Give the merged base as the class of transformers that has its head, if there is one."""
    manifest, trunk = merged.manifest, merged.model.trunk
    if trunk.whole is not None:
        return trunk.whole
    labels = dict(enumerate(manifest.labels))
    config = trunk.model.config
    config.id2label, config.label2id = labels, {name: row for row, name in labels.items()}
    config.problem_type = PROBLEMS.get(manifest.task)
    if manifest.layout == "trunk":
        return trunk.model
    known = HEADS[manifest.base.model_type, manifest.pooling.mode]
    with torch.device("meta"):
        whole: Any = AutoModelForSequenceClassification.from_config(config)
    setattr(whole, known.prefix, trunk.model)
    head = cast(Head, merged.model.head)
    linear = nn.Linear(trunk.hidden_size, len(labels), bias=known.has_bias, dtype=trunk.model.dtype)
    linear.load_state_dict(head_of(head.tensors(), has_bias=known.has_bias))
    setattr(whole, known.name, linear)
    return whole


def _save(model: PreTrainedModel, folder: Path, shard_size: str) -> None:
    try:
        model.save_pretrained(folder, max_shard_size=shard_size)
    except ValueError as error:
        raise AdapterError(
            f"--shard-size {shard_size}: transformers cannot write such files ({error}); "
            'give a size such as "5GB" or "200MB"'
        ) from error


def _save_head(merged: Answerer, folder: Path) -> None:
    """Write the head that no class of transformers has, in the form of an adapter's directory."""
    data = safetensors.torch.save(cast(Head, merged.model.head).tensors())
    (folder / HEAD).write_bytes(data)


def _open_rights(folder: Path) -> None:
    """Give each file the rights of any new file; safetensors writes them for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)


TARGETS.add(
    "merged",
    Target(
        name="merged",
        summary="the adapter folded into its base: a plain model of transformers",
        keeps_format=True,
        ranked=False,
        measures=False,
        write=write,
        refuses=no_merge,
    ),
)
