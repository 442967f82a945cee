"""Hub heads: what an AdapterHub checkpoint is for, and its head in our terms.

Legend: D hidden, L labels.

Source: AdapterHub `adapters`, `PredictionHead.build` (names and order of the layers),
`ClassificationHead` (what they read), and `GPT2AdapterModel.forward` (the last token).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from tenon.adapters.adopted import Use, labels_of, without_head, written_by_base
from tenon.adapters.foreign import HEAD_CONFIG, Foreign
from tenon.adapters.manifest import Dense, Pooling, PoolingMode
from tenon.core.errors import AdapterError

PLACES: dict[str, PoolingMode] = {
    "bert": "cls",
    "roberta": "cls",
    "xlm-roberta": "cls",
    "gpt2": "last",
}
"""Model type to the hidden state that a head reads, where it does not read the pooler's."""
DENSE: tuple[Dense, ...] = ("tanh", "relu", "gelu")
TASKS = {
    "classification": "text-classification",
    "multilabel_classification": "multi-label-classification",
}
OF_THE_BASE = ("causal_lm", "seq2seq_lm")
LAYER = re.compile(r"heads\.(?P<name>.+)\.(?P<place>\d+)\.(?P<part>weight|bias)")
LAYERS = 2


def hub_use(foreign: Foreign, model_type: str, labels: Sequence[str], *, writes: bool) -> Use:
    """Say what a checkpoint is for.

    Args:
        labels: the user's names of them.
        writes: whether the base is one that writes answers itself.

    Raises:
        AdapterError: it has no head where it needs one, or one that no head of ours is.
    """
    config, where = foreign.head_config.get("config"), foreign.folder / HEAD_CONFIG
    if not foreign.head_config or (isinstance(config, dict) and _of_base(config)):
        if not writes:
            raise without_head(foreign.folder, model_type)
        told = ["the head is the base's own, as AdapterHub ties it"] if foreign.head else []
        return written_by_base(seq2seq=model_type == "t5", notes=told)
    if not isinstance(config, dict):
        raise AdapterError(
            f"{where}: says nothing of its head's layers; import one of AdapterHub's"
        )
    given = cast(dict[str, Any], config)
    sort = given.get("head_type")
    if sort not in TASKS or model_type not in PLACES:
        raise AdapterError(
            f"{where}: is a {sort} head of a {model_type}, which cannot be imported; there are "
            f"{', '.join(TASKS)} of {', '.join(PLACES)}, and the language-model heads"
        )
    if sort == "classification" and given.get("num_labels") == 1:
        raise AdapterError(f"{where}: has one label, so it is a regression, which is not imported")
    return _classes(foreign, given, PLACES[model_type], labels)


def _of_base(config: Mapping[str, Any]) -> bool:
    return config.get("head_type") in OF_THE_BASE


def _classes(
    foreign: Foreign, config: Mapping[str, Any], place: PoolingMode, labels: Sequence[str]
) -> Use:
    where = foreign.folder / HEAD_CONFIG
    layers = _layers(foreign)
    activation = str(config.get("activation_function") or "")
    dense = len(layers) == LAYERS
    if not 1 <= len(layers) <= LAYERS or (dense and activation not in DENSE):
        raise AdapterError(
            f"{where}: its head has {len(layers)} layers with activation {activation or 'none'}; "
            f"ours have one, or two with {', '.join(DENSE)} between"
        )
    tensors = _tensors(layers)
    count = len(tensors["weight"])
    names = labels_of(labels, _label_names(config, where, count), count)
    mode: PoolingMode = "pooler" if config.get("use_pooler") else place
    task = TASKS[str(config["head_type"])]
    several = task == "multi-label-classification"
    constants = {"thresholds": (0.5,) * count} if several else {}
    form = Pooling(mode=mode, dense=cast(Dense, activation) if dense else "")
    return Use(task, "classes", form, names, tensors, constants)


def _layers(foreign: Foreign) -> list[dict[str, torch.Tensor]]:
    """Give the linear layers of a head, in their order.

    Raises:
        AdapterError: a tensor is none of a head's.
    """
    found: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in foreign.head.items():
        parts = LAYER.fullmatch(key)
        if parts is None or parts["name"] != foreign.head_config.get("name"):
            raise AdapterError(f"{foreign.folder}: {key} is no tensor of the head; nothing uses it")
        found.setdefault(int(parts["place"]), {})[parts["part"]] = tensor
    return [found[place] for place in sorted(found)]


def _tensors(layers: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Give the tensors of one or two layers under our names; a bias that is not there is 0."""
    named: dict[str, torch.Tensor] = {}
    for prefix, layer in zip(("", "dense."), reversed(layers), strict=False):
        if "weight" not in layer:
            raise AdapterError("the head: a layer has no weight; copy the checkpoint again")
        named[f"{prefix}weight"] = layer["weight"]
        named[f"{prefix}bias"] = layer.get("bias", torch.zeros(len(layer["weight"])))
    return named


def _label_names(config: Mapping[str, Any], where: object, count: int) -> tuple[str, ...]:
    """Give the labels in the order of their rows.

    Raises:
        AdapterError: their numbers are not those of the rows.
    """
    given = config.get("label2id")
    if not isinstance(given, dict) or not given:
        return ()
    rows = {int(row): str(name) for name, row in cast(dict[str, Any], given).items()}
    if sorted(rows) != list(range(count)) or len(rows) != len(given):
        raise AdapterError(
            f"{where}: label2id numbers its {len(given)} labels {sorted(rows)[:8]}; the head has "
            f"rows 0 to {count - 1}. Name them in the order of the rows: --labels"
        )
    return tuple(rows[row] for row in range(count))
