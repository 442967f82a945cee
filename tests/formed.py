"""Classifiers of the two further forms on tiny bases: several labels a row, and a number."""

from __future__ import annotations

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
from tenon.data.settings import Columns
from tenon.evaluate.probes import probe
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.models import model_for
from tenon.model.settings import ModelSettings
from tenon.model.trunk import Trunk
from tenon.text.render import Renderer
from tenon.text.renderers import RENDERINGS, Reading
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import Tokens, collect

SEVERAL, NUMBER = "multi-label-classification", "text-regression"
FORMS = (SEVERAL, NUMBER)
LABELS = ("glad", "sad", "tired")
NAMES = {SEVERAL: LABELS, NUMBER: ("score",)}
CONSTANTS = {
    SEVERAL: {"thresholds": (0.3, 0.5, 0.7)},
    NUMBER: {"mean": (40.0,), "spread": (12.5,)},
}


def trunk_of(folder: Path, **settings: Any) -> Trunk:
    """Load the trunk of a base's folder."""
    return trunks.load(locate(str(folder)), ModelSettings(device="cpu", **settings))


def head_of(trunk: Trunk, form: str) -> Head:
    """Give a random head of a form, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        head = Head(trunk.hidden_size, len(NAMES[form]), normalize=False, bias=True)
    head.constants = dict(CONSTANTS[form])
    return head


def formed(
    folder: Path, form: str, which: str = "lora", *, shaken: bool = True, **own: Any
) -> Classifier:
    """Give a classifier with an adapter of `attached.TABLES`, away from its first weights."""
    trunk = trunk_of(folder)
    held = attach(trunk, settle("mood", {**TABLES[which], **own}), seed=3)
    model: Any = model_for(form, trunk, held.peft, head_of(trunk, form), "mean")
    if shaken:
        shake(model)
    return model.eval()


def bare(folder: Path, form: str) -> Classifier:
    """Give a classifier over a base without an adapter."""
    trunk = trunk_of(folder)
    model: Any = model_for(form, trunk, None, head_of(trunk, form), "mean")
    return model.eval()


def renderer_of(folder: Path, form: str, limit: int = 48) -> Renderer:
    """Give the renderer of a form on a base's tokenizer."""
    rendering = RENDERINGS.get(form)
    classes = rendering.classes(LABELS, Columns(text="text", label="score"))
    assert classes == NAMES[form]
    reading = Reading(classes, limit, "right", rendering.units(Columns()))
    return rendering.make(load_tokenizer(folder), reading)


def rows_of(form: str, count: int = 12, seed: int = 0, *, gold: bool = True) -> list[Example]:
    """Give seeded texts of known words; some of their labels, or a number near 40."""
    random = np.random.default_rng(seed)
    found = []
    for place in range(count):
        text = " ".join(random.choice(WORDS, random.integers(1, 13)))
        several = tuple(label for label in LABELS if random.random() < 0.4)
        number = round(40 + 12 * float(random.normal()), 3)
        known = (several if form == SEVERAL else number) if gold else None
        found.append(Example(content_id(text), f"t.csv:{place + 2}", text, None, known))
    return found


def tokens_of(folder: Path, form: str, count: int = 12, seed: int = 0, **more: Any) -> Tokens:
    """Give the tokens of seeded rows."""
    return collect(rows_of(form, count, seed, **more), renderer_of(folder, form))


def save(model: Classifier, form: str, base: Path, folder: Path, which: str = "lora") -> Path:
    """Write the adapter directory of `model`, as a run does."""
    settings = settle("mood", TABLES[which])
    printed = fingerprint(base, str(base))
    pooling = Pooling(mode="mean")
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=settings.kind,
        task=form,
        labels=NAMES[form],
        base=printed,
        pooling=pooling,
        layout=layout_for(printed.model_type, pooling, has_bias=True),
        text=Lengths(max_tokens=48),
        constants=model.head.constants,
        columns={"text": "text", "label": "score"},
        probes=probe(form, model, renderer_of(base, form)),
    )
    peft = model.peft
    assert peft is not None
    linear = model.head.linear
    head = {"weight": linear.weight.detach(), "bias": linear.bias.detach()}
    config = peft.peft_config["default"]
    held = pack.Adapter("mood", settings.kind, settings, config, take(peft), head, manifest)
    return pack.write(folder, held, card="# mood")
