"""Several: LoRA layers of several adapters on one module, all rows in the same few products.

The thin matrices of all adapters stand beside each other as those of one wide adapter, and of what
its first half gives each row keeps its own adapter's part; the rest is put to zero. So the base's
module is run once for all rows, as it would be for one adapter, and a product of the width of eight
adapters takes a GPU no longer than one of one adapter.

An adapter whose weights are not finite spoils the rows of all, as zero times such a weight is not
zero: only what is trained is computed so, where such a step is refused for all.

Legend: N positions, I inputs, O outputs, R ranks of all adapters, one after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.lean import Lean, added, frozen, returned
from tenon.text.batch import sent


@dataclass(frozen=True)
class Beside:
    """Adapters beside each other.

    Args:
        ranks: of each.
        scales: of each one's product.
        others_NR: bool, whether a column is of another adapter than a row.
    """

    ranks: tuple[int, ...]
    scales: tuple[float, ...]
    others_NR: Tensor


class AddedBeside(torch.autograd.Function):
    """A frozen linear layer, and to each row what its own adapter adds."""

    @staticmethod
    def forward(
        ctx: Any,
        input_XI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        beside: Beside,
        *thin: Tensor,
    ) -> Tensor:
        """Give the layer's output, [..., O].

        Args:
            ctx: keeps what the gradients need.
            input_XI: [..., I].
            weight_OI, bias_O: frozen, in the input's number format.
            beside: what adapters there are.
            thin: the first matrix of each adapter, [rank, I], then the second of each, [O, rank].
        """
        wide = _wide(beside, thin, input_XI.dtype)
        output_XO, narrow_NR = added(input_XI, weight_OI, bias_O, wide, beside.others_NR)
        ctx.save_for_backward(input_XI, narrow_NR, weight_OI, *thin)
        ctx.beside = beside
        return output_XO

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of the input and of all matrices."""
        input_XI, narrow_NR, weight_OI, *thin = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        beside = cast(Beside, ctx.beside)
        input_grad, output_NO, middle_NR = returned(
            given[0], weight_OI, _wide(beside, thin, input_XI.dtype), beside.others_NR,
            wanted=ctx.needs_input_grad[0],
        )  # fmt: skip
        ranks = list(beside.ranks)
        downs = (middle_NR.mT @ input_XI.reshape(-1, input_XI.shape[-1])).float().split(ranks)
        ups = (output_NO.mT @ narrow_NR).float().split(ranks, 1)
        scaled = [up * scale for up, scale in zip(ups, beside.scales, strict=True)]
        return (input_grad, None, None, None, *downs, *scaled)


def _wide(beside: Beside, thin: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Give the matrices of all adapters as those of one."""
    count = len(beside.ranks)
    ups = [up * scale for up, scale in zip(thin[count:], beside.scales, strict=True)]
    return torch.cat(list(thin[:count])).to(dtype), torch.cat(ups, 1).to(dtype)


def beside_of(
    layers: Mapping[str, nn.Module], states_XI: Tensor, segments: Sequence[tuple[str | None, int]]
) -> tuple[dict[str, Lean], tuple[str, ...]] | None:
    """Give the layers that can be computed beside each other, and the adapter of each.

    Args:
        layers: by adapter; None is given where one of those that are asked is not plain.
        states_XI: what they are given, [1, N, I].
        segments: of neighbouring rows the adapter and the tokens.
    """
    if states_XI.dim() != 3 or states_XI.shape[:2] != (1, sum(size for _, size in segments)):  # noqa: PLR2004
        return None
    found: dict[str, Lean] = {}
    inner: list[str] = []
    for name in dict.fromkeys(name for name, _ in segments if name in layers):
        layer = layers[cast(str, name)]
        plain = layer.plain(states_XI) if isinstance(layer, Lean) else None
        if plain is None:
            return None
        found[cast(str, name)] = cast(Lean, layer)
        inner.append(plain)
    return (found, tuple(inner)) if len(found) > 1 else None


def others_NR(
    ranks: Mapping[str, int], segments: Sequence[tuple[str | None, int]], device: torch.device
) -> Tensor:
    """Say which columns are of another adapter than a row.

    Args:
        ranks: of each adapter, in the order of columns.
        segments: of neighbouring rows the adapter and the tokens.
        device: where it is wanted.
    """
    places = {name: place for place, name in enumerate(ranks)}
    sizes = torch.tensor([size for _, size in segments])
    owners = torch.tensor([places.get(cast(str, name), -1) for name, _ in segments])
    columns_R = torch.arange(len(ranks)).repeat_interleave(torch.tensor(list(ranks.values())))
    owners_N = sent(owners.repeat_interleave(sizes), device)
    return owners_N[:, None] != sent(columns_R, device)


def computed(
    found: Mapping[str, Lean], inner: Sequence[str], states_XI: Tensor, others: Tensor
) -> Tensor:
    """Compute a module with the layers of several adapters.

    Args:
        found: adapter to its layer, in the order of columns.
        inner: the name of each within its layer.
        states_XI: [1, N, I].
        others: of `others_NR`.
    """
    layers = list(zip(found.values(), inner, strict=True))
    weight_OI, bias_O = frozen(layers[0][0].base_layer)
    downs = [cast(Tensor, layer.lora_A[name].weight) for layer, name in layers]
    ups = [cast(Tensor, layer.lora_B[name].weight) for layer, name in layers]
    scales = tuple(float(layer.scaling[name]) for layer, name in layers)
    beside = Beside(tuple(len(down) for down in downs), scales, others)
    made = AddedBeside.apply(states_XI, weight_OI, bias_O, beside, *downs, *ups)  # pyright: ignore[reportUnknownMemberType]
    return cast(Tensor, made)
