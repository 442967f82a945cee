"""EncoderLayer: a layer of BERT's form as one function, with its gradients written out.

It is attention with its output layer, and an MLP, each added to what went in and normed afterwards.
Everything that is frozen gets no gradient; sums are added up in place; and what is written is
memory that every layer and every step uses again.

Legend: T tokens, U tokens whose output is asked for, D channels, I channels of the MLP, R rank.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tenon.adapters.linears import Kept, Linears
from tenon.adapters.pool import POOL
from tenon.model import short
from tenon.model.packing import Borders, packed_attention
from tenon.model.rule import Rule

ATEN: Any = torch.ops.aten


class Norm(NamedTuple):
    """A layer norm.

    Args:
        weight_D, bias_D: frozen.
        eps: added to the variance.
    """

    weight_D: Tensor
    bias_D: Tensor
    eps: float


class Read(NamedTuple):
    """The tokens whose output is asked for, one of each row.

    Args:
        places_U: int64, of each, in the order of rows, and then any others that fill it up.
        asked: how many are asked for.
    """

    places_U: Tensor
    asked: int

    @property
    def own_U(self) -> Tensor:
        """The places without what fills them up."""
        return self.places_U[: self.asked]

    def fits(self, borders: Borders) -> bool:
        """Whether each token is of the row of its number."""
        ends_B = torch.tensor(borders.lengths[: self.asked]).cumsum(0)
        if len(ends_B) < self.asked:
            return False
        starts_B = torch.cat([ends_B.new_zeros(1), ends_B[:-1]])
        return bool(((self.own_U >= starts_B) & (self.own_U < ends_B)).all())

    def of(self, states_TD: Tensor) -> Tensor:
        """Give the states of all of them."""
        return states_TD.index_select(0, self.places_U)

    def back(self, given_TD: Tensor) -> Tensor:
        """Give the gradients of theirs; that of what fills up is 0."""
        found_UD = self.of(given_TD)
        found_UD[self.asked :] = 0
        return found_UD


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a layer for one pass.

    Args:
        attention: the module that attends, for its function.
        how: what it attends with.
        channels: of a head.
        heads: queries, keys and values; where some tokens alone are asked for, queries by
            themselves and then the others.
        out, first, second: the layers behind attention and of the MLP.
        norms: behind each.
        borders: of the rows.
        read: the tokens whose output is asked for; None for all.
    """

    attention: nn.Module
    how: dict[str, Any]
    channels: int
    heads: tuple[Linears, ...]
    out: Linears
    first: Linears
    second: Linears
    norms: tuple[Norm, Norm]
    borders: Borders
    read: Read | None

    @property
    def trained(self) -> list[Tensor]:
        """What is trained, in the order of its gradients."""
        all_of = (*self.heads, self.out, self.first, self.second)
        return [each for part in all_of for each in part.trained]

    @property
    def slots(self) -> short.Slots | None:
        """Where the rows lie where all of them are short."""
        groups = self.borders.learned
        return groups[0].slots if len(groups) == 1 else None


@dataclass(eq=False)
class Held:
    """What the gradients of a layer need.

    Args:
        tensors: by name.
        kept: of its linear layers, in the order of `Parts.trained`.
        attended: of attention among short rows; of others its inputs and its output.
        taken: memory to give back.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    kept: list[Kept] = field(default_factory=list[Kept])
    attended: Any = None
    taken: list[Tensor] = field(default_factory=list[Tensor])


class EncoderLayer(torch.autograd.Function):
    """A layer of BERT's form."""

    @staticmethod
    def forward(ctx: Any, hidden_TD: Tensor, parts: Parts, *trained: Tensor) -> Tensor:
        """Give the layer's output, [T, D]; 0 where none is asked for.

        Args:
            ctx: keeps what the gradients need.
            hidden_TD: what it reads.
            parts: of it.
            trained: what is trained in it: `Parts.trained`.
        """
        del trained
        held, read = Held(), parts.read
        read_UD = hidden_TD if read is None else read.of(hidden_TD)
        said_UD = _attended(hidden_TD, read_UD, parts, held)
        middle_UD = _added(said_UD, read_UD, parts.norms[0], "first", held)
        inner_UI = _inner(middle_UD, parts, held)
        (made_UD,) = _computed(parts.second, inner_UI, held)
        output_UD = _added(made_UD, middle_UD, parts.norms[1], "second", held)
        ctx.save_for_backward(hidden_TD)
        held.tensors |= {"read": read_UD, "middle": middle_UD}
        ctx.held, ctx.parts = held, parts
        if read is None:
            return output_UD
        made_TD = output_UD.new_zeros(hidden_TD.shape)
        return made_TD.index_copy_(0, read.own_U, output_UD[: read.asked])

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of what was read and of all that is trained."""
        held, parts = cast(Held, ctx.held), cast(Parts, ctx.parts)
        if held.attended is None:
            raise RuntimeError("gradients of a layer can be asked for once a pass")
        (hidden_TD,) = cast("tuple[Tensor]", ctx.saved_tensors)
        output_UD = given[0].contiguous()
        if parts.read is not None:
            output_UD = parts.read.back(output_UD)
        total_UD, mlp = _mlp_back(output_UD, parts, held)
        total_UD, out, asked = _attention_back(total_UD, parts, held)
        found, heads = _heads_back(
            hidden_TD, total_UD, asked, parts, held, wanted=ctx.needs_input_grad[0]
        )
        POOL.give(*held.taken)
        held.taken.clear()
        held.attended = None
        return (found, None, *heads, *out, *mlp)


def _computed(
    linears: Linears, input_NI: Tensor, held: Held, *, keeps: bool = True
) -> list[Tensor]:
    """Give outputs of linear layers, and keep what their gradients need."""
    made, kept = linears.compute(input_NI)
    held.kept.append(kept)
    if keeps:
        held.taken += made
    return made


def _added(made_UD: Tensor, onto_UD: Tensor, norm: Norm, name: str, held: Held) -> Tensor:
    """Give the norm of a sum, which is written where its first part is."""
    total_UD = made_UD.add_(onto_UD)
    output, mean, scale = torch.native_layer_norm(total_UD, onto_UD.shape[-1:], *norm)
    held.tensors |= {f"{name} sum": total_UD, f"{name} mean": mean, f"{name} scale": scale}
    return output


def _normed_back(given_UD: Tensor, norm: Norm, name: str, held: Held) -> Tensor:
    """Give the gradient of a sum from that of its norm."""
    total, mean, scale = (held.tensors[f"{name} {each}"] for each in ("sum", "mean", "scale"))
    wanted = [True, False, False]
    return ATEN.native_layer_norm_backward(
        given_UD, total, total.shape[-1:], mean, scale, norm.weight_D, norm.bias_D, wanted
    )[0]


def _attended(hidden_TD: Tensor, read_UD: Tensor, parts: Parts, held: Held) -> Tensor:
    """Give what the layer behind attention makes of it."""
    read, slots = parts.read, parts.slots
    made = _computed(parts.heads[0], read_UD, held, keeps=False)
    if read is not None:
        made += _computed(parts.heads[1], hidden_TD, held, keeps=False)
    if slots is not None:
        rule = Rule(parts.how.get("scaling"), 0.0, causal=False, window=None)
        asked = None if read is None else read.asked
        query, key, value = (each.view(len(each), -1, parts.channels) for each in made)
        said_UD, held.attended = short.attended((query, key, value), slots, rule, asked)
        POOL.give(*made)
    else:
        said_UD = _long(made, parts, held)
    held.tensors["said"] = said_UD
    return _computed(parts.out, said_UD, held)[0]


def _spread(states_UD: Tensor, read: Read, tokens: int) -> Tensor:
    """Put the states of what is asked for at their places; the others are 0."""
    spread_TD = POOL.take(tokens, states_UD.shape[1], states_UD)
    return spread_TD.zero_().index_copy_(0, read.own_U, states_UD[: read.asked])


def _long(made: list[Tensor], parts: Parts, held: Held) -> Tensor:
    """Attend as packed rows do, recorded by torch."""
    read = parts.read
    if read is not None:
        query_TD = _spread(made[0], read, len(made[1]))
        POOL.give(made[0])
        made = [query_TD, *made[1:]]
    held.taken += made
    with torch.enable_grad():
        given = [each.detach().requires_grad_() for each in made]
        laid = [each.view(len(each), -1, parts.channels).transpose(0, 1)[None] for each in given]
        attend: Any = packed_attention
        output = attend(parts.attention, *laid, None, borders=parts.borders, **parts.how)[0]
        said_TD = cast(Tensor, output).reshape(len(made[1]), -1)
    held.attended = given, said_TD
    return said_TD.detach() if read is None else read.of(said_TD.detach())


def _inner(middle_UD: Tensor, parts: Parts, held: Held) -> Tensor:
    """Give what the second layer of the MLP reads."""
    (given_UI,) = _computed(parts.first, middle_UD, held)
    inner_UI = POOL.like(given_UI)
    held.taken.append(inner_UI)
    held.tensors |= {"given": given_UI, "inner": inner_UI}
    return ATEN.gelu.out(given_UI, approximate="none", out=inner_UI)


def _mlp_back(output_UD: Tensor, parts: Parts, held: Held) -> tuple[Tensor, list[Tensor]]:
    """Give the gradient of what the MLP reads, and those of what is trained in it."""
    total_UD = _normed_back(output_UD, parts.norms[1], "second", held)
    given_UI = held.tensors["given"]
    back_UI = POOL.like(given_UI)
    inner_UI = held.tensors["inner"]
    _, second = parts.second.returned([total_UD], inner_UI, held.kept.pop(), back_UI, adds=False)
    ATEN.gelu_backward.grad_input(back_UI, given_UI, approximate="none", grad_input=back_UI)
    middle_UD = held.tensors["middle"]
    _, first = parts.first.returned([back_UI], middle_UD, held.kept.pop(), total_UD)
    POOL.give(back_UI)
    return total_UD, [*first, *second]


def _attention_back(
    total_UD: Tensor, parts: Parts, held: Held
) -> tuple[Tensor, list[Tensor], tuple[Tensor, ...]]:
    """Give the gradients of the sum behind attention, of its output layer, and of what attends."""
    total_UD = _normed_back(total_UD, parts.norms[0], "first", held)
    said_UD = held.tensors["said"]
    back_UD = POOL.like(said_UD)
    _, out = parts.out.returned([total_UD], said_UD, held.kept.pop(), back_UD, adds=False)
    asked = _asked(back_UD, parts, held)
    POOL.give(back_UD)
    return total_UD, out, asked


def _asked(back_UD: Tensor, parts: Parts, held: Held) -> tuple[Tensor, ...]:
    """Give the gradients of queries, of those that are asked for, and of keys and values."""
    read = parts.read
    if isinstance(held.attended, short.Held):
        found = short.returned(back_UD, held.attended)
    else:
        given, said_TD = cast("tuple[list[Tensor], Tensor]", held.attended)
        back_TD = back_UD if read is None else _spread(back_UD, read, len(said_TD))
        found = torch.autograd.grad(said_TD, given, back_TD)
        if read is not None:
            POOL.give(back_TD)
            found = (read.of(found[0]), *found[1:])
    if read is not None:
        found[0][read.asked :] = 0
    return tuple(each.reshape(len(each), -1) for each in found)


def _heads_back(
    hidden_TD: Tensor,
    total_UD: Tensor,
    asked: tuple[Tensor, ...],
    parts: Parts,
    held: Held,
    *,
    wanted: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Give the gradients of what the layer reads, and of what is trained in its heads."""
    onto, read = total_UD if wanted else None, parts.read
    if read is None:
        return parts.heads[0].returned(asked, hidden_TD, held.kept.pop(), onto)
    back_TD = torch.empty_like(hidden_TD) if wanted else None
    _, others = parts.heads[1].returned(asked[1:], hidden_TD, held.kept.pop(), back_TD, adds=False)
    read_UD = held.tensors["read"]
    _, own = parts.heads[0].returned(asked[:1], read_UD, held.kept.pop(), onto)
    if back_TD is not None:
        back_TD.index_add_(0, read.own_U, total_UD[: read.asked])
    return back_TD, [*own, *others]
