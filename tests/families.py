"""Tiny models of more families than the laws run over: decoders, experts, encoder-decoders."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import (
    AlbertConfig,
    AutoModel,
    BartConfig,
    DebertaV2Config,
    FalconConfig,
    Gemma3TextConfig,
    GPTNeoXConfig,
    MPNetConfig,
    MT5Config,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
    T5Config,
)

from bases import CONFIGS as BASES
from bases import HEADS, HIDDEN, INNER, LAYERS, POSITIONS, VOCAB, _bert_like, _llama_like, input_ids

EXPERTS = 4


def _deberta() -> PreTrainedConfig:
    more = {"relative_attention": True, "position_buckets": 8, "share_att_key": True}
    config = _bert_like(DebertaV2Config, **more)
    config.pos_att_type, config.norm_rel_ebd = ["p2c", "c2p"], "layer_norm"
    return config


def _moe(dense: list[int]) -> PreTrainedConfig:
    """Qwen3's mixture of experts; layers in `dense` have one MLP each."""
    config = _llama_like(Qwen3MoeConfig, head_dim=8, num_experts=EXPERTS, num_experts_per_tok=2)
    config.moe_intermediate_size, config.decoder_sparse_step = 24, 1
    config.mlp_only_layers = dense
    return config


def _gemma() -> PreTrainedConfig:
    return _llama_like(Gemma3TextConfig, head_dim=8, bos_token_id=1, eos_token_id=2)


def _t5(config: type[PreTrainedConfig], activation: str) -> PreTrainedConfig:
    return config(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        d_kv=HIDDEN // HEADS,
        d_ff=INNER,
        num_layers=LAYERS,
        num_decoder_layers=LAYERS,
        num_heads=HEADS,
        feed_forward_proj=activation,
        decoder_start_token_id=0,
    )


def _bart() -> PreTrainedConfig:
    return BartConfig(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=INNER,
        decoder_ffn_dim=INNER,
        max_position_embeddings=POSITIONS,
    )


def _falcon() -> PreTrainedConfig:
    return FalconConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        bos_token_id=1,
        eos_token_id=2,
    )


FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    **BASES,
    "deberta-v2": _deberta,
    "albert": lambda: _bert_like(AlbertConfig, embedding_size=16),
    "mpnet": lambda: _bert_like(MPNetConfig),
    "gpt_neox": lambda: _bert_like(GPTNeoXConfig, bos_token_id=1, eos_token_id=2),
    "qwen3_moe": lambda: _moe([1]),
    "gemma3_text": _gemma,
    "phi3": lambda: _llama_like(Phi3Config, bos_token_id=1, eos_token_id=2),
    "falcon": _falcon,
    "t5": lambda: _t5(T5Config, "relu"),
    "mt5": lambda: _t5(MT5Config, "gated-gelu"),
    "bart": _bart,
}
NAMES = tuple(FAMILIES)
STACKED = ("t5", "mt5", "bart")


def tiny(family: str, seed: int = 0) -> PreTrainedModel:
    """Build the tiny model of a family, frozen and in eval mode; equal for equal seeds."""
    return built(FAMILIES[family](), seed)


def built(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Build the model of a config with noise on every parameter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.requires_grad_(requires_grad=False).eval()


def states(model: torch.nn.Module) -> torch.Tensor:
    """Run a model on token ids, an encoder-decoder on a few for its decoder too; [B, T, D]."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    more = {"decoder_input_ids": input_ids(tokens=4, seed=1)}
    given = more if inner.config.is_encoder_decoder else {}
    return model(input_ids=input_ids(), **given).last_hidden_state
