"""Block maths: the norms, rotations and gates of a decoder's block, with gradients of their own.

On CUDA each is one kernel (`tenon.model.block_kernel`), where Triton is installed; elsewhere it is
what stands here. Their weights are frozen, so that a gradient is one of states alone. They are
those of Llama: the mean square of a norm, and halves of a head that turn together.

Legend: N positions, T tokens, H heads, D channels, I channels of a gate.

Source: Zhang and Sennrich 2019, RMSNorm (arXiv:1910.07467); Su et al. 2021, RoFormer
(arXiv:2104.09864); Shazeer 2020, GLU variants (arXiv:2002.05202).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from tenon.model.kernels import kernels_of

Angles = tuple[Tensor, Tensor]
Norms = tuple[tuple[Tensor, float], tuple[Tensor, float]] | None


class Normed(torch.autograd.Function):
    """States, scaled to a mean square of 1 and by a frozen weight."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        """Give the scaled states.

        Args:
            ctx: keeps what the gradient needs.
            hidden_ND: states, dense.
            weight_D: in their number format.
            eps: added to the mean square.
        """
        _, out_ND, scales_N = functions(hidden_ND).normed(hidden_ND, weight_D, eps)
        ctx.save_for_backward(hidden_ND, weight_D, scales_N)
        return out_ND

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of the states."""
        hidden_ND, weight_D, scales_N = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        on = functions(hidden_ND)
        return on.normed_back(given[0].contiguous(), hidden_ND, weight_D, scales_N), None, None


class SumNormed(torch.autograd.Function):
    """The sum of two states, and the same sum scaled."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, more_ND: Tensor, weight_D: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """Give the sum, and the sum scaled.

        Args:
            ctx: keeps what the gradient needs.
            hidden_ND, more_ND: states, dense.
            weight_D: in their number format.
            eps: added to the mean square.
        """
        total_ND, out_ND, scales_N = functions(hidden_ND).normed(hidden_ND, weight_D, eps, more_ND)
        ctx.save_for_backward(total_ND, weight_D, scales_N)
        return total_ND, out_ND

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of both states: it is the same."""
        total_ND, weight_D, scales_N = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        sum_ND, out_ND = (each.contiguous() for each in given)
        back = functions(total_ND).normed_back(out_ND, total_ND, weight_D, scales_N, sum_ND)
        return back, back, None, None


class Turned(torch.autograd.Function):
    """Heads turned by the angles of their tokens, scaled before where the base scales them."""

    @staticmethod
    def forward(
        ctx: Any, states_THD: Tensor, angles: tuple[Tensor, Tensor], weight_D: Tensor | None,
        eps: float,
    ) -> Tensor:  # fmt: skip
        """Give the turned heads.

        Args:
            ctx: keeps what the gradient needs.
            states_THD: heads, dense.
            angles: cosine and sine of each token and channel, [T, D], dense.
            weight_D: of the norm over a head's channels; None where there is none.
            eps: added to the mean square.
        """
        ctx.save_for_backward(None if weight_D is None else states_THD, *angles, weight_D)
        ctx.eps = eps
        return functions(states_THD).turned(states_THD, *angles, weight_D, eps)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of the heads."""
        states_THD, cos_TD, sin_TD, weight_D = ctx.saved_tensors
        back = functions(given[0]).turned_back
        found = back(given[0].contiguous(), states_THD, cos_TD, sin_TD, weight_D, ctx.eps)
        return found, None, None, None


class Gated(torch.autograd.Function):
    """What a gate lets through: silu(gate) * up."""

    @staticmethod
    def forward(ctx: Any, gate_NI: Tensor, up_NI: Tensor) -> Tensor:
        """Give the product.

        Args:
            ctx: keeps what the gradients need.
            gate_NI, up_NI: dense.
        """
        ctx.save_for_backward(gate_NI, up_NI)
        return functions(gate_NI).gated(gate_NI, up_NI)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of both."""
        gate_NI, up_NI = cast("tuple[Tensor, Tensor]", ctx.saved_tensors)
        return functions(gate_NI).gated_back(given[0].contiguous(), gate_NI, up_NI)


class Plain:
    """The functions in plain torch.

    Where one is given a place for what it finds, that may have further columns beside it.
    """

    @staticmethod
    def normed(
        hidden_ND: Tensor,
        weight_D: Tensor,
        eps: float,
        more_ND: Tensor | None = None,
        *,
        to_ND: Tensor | None = None,
        again_ND: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give the states with what is added to them, the same scaled, and the scales, float32.

        Args:
            hidden_ND, weight_D, eps, more_ND: as of `SumNormed`.
            to_ND: where the scaled ones are written; None for a tensor of their own.
            again_ND: where the sum is written a second time; None for nowhere.
        """
        total_ND = hidden_ND if more_ND is None else hidden_ND + more_ND
        exact_ND = total_ND.float()
        scales_N = torch.rsqrt(exact_ND.square().mean(1) + eps)
        out_ND = weight_D * (exact_ND * scales_N[:, None]).to(hidden_ND.dtype)
        if again_ND is not None:
            again_ND.copy_(total_ND)
        return total_ND, _written(out_ND, to_ND), scales_N

    @staticmethod
    def normed_back(
        given_ND: Tensor,
        hidden_ND: Tensor,
        weight_D: Tensor,
        scales_N: Tensor,
        more_ND: Tensor | None = None,
        *,
        to_ND: Tensor | None = None,
    ) -> Tensor:
        """Give the gradient of the states that were scaled, and what comes from elsewhere."""
        scales_N1 = scales_N[:, None]
        unit_ND = hidden_ND.float() * scales_N1
        back_ND = given_ND.float() * weight_D.float()
        back_ND = scales_N1 * (back_ND - unit_ND * (back_ND * unit_ND).mean(1, keepdim=True))
        back_ND = back_ND if more_ND is None else back_ND + more_ND.float()
        return _written(back_ND.to(hidden_ND.dtype), to_ND)

    @staticmethod
    def turned(
        states_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor, weight_D: Tensor | None, eps: float
    ) -> Tensor:
        """Give heads that are scaled, where there is a weight, and turned."""
        if weight_D is not None:
            flat_ND = states_THD.reshape(-1, states_THD.shape[2])
            states_THD = Plain.normed(flat_ND, weight_D, eps)[1].view_as(states_THD)
        first, second = states_THD.chunk(2, 2)
        return states_THD * cos_TD[:, None] + torch.cat((-second, first), 2) * sin_TD[:, None]

    @staticmethod
    def turned_back(
        given_THD: Tensor,
        states_THD: Tensor | None,
        cos_TD: Tensor,
        sin_TD: Tensor,
        weight_D: Tensor | None,
        eps: float,
        *,
        to_THD: Tensor | None = None,
    ) -> Tensor:
        """Give the gradient of heads that were turned; of those before a norm, if there was one."""
        exact_THD = given_THD.float()
        first, second = (exact_THD * sin_TD[:, None].float()).chunk(2, 2)
        back_THD = exact_THD * cos_TD[:, None].float() + torch.cat((second, -first), 2)
        if states_THD is None or weight_D is None:
            return _written(back_THD.to(given_THD.dtype), to_THD)
        flat_ND = states_THD.reshape(-1, states_THD.shape[2])
        scales_N = torch.rsqrt(flat_ND.float().square().mean(1) + eps)
        found = Plain.normed_back(back_THD.view_as(flat_ND), flat_ND, weight_D, scales_N)
        return _written(found.view(states_THD.shape), to_THD)

    @staticmethod
    def parted(
        made_TO: Tensor, angles: Angles, norms: Norms, counts: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give queries and keys, scaled and turned, and values; [T, heads, D], dense.

        Args:
            made_TO: all of them, side by side.
            angles: cosine and sine of each token and channel, [T, D].
            norms: of the channels of queries and of keys, weight and epsilon; None for none.
            counts: heads of queries, and of keys.
        """
        query, key, value = made_TO.unflatten(1, (-1, angles[0].shape[1])).split(
            (*counts, counts[1]), 1
        )
        first, second = norms or ((None, 0.0), (None, 0.0))
        turn = Plain.turned
        return turn(query, *angles, *first), turn(key, *angles, *second), value.contiguous()

    @staticmethod
    def parted_back(
        given: Sequence[Tensor], made_TO: Tensor | None, angles: Angles, norms: Norms, *,
        to_TO: Tensor,
    ) -> None:  # fmt: skip
        """Write the gradient of what was parted.

        Args:
            given: that of queries, keys and values, dense.
            made_TO: what was parted; None where there are no norms.
            angles, norms: as it was parted.
            to_TO: where it is written.
        """
        sizes, channels = [each.shape[1] for each in given], given[0].shape[2]
        were, places = (
            None if states is None else states.unflatten(1, (-1, channels)).split(sizes, 1)
            for states in (made_TO, to_TO)
        )
        places = cast("tuple[Tensor, ...]", places)
        for number, norm in enumerate(norms or ((None, 0.0), (None, 0.0))):
            was = None if were is None else were[number]
            Plain.turned_back(given[number], was, *angles, *norm, to_THD=places[number])
        places[2].copy_(given[2])

    @staticmethod
    def gated(gate_NI: Tensor, up_NI: Tensor, *, to_NI: Tensor | None = None) -> Tensor:
        """Give silu(gate) * up."""
        return _written(functional.silu(gate_NI) * up_NI, to_NI)

    @staticmethod
    def gated_back(
        given_NI: Tensor,
        gate_NI: Tensor,
        up_NI: Tensor,
        *,
        to: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    ) -> tuple[Tensor, Tensor]:
        """Give the gradients of the gate and of what it lets through."""
        given, gate, up = (each.float() for each in (given_NI, gate_NI, up_NI))
        open_NI = torch.sigmoid(gate)
        slope_NI = open_NI * (1 + gate * (1 - open_NI))
        back = (given * up * slope_NI).to(gate_NI.dtype), (given * gate * open_NI).to(up_NI.dtype)
        return _written(back[0], to[0]), _written(back[1], to[1])


def _written(found: Tensor, there: Tensor | None) -> Tensor:
    """Give what was found; where a place is given, in that place."""
    return found if there is None else there.copy_(found)


def functions(states: Tensor) -> Any:
    """Give the functions for states where they are."""
    return (kernels() or Plain) if states.is_cuda else Plain


def kernels() -> Any | None:
    """Give the module with the kernels of CUDA, where Triton is installed."""
    return kernels_of("block_kernel")
