"""Starts: first factors of LoRA that are computed from the weights of the base.

A start splits a weight into a product and a rest, W = s B0 A0 + rest, and trains the product. As
it was published, the rest takes the place of W. Here W stays, and what is added to it is
s (B A - B0 A0): the same function and the same gradients, and as a file a LoRA of twice the rank,
[A; A0] and [B, -B0], that any reader of LoRA adds to the base as it is on disk.

Legend: O outputs, I inputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from tenon.adapters.blend import cut
from tenon.adapters.delta import PAIRS, Delta, padded
from tenon.adapters.halves import Halves
from tenon.adapters.layers import is_linear, is_transposed_linear
from tenon.adapters.weights import PEFT_NAME, put, take
from tenon.core.errors import PlanError

EXACT = 1024
"""Largest smaller side of a weight that is decomposed exactly."""
ROUNDS = 16
"""Of randomised subspace iteration. Source: of PiSSA, the fast decomposition's niter."""


class Factors(NamedTuple):
    """The product that a layer begins with.

    Args:
        a_RI: reads its input.
        b_OR: writes its output.
    """

    a_RI: Tensor
    b_OR: Tensor


def pissa(weight_OI: Tensor, rank: int, scale: float, *, exact: int = EXACT) -> Factors:
    """Give the leading singular vectors, each with the root of its value.

    Source: Meng et al. 2024, PiSSA (arXiv:2404.02948).
    """
    if min(weight_OI.shape) <= exact:
        left_OK, values_K, right_KI = torch.linalg.svd(weight_OI, full_matrices=False)
    else:
        left_OK, values_K, right_IK = torch.svd_lowrank(weight_OI, rank, niter=ROUNDS)
        right_KI = right_IK.T
    root_R = (values_K[:rank] / scale).sqrt()
    return Factors(root_R[:, None] * right_KI[:rank], left_OK[:, :rank] * root_R)


def olora(weight_OI: Tensor, rank: int, scale: float) -> Factors:  # noqa: ARG001 - as all starts
    """Give the first orthogonal columns of a QR decomposition, and the rows that go with them.

    Source: Büyükakyüz 2024, OLoRA (arXiv:2406.01775).
    """
    q_OK, r_KI = torch.linalg.qr(weight_OI)
    return Factors(r_KI[:rank], q_OK[:, :rank])


def mica(weight_OI: Tensor, rank: int, scale: float) -> Factors:  # noqa: ARG001 - as all starts
    """Give the left singular vectors of the smallest values, and zeros to read the input.

    Source: MiCA (arXiv:2604.01694).
    """
    left_OK, _, _ = torch.linalg.svd(weight_OI, full_matrices=False)
    return Factors(weight_OI.new_zeros(rank, weight_OI.shape[1]), left_OK[:, -rank:])


Decompose = Callable[[Tensor, int, float], Factors]
DOUBLED: Mapping[str, Decompose] = {"pissa": pissa, "olora": olora}
"""Starts that are subtracted, so that an adapter has twice the rank that is trained."""
FROM_WEIGHTS: Mapping[str, Decompose] = {**DOUBLED, "mica": mica}


def begin(peft: PeftModel, start: str, *, known: bool = False) -> None:
    """Give the layers of a fresh LoRA the factors of a start; of another start, do nothing.

    Args:
        start: one of `FROM_WEIGHTS`. Fast decompositions draw from torch's generator.
        known: the factors have been computed before and are put in afterwards: room is made only.

    Raises:
        PlanError: a weight is not stored as plain numbers.
    """
    if start not in FROM_WEIGHTS:
        return
    for path, module in peft.named_modules():
        if isinstance(module, LoraLayer):
            _begin(path, module, start, _room if known else FROM_WEIGHTS[start])


@torch.no_grad()
def _begin(path: str, layer: LoraLayer, start: str, decompose: Decompose) -> None:
    base = layer.get_base_layer()
    weight = cast(Tensor, base.weight)
    if not is_linear(base) or not weight.is_floating_point():
        raise PlanError(
            f"init: {start} is computed from a layer's weight, and {path} is a "
            f"{type(base).__name__} of {weight.dtype}; take init kaiming"
        )
    weight_OI = (weight.T if is_transposed_linear(base) else weight).detach().float()
    doubled = start in DOUBLED
    rank = layer.r[PEFT_NAME] // (2 if doubled else 1)
    found = decompose(weight_OI, rank, layer.scaling[PEFT_NAME])
    a_RI, b_OR = (factor.contiguous() for factor in found)
    if doubled:
        layer.lora_A[PEFT_NAME] = Halves(a_RI, a_RI.clone(), 0)
        layer.lora_B[PEFT_NAME] = Halves(b_OR, -b_OR, 1)
    else:
        cast(Tensor, layer.lora_A[PEFT_NAME].weight).copy_(a_RI)
        layer.lora_B[PEFT_NAME] = Halves(None, b_OR, 1)


def _room(weight_OI: Tensor, rank: int, scale: float) -> Factors:  # noqa: ARG001 - as all starts
    outer, inner = weight_OI.shape
    return Factors(weight_OI.new_zeros(rank, inner), weight_OI.new_zeros(outer, rank))


def fixed_numbers(peft: nn.Module) -> int:
    """Count what lies in an adapter's files and training leaves as it is."""
    return sum(part.fixed.numel() for part in peft.modules() if isinstance(part, Halves))


def balance(peft: PeftModel) -> None:
    """Write each product B A - B0 A0 of a trained adapter as one, its factors of like size.

    The two products are as large as the base's weight and what is left of them is small, so that
    an engine that keeps factors in bfloat16 would round the update away. Afterwards training
    cannot go on from here; it goes on from the checkpoint.
    """
    if any(isinstance(part, Halves) and part.moving is not None for part in peft.modules()):
        put(peft, balanced(take(peft)))


def balanced(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the same update of each module by the factors of its singular value decomposition."""
    first, second = PAIRS[0]
    made = dict(weights)
    for key, a_RI in weights.items():
        if key.endswith(first):
            other = f"{key.removesuffix(first)}{second}"
            whole = Delta(a_RI.double(), weights[other].double(), PAIRS[0])
            found = padded(cut(whole, whole.rank).delta, whole.rank)
            made[key] = found.down_RI.float().contiguous()
            made[other] = found.up_OR.float().contiguous()
    return made
