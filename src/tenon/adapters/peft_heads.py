"""PEFT heads: what an adapter of PEFT is for, and its head among the heads of transformers.

Legend: D hidden, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch

from tenon.adapters.adopted import PEFT_PREFIX, Use, labels_of, without_head, written_by_base
from tenon.adapters.foreign import Foreign
from tenon.adapters.manifest import Dense, Pooling, PoolingMode
from tenon.core.errors import AdapterError


class ForeignHead(NamedTuple):
    """A head class of transformers.

    Args:
        pooling: what it reads.
        last: its last layer.
        dense: name and activation of a layer before; empty for none.
    """

    pooling: PoolingMode
    last: str
    dense: str = ""
    activation: Dense = ""


_ROBERTA = ForeignHead("cls", "classifier.out_proj", "classifier.dense", "tanh")
HEADS: dict[str, ForeignHead] = {
    "bert": ForeignHead("pooler", "classifier"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": ForeignHead("cls", "classifier.out_proj", "classifier.dense", "gelu"),
    "distilbert": ForeignHead("cls", "classifier", "pre_classifier", "relu"),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gpt2"), ForeignHead("last", "score")),
}
"""Model type to what its AutoModelForSequenceClassification computes from hidden states.

Source: transformers, the `*ForSequenceClassification` and `*ClassificationHead` of each model.
"""


def use_of(foreign: Foreign, model_type: str, labels: Sequence[str], *, writes: bool) -> Use:
    """Say what an adapter is for.

    Args:
        labels: the user's names of them.
        writes: whether the base is one that writes answers itself.

    Raises:
        AdapterError: it has no head where it needs one, or one that no head of ours is.
    """
    where, task = foreign.folder, foreign.config.get("task_type")
    if task == "SEQ_CLS":
        return _classifier(foreign, model_type, labels)
    if task in ("CAUSAL_LM", "SEQ_2_SEQ_LM", None) and writes:
        return written_by_base(seq2seq=task == "SEQ_2_SEQ_LM")
    if task in (None, "FEATURE_EXTRACTION", "CAUSAL_LM", "SEQ_2_SEQ_LM"):
        raise without_head(where, model_type)
    raise AdapterError(
        f"{where}: task_type is {task}, which cannot be imported; there are SEQ_CLS, CAUSAL_LM and "
        "SEQ_2_SEQ_LM"
    )


def _classifier(foreign: Foreign, model_type: str, labels: Sequence[str]) -> Use:
    head = HEADS.get(model_type)
    if head is None:
        raise AdapterError(
            f"{foreign.folder}: the head of a {model_type} for classification is none that can be "
            f"imported; there are those of {', '.join(HEADS)}"
        )
    named = {"weight": f"{head.last}.weight", "bias": f"{head.last}.bias"}
    if head.dense:
        named |= {"dense.weight": f"{head.dense}.weight", "dense.bias": f"{head.dense}.bias"}
    tensors = {ours: foreign.weights.get(f"{PEFT_PREFIX}{n}") for ours, n in named.items()}
    if head.last == "score" and tensors["weight"] is not None:
        tensors["bias"] = torch.zeros(len(tensors["weight"]))
    missing = [named[ours] for ours, tensor in tensors.items() if tensor is None]
    if missing:
        raise AdapterError(
            f"{foreign.folder}: its head is missing: {', '.join(missing)} are not among its "
            "tensors, so that it was not saved (modules_to_save); ask its author for it"
        )
    held = cast(dict[str, torch.Tensor], tensors)
    count = len(held["weight"])
    names = labels_of(labels, (), count)
    told = () if labels else (f"the files do not name the {count} labels; --labels does",)
    pooling = Pooling(mode=head.pooling, dense=head.activation)
    return Use("text-classification", "classes", pooling, names, held, notes=told)
