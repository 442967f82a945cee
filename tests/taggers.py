"""Taggers on tiny bases: loaded from their folder as a run loads them, shaken, saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attached import TABLES, shake
from folders import WORDS
from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling, layout_for
from tenon.adapters.weights import take
from tenon.data.example import Example, content_id
from tenon.data.gold import Span
from tenon.evaluate.probes import probe
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.head import Head
from tenon.model.settings import ModelSettings
from tenon.model.tagger import Tagger
from tenon.model.trunk import Trunk
from tenon.text.tag_render import TagRenderer, tags_for
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import Tokens, collect

TASK = "token-classification"
LABELS = ("LOC", "PER")
TAGS = tags_for(LABELS, single=False)


def trunk_of(folder: Path, **settings: Any) -> Trunk:
    """Load the trunk of a base's folder."""
    return trunks.load(locate(str(folder)), ModelSettings(device="cpu", **settings))


def tagger(
    folder: Path,
    which: str = "lora",
    *,
    trunk_dropout: bool = False,
    shaken: bool = True,
    tags: int = len(TAGS),
    **own: Any,
) -> Tagger:
    """Give a tagger with an adapter of `attached.TABLES`, away from its first weights if wanted."""
    trunk = trunk_of(folder)
    held = attach(trunk, settle("names", {**TABLES[which], **own}), seed=3)
    model = Tagger(trunk, held.peft, head_of(trunk, tags), trunk_dropout=trunk_dropout)
    if shaken:
        shake(model)
    return model.eval()


def bare(folder: Path) -> Tagger:
    """Give a tagger over a base without an adapter."""
    trunk = trunk_of(folder)
    return Tagger(trunk, None, head_of(trunk, len(TAGS))).eval()


def head_of(trunk: Trunk, tags: int) -> Head:
    """Give a random head, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return Head(trunk.hidden_size, tags, normalize=False, bias=True)


def laid(model: Tagger, *, packed: bool) -> Tagger:
    """Let the model lay its rows end to end, or pad them."""
    model.trunk = replace(model.trunk, packed=packed)
    return model


def tagged(count: int = 12, seed: int = 0, *, most: int = 12, gold: bool = True) -> list[Example]:
    """Give seeded texts of up to `most` known words, some of which are spans."""
    random = np.random.default_rng([seed, count])
    return [_tagged(random, place, most, gold=gold) for place in range(count)]


def _tagged(random: np.random.Generator, place: int, most: int, *, gold: bool) -> Example:
    chosen = random.choice(WORDS, random.integers(1, most + 1)).tolist()
    words, start = [], 0
    for word in chosen:
        words.append((start, start + len(word)))
        start += len(word) + 1
    spans, word = [], 0
    while word < len(words):
        size = int(random.integers(1, 3))
        if random.random() < 0.4 and word + size <= len(words):
            label = LABELS[int(random.integers(len(LABELS)))]
            spans.append(Span(words[word][0], words[word + size - 1][1], label))
        word += size
    text = " ".join(chosen)
    known = tuple(spans) if gold else None
    return Example(content_id(text), f"t.conll:{place + 1}", text, None, known, tuple(words))


def renderer_of(
    folder: Path, limit: int = 48, units: str = "words", tags: tuple[str, ...] = TAGS
) -> TagRenderer:
    """Give the renderer of the two labels on a base's tokenizer."""
    return TagRenderer(load_tokenizer(folder), tags, limit, units)


def tokens_of(folder: Path, count: int = 12, seed: int = 0, **more: Any) -> Tokens:
    """Give the tokens of seeded labelled texts."""
    return collect(tagged(count, seed), renderer_of(folder, **more))


def save(model: Tagger, base: Path, folder: Path, which: str, renderer: TagRenderer) -> Path:
    """Write the adapter directory of `model`, as a run does."""
    linear, pooling = model.head.linear, Pooling(mode="tokens", normalize=False)
    settings = settle("names", TABLES[which])
    printed = fingerprint(base, str(base))
    manifest = Manifest(
        tenon="0.1.0",
        name="names",
        kind=settings.kind,
        task=TASK,
        labels=renderer.tags,
        base=printed,
        pooling=pooling,
        layout=layout_for(printed.model_type, pooling, has_bias=True),
        text=Lengths(max_tokens=renderer.limit, units=renderer.units),
        probes=probe(TASK, model, renderer),
    )
    assert model.peft is not None and linear.bias is not None
    head = {"weight": linear.weight.detach(), "bias": linear.bias.detach()}
    config = model.peft.peft_config["default"]
    held = pack.Adapter("names", settings.kind, settings, config, take(model.peft), head, manifest)
    return pack.write(folder, held, card="# names")
