"""Blend: the deltas of several adapters at one module, made into one delta.

Legend: I inputs, O outputs, R rank, K singular values; N adapters.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from tenon.adapters.delta import Delta, concatenated
from tenon.core.settings import Settings

MOST_RANK = 1024
Method = Literal["linear", "ties", "dare"]
DENSITY: dict[str, float] = {"ties": 0.2, "dare": 0.5}
"""Share of each delta that is kept unless set. Source: of TIES, the paper's k."""


class ComposeSettings(Settings):
    """How a composition becomes one adapter.

    Args:
        name: of the adapter that is made.
        method: of the weighted sum of deltas: "linear" as it is; "ties" trims each delta to its
            largest values, elects a sign for each and averages those that have it; "dare" drops
            values at random and enlarges the others.
        rank: of the adapter that is made; the smallest that is exact unless set.
        density: share of each delta's values that ties and dare keep; 0.2 and 0.5 unless set.
        seed: of what dare drops.
        head: the adapter whose head is taken; the weighted mean of all unless set.
    """

    name: str = "composed"
    method: Method = "linear"
    rank: int | None = Field(default=None, ge=1, le=MOST_RANK)
    density: float | None = Field(default=None, gt=0, le=1)
    seed: int = 0
    head: str = ""

    @property
    def kept(self) -> float:
        """The share of values that is kept."""
        return DENSITY.get(self.method, 1.0) if self.density is None else self.density


class Part(NamedTuple):
    """The delta of one adapter at a module.

    Args:
        delta: what it adds.
        weight: what that is multiplied by.
        key: of the adapter and the module; what dare drops depends on it.
    """

    delta: Delta
    weight: float
    key: str


class Cut(NamedTuple):
    """A delta of a wanted rank.

    Args:
        delta: the nearest one of that rank.
        lost: squared size of what was cut off.
        size: squared size of all.
    """

    delta: Delta
    lost: float
    size: float


def linear(parts: Sequence[Part], _settings: ComposeSettings) -> Delta:
    """Give the weighted sum, exactly."""
    return concatenated([part.delta.times(part.weight) for part in parts])


def ties(parts: Sequence[Part], settings: ComposeSettings) -> Tensor:
    """Give the weighted mean of the values that agree with the elected sign, times all weights.

    So that where all of them agree, it is their weighted sum.

    Source: Yadav et al. 2023, TIES-Merging (arXiv:2306.01708); each module is trimmed for itself.
    """
    whole_OI = parts[0].delta.dense_OI
    sums_OI, shares_OI = torch.zeros_like(whole_OI), torch.zeros_like(whole_OI)
    pulls = [part.weight * _trimmed(part.delta.dense_OI, settings.kept) for part in parts]
    sign_OI = torch.stack(pulls).sum(0).sign()
    for part, pull_OI in zip(parts, pulls, strict=True):
        agrees_OI = (pull_OI.sign() == sign_OI) & (sign_OI != 0)
        sums_OI += pull_OI * agrees_OI
        shares_OI += abs(part.weight) * agrees_OI
    total = sum(abs(part.weight) for part in parts)
    return total * sums_OI / shares_OI.clamp_min(torch.finfo(sums_OI.dtype).tiny)


def dare(parts: Sequence[Part], settings: ComposeSettings) -> Tensor:
    """Give the weighted sum of deltas whose values were dropped at random, the others enlarged.

    Source: Yu et al. 2024, Language Models are Super Mario (arXiv:2311.03099).
    """
    kept = settings.kept
    found_OI = torch.zeros_like(parts[0].delta.dense_OI)
    for part in parts:
        seed = hashlib.sha256(f"{settings.seed} {part.key}".encode()).digest()[:7]
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "big"))
        dense_OI = part.delta.dense_OI
        stays_OI = torch.rand(dense_OI.shape, generator=generator) < kept
        found_OI += part.weight / kept * dense_OI * stays_OI
    return found_OI


METHODS: dict[str, Callable[[Sequence[Part], ComposeSettings], Any]] = {
    "linear": linear,
    "ties": ties,
    "dare": dare,
}


def cut(delta: Delta, rank: int) -> Cut:
    """Give the nearest delta of a rank, without making the whole matrix."""
    basis_OR, up_RR = torch.linalg.qr(delta.up_OR)
    basis_IR, down_RR = torch.linalg.qr(delta.down_RI.T)
    left_RK, values_K, right_KR = torch.linalg.svd(up_RR @ down_RR.T, full_matrices=False)
    return _kept(basis_OR @ left_RK, values_K, right_KR @ basis_IR.T, rank, delta.pair)


def factored(whole_OI: Tensor, rank: int, pair: tuple[str, str]) -> Cut:
    """Give the nearest delta of a rank to a whole matrix."""
    left_OK, values_K, right_KI = torch.linalg.svd(whole_OI, full_matrices=False)
    return _kept(left_OK, values_K, right_KI, rank, pair)


def lost(cuts: Sequence[Cut]) -> float:
    """Give the size of what was cut off, relative to all: 0 where nothing was."""
    size = math.fsum(held.size for held in cuts)
    return math.sqrt(math.fsum(held.lost for held in cuts) / size) if size else 0.0


def _kept(
    left_OK: Tensor, values_K: Tensor, right_KI: Tensor, rank: int, pair: tuple[str, str]
) -> Cut:
    root_K = values_K[:rank].sqrt()
    made = Delta(root_K[:, None] * right_KI[:rank], left_OK[:, :rank] * root_K, pair)
    squared_K = values_K.square()
    return Cut(made, float(squared_K[rank:].sum()), float(squared_K.sum()))


def _trimmed(dense_OI: Tensor, share: float) -> Tensor:
    """Keep the largest values, at least one; of equal ones, all."""
    count = max(1, math.ceil(share * dense_OI.numel()))
    smallest = dense_OI.abs().flatten().kthvalue(dense_OI.numel() - count + 1).values
    return dense_OI * (dense_OI.abs() >= smallest)
