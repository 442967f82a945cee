"""Places: the modules of each architecture that the presets of a bottleneck wrap.

Each table goes from the end of a linear layer's name to what stands for it. Blocks of BERT and its
kin end in a norm of the sum; those of Llama and its kin add to a stream that no norm has touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenon.adapters import sites
from tenon.adapters.blocks import block_of
from tenon.adapters.bottleneck_placement import FIRST_OF_MLP
from tenon.core.errors import PlanError

_BERT = {"output.dense": "output.LayerNorm"}
POST_NORM: dict[str, Mapping[str, str]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "deberta-v2": _BERT,
    "mpnet": {"attention.attn.o": "attention.LayerNorm", **_BERT},
    "albert": {"attention.dense": "attention.LayerNorm", "ffn_output": "full_layer_layer_norm"},
    "distilbert": {
        "attention.out_lin": "sa_layer_norm",
        "ffn.lin2": "output_layer_norm",
    },
    "bart": {
        "self_attn.out_proj": "self_attn_layer_norm",
        "encoder_attn.out_proj": "encoder_attn_layer_norm",
        "fc2": "final_layer_norm",
    },
}
"""Model types whose blocks end in a norm: end of a linear layer's name to that of its norm."""

_LLAMA = ("mlp.down_proj",)
_T5 = ("SelfAttention.o", "EncDecAttention.o", "DenseReluDense.wo")
STREAM: dict[str, tuple[str, ...]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma3_text": _LLAMA,
    "phi3": _LLAMA,
    "gpt2": ("mlp.c_proj",),
    "gpt_neox": ("mlp.dense_4h_to_h",),
    "modernbert": ("mlp.Wo",),
    "t5": _T5,
    "mt5": _T5,
}
"""Model types whose blocks end in the sum with the residual: ends of the names of linear layers,
before which stands the name of the block or sublayer that gives the sum."""

SUMMED: dict[str, str] = {"gpt2": "drop", "bart": "layernorm_embedding"}
"""Model types whose word embeddings become the input of the first block in a module beside them."""

ENCODER_DECODERS = ("bart", "t5", "mt5")

Names = tuple[str, ...]


def behind(names: Sequence[str], model_type: str) -> Names:
    """Give the modules that give the sum of each linear layer's output and the residual.

    Raises:
        PlanError: such a module is not known.
    """
    norms, streams = POST_NORM.get(model_type, {}), STREAM.get(model_type, ())
    ends = {**{end: f".{norm}" for end, norm in norms.items()}, **dict.fromkeys(streams, "")}
    found: list[str] = []
    for name in names:
        end = next((end for end in ends if name.endswith(f".{end}")), None)
        if end is None:
            raise PlanError(_not_behind(name, model_type, normed=bool(norms)))
        found.append(name.removesuffix(f".{end}") + ends[end])
    return tuple(found)


def _not_behind(name: str, model_type: str, *, normed: bool) -> str:
    if normed:
        return (
            f"sites: {name} is followed by no norm of its block, which original_ln_before needs; "
            'choose sites from "attention.out" and "mlp.out"'
        )
    if model_type in STREAM:
        return (
            f"sites: no module of this {model_type} model gives the sum of {name} and the residual,"
            ' which the preset reads; set sites = ["mlp.out"]'
        )
    return (
        f"preset: where a block of model type {model_type or 'unknown'} ends is not known; take "
        f"preset houlsby, which sits on {name} itself"
    )


def mlps(names: Sequence[str], model_type: str) -> Names:
    """Give the MLPs that end in the linear layers `names`; the layers where an MLP lies open.

    Raises:
        PlanError: a layer is not known to end an MLP.
    """
    known = sites.SITES.get(model_type, {}).get("mlp.out", ())
    found: list[str] = []
    for name in names:
        parent, _, last = name.rpartition(".")
        if last in FIRST_OF_MLP:
            found.append(name)
        elif any(sites.matches(name, pattern) for pattern in known):
            found.append(parent)
        else:
            raise PlanError(
                f"sites: preset parallel sits beside an MLP, and {name} of this "
                f"{model_type or 'unknown'} model is not known to end one; "
                'set sites = ["mlp.out"] on an architecture that '
                "`tenon show kinds` lists, or take preset houlsby"
            )
    return tuple(dict.fromkeys(found))


def embedded(tables: Sequence[str], model_type: str) -> Names:
    """Give the modules whose output is what the first block reads, of the encoder if there is one.

    Args:
        tables: names of the word embeddings.

    Source: AdapterHub `adapters`, where each model calls `post_embedding_forward`.
    """
    found: list[str] = []
    for table in tables:
        name = _of_encoder(table) if model_type in ENCODER_DECODERS else table
        parent, _, _ = name.rpartition(".")
        beside = SUMMED.get(model_type)
        if beside:
            found.append(f"{parent}.{beside}" if parent else beside)
        else:
            found.append(parent if parent.rpartition(".")[2] == "embeddings" else name)
    return tuple(dict.fromkeys(found))


def _of_encoder(name: str) -> str:
    return ".".join("encoder" if part == "decoder" else part for part in name.split("."))


def outside(names: Sequence[str]) -> Names:
    """Give the names of modules that lie in no block."""
    return tuple(name for name in names if block_of(name) is None)
