"""Halves: a matrix of which one half is trained and the other stays as it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Halves(nn.Module):
    """A linear layer without bias whose weight is a trained matrix beside a fixed one.

    To PEFT, in a state dict and so in every file it is one tensor, `weight`. What training changes
    is `moving` alone: the fixed half has no gradient, no decay and no part in the norm.

    Args:
        moving: the half that is trained; None where all of it stays.
        fixed: the half that stays.
        dim: along which they lie side by side: 0 in A [2R, I], 1 in B [O, 2R].
    """

    fixed: Tensor
    bias: None = None

    def __init__(self, moving: Tensor | None, fixed: Tensor, dim: int) -> None:
        super().__init__()
        self.moving = None if moving is None else nn.Parameter(moving)
        self.register_buffer("fixed", fixed, persistent=False)
        self.dim = dim

    @property
    def weight(self) -> Tensor:
        """The whole matrix; a gradient of it is one of the moving half."""
        return self.fixed if self.moving is None else torch.cat([self.moving, self.fixed], self.dim)

    def forward(self, input_XI: Tensor) -> Tensor:
        """Multiply as a linear layer does."""
        return linear(input_XI, self.weight)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: FBT001 - torch's signature
        destination[f"{prefix}weight"] = self.weight if keep_vars else self.weight.detach()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,  # noqa: ARG002 - torch's signature
        strict: bool,  # noqa: ARG002, FBT001 - torch's signature
        missing_keys: list[str],
        unexpected_keys: list[str],  # noqa: ARG002 - torch's signature
        error_msgs: list[str],
    ) -> None:
        """Cut a whole matrix in two, as torch asks of a module that names its own tensors."""
        key = f"{prefix}weight"
        if key not in state_dict:
            missing_keys.append(key)
        elif state_dict[key].shape != self.weight.shape:
            found, here = tuple(state_dict[key].shape), tuple(self.weight.shape)
            error_msgs.append(f"size mismatch for {key}: {found} in the file, {here} here")
        else:
            self._put(state_dict[key])

    @torch.no_grad()
    def _put(self, weight: Tensor) -> None:
        if self.moving is None:
            self.fixed.copy_(weight)
            return
        sizes = [self.moving.shape[self.dim], self.fixed.shape[self.dim]]
        for half, given in zip(
            (self.moving, self.fixed), weight.split(sizes, self.dim), strict=True
        ):
            half.copy_(given)
