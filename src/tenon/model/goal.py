"""Goal: what the scores of a pooled row are to come near to, and how far they are from it.

Legend: B rows, L scores of a row, X targets of all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tenon.model.head import Head

IGNORED = -1


@dataclass(frozen=True)
class Goal:
    """The loss of a form of classification.

    Args:
        nats: scores [B, L], targets [X] and head to the summed loss of the rows that have targets.
        rows: targets [X] and L to how many rows have them.
        none: stands for no target.
    """

    nats: Callable[[Tensor, Tensor, Head], Tensor]
    rows: Callable[[Tensor, int], int]
    none: float = IGNORED


def class_nats(logits_BL: Tensor, targets_X: Tensor, head: Head) -> Tensor:
    """Give the summed cross-entropy of rows that have one class."""
    del head
    return known_nats(logits_BL, targets_X.long())


def class_rows(targets_X: Tensor, labels: int) -> int:
    """Count the rows that have a class."""
    del labels
    return int((targets_X.long() != IGNORED).sum())


def loss_sum(logits_BL: Tensor, labels_B: Tensor) -> tuple[Tensor, int]:
    """Give the summed cross-entropy in nats, and the rows that have a label."""
    return known_nats(logits_BL, labels_B), int((labels_B != IGNORED).sum())


def known_nats(logits_BL: Tensor, labels_B: Tensor) -> Tensor:
    """Give the summed cross-entropy of the rows that have a label; no device is waited for."""
    labels_B = labels_B.to(logits_BL.device)
    return functional.cross_entropy(logits_BL, labels_B, ignore_index=IGNORED, reduction="sum")


def label_nats(logits_BL: Tensor, targets_X: Tensor, head: Head) -> Tensor:
    """Give the binary cross-entropy of every label, summed over the labels of a row and the rows.

    So a row's loss is what its whole set of labels costs, whatever their number.
    """
    del head
    targets_BL = targets_X.to(logits_BL.device).view_as(logits_BL)
    nats_BL = functional.binary_cross_entropy_with_logits(
        logits_BL, targets_BL.clamp(min=0), reduction="none"
    )
    return torch.where(targets_BL[:, :1] != IGNORED, nats_BL, 0.0).sum()


def label_rows(targets_X: Tensor, labels: int) -> int:
    """Count the rows whose labels are known."""
    return int((targets_X.view(-1, labels)[:, 0] != IGNORED).sum())


def number_nats(logits_BL: Tensor, targets_X: Tensor, head: Head) -> Tensor:
    """Give half the summed squared error on standardised targets.

    It is, up to a constant, in nats: of a Gaussian whose spread is that of train's numbers.
    """
    (mean,), (spread,) = head.constants["mean"], head.constants["spread"]
    standard_B = ((targets_X.double() - mean) / spread).to(logits_BL)
    apart_B = torch.where(torch.isfinite(standard_B), logits_BL[:, 0] - standard_B, 0.0)
    return 0.5 * apart_B.square().sum()


def number_rows(targets_X: Tensor, labels: int) -> int:
    """Count the rows that have a number."""
    del labels
    return int(torch.isfinite(targets_X).sum())


CLASS = Goal(class_nats, class_rows)
LABELS = Goal(label_nats, label_rows)
NUMBER = Goal(number_nats, number_rows, none=math.nan)
