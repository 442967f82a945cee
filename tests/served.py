"""Served: adapters of every task as directories, and what evaluation answers by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import formed
import models
import reading
import taggers
from attached import FAMILY, TABLES
from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.weights import take
from tenon.data.example import Example
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.probes import probe
from tenon.text.renderers import ANSWERS

CLASSES, LABELS, NUMBER = "text-classification", formed.SEVERAL, "text-regression"
TAGS, ANSWER = "token-classification", "question-answering"
TASKS = (CLASSES, LABELS, NUMBER, TAGS, ANSWER)
SPREAD: dict[str, dict[str, Any]] = {
    **TABLES,
    "pfeiffer": {**FAMILY["pfeiffer"], "reduction": 4},
    "dora": {"kind": "dora.v1"},
    "ia3": {"kind": "ia3.v1"},
    "vera": {"kind": "vera.v1"},
}
"""Kinds in slots, and others of several sorts."""


def saved(task: str, which: str, base: Path, folder: Path, *, seed: int = 0) -> Path:
    """Write an adapter of a task; of another seed, with other weights."""
    model = _model(task, which, base)
    for parameter in model.trainable().values():
        parameter.data.add_(0.01 * seed)
    if task == CLASSES:
        return models.save(model, base, folder, which)
    if task == TAGS:
        return taggers.save(model, base, folder, which, taggers.renderer_of(base))
    if task == ANSWER:
        return _save_reader(model, base, folder, which)
    return formed.save(model, task, base, folder, which)


def _model(task: str, which: str, base: Path) -> Any:
    if task == CLASSES:
        return models.classifier(base, which)
    if task == TAGS:
        return taggers.tagger(base, which)
    if task == ANSWER:
        return reading.reader(base, which)
    return formed.formed(base, task, which)


def _save_reader(model: Any, base: Path, folder: Path, which: str) -> Path:
    settings, renderer = settle("mood", TABLES[which]), reading.renderer_of(base)
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=settings.kind,
        task=ANSWER,
        labels=reading.CLASSES,
        base=fingerprint(base, str(base)),
        pooling=Pooling(mode="tokens"),
        text=Lengths(max_tokens=renderer.limit, units=ANSWERS, answer_tokens=8),
        probes=probe(ANSWER, model, renderer),
    )
    linear, config = model.head.linear, model.peft.peft_config["default"]
    head = {"weight": linear.weight.detach(), "bias": linear.bias.detach()}
    held = pack.Adapter("mood", settings.kind, settings, config, take(model.peft), head, manifest)
    return pack.write(folder, held, card="# mood")


def rows(task: str, count: int = 4, seed: int = 0) -> tuple[Example, ...]:
    """Give rows of a task."""
    if task == CLASSES:
        return tuple(models.examples()[seed % 3 :][:count])
    if task == TAGS:
        return tuple(taggers.tagged(count, seed, gold=False))
    if task == ANSWER:
        return tuple(reading.examples(count, seed))
    return tuple(formed.rows_of(task, count, seed, gold=False))


def evaluated(folder: Path, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Give what the adapter answers when it is alone, as `tenon predict` writes it."""
    answerer = open_answerer(folder)
    found = answerer.answer_examples(examples)
    return list(EXAMS.get(answerer.manifest.task).entries(found))


def same(found: Any, expected: Any, tolerance: float = 2e-5) -> bool:
    """Whether two answers are equal, numbers within a tolerance."""
    if isinstance(expected, float):
        return abs(found - expected) <= tolerance * max(1.0, abs(expected))
    if isinstance(expected, dict):
        keys = found.keys() == expected.keys()
        return keys and all(same(found[key], expected[key], tolerance) for key in expected)
    if isinstance(expected, list | tuple):
        pairs = list(zip(found, expected, strict=False))
        return len(found) == len(expected) and all(same(*pair, tolerance) for pair in pairs)
    return found == expected
