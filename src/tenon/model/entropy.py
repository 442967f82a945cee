"""Entropy: the cross-entropy of tokens over a frozen head, its gradient found on the way forward.

As the head is frozen, all that a chunk of scores is needed for is the gradient of the hidden state
beside each token: it is made while the scores are there, and they are let go of. So scores are
neither kept nor computed twice, and never held for more tokens than one chunk has.

Legend: U tokens, D hidden, V tokens of the vocabulary.

Source: Hsu et al. 2024, Liger Kernel (arXiv:2410.10989), section 3.2.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.model.kernels import agree, trusted


class FrozenEntropy(torch.autograd.Function):
    """Cross-entropy of tokens, each scored by the hidden state beside it, through a frozen head."""

    @staticmethod
    def forward(ctx: Any, hidden_UD: Tensor, head: nn.Linear, ids_U: Tensor, size: int) -> Tensor:
        """Give the cross-entropy of each token, float32.

        Args:
            ctx: keeps the gradient of the hidden states.
            hidden_UD: in the head's number format.
            head: frozen, without a bias.
            ids_U: the tokens.
            size: tokens of a chunk.
        """
        nats: list[Tensor] = []
        gradient_UD = torch.empty_like(hidden_UD)
        for start in range(0, len(ids_U), size):
            part = slice(start, start + size)
            scores_UV = cast(Tensor, head(hidden_UD[part]))
            nats_U, scores_UV = entropy_of(scores_UV, ids_U[part])
            nats.append(nats_U)
            torch.mm(scores_UV, head.weight, out=gradient_UD[part])
        ctx.save_for_backward(gradient_UD)
        return torch.cat(nats)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradient of the hidden states: that of each is its own token's alone."""
        (gradient_UD,) = cast("tuple[Tensor]", ctx.saved_tensors)
        return (gradient_UD * given[0][:, None]).to(gradient_UD.dtype), None, None, None


def entropy_of(scores_UV: Tensor, ids_U: Tensor) -> tuple[Tensor, Tensor]:
    """Give the cross-entropy of each token, float32, and its gradient by the scores.

    Args:
        scores_UV: of all tokens of the vocabulary; they may be written over.
        ids_U: the tokens.
    """
    kernel: Any = trusted("entropy_kernel", scores_UV.device, scores_UV.dtype, _agrees)
    if kernel is not None:
        return kernel.entropy_of(scores_UV, ids_U), scores_UV
    return _plain(scores_UV, ids_U)


def _plain(scores_UV: Tensor, ids_U: Tensor) -> tuple[Tensor, Tensor]:
    exact_UV = scores_UV.float()
    ids_U1 = ids_U[:, None]
    whole_U1 = exact_UV.logsumexp(1, keepdim=True)
    nats_U = (whole_U1 - exact_UV.gather(1, ids_U1))[:, 0]
    exact_UV.sub_(whole_U1).exp_()
    exact_UV.scatter_add_(1, ids_U1, torch.full_like(whole_U1, -1.0))
    return nats_U, exact_UV.to(scores_UV.dtype)


def _agrees(kernels: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel gives what torch does."""
    scores_UV = torch.sin(torch.arange(128.0, device=device)).view(2, 64).to(dtype)
    ids_U = torch.tensor([5, 63], device=device)
    expected_U, expected_UV = _plain(scores_UV.clone(), ids_U)
    nats_U = kernels.entropy_of(scores_UV, ids_U)
    return agree(nats_U, expected_U) and agree(scores_UV, expected_UV)
