"""Margined: blocks of Llama's form, in which layers of one input are one product with adapters.

A block is two functions with gradients of their own, with attention between them: the norm and
what attention reads; and what follows attention. What a kernel gives to a product it writes into
memory with a margin (`tenon.model.margin`), so that thin matrices take a read of what is read
anyway, and no pass over what a layer gives.

It is used within a pass whose gradients have a place (`Margins.within`), and only where it was
proved on the loaded base.

Legend: T tokens, H heads of queries, K of keys, D channels (of states, or of a head), I of a gate,
W with a margin, M numbers of all matrices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.lean import Lean
from tenon.model.block_math import functions
from tenon.model.margin import Margin, member, thin
from tenon.model.proving import CLOSE, Found, differ, faults, passed

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Scaled = tuple[Tensor, float]
"""Weight and epsilon of a norm over the mean square."""
MARGINED = "_tenon_margined"


@dataclass(eq=False)
class Margined:
    """What a block is computed with.

    Args:
        first, second: its norms.
        heads: the norms of queries and of keys; None where the base has none.
        channels: of a head.
        reading: queries, keys and values.
        closing: the layer behind attention.
        gating: gate and what it lets through.
        ending: the layer behind the gate.
        on: whether it is used; it is within a pass.
        handed: memory with a margin in which the last gradient was given; all blocks share it.
    """

    first: Scaled
    second: Scaled
    heads: tuple[Scaled, Scaled] | None
    channels: int
    reading: Margin
    closing: Margin
    gating: Margin
    ending: Margin
    on: bool = False
    handed: list[Tensor] = field(default_factory=list[Tensor])

    @property
    def ready(self) -> bool:
        """Whether it is used, and its layers still are what they were."""
        return self.on and all(margin.same for margin in self.margins)

    @property
    def margins(self) -> tuple[Margin, ...]:
        """Those of its layers."""
        return self.reading, self.closing, self.gating, self.ending

    @property
    def counts(self) -> tuple[int, int]:
        """How many heads of queries there are, and how many of keys."""
        query, key, _ = self.reading.sizes
        return query // self.channels, key // self.channels

    def computed(self, hidden_TD: Tensor, angles: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Compute the block.

        Args:
            hidden_TD: dense.
            angles: cosine and sine of each token and channel, [T, D], dense.
            attend: gives what attention makes of queries, keys and values, [T, heads, D] each.
        """
        read, ended = self.reading.trained, [*self.closing.trained, *self.gating.trained]
        found: Any = Reading.apply(hidden_TD, self, angles, *read)
        hidden_TD, *states = found
        said_TD = attend(*states)
        made: Any = Following.apply(hidden_TD, said_TD, self, *ended, *self.ending.trained)
        return made


class Reading(torch.autograd.Function):
    """The first norm, and queries, keys and values, turned."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        block: Margined,
        angles: tuple[Tensor, Tensor],
        *_: Tensor,
    ) -> tuple[Tensor, ...]:
        """Give the states as they are, and what attention reads.

        Args:
            ctx: keeps what the gradients need.
            hidden_TD: dense.
            block: with what it is computed.
            angles: of each token.
            _: the thin matrices, so that torch knows of them.
        """
        on, margin = functions(hidden_TD), block.reading
        read_TW = margin.reading(hidden_TD, len(hidden_TD))
        read_TD = read_TW[:, : margin.inputs]
        scales_T = on.normed(hidden_TD, *block.first, to_ND=read_TD)[2]
        made_TO = margin.forward(read_TW)
        states = on.parted(made_TO, angles, block.heads, block.counts)
        were_TO = None if block.heads is None else made_TO  # only norms have to be computed again
        ctx.save_for_backward(hidden_TD, scales_T, read_TW, were_TO, *angles)
        ctx.block = block
        return hidden_TD, *states

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of the states; those of matrices are added where they belong."""
        hidden_TD, scales_T, read_TW, were_TO, *angles = ctx.saved_tensors
        block, on = cast(Margined, ctx.block), functions(hidden_TD)
        margin, wanted = block.reading, ctx.needs_input_grad[0]
        given_TW = margin.returning(hidden_TD, len(hidden_TD))
        on.parted_back(
            [each.contiguous() for each in given[1:]], were_TO, angles, block.heads,
            to_TO=given_TW[:, : margin.outputs],
        )  # fmt: skip
        back_TD = margin.backward(given_TW, *_parts(margin, read_TW), wanted=wanted)
        nothing = [None] * len(margin.trained)
        if back_TD is None:
            return None, None, None, *nothing
        # The block before has its last layer's margin beside it.
        found_TW = block.ending.returning(hidden_TD, len(hidden_TD))
        found_TD = found_TW[:, : hidden_TD.shape[1]]
        on.normed_back(back_TD, hidden_TD, block.first[0], scales_T, given[0], to_ND=found_TD)
        block.handed[:] = [found_TW]
        return found_TD, None, None, *nothing


class Following(torch.autograd.Function):
    """What follows attention: the layer behind it, the second norm, and the gated MLP."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, said_TO: Tensor, block: Margined, *_: Tensor
    ) -> Tensor:
        """Give what the block gives.

        Args:
            ctx: keeps what the gradients need.
            hidden_TD: what went into the block, dense.
            said_TO: what attention gives, dense.
            block: with what it is computed.
            _: the thin matrices, so that torch knows of them.
        """
        on, tokens = functions(hidden_TD), len(hidden_TD)
        more_TD, narrow_TS = block.closing.beside(said_TO)
        read_TW = block.gating.reading(hidden_TD, tokens)
        out_TD = torch.empty_like(hidden_TD)
        total_TD, _, scales_T = on.normed(
            hidden_TD,
            *block.second,
            more_TD,
            to_ND=read_TW[:, : block.gating.inputs],
            again_ND=out_TD,
        )
        made_TO = block.gating.forward(read_TW)
        inner_TW = block.ending.reading(hidden_TD, tokens)
        on.gated(*made_TO.chunk(2, 1), to_NI=inner_TW[:, : block.ending.inputs])
        block.ending.forward(inner_TW, out_TD)
        ctx.save_for_backward(said_TO, narrow_TS, total_TD, scales_T, read_TW, made_TO, inner_TW)
        ctx.block = block
        return out_TD

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of both states; those of matrices are added where they belong."""
        said_TO, narrow_TS, total_TD, scales_T, read_TW, made_TO, inner_TW = ctx.saved_tensors
        block, on, tokens = cast(Margined, ctx.block), functions(total_TD), len(total_TD)
        ending, gating, closing = block.ending, block.gating, block.closing
        given_TW = _with_margin(given[0], block)
        back_TI: Any = ending.backward(given_TW, *_parts(ending, inner_TW))
        gates_TW = gating.returning(total_TD, tokens)
        to = gates_TW[:, : gating.outputs].chunk(2, 1)
        on.gated_back(back_TI, *made_TO.chunk(2, 1), to=to)
        back_TD = gating.backward(gates_TW, *_parts(gating, read_TW))
        sum_TW = closing.returning(total_TD, tokens)
        sum_TD = sum_TW[:, : closing.outputs]
        more_TD = given_TW[:, : ending.outputs]
        on.normed_back(back_TD, total_TD, block.second[0], scales_T, more_TD, to_ND=sum_TD)
        said = closing.backward(sum_TW, said_TO, narrow_TS, wanted=ctx.needs_input_grad[1])
        count = sum(len(each.trained) for each in (closing, gating, ending))
        return sum_TD, said, None, *[None] * count


def _parts(margin: Margin, read_TW: Tensor) -> tuple[Tensor, Tensor | None]:
    """Give an input, and its margin."""
    own = read_TW[:, margin.inputs : margin.inputs + margin.rank]
    return read_TW[:, : margin.inputs], own if margin.rank else None


def _with_margin(given_TD: Tensor, block: Margined) -> Tensor:
    """Give the gradient of a block with a margin beside it: where it lies, if there is one."""
    width = block.ending.outputs + block.ending.room
    for held_TW in block.handed:
        same = given_TD.data_ptr() == held_TW.data_ptr() and given_TD.dtype == held_TW.dtype
        if same and held_TW.shape == (len(given_TD), width) and given_TD.stride() == (width, 1):
            return held_TW
    found_TW = block.ending.returning(given_TD, len(given_TD))
    found_TW[:, : block.ending.outputs].copy_(given_TD)
    return found_TW


class Margins:
    """The thin matrices of blocks, in the margins of their layers' weights.

    Args:
        blocks: whose.
    """

    def __init__(self, blocks: Sequence[Margined]) -> None:
        self.blocks = list(blocks)
        self.margins = [each for block in blocks for each in block.margins if each.rank]
        sizes = [n for m in self.margins for n in (m.rank * m.inputs, m.outputs * m.rank)]
        self._back = self.margins[0].whole.new_zeros(sum(sizes))
        parts = iter(self._back.split(sizes))
        self._places = [
            (next(parts).view(m.rank, m.inputs), next(parts).view(m.outputs, m.rank))
            for m in self.margins
        ]
        self._place()
        on = thin(self._back)
        self._lay, self._take = on.laying(self.margins), on.taking(self.margins, self._back)

    def _place(self) -> None:
        """Let gradients be added here, and not where another's are that has the same layers."""
        for margin, (down_SI, up_OS) in zip(self.margins, self._places, strict=True):
            margin.to_down_SI, margin.to_up_OS = down_SI, up_OS

    @property
    def trained(self) -> list[nn.Parameter]:
        """The matrices, in the order in which their gradients are given back."""
        return [each for margin in self.margins for each in margin.trained]

    @contextlib.contextmanager
    def within(self, gradients_M: Tensor) -> Iterator[None]:
        """Write the matrices into the margins for one pass with its way back.

        Args:
            gradients_M: of all matrices, end to end, float32; to which those of the pass are added.
        """
        self._place()
        self._lay()
        self._back.zero_()
        handed: list[Tensor] = []
        for block in self.blocks:
            block.on, block.handed = True, handed
        try:
            yield
        finally:
            handed.clear()
            for block in self.blocks:
                block.on = False
        self._take(gradients_M)


def margined_of(
    block: Any, first: Scaled, second: Scaled, heads: tuple[Scaled, Scaled] | None
) -> Margined | None:
    """Give a block of Llama's form with its layers' weights in margins; None where they cannot be.

    Nor are they where none of its layers has an adapter.

    Args:
        block: its weights are moved.
        first, second, heads: its norms.
    """
    attn, mlp = block.self_attn, block.mlp
    layers = [
        [attn.q_proj, attn.k_proj, attn.v_proj], [attn.o_proj], [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    ]  # fmt: skip
    members = [[each for layer in group if (each := member(layer))] for group in layers]
    if [len(group) for group in members] != [len(group) for group in layers]:
        return None
    if not any(each.rank for group in members for each in group):
        return None
    weights = [each.frozen.weight for group in members for each in group]
    like = first[0]
    if any(each.dtype != like.dtype or each.device != like.device for each in weights):
        return None
    try:
        made = [Margin(group) for group in members]
    except ValueError:
        return None
    return Margined(
        first, second, heads, attn.head_dim, reading=made[0], closing=made[1], gating=made[2],
        ending=made[3],
    )  # fmt: skip


def proved(
    block: nn.Module,
    norms: Sequence[Scaled],
    trying: Callable[..., Callable[..., Tensor]],
    call: tuple[tuple[Any, ...], dict[str, Any]],
    expected: Found,
) -> Margined | None:
    """Give a block with its layers' weights in margins, where it is proved to give the same.

    Args:
        block: its weights are moved.
        norms: its two, and those of queries and keys where it has them.
        trying: gives the forward pass with `margined` in it.
        call: with which the block is called.
        expected: what it is to give.
    """
    heads = (norms[2], norms[3]) if norms[2:] else None
    margined = margined_of(block, norms[0], norms[1], heads)
    if margined is None:
        return None
    held = Margins([margined])
    sizes = [each.numel() for each in held.trained]
    back_M = torch.zeros(sum(sizes), device=norms[0][0].device)
    try:
        with held.within(back_M):
            found = passed(trying(margined=margined), *call, block=block)
    except faults():
        return None
    # The gradients of thin matrices are added in a place of their own.
    parts = zip(held.trained, back_M.split(sizes), strict=True)
    there = {id(each): part.view_as(each) for each, part in parts}
    trained = [each for each in block.parameters() if each.requires_grad]
    own = [(there.get(id(p), one), None) for p, (one, _) in zip(trained, found[2:], strict=True)]
    close = CLOSE[norms[0][0].dtype]
    return margined if differ([*found[:2], *own], expected) <= close else None


def keep(block: nn.Module, made: Margined | None) -> None:
    """Note with what a block is computed within a pass."""
    vars(block)[MARGINED] = made


def margined_at(block: nn.Module) -> Margined | None:
    """Give with what a block is computed within a pass; None where it is not."""
    return cast("Margined | None", vars(block).get(MARGINED))


def margins_of(
    model: nn.Module, found: Sequence[nn.Module], trained: Sequence[nn.Parameter]
) -> Margins | None:
    """Give the thin matrices of all lean layers, where all of them are in margins; else None.

    Args:
        model: with its adapter.
        found: its blocks.
        trained: what has gradients.
    """
    blocks = [made for block in found if (made := margined_at(block))]
    members = [each for block in blocks for margin in block.margins for each in margin.members]
    there = {id(each.layer) for each in members if each.rank}
    lean = {id(module) for module in model.modules() if isinstance(module, Lean)}
    if not there or there != lean or not all(m.same for block in blocks for m in block.margins):
        return None
    made, known = Margins(blocks), {id(each) for each in trained}
    return made if all(id(each) in known for each in made.trained) else None
