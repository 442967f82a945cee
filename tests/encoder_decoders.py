"""Seq2Seq models on tiny encoder-decoders: loaded from their folder with their own head."""

from __future__ import annotations

from pathlib import Path

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

from bases import HEADS, HIDDEN, INNER, LAYERS, POSITIONS, VOCAB
from folders import tokenizer

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
