"""Questions with their contexts, and readers on tiny bases, for tests of question answering."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attached import TABLES, shake
from models import trunk_of
from tenon.adapters.kind import settle
from tenon.data.example import Example, content_id
from tenon.data.gold import AnswerSpan
from tenon.model.attach import attach
from tenon.model.head import Head
from tenon.model.reader import Reader
from tenon.text.answer_render import AnswerRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import Tokens, collect

CLASSES = ("start", "end", "no answer")
WORDS = ("the", "old", "red", "dog", "fox", "parcel", "river", "money", "day", "my", "tired", "sad")
ASKED = ("who was glad?", "what is red?", "the best day?")


def reader(
    folder: Path,
    which: str | None = "lora",
    *,
    classes: Sequence[str] = CLASSES,
    shaken: bool = True,
    settings: dict[str, Any] | None = None,
    **own: Any,
) -> Reader:
    """Give a reader with an adapter of `attached.TABLES`, or with none."""
    trunk = trunk_of(folder, **(settings or {}))
    peft = attach(trunk, settle("mood", {**TABLES[which], **own}), seed=3).peft if which else None
    with torch.random.fork_rng():
        torch.manual_seed(4)
        head = Head(trunk.hidden_size, len(classes), normalize=False, bias=True)
    model = Reader(trunk, peft, head)
    if shaken:
        shake(model)
    return model.eval()


def example(
    question: str, context: str, *answers: str, known: bool = True, place: int = 2
) -> Example:
    """Give a question; each answer stands where its text first does."""
    gold = tuple(AnswerSpan(text, context.index(text)) for text in answers) if known else None
    id = content_id(question, context)
    return Example(id, f"q.json:{place}", question, context, gold, group=content_id("", context))


def examples(count: int = 12, seed: int = 0, longest: int = 40) -> list[Example]:
    """Give seeded questions about contexts of known words; every fourth has no answer."""
    random = np.random.default_rng(seed)
    found: list[Example] = []
    for number in range(count):
        words = random.choice(WORDS, random.integers(3, longest)).tolist()
        start = int(random.integers(0, len(words) - 1))
        answer = " ".join(words[start : start + 2])
        answers = () if number % 4 == 3 else (answer,)
        context = " ".join(words)
        found.append(example(ASKED[number % 3], context, *answers, place=number + 2))
    return found


def renderer_of(
    folder: Path, limit: int = 32, longest: int = 8, classes: Sequence[str] = CLASSES
) -> AnswerRenderer:
    """Give the renderer of questions on a base's tokenizer."""
    return AnswerRenderer(load_tokenizer(folder), tuple(classes), limit, longest)


def tokens_of(folder: Path, count: int = 12, seed: int = 0, **more: Any) -> Tokens:
    """Give the tokens of seeded questions."""
    return collect(examples(count, seed), renderer_of(folder, **more))


def squad(count: int, seed: int = 0, *, impossible: bool = True) -> str:
    """Give a document whose answers are the word after "of", in each context of its own."""
    random = np.random.default_rng(seed)
    paragraphs: list[dict[str, Any]] = []
    for number in range(count):
        words = random.choice(WORDS[:10], 8).tolist()
        answer = str(random.choice(["best", "good", "worst"]))
        context = " ".join([*words[:3], "it", "is", "of", answer, *words[3:]])
        start = len(" ".join([*words[:3], "it", "is", "of "]))
        right = {"text": answer, "answer_start": start}
        asked: list[dict[str, Any]] = [{"question": "what is it of?", "answers": [right]}]
        if impossible and number % 3 == 0:
            asked.append({"question": "who was glad?", "answers": []})
        for place, question in enumerate(asked):
            question["id"] = f"{seed}-{number}-{place}"
            if impossible:
                question["is_impossible"] = not question["answers"]
        paragraphs.append({"context": context, "qas": asked})
    data = [{"title": "made", "paragraphs": paragraphs}]
    return json.dumps({"version": "made", "data": data}, indent=1) + "\n"
