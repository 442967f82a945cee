"""vLLM: a plain LoRA that vLLM serves, for bases that write and for one-layer heads on decoders.

vLLM takes ranks up to one of a few limits, 16 unless told; it refuses DoRA, biases of a LoRA, and
initialisations that change the base, none of which a plain LoRA has. A head is read where it is one
linear layer named `score`, on a base that was loaded as a classifier.
Source: vLLM 0.33, docs/features/lora.md, `MaxLoRARanks` and `PEFTHelper`.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tenon.adapters.manifest import HEADS
from tenon.adapters.portable import Portable
from tenon.export.case import MERGE, Case, no_lora, no_writer
from tenon.export.engine import Engine, Served, write_for
from tenon.export.target import TARGETS, Order, Target, Written
from tenon.text.tokenizer import load_tokenizer

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
WITHOUT_LORA = frozenset({"falcon", "gpt2", "gpt_neox"})
"""Decoders that vLLM serves without LoRA."""
SCORE = "score"


def refuses(case: Case) -> str:
    """Say why vLLM cannot take an adapter; empty where nothing speaks against it."""
    manifest = case.manifest
    why = no_writer(case, "vLLM") if manifest.writes else _no_head(case)
    if why:
        return why
    if case.model_type in WITHOUT_LORA:
        return f"vLLM takes no LoRA on {case.model_type}{MERGE}"
    return ""


def _no_head(case: Case) -> str:
    if why := no_lora(case):
        return why
    manifest = case.manifest
    head = HEADS.get((case.model_type, manifest.pooling.mode))
    if manifest.layout == "transformers" and head is not None and head.name == SCORE:
        return ""
    return (
        "vLLM reads a head with a LoRA only where it is one linear layer named score on the last "
        f"token of a decoder; this one reads {manifest.pooling.mode} of {case.model_type}. Export "
        "it with --to onnx or --to merged, or serve it with Tenon"
    )


def launch(served: Served) -> list[str]:
    """Give the words of the command that serves an adapter."""
    rank = min(each for each in RANKS if each >= served.made.rank)
    words = ["vllm serve", *served.base, "--enable-lora", f"--max-lora-rank {rank}"]
    if not served.made.adapter.manifest.writes:
        overrides = shlex.quote(json.dumps(_classifier(served.order)))
        words += ["--runner pooling", f"--hf-overrides {overrides}"]
    return [*words, f"--lora-modules {shlex.quote(served.name)}={served.path}"]


def _classifier(order: Order) -> dict[str, Any]:
    """Give what makes the base a classifier of as many labels, until the adapter brings its head.

    A base that writes has no such head in its files; vLLM can take the rows of some tokens for it.
    """
    manifest = order.answerer.manifest
    vocabulary: dict[str, int] = load_tokenizer(order.base.folder).get_vocab()
    plain = sorted(word for word in vocabulary if word.isascii() and word.isalpha())
    config: Any = order.answerer.model.trunk.model.config
    writing = str((getattr(config, "architectures", None) or [""])[0])
    family = type(order.answerer.model.trunk.model).__name__.removesuffix("Model")
    name = writing.removesuffix("ForCausalLM") if writing.endswith("ForCausalLM") else family
    return {
        "architectures": [f"{name}ForSequenceClassification"],
        "method": "no_post_processing",
        "classifier_from_token": plain[: len(manifest.labels)],
    }


def _form(order: Order, made: Portable) -> Portable:
    del order
    return made


def write(order: Order, folder: Path) -> Written:
    """Write an adapter for vLLM, with its launch line and the script that proves it."""
    return write_for(VLLM, order, folder)


VLLM = Engine("vllm", "vLLM", RANKS[-1], _form, launch)
TARGETS.add(
    "vllm",
    Target(
        name="vllm",
        summary="a plain LoRA for vLLM, its launch line, and a script that proves the engine",
        keeps_format=False,
        ranked=True,
        measures=False,
        write=write,
        refuses=refuses,
        most=RANKS[-1],
    ),
)
