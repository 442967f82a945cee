"""Writers on tiny decoders: loaded from their folder with their language-model head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from attached import TABLES, shake
from bases import CONFIGS
from folders import WORDS, tokenizer
from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.weights import take
from tenon.data.example import Example
from tenon.data.gold import Turn
from tenon.data.text_generation import example_of
from tenon.evaluate.probes import probe
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.seq2seq import Seq2Seq
from tenon.model.settings import ModelSettings
from tenon.model.writer import Writer
from tenon.text.batch import Batch, batch
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import Tokens, collect
from tenon.train.settings import TrainSettings

DECODERS = ("llama", "qwen3", "gpt2")
TASK = "text-generation"
CHATML = (
    "{% for message in messages %}<s>{{ message['role'] }} {{ message['content'] }}</s>\n"
    "{% endfor %}{{ '<s>assistant ' if add_generation_prompt else '' }}"
)


def causal_folder(cache: Path, arch: str, template: str = "", **own: Any) -> Path:
    """Give the folder of a tiny decoder with its language-model head; made on the first call.

    Args:
        own: of its config.
    """
    marks = "".join(f"-{name}-{value}" for name, value in own.items())
    folder = cache / f"{arch}-{'chat' if template else 'plain'}{marks}"
    if not folder.exists():
        logging.disable_progress_bar()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            config = CONFIGS[arch]()
            config.update(own)
            model = AutoModelForCausalLM.from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(folder)
        made = tokenizer(arch)
        made.chat_template = template or None
        made.save_pretrained(folder)
    return folder


def writer(
    folder: Path,
    which: str = "lora",
    *,
    batches: str = "auto",
    shaken: bool = False,
    adapter: bool = True,
    **own: Any,
) -> Writer:
    """Give a writer with an adapter of `attached.TABLES`, or with none."""
    settings = ModelSettings(batches=batches, device="cpu")
    trunk = trunks.load(locate(str(folder)), settings, writes=True)
    if not adapter:
        return Writer(trunk, None).eval()
    held = attach(trunk, settle("mood", {**TABLES[which], **own}), seed=3)
    made = Writer(trunk, held.peft)
    if shaken:
        shake(made, size=0.1)
    return made.eval()


def pairs(count: int = 24, seed: int = 0) -> list[tuple[str, str]]:
    """Give prompts of known words, and the same words backwards."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        words = list(random.choice(WORDS, random.integers(1, 7), replace=False))
        found.append((" ".join(words), " " + " ".join(reversed(words))))
    return found


def examples(given: Sequence[tuple[str, str]] | None = None, *, answered: bool = True):
    """Give examples of prompts and completions; or of prompts alone."""
    return [
        example_of(
            (Turn("user", ask), *([Turn("assistant", answer, trained=True)] if answered else [])),
            f"t.jsonl:{place + 1}",
        )
        for place, (ask, answer) in enumerate(given or pairs())
    ]


def renderer_of(folder: Path, limit: int = 48, **more: Any) -> WritingRenderer:
    """Give the renderer of prompts on a base's tokenizer."""
    return WritingRenderer(load_tokenizer(folder), limit, **{"form": "none", **more})


def tokens_of(folder: Path, given: Sequence[Example] | None = None, **more: Any) -> Tokens:
    """Give the tokens of examples."""
    return collect(given or examples(), renderer_of(folder, **more))


def settings(**more: Any) -> TrainSettings:
    """Give training settings under which every step of a small run changes the weights."""
    rates = {"learning_rate": 1e-2}
    return TrainSettings(**{**rates, "tokens_per_step": 60, "micro_batch_tokens": 40, **more})


def save(model: Writer, base: Path, folder: Path, which: str = "lora", **own: Any) -> Path:
    """Write the adapter directory of `model`, as a run does."""
    renderer, adapter = renderer_of(base), settle("mood", {**TABLES[which], **own})
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=adapter.kind,
        task=TASK,
        head="language",
        prefix=model.trunk.whole.base_model_prefix,
        labels=(),
        base=fingerprint(base, str(base)),
        pooling=Pooling(mode="tokens"),
        text=Lengths(max_tokens=48, units="texts", template="none", max_new_tokens=9),
        layout="transformers",
        probes=probe(TASK, model, renderer),
    )
    config = model.peft.peft_config["default"]
    held = pack.Adapter("mood", adapter.kind, adapter, config, take(model.peft), {}, manifest)
    return pack.write(folder, held, card="# mood")


def write_rows(path: Path, given: Sequence[tuple[str, str]]) -> Path:
    """Write prompts and completions as JSON lines."""
    lines = [json.dumps({"prompt": ask, "completion": answer}) for ask, answer in given]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def whole(tokens, rows=None) -> Batch:
    """Give some rows, or all, as one batch."""
    return batch(tokens, np.arange(len(tokens)) if rows is None else np.array(rows))


def gradients(model: Writer | Seq2Seq, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Give the gradients of one step, and its loss."""
    model.train()
    model.zero_grad(set_to_none=True)
    losses = [model.nats(each) / sum(map(model.targets, batches)) for each in batches]
    sum(losses).backward()
    found = {name: parameter.grad for name, parameter in model.trainable().items()}
    return {**found, "loss": sum(loss.detach() for loss in losses)}
