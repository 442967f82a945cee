"""Whole tiny models: encoder-decoders, and bases with their language-model heads."""

from __future__ import annotations

from collections.abc import Callable

import peft
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertForMaskedLM,
    ElectraForMaskedLM,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
    T5ForConditionalGeneration,
)

from attached import FAMILY
from bases import CONFIGS, HEADS, HIDDEN, INNER, LAYERS, POSITIONS, VOCAB, input_ids
from tenon.adapters.fit import fit
from tenon.adapters.kind import settle


def _bart() -> PreTrainedModel:
    config = BartConfig(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=INNER,
        decoder_ffn_dim=INNER,
        max_position_embeddings=POSITIONS,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    return BartForConditionalGeneration(config)


def _t5() -> PreTrainedModel:
    config = CONFIGS["t5"]()
    config.decoder_start_token_id = 0
    return T5ForConditionalGeneration(config)


WHOLE: dict[str, Callable[[], PreTrainedModel]] = {
    "t5": _t5,
    "bart": _bart,
    "llama": lambda: LlamaForCausalLM(CONFIGS["llama"]()),
    "gpt2": lambda: GPT2LMHeadModel(CONFIGS["gpt2"]()),
    "bert": lambda: BertForMaskedLM(CONFIGS["bert"]()),
    "electra": lambda: ElectraForMaskedLM(CONFIGS["electra"]()),
}
ENCODER_DECODERS = ("t5", "bart")


def whole(arch: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Build a tiny model with its head, in eval mode; equal for equal seeds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WHOLE[arch]()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.to(dtype).eval()


def adapted(arch: str, which: str, **more: object) -> peft.PeftModel:
    """Put a fresh adapter of `FAMILY` on the whole tiny model of `arch`."""
    return put_on(whole(arch), {**FAMILY[which], **more})


def put_on(model: PreTrainedModel, table: dict[str, object]) -> peft.PeftModel:
    """Put a fresh adapter on `model`, seeded, in eval mode."""
    config = fit(model, settle("mood", table)).config
    torch.manual_seed(0)
    return peft.get_peft_model(model, config).eval()


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    """Run `model` on two rows of seven tokens, with labels; float [B, T, V]."""
    return model(input_ids=input_ids(), labels=input_ids(seed=1)).logits
