"""Sites: names for places in a model that mean the same on every architecture.

`SITES` maps a `model_type` of transformers to patterns of module names; in a
pattern `#` stands for the number of a layer. Architectures outside the table
are read by structure: the linear layers of the repeated block, told apart by
their names and shapes. Fused projections (GPT-2's `c_attn`, ModernBERT's
`Wqkv` and `Wi`) are one module under several sites.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, cast

from torch import nn
from transformers.pytorch_utils import Conv1D

from tenon.adapters.names import GROUPS, NAMES, WEIGHTED
from tenon.core.errors import PlanError, did_you_mean, nearest

SHOWN = 3

Patterns = Mapping[str, tuple[str, ...]]


def _places(layer: str, embeddings: str, **modules: str) -> Patterns:
    names = {
        "query": "attention.query",
        "key": "attention.key",
        "value": "attention.value",
        "out": "attention.out",
        "mlp_in": "mlp.in",
        "mlp_gate": "mlp.gate",
        "mlp_out": "mlp.out",
    }
    found = {
        names[short]: tuple(f"{layer}.{module}" for module in spelled.split("|"))
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
SITES: dict[str, Patterns] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
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
    "gpt2": _places(
        "h.#",
        "wte",
        query="attn.c_attn",
        key="attn.c_attn",
        value="attn.c_attn",
        out="attn.c_proj",
        mlp_in="mlp.c_fc",
        mlp_out="mlp.c_proj",
    ),
    "t5": _places(
        "block.#",
        "embed_tokens",
        query="layer.#.SelfAttention.q|layer.#.EncDecAttention.q",
        key="layer.#.SelfAttention.k|layer.#.EncDecAttention.k",
        value="layer.#.SelfAttention.v|layer.#.EncDecAttention.v",
        out="layer.#.SelfAttention.o|layer.#.EncDecAttention.o",
        mlp_in="layer.#.DenseReluDense.wi|layer.#.DenseReluDense.wi_1",
        mlp_gate="layer.#.DenseReluDense.wi_0",
        mlp_out="layer.#.DenseReluDense.wo",
    ),
}


@dataclass(frozen=True)
class Places:
    """The sites of one model.

    Args:
        model_type: as its config says.
        source: "table" where `SITES` knows the model type, else "structure".
        modules: site name to full module names, in the model's order; a site that it lacks is
            absent.
    """

    model_type: str
    source: str
    modules: dict[str, tuple[str, ...]]


def places(trunk: nn.Module) -> Places:
    """Find every site of `trunk`, by the table or, for unknown model types, by structure."""
    model_type = str(getattr(cast(Any, trunk).config, "model_type", ""))
    if model_type in SITES:
        return Places(model_type, "table", _by_table(trunk, SITES[model_type]))
    return Places(model_type, "structure", by_structure(trunk))


def resolve(trunk: nn.Module, sites: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Give the modules that each of `sites` means in `trunk`.

    Args:
        trunk: a model with a `config`.
        sites: names of sites or of groups of them (`attention`, `mlp`), or globs (`fnmatch`, in
            which `*` also crosses dots) over the names of linear layers and embeddings.

    Returns:
        Site or glob to full module names, in the model's order.

    Raises:
        PlanError: a site or glob matches nothing; all faults at once, each with what would match.
    """
    here = places(trunk)
    found: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    for site in _expanded(sites, here):
        modules = here.modules.get(site, ()) if site in NAMES else _glob(trunk, site)
        if modules:
            found[site] = modules
        else:
            faults.append(_nothing(trunk, site, here))
    if faults:
        raise PlanError("\n".join(faults))
    return found


def modules(targets: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Give all module names of `targets` once, in order."""
    return tuple(dict.fromkeys(name for names in targets.values() for name in names))


def matches(name: str, pattern: str) -> bool:
    """Whether a module's name is, or ends in, a pattern of `SITES`."""
    return _compiled(pattern).fullmatch(name) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(r"(?:.*\.)?" + re.escape(pattern).replace(r"\#", r"\d+"))


def is_linear(module: nn.Module) -> bool:
    """Whether `module` is a linear layer (torch's, or GPT-2's transposed one)."""
    return isinstance(module, nn.Linear | Conv1D)


def features(linear: nn.Module) -> tuple[int, int]:
    """Give the sizes of a linear layer's input and output."""
    if isinstance(linear, Conv1D):
        return int(linear.weight.shape[0]), int(linear.weight.shape[1])
    weight = cast(nn.Linear, linear).weight
    return int(weight.shape[1]), int(weight.shape[0])


def _expanded(sites: Sequence[str], here: Places) -> list[str]:
    out: list[str] = []
    for site in sites:
        members = [name for name in GROUPS.get(site, ()) if name in here.modules]
        out += members or [site]
    return list(dict.fromkeys(out))


def _by_table(trunk: nn.Module, patterns: Patterns) -> dict[str, tuple[str, ...]]:
    names = [name for name, _ in trunk.named_modules()]
    found: dict[str, tuple[str, ...]] = {}
    for site, spelled in patterns.items():
        hits = tuple(name for name in names if any(matches(name, pattern) for pattern in spelled))
        if hits:
            found[site] = hits
    return found


def _glob(trunk: nn.Module, pattern: str) -> tuple[str, ...]:
    return tuple(name for name in _adaptable(trunk) if fnmatchcase(name, pattern))


def _adaptable(trunk: nn.Module) -> list[str]:
    """Give the linear layers and embeddings; of two embeddings with one weight, the one in use."""
    tables = {m.weight: n for n, m in trunk.named_modules() if isinstance(m, nn.Embedding)}
    used = set(tables.values())
    return [name for name, module in trunk.named_modules() if is_linear(module) or name in used]


def _nothing(trunk: nn.Module, site: str, here: Places) -> str:
    known = [*here.modules, *(group for group in GROUPS if group not in here.modules)]
    if site == "head":
        return "sites: head is trained with every adapter and is no site; leave it out"
    if site in NAMES or site in GROUPS:
        has = ", ".join(each for each in WEIGHTED if each in here.modules)
        return (
            f"sites: {site} is nowhere in this {here.model_type} model; "
            f"it has {has or 'none that Tenon knows'}"
        )
    if not any(mark in site for mark in "*?[") and site.count(".") < 2:
        return (
            f"sites: {site} is no site and no module of this {here.model_type} model; "
            f"{did_you_mean(site, known)}"
        )
    return f"sites: pattern {site} matches no linear layer or embedding; {_near(trunk, site)}"


def _near(trunk: nn.Module, pattern: str) -> str:
    generic = list(dict.fromkeys(re.sub(r"\d+", "*", name) for name in _adaptable(trunk)))
    ends = {name.rpartition(".")[2]: name for name in reversed(generic)}
    alike = nearest(pattern.rpartition(".")[2], ends, SHOWN)
    close = nearest(pattern, generic, SHOWN) or [ends[end] for end in alike]
    shown = close or generic[:SHOWN]
    return ("would match: " if close else "there are for example: ") + ", ".join(shown)


# By structure -----------------------------------------------------------------------------------

_FUSED = re.compile(r"(?i)^(?:.*qkv.*|c_attn|query_key_value|in_proj)$")
_PART = {
    "attention.query": re.compile(r"(?i)^(?:w?q|query|q_proj|q_lin|query_proj|wq)$"),
    "attention.key": re.compile(r"(?i)^(?:w?k|key|k_proj|k_lin|key_proj|wk)$"),
    "attention.value": re.compile(r"(?i)^(?:w?v|value|v_proj|v_lin|value_proj|wv)$"),
}
_ATTENTION = re.compile(r"(?i)attn|attention")
_GATE = re.compile(r"(?i)gate|^(?:w1|wi_0)$")


def by_structure(trunk: nn.Module) -> dict[str, tuple[str, ...]]:
    """Find sites without the table: linear layers in repeated blocks, by name and shape.

    Within a block, what lies under a module named like attention is query, key, value or fused by
    its name and else the output. Elsewhere the layers that narrow are `mlp.out`, the others
    `mlp.in`, or `mlp.gate` by name; one twice as wide as `mlp.out` takes in is both.
    """
    found: dict[str, list[str]] = {}
    for name, block in _blocks(trunk):
        found.setdefault("layer", []).append(name)
        linears = {key: module for key, module in block.named_modules() if is_linear(module)}
        inner = _inner_width(linears)
        for key, module in linears.items():
            for site in _classify(key, module, inner):
                found.setdefault(site, []).append(f"{name}.{key}")
    table = _word_embeddings(trunk)
    if table:
        found["embeddings"] = [table]
    return {site: tuple(found[site]) for site in NAMES if site in found}


def _blocks(trunk: nn.Module) -> list[tuple[str, nn.Module]]:
    """The elements of the outermost lists of equal modules that hold linear layers."""
    blocks: list[tuple[str, nn.Module]] = []
    inside: tuple[str, ...] = ()
    for name, module in trunk.named_modules():
        if not isinstance(module, nn.ModuleList) or name.startswith(inside or ("\0",)):
            continue
        children = list(module.named_children())
        alike = len({type(child) for _, child in children}) == 1
        if alike and any(is_linear(part) for _, child in children for part in child.modules()):
            blocks += [(f"{name}.{key}", child) for key, child in children]
            inside = (*inside, f"{name}.")
    return blocks


def _inner_width(linears: Mapping[str, nn.Module]) -> int:
    return max(
        (features(linear)[0] for name, linear in linears.items() if not _ATTENTION.search(name)),
        default=0,
    )


def _classify(name: str, linear: nn.Module, inner: int) -> tuple[str, ...]:
    last = name.rpartition(".")[2]
    if _FUSED.match(last):
        return GROUPS["attention"][:3]
    for site, pattern in _PART.items():
        if pattern.match(last):
            return (site,)
    if _ATTENTION.search(name):
        return ("attention.out",)
    width_in, width_out = features(linear)
    if width_in == inner and width_out < inner:
        return ("mlp.out",)
    if _GATE.search(last):
        return ("mlp.gate",)
    return ("mlp.in", "mlp.gate") if width_out == 2 * inner else ("mlp.in",)


def _word_embeddings(trunk: nn.Module) -> str:
    tables = [
        (name, module.num_embeddings)
        for name, module in trunk.named_modules()
        if isinstance(module, nn.Embedding)
    ]
    largest = max((size for _, size in tables), default=0)
    return next((name for name, size in reversed(tables) if size == largest), "")
