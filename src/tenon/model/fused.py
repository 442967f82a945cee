"""Fused: blocks of decoders of Llama's form, computed in few kernels while they are trained.

A block is a norm, attention with turned heads, a norm, and a gated MLP, each added to what went in.
Most of its time on a GPU goes into the small operations between its products: each reads and writes
all states. Here they are one kernel each, and layers that read the same input share a product.

Which blocks have that form is known by their parts, and proved: on the loaded base, with its
adapter, each block's output and gradients are compared with those of transformers' own forward
pass; a block that differs keeps that. Without gradients blocks are computed as they are.

Legend: T tokens, N positions, H heads, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.fan import fanned
from tenon.adapters.lean import FORMATS, autocasts, watched
from tenon.model import attention_math
from tenon.model.attending import attention
from tenon.model.block_math import Gated, Normed, SumNormed, Turned, kernels
from tenon.model.compiled import FAST, Fast
from tenon.model.entry import blocks
from tenon.model.margined import Margined, keep, margined_at, proved
from tenon.model.noting import commonest, tried
from tenon.model.packing import ATTENTION, packed_attention
from tenon.model.proving import CLOSE, differ, faults, passed
from tenon.model.sized import unfit
from tenon.model.trunk import Trunk

FUSION = "_tenon_fusion"
BLOCK = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
HEADS = {"q_proj", "k_proj", "v_proj", "o_proj"}
NORMS = {"q_norm", "k_norm"}
GATE = {"gate_proj", "up_proj", "down_proj", "act_fn"}
FORM = "its blocks are not of Llama's form"


@dataclass(frozen=True)
class Fusion:
    """How many blocks are computed in few kernels.

    Args:
        fused: blocks.
        of: blocks in all.
        why: why not all of them, one clause; empty where all are.
        margins: blocks whose adapters stand in the margins of their weights within recorded passes.
        tiled: of the fused ones, blocks whose attention has kernels of its own as well.
        what: what blocks are called, and how they are computed.
    """

    fused: int
    of: int
    why: str = ""
    margins: int = 0
    tiled: int = 0
    what: tuple[str, str] = ("blocks", "in few kernels")

    def __str__(self) -> str:
        """Say it in one clause."""
        if not self.fused:
            return f"{self.what[0]} as in transformers: {self.why}"
        some = f"{self.fused} of {self.of} {self.what[0]}" if self.why else self.what[0]
        rest = f" (others: {self.why})" if self.why else ""
        few = ", attention too" if self.tiled == self.fused else f", attention of {self.tiled} too"
        if self.margins and self.margins < self.of:
            rest += f", {self.margins} of {self.of} with adapters in the margins of weights"
        elif self.margins:
            rest += ", adapters in the margins of weights"
        how = f"{self.what[1]}{few if self.tiled else ''}"
        return f"{some} {how}, proved equal on this base{rest}"


@dataclass(frozen=True)
class Norm:
    """A norm over the mean square.

    Args:
        module: it.
        weight_D: frozen.
        eps: added to the mean square.
    """

    module: nn.Module
    weight_D: Tensor
    eps: float


@dataclass(frozen=True)
class Fused:
    """The forward pass of a block, in few kernels where that gives the same.

    Args:
        block: the block.
        first, second: the norms before attention and before the MLP.
        heads: the norms of queries and of keys; none where the base has none.
        how: what its layer attends with.
        held: the modules inside of it, by name, as they were when it was proved.
        margined: with what it is computed within a pass whose gradients have a place.
        tiled: whether it attends as `attention_math` does, not by packed attention.
    """

    block: nn.Module
    first: Norm
    second: Norm
    heads: tuple[Norm, Norm] | tuple[()]
    how: dict[str, Any]
    held: tuple[tuple[str, nn.Module], ...]
    margined: Margined | None = None
    tiled: bool = False

    def __call__(self, block: nn.Module, *given: Any, **named: Any) -> Any:
        """Compute the block; `given` and `named` are as transformers calls it."""
        if self.plain(given, named):
            return cast(Any, type(block)).forward(block, *given, **named)
        hidden_1TD: Tensor = given[0]
        if not hidden_1TD.is_cuda:
            return self.computed(hidden_1TD, named)
        with torch.cuda.device(hidden_1TD.device):
            return self.computed(hidden_1TD, named)

    def plain(self, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Whether the block is to be computed as it is."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or len(given) != 1:
            return True
        odd = ("past_key_values", "attention_mask", "prefix", "flat")
        if any(named.get(name) is not None for name in odd) or "borders" not in named:
            return True
        states, angles = given[0], named.get("position_embeddings")
        if not isinstance(angles, tuple) or states.dtype != self.first.weight_D.dtype:
            return True
        if states.dim() != 3 or states.shape[0] != 1 or autocasts(states):  # noqa: PLR2004
            return True
        attn = cast(Any, self.block).self_attn
        drops = attn.training and getattr(attn, "attention_dropout", 0.0)
        return bool(drops) or not all(self._still(name, part) for name, part in self.held)

    def _still(self, name: str, part: nn.Module) -> bool:
        """Whether a part is what was proved, and nothing looks at what it is given."""
        there = self.block.get_submodule(name)
        return there is part and not watched(there)

    def computed(self, hidden_1TD: Tensor, named: dict[str, Any]) -> Tensor:
        """Compute the block in few kernels."""
        attn, mlp = cast(Any, self.block).self_attn, cast(Any, self.block).mlp
        # Squeezed, as the gradient of a part would be copied into a tensor of full size.
        rows_TD = hidden_1TD.squeeze(0).contiguous()
        if self.margined is not None and self.margined.ready:
            attend = partial(self._attend, attn, named)
            return self.margined.computed(rows_TD, _dense(named), attend)[None]
        read_TD: Any = Normed.apply(rows_TD, self.first.weight_D, self.first.eps)
        said = self._attended(attn, read_TD[None], named).squeeze(0).contiguous()
        both: Any = SumNormed.apply(rows_TD, said, self.second.weight_D, self.second.eps)
        total_TD, read_TD = both
        gate, up = fanned((mlp.gate_proj, mlp.up_proj), read_TD[None])
        inner = Gated.apply(gate.contiguous(), up.contiguous())
        return total_TD[None] + mlp.down_proj(inner)

    def _attended(self, attn: Any, read_1TD: Tensor, named: dict[str, Any]) -> Tensor:
        """Give what attention makes of the normed states."""
        query, key, value = fanned((attn.q_proj, attn.k_proj, attn.v_proj), read_1TD)
        angles = _dense(named)
        turned: list[Any] = []
        for number, states in enumerate((query, key)):
            heads_THD = states.view(states.shape[1], -1, attn.head_dim).contiguous()
            norm = self.heads[number] if self.heads else None
            weight, eps = (None, 0.0) if norm is None else (norm.weight_D, norm.eps)
            turned.append(Turned.apply(heads_THD, angles, weight, eps))
        value_THD = value.view(value.shape[1], -1, attn.head_dim)
        return attn.o_proj(self._attend(attn, named, *turned, value_THD)[None])

    def _attend(self, attn: Any, named: dict[str, Any], *states_THD: Tensor) -> Tensor:
        """Give what attention makes of queries, keys and values, heads side by side."""
        if self.tiled:
            states = (states_THD[0], states_THD[1], states_THD[2])
            made_THD = attention_math.attended(states, named["borders"], self.how)
            return made_THD.reshape(len(made_THD), -1)
        laid = [each.transpose(0, 1)[None] for each in states_THD]
        attend: Any = packed_attention
        made = attend(attn, *laid, None, borders=named["borders"], **self.how)[0]
        return made.reshape(made.shape[1], -1).contiguous()


def _dense(named: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Give the angles of tokens, [T, D] each."""
    cos_TD, sin_TD = (each[0].contiguous() for each in named["position_embeddings"])
    return cos_TD, sin_TD


def fuse(trunk: Trunk, *, anywhere: bool = False, margins: bool = True) -> Fusion:
    """Let blocks of a trunk be computed in few kernels where that is proved to give the same.

    Args:
        trunk: with its adapters.
        anywhere: also where there are no kernels, by the same functions in plain torch.
        margins: move frozen weights to where adapters have room beside them, if passes over them
            may be recorded. Nothing that reads them where they lie may have been recorded before.
    """
    margins = margins and (anywhere or _recordable(trunk))
    made = _fusion(trunk, anywhere=anywhere, margins=margins)
    vars(trunk.model)[FUSION] = made
    return made


def _recordable(trunk: Trunk) -> bool:
    """Whether passes over a trunk may be recorded, as far as it decides that."""
    halves = trunk.model.dtype in (torch.bfloat16, torch.float16)
    return trunk.whole is not None and halves and not unfit(trunk)


def of_form(model: nn.Module) -> bool:
    """Whether all blocks of a base have the parts of Llama's, so that they may be fused."""
    found = [dict(block.named_children()) for block in blocks(model)]
    return bool(found) and all(
        _parts(parts.get("self_attn")) >= HEADS and _parts(parts.get("mlp")) >= GATE
        for parts in found
    )


def _parts(module: nn.Module | None) -> set[str]:
    return set() if module is None else {name for name, _ in module.named_children()}


def fusion_of(trunk: Trunk) -> Fusion | None:
    """Give how many blocks of a trunk are computed in few kernels; None where none were tried."""
    return vars(trunk.model).get(FUSION)


def _fusion(trunk: Trunk, *, anywhere: bool, margins: bool) -> Fusion:
    found = blocks(trunk.model)
    why = _unfit(trunk, anywhere=anywhere) or ("" if found else FORM)
    if why:
        return Fusion(0, len(found), why)
    whys = tried(trunk, found, partial(_fused, trunk, margins=margins))
    made = [vars(block)[FAST].compiled for block, why in zip(found, whys, strict=True) if not why]
    with_margins = sum(margined_at(block) is not None for block in found)
    tiled = sum(each.tiled for each in made)
    return Fusion(len(made), len(found), commonest(whys), with_margins, tiled)


def _unfit(trunk: Trunk, *, anywhere: bool) -> str:
    """Say why no block of a trunk can be; empty where one may be."""
    if trunk.seq2seq:
        return FORM
    if not trunk.packed or not trunk.decoder:
        return "rows are padded" if trunk.decoder else "it is no decoder"
    if trunk.model.dtype not in FORMATS:
        return f"there are no kernels for {str(trunk.model.dtype).removeprefix('torch.')}"
    if anywhere:
        return ""
    if trunk.device.type != "cuda":
        return "they are for CUDA"
    return "" if kernels() else "Triton is not installed"


def _fused(
    trunk: Trunk, block: nn.Module, call: Any, asked: dict[Any, Any], *, margins: bool
) -> str:
    """Let one block be computed in few kernels; say why it is not, empty where it is."""
    keep(block, None)
    made = _recognised(block, asked)
    if made is None or call is None:
        return FORM
    with attention(trunk.model, ATTENTION):
        expected = passed(cast(Any, type(block)).forward, *call, block=block)
        why = _differs(made, call, expected)
        if why and made.tiled:
            made = replace(made, tiled=False)
            why = _differs(made, call, expected)
        if why:
            return why
        if margins:
            norms = [(each.weight_D, each.eps) for each in (made.first, made.second, *made.heads)]
            trying = partial(replace, made)
            made = trying(margined=proved(block, norms, trying, call, expected))
    keep(block, made.margined)
    fast, before = Fast(block, cast(Any, made)), vars(block).get(FAST)
    vars(block)[FAST] = fast
    # What computes its states again calls it itself.
    if vars(block).get("forward") is before:
        vars(block)["forward"] = fast
    return ""


def _differs(made: Fused, call: Any, expected: Any) -> str:
    """Say how what a block gives in few kernels differs from what is expected; empty if it is."""
    try:
        found = passed(made, *call, block=made.block)
    except faults() as error:
        return f"they cannot be computed so ({type(error).__name__})"
    error = differ(found, expected)
    if not error <= CLOSE[made.first.weight_D.dtype]:
        return f"they would differ by {error:.1e} of what they give"
    return ""


def _recognised(block: nn.Module, asked: dict[Any, Any]) -> Fused | None:
    """Give the forward pass of a block of Llama's form; None where it has another."""
    if _names(block) != BLOCK:
        return None
    parts = cast(Any, block)
    attn, mlp = parts.self_attn, parts.mlp
    if _names(attn) - NORMS != HEADS or _names(mlp) != GATE or attn not in asked:
        return None
    norms = [_norm(each) for each in (parts.input_layernorm, parts.post_attention_layernorm)]
    heads = [_norm(getattr(attn, name)) for name in ("q_norm", "k_norm") if name in _names(attn)]
    channels = getattr(attn, "head_dim", 0)
    if None in norms or len(heads) == 1 or not channels or channels % 2:
        return None
    if any(norm is None or norm.weight_D.numel() != channels for norm in heads):
        return None
    names = ("self_attn", "mlp", "input_layernorm", "post_attention_layernorm", "mlp.act_fn")
    held = tuple((name, block.get_submodule(name)) for name in names)
    held += tuple((f"self_attn.{n}", block.get_submodule(f"self_attn.{n}"))
                  for n in sorted(_names(attn) & NORMS))  # fmt: skip
    first, second = cast("list[Norm]", norms)
    how = asked[attn]
    tiled = attention_math.known(attn, how, first.weight_D)
    return Fused(block, first, second, cast(Any, tuple(heads)), how, held, tiled=tiled)


def _names(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


def _norm(module: nn.Module) -> Norm | None:
    """Give a module as a norm over the mean square; None where it has other parts."""
    held = dict(module.named_parameters())
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if set(held) != {"weight"} or held["weight"].dim() != 1 or not isinstance(eps, float):
        return None
    if held["weight"].requires_grad or _names(module):
        return None
    return Norm(module, held["weight"], eps)
