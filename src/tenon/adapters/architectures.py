"""Architectures: a table from model types of transformers to the modules that are their sites.

In a pattern `#` stands for the number of a layer. Fused projections (GPT-2's `c_attn`, ModernBERT's
`Wqkv` and `Wi`) are one module under several sites. What is not in the table is read by structure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

Patterns = Mapping[str, tuple[str, ...]]
SHORT = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "out": "attention.out",
    "cross_query": "cross.query",
    "cross_key": "cross.key",
    "cross_value": "cross.value",
    "cross_out": "cross.out",
    "mlp_in": "mlp.in",
    "mlp_gate": "mlp.gate",
    "mlp_out": "mlp.out",
}


def _places(layer: str, embeddings: str, **modules: str) -> Patterns:
    found = {
        SHORT[short]: tuple(f"{layer}.{module}" for module in spelled.split("|"))
        for short, spelled in modules.items()
    }
    return {**found, "layer": (layer,), "embeddings": (embeddings,)}


_BERT = _places(
    "encoder.layer.#",
    "embeddings.word_embeddings",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    out="attention.output.dense",
    cross_query="crossattention.self.query",
    cross_key="crossattention.self.key",
    cross_value="crossattention.self.value",
    cross_out="crossattention.output.dense",
    mlp_in="intermediate.dense",
    mlp_out="output.dense",
)
_LLAMA = _places(
    "layers.#",
    "embed_tokens",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.o_proj",
    mlp_in="mlp.up_proj",
    mlp_gate="mlp.gate_proj",
    mlp_out="mlp.down_proj",
)
_T5 = _places(
    "block.#",
    "embed_tokens",
    query="layer.#.SelfAttention.q",
    key="layer.#.SelfAttention.k",
    value="layer.#.SelfAttention.v",
    out="layer.#.SelfAttention.o",
    cross_query="layer.#.EncDecAttention.q",
    cross_key="layer.#.EncDecAttention.k",
    cross_value="layer.#.EncDecAttention.v",
    cross_out="layer.#.EncDecAttention.o",
    mlp_in="layer.#.DenseReluDense.wi|layer.#.DenseReluDense.wi_1",
    mlp_gate="layer.#.DenseReluDense.wi_0",
    mlp_out="layer.#.DenseReluDense.wo",
)
_BART = _places(
    "layers.#",
    "embed_tokens",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.out_proj",
    cross_query="encoder_attn.q_proj",
    cross_key="encoder_attn.k_proj",
    cross_value="encoder_attn.v_proj",
    cross_out="encoder_attn.out_proj",
    mlp_in="fc1",
    mlp_out="fc2",
)
_FUSED = {"query": "query_key_value", "key": "query_key_value", "value": "query_key_value"}


def _neox(layer: str, embeddings: str, attention: str) -> Patterns:
    return _places(
        layer,
        embeddings,
        **{short: f"{attention}.{name}" for short, name in _FUSED.items()},
        out=f"{attention}.dense",
        mlp_in="mlp.dense_h_to_4h",
        mlp_out="mlp.dense_4h_to_h",
    )


SITES: dict[str, Patterns] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "deberta-v2": {
        **_BERT,
        "attention.query": ("encoder.layer.#.attention.self.query_proj",),
        "attention.key": ("encoder.layer.#.attention.self.key_proj",),
        "attention.value": ("encoder.layer.#.attention.self.value_proj",),
    },
    "mpnet": {
        **_BERT,
        "attention.query": ("encoder.layer.#.attention.attn.q",),
        "attention.key": ("encoder.layer.#.attention.attn.k",),
        "attention.value": ("encoder.layer.#.attention.attn.v",),
        "attention.out": ("encoder.layer.#.attention.attn.o",),
    },
    "albert": _places(
        "albert_layer_groups.#",
        "embeddings.word_embeddings",
        query="albert_layers.#.attention.query",
        key="albert_layers.#.attention.key",
        value="albert_layers.#.attention.value",
        out="albert_layers.#.attention.dense",
        mlp_in="albert_layers.#.ffn",
        mlp_out="albert_layers.#.ffn_output",
    ),
    "bart": _BART,
    "distilbert": _places(
        "transformer.layer.#",
        "embeddings.word_embeddings",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        out="attention.out_lin",
        mlp_in="ffn.lin1",
        mlp_out="ffn.lin2",
    ),
    "modernbert": _places(
        "layers.#",
        "embeddings.tok_embeddings",
        query="attn.Wqkv",
        key="attn.Wqkv",
        value="attn.Wqkv",
        out="attn.Wo",
        mlp_in="mlp.Wi",
        mlp_gate="mlp.Wi",
        mlp_out="mlp.Wo",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "qwen3_moe": _LLAMA,
    "gemma3_text": _LLAMA,
    "phi3": _places(
        "layers.#",
        "embed_tokens",
        query="self_attn.qkv_proj",
        key="self_attn.qkv_proj",
        value="self_attn.qkv_proj",
        out="self_attn.o_proj",
        mlp_in="mlp.gate_up_proj",
        mlp_gate="mlp.gate_up_proj",
        mlp_out="mlp.down_proj",
    ),
    "gpt_neox": _neox("layers.#", "embed_in", "attention"),
    "falcon": _neox("h.#", "word_embeddings", "self_attention"),
    "gpt2": _places(
        "h.#",
        "wte",
        query="attn.c_attn",
        key="attn.c_attn",
        value="attn.c_attn",
        out="attn.c_proj",
        cross_query="crossattention.q_attn",
        cross_key="crossattention.c_attn",
        cross_value="crossattention.c_attn",
        cross_out="crossattention.c_proj",
        mlp_in="mlp.c_fc",
        mlp_out="mlp.c_proj",
    ),
    "t5": _T5,
    "mt5": _T5,
}


def matches(name: str, pattern: str) -> bool:
    """Whether a module's name is, or ends in, a pattern of `SITES`."""
    return _compiled(pattern).fullmatch(name) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(r"(?:.*\.)?" + re.escape(pattern).replace(r"\#", r"\d+"))
