"""Seq2Seq models on tiny encoder-decoders: loaded from their folder with their own head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging

from attached import TABLES, shake
from bases import HEADS, HIDDEN, INNER, LAYERS, POSITIONS, VOCAB
from folders import tokenizer
from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.weights import take
from tenon.data.example import Example
from tenon.evaluate.probes import probe
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.seq2seq import Seq2Seq
from tenon.model.settings import ModelSettings
from tenon.text.seq2seq import lead
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import Tokens, collect
from writers import examples

ENCODER_DECODERS = ("t5", "mt5", "bart", "mbart")


def _t5_like(config: type[T5Config] | type[MT5Config], **more: object) -> T5Config | MT5Config:
    return config(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        d_kv=HIDDEN // HEADS,
        d_ff=INNER,
        num_layers=LAYERS,
        num_heads=HEADS,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        **more,
    )


def _bart_like(config: type[BartConfig] | type[MBartConfig]) -> BartConfig | MBartConfig:
    return config(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=INNER,
        decoder_ffn_dim=INNER,
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )


def model_of(arch: str) -> PreTrainedModel:
    """Build a tiny encoder-decoder whose constants are noisy; equal at each call."""
    made = {
        "t5": lambda: T5ForConditionalGeneration(_t5_like(T5Config)),
        "mt5": lambda: MT5ForConditionalGeneration(
            _t5_like(MT5Config, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
        ),
        "bart": lambda: BartForConditionalGeneration(_bart_like(BartConfig)),
        "mbart": lambda: MBartForConditionalGeneration(_bart_like(MBartConfig)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = made[arch]()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
            if hasattr(model, "final_logits_bias"):
                model.final_logits_bias.normal_()
    return model.eval()


def folder_of(cache: Path, arch: str) -> Path:
    """Give the folder of a tiny encoder-decoder; it is made on the first call."""
    folder = cache / f"seq2seq-{arch}"
    if not folder.exists():
        logging.disable_progress_bar()
        model_of(arch).save_pretrained(folder)
        tokenizer("t5" if "t5" in arch else "bart").save_pretrained(folder)
    return folder


def seq2seq(
    folder: Path,
    which: str = "lora",
    *,
    shaken: bool = False,
    adapter: bool = True,
    batches: str = "auto",
    **own: Any,
) -> Seq2Seq:
    """Give a model with an adapter of `attached.TABLES`, or with none."""
    first = lead(load_tokenizer(folder))
    settings = ModelSettings(device="cpu", batches=batches)
    trunk = trunks.load(locate(str(folder)), settings, writes=True, lead=first)
    if not adapter:
        return Seq2Seq(trunk, None).eval()
    held = attach(trunk, settle("mood", {**TABLES[which], **own}), seed=3)
    made = Seq2Seq(trunk, held.peft)
    if shaken:
        shake(made, size=0.1)
    return made.eval()


def renderer_of(folder: Path, limit: int = 48, **more: Any) -> WritingRenderer:
    """Give the renderer of sources and answers on a base's tokenizer."""
    return WritingRenderer(load_tokenizer(folder), limit, "none", seq2seq=True, **more)


def tokens_of(folder: Path, given: Sequence[Example] | None = None, **more: Any) -> Tokens:
    """Give the tokens of examples."""
    return collect(given or examples(), renderer_of(folder, **more))


def save(model: Seq2Seq, base: Path, folder: Path, which: str = "lora", **own: Any) -> Path:
    """Write the adapter directory of `model`, as a run does."""
    renderer, adapter = renderer_of(base, cut="right"), settle("mood", {**TABLES[which], **own})
    whole = model.trunk.whole
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind=adapter.kind,
        task="translation",
        head="seq2seq",
        prefix="" if whole is model.trunk.model else whole.base_model_prefix,
        labels=(),
        base=fingerprint(base, str(base)),
        pooling=Pooling(mode="tokens"),
        text=Lengths(max_tokens=48, units="texts", template="none", max_new_tokens=9),
        layout="transformers",
        probes=probe("translation", model, renderer),
    )
    config = model.peft.peft_config["default"]
    held = pack.Adapter("mood", adapter.kind, adapter, config, take(model.peft), {}, manifest)
    return pack.write(folder, held, card="# mood")
