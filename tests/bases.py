"""Tiny random bases: one small model of each architecture, for laws over architectures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
    T5EncoderModel,
    XLMRobertaConfig,
)

VOCAB = 100
HIDDEN = 32
LAYERS = 2
HEADS = 4
INNER = 48
POSITIONS = 64


def _bert_like(config: type[PreTrainedConfig], **more: int) -> PreTrainedConfig:
    return config(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=POSITIONS,
        **more,
    )


def _llama_like(config: type[PreTrainedConfig], **more: int) -> PreTrainedConfig:
    return _bert_like(config, num_key_value_heads=2, pad_token_id=0, **more)


def _distilbert() -> PreTrainedConfig:
    return DistilBertConfig(
        vocab_size=VOCAB,
        dim=HIDDEN,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=INNER,
        max_position_embeddings=POSITIONS,
    )


def _gpt2() -> PreTrainedConfig:
    return GPT2Config(
        vocab_size=VOCAB,
        n_embd=HIDDEN,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=INNER,
        n_positions=POSITIONS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def _t5() -> PreTrainedConfig:
    return T5Config(
        vocab_size=VOCAB,
        d_model=HIDDEN,
        d_kv=HIDDEN // HEADS,
        d_ff=INNER,
        num_layers=LAYERS,
        num_heads=HEADS,
        feed_forward_proj="gated-gelu",
    )


def _modernbert() -> PreTrainedConfig:
    return _bert_like(
        ModernBertConfig,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    )


CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: _bert_like(BertConfig),
    "roberta": lambda: _bert_like(RobertaConfig, pad_token_id=1),
    "xlm-roberta": lambda: _bert_like(XLMRobertaConfig, pad_token_id=1),
    "distilbert": _distilbert,
    "electra": lambda: _bert_like(ElectraConfig, embedding_size=16),
    "modernbert": _modernbert,
    "llama": lambda: _llama_like(LlamaConfig),
    "mistral": lambda: _llama_like(MistralConfig),
    "qwen2": lambda: _llama_like(Qwen2Config),
    "qwen3": lambda: _llama_like(Qwen3Config, head_dim=8),
    "gpt2": _gpt2,
    "t5": _t5,
}

ARCHITECTURES = tuple(CONFIGS)


def tiny(arch: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Build the tiny base of one architecture, in eval mode; equal for equal seeds.

    Every parameter that a fresh model sets to a constant (norm weights, biases)
    gets noise, so that a layer that is skipped or doubled shows in the output.

    Args:
        arch: one of `ARCHITECTURES`, a `model_type` of transformers.
        seed: of the weights. The global generator is left as it was.
        dtype: number format of the weights.
    """
    config = CONFIGS[arch]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5EncoderModel(config) if arch == "t5" else AutoModel.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.to(dtype).eval()


def input_ids(rows: int = 2, tokens: int = 7, seed: int = 0) -> torch.Tensor:
    """Give random token ids int64 [rows, tokens], none of them a special one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, VOCAB, (rows, tokens), generator=generator)
