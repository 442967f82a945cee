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

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from tenon.adapters.fan import fanned
from tenon.adapters.lean import FORMATS, autocasts, watched
from tenon.model.attending import attention
from tenon.model.block_math import Gated, Normed, SumNormed, Turned, kernels
from tenon.model.compiled import FAST, Fast
from tenon.model.entry import blocks
from tenon.model.loading import quiet
from tenon.model.packing import ATTENTION, Borders, packed_attention
from tenon.model.trunk import Trunk, proof_row
from tenon.text.batch import of_ids

NOTED = "tenon_noted"
FUSION = "_tenon_fusion"
LENGTHS = (3, 7, 5, 33)
"""Rows that are computed for the proof."""
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""How far a block's output and its gradients may be from transformers', by their size. Of rounding
alone it is 1e-6, and 5e-3 to 3e-2 where a gradient is small."""
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
        what: what blocks are called, and how they are computed.
    """

    fused: int
    of: int
    why: str = ""
    what: tuple[str, str] = ("blocks", "in few kernels")

    def __str__(self) -> str:
        """Say it in one clause."""
        if not self.fused:
            return f"{self.what[0]} as in transformers: {self.why}"
        some = f"{self.fused} of {self.of} {self.what[0]}" if self.why else self.what[0]
        rest = f" (others: {self.why})" if self.why else ""
        return f"{some} {self.what[1]}, proved equal on this base{rest}"


@dataclass(frozen=True, eq=False)
class Noting(Borders):
    """Borders that note how each layer attends.

    Args:
        asked: attention module to what it calls attention with.
    """

    asked: dict[nn.Module, dict[str, Any]] = field(default_factory=dict[nn.Module, dict[str, Any]])


def noted_attention(
    module: nn.Module, *states: Tensor | None, borders: Noting, **how: Any
) -> tuple[Tensor, None]:
    """Attend within each row, and note how; transformers calls this for every attention layer."""
    known = ("scaling", "sliding_window", "is_causal", "softcap", "s_aux", "position_bias")
    borders.asked[module] = {name: how[name] for name in known if how.get(name) is not None}
    return packed_attention(module, *cast("Any", states), borders=borders, **how)


AttentionInterface.register(NOTED, noted_attention)


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
    """

    block: nn.Module
    first: Norm
    second: Norm
    heads: tuple[Norm, Norm] | tuple[()]
    how: dict[str, Any]
    held: tuple[tuple[str, nn.Module], ...]

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
        angles = tuple(each[0].contiguous() for each in named["position_embeddings"])
        turned: list[Any] = []
        for number, states in enumerate((query, key)):
            heads_THD = states.view(states.shape[1], -1, attn.head_dim).contiguous()
            norm = self.heads[number] if self.heads else None
            weight, eps = (None, 0.0) if norm is None else (norm.weight_D, norm.eps)
            turned.append(Turned.apply(heads_THD, angles, weight, eps))
        value_THD = value.view(value.shape[1], -1, attn.head_dim)
        laid = [each.transpose(0, 1)[None] for each in (*turned, value_THD)]
        borders = named["borders"]
        attend: Any = packed_attention
        made = attend(attn, *laid, None, borders=borders, **self.how)[0]
        return attn.o_proj(made.reshape(1, made.shape[1], -1))


def fuse(trunk: Trunk, *, anywhere: bool = False) -> Fusion:
    """Let blocks of a trunk be computed in few kernels where that is proved to give the same.

    Args:
        trunk: with its adapters.
        anywhere: also where there are no kernels, by the same functions in plain torch.
    """
    made = _fusion(trunk, anywhere=anywhere)
    vars(trunk.model)[FUSION] = made
    return made


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


def _fusion(trunk: Trunk, *, anywhere: bool) -> Fusion:
    found = blocks(trunk.model)
    why = _unfit(trunk, anywhere=anywhere) or ("" if found else FORM)
    if why:
        return Fusion(0, len(found), why)
    modes = [(module, module.training) for module in trunk.model.modules()]
    trunk.model.eval()
    try:
        calls, asked = noted_calls(trunk, found)
        whys = [_fused(trunk, block, calls.get(block), asked) for block in found]
    finally:
        for module, mode in modes:
            module.training = mode
    faults = Counter(why for why in whys if why)
    most = faults.most_common(1)[0][0] if faults else ""
    return Fusion(len(found) - faults.total(), len(found), most)


def _unfit(trunk: Trunk, *, anywhere: bool) -> str:
    """Say why no block of a trunk can be; empty where one may be."""
    if not trunk.packed or not trunk.decoder:
        return "rows are padded" if trunk.decoder else "it is no decoder"
    if trunk.model.dtype not in FORMATS:
        return f"there are no kernels for {str(trunk.model.dtype).removeprefix('torch.')}"
    if anywhere:
        return ""
    if trunk.device.type != "cuda":
        return "they are for CUDA"
    return "" if kernels() else "Triton is not installed"


def noted_calls(
    trunk: Trunk, found: list[nn.Module]
) -> tuple[dict[nn.Module, Any], dict[Any, Any]]:
    """Give what each block is called with for some rows, and how each layer attends."""
    batch = of_ids([proof_row(trunk, length) for length in LENGTHS]).to(trunk.device)
    noting = Noting(batch.lengths, trunk.device)
    calls: dict[nn.Module, Any] = {}

    def note(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls[block] = (given, named)

    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in found]
    try:
        with torch.no_grad(), quiet(), attention(trunk.model, NOTED):
            trunk.model(
                input_ids=batch.ids_T[None], position_ids=batch.positions_T[None], borders=noting,
                **({"use_cache": False} if trunk.decoder else {}),
            )  # fmt: skip
    finally:
        for hook in hooks:
            hook.remove()
    return calls, noting.asked


def _fused(trunk: Trunk, block: nn.Module, call: Any, asked: dict[Any, Any]) -> str:
    """Let one block be computed in few kernels; say why it is not, empty where it is."""
    made = _recognised(block, asked)
    if made is None or call is None:
        return FORM
    with attention(trunk.model, ATTENTION):
        expected = passed(lambda *g, **n: cast(Any, type(block)).forward(block, *g, **n), *call,
                           block=block)  # fmt: skip
        try:
            found = passed(lambda *g, **n: made(block, *g, **n), *call, block=block)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            return f"they cannot be computed so ({type(error).__name__})"
    error = max(distance(*one, other) for one, (other, _) in zip(found, expected, strict=True))
    if not error <= CLOSE[trunk.model.dtype]:
        return f"they would differ by {error:.1e} of what they give"
    fast = Fast(block, cast(Any, made))
    vars(block)[FAST] = fast
    vars(block).setdefault("forward", fast)
    return ""


def passed(
    compute: Any, given: tuple[Any, ...], named: dict[str, Any], *, block: nn.Module
) -> list[tuple[Tensor | None, Tensor | None]]:
    """Give what a block adds, on the way back too, and the gradients of what is trained in it.

    Beside each is what it was taken from: it is known to the rounding of that alone.
    """
    states = given[0].detach().clone().requires_grad_()
    trained = [p for p in block.parameters() if p.requires_grad]
    with torch.enable_grad():
        output = compute(states, *given[1:], **named)
        # Any gradient that differs from place to place; nothing is drawn at random.
        along = torch.arange(output.numel(), device=output.device).view_as(output)
        back = torch.sin(along * 0.7).to(output.dtype)
        grads = torch.autograd.grad(output, [states, *trained], back, allow_unused=True)
    # What a block adds is compared, as what it hands on may be far larger; and so on the way back.
    own = (output - states).detach(), grads[0] - back
    wholes = output.detach(), grads[0]
    return [*zip(own, wholes, strict=True), *((each, None) for each in grads[1:])]


def distance(one: Tensor | None, whole: Tensor | None, other: Tensor | None) -> float:
    """Give the difference of two tensors beyond what rounding explains, by the second's size."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    size = float(other.float().norm())
    apart = float((one.float() - other.float()).norm())
    if whole is not None:
        apart -= torch.finfo(whole.dtype).eps * float(whole.float().norm())
    return apart / size if size else apart


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
    return Fused(block, first, second, cast(Any, tuple(heads)), asked[attn], held)


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
