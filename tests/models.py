"""Classifiers on tiny bases: loaded from their folder as a run loads them, shaken, saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attached import TABLES, shake
from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling, layout_for
from tenon.adapters.weights import take
from tenon.data.example import Example, content_id
from tenon.evaluate.probes import probe
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.settings import ModelSettings
from tenon.model.trunk import Trunk
from tenon.text.batch import Batch, of_ids
from tenon.text.render import ClassRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import Tokens, collect

LABELS = ("glad", "sad", "tired")
TEXTS = (
    "a glad red fox",
    "the old dog was tired and sad; bad day!",
    "it is a good day for my parcel, the best of the early day.",
    "sad",
    "i was glad of my money = 1 + 2",
)
PAIRS = ("the dog is old", "day", "my", "was it the worst river by day?", "red fox")


def trunk_of(folder: Path, *, pooler: bool = False, **settings: Any) -> Trunk:
    """Load the trunk of a base's folder."""
    return trunks.load(locate(str(folder)), ModelSettings(**settings), pooler=pooler)


def classifier(
    folder: Path,
    which: str = "lora",
    *,
    pooling: str = "mean",
    bias: bool = True,
    normalize: bool = False,
    trunk_dropout: bool = False,
    shaken: bool = True,
    settings: dict[str, Any] | None = None,
    **own: Any,
) -> Classifier:
    """Give a classifier with an adapter of `attached.TABLES`, away from its first weights.

    Args:
        settings: of the model; `own` are those of the adapter.
    """
    trunk = trunk_of(folder, pooler=pooling == "pooler", **(settings or {}))
    held = attach(trunk, settle("mood", {**TABLES[which], **own}), seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        head = Head(trunk.hidden_size, len(LABELS), normalize=normalize, bias=bias)
    model = Classifier(trunk, held.peft, head, pooling, trunk_dropout=trunk_dropout)
    if shaken:
        shake(model)
    return model.eval()


def bare(folder: Path, pooling: str = "mean", **settings: Any) -> Classifier:
    """Give a classifier over a base without an adapter."""
    trunk = trunk_of(folder, pooler=pooling == "pooler", **settings)
    head = Head(trunk.hidden_size, len(LABELS), normalize=False, bias=True)
    return Classifier(trunk, None, head, pooling).eval()


def laid(model: Classifier, *, packed: bool) -> Classifier:
    """Let the model lay its rows end to end, or pad them."""
    model.trunk = replace(model.trunk, packed=packed)
    return model


def rows_of(
    lengths: Sequence[int], seed: int = 0, *, labels: bool = True, typed: bool = False
) -> Batch:
    """Give a batch of random rows of such lengths; none of their ids is a special one."""
    random = np.random.default_rng([seed, *lengths])
    ids = [random.integers(5, 100, length).tolist() for length in lengths]
    types = [random.integers(0, 2, length).tolist() for length in lengths] if typed else None
    made = of_ids(ids, types)
    if not labels:
        return made
    return replace(
        made, targets_X=torch.from_numpy(random.integers(0, len(LABELS), len(lengths))).float()
    )


def examples(
    texts: Sequence[str] = TEXTS,
    pairs: Sequence[str] | None = None,
    labels: Sequence[str | None] | None = None,
) -> list[Example]:
    """Give examples of texts, or of pairs of texts."""
    seconds = pairs or [None] * len(texts)
    named = labels or [None] * len(texts)
    return [
        Example(content_id(text, pair), f"t.csv:{place + 2}", text, pair, label)
        for place, (text, pair, label) in enumerate(zip(texts, seconds, named, strict=True))
    ]


def renderer_of(folder: Path, limit: int = 48, side: str = "right") -> ClassRenderer:
    """Give the renderer of the three labels on a base's tokenizer."""
    return ClassRenderer(load_tokenizer(folder), LABELS, limit, side)


def tokens_of(folder: Path, count: int = 12, seed: int = 0) -> Tokens:
    """Give the tokens of seeded labelled texts of one to twelve known words."""
    random = np.random.default_rng(seed)
    words = " ".join(TEXTS).split()
    texts = [" ".join(random.choice(words, random.integers(1, 13))) for _ in range(count)]
    labels = [LABELS[place % len(LABELS)] for place in range(count)]
    return collect(examples(texts, labels=labels), renderer_of(folder))


def save(
    model: Classifier,
    base: Path,
    folder: Path,
    which: str = "lora",
    *,
    limit: int = 48,
    **fields: Any,
) -> Path:
    """Write the adapter directory of `model`, as a run does.

    Args:
        which: adapter of `attached.TABLES` that the model has.
        fields: of the manifest.
    """
    linear = model.head.linear
    pooling = Pooling(mode=model.pooling, normalize=model.head.normalize)
    settings = settle("mood", TABLES[which])
    config = model.peft.peft_config["default"]
    printed = fingerprint(base, str(base), quantize=model.trunk.quantize)
    renderer = renderer_of(base, limit)
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=settings.kind,
        labels=LABELS,
        base=printed,
        pooling=pooling,
        layout=layout_for(printed.model_type, pooling, has_bias=linear.bias is not None),
        **{
            "text": Lengths(max_tokens=limit),
            "probes": probe("text-classification", model, renderer),
            **fields,
        },
    )
    bias = torch.zeros(len(LABELS)) if linear.bias is None else linear.bias.detach()
    head = {"weight": linear.weight.detach(), "bias": bias}
    held = pack.Adapter("mood", settings.kind, settings, config, take(model.peft), head, manifest)
    return pack.write(folder, held, card="# mood")
