"""Heads: the head that a run begins with, at random or from the linear probe."""

from __future__ import annotations

import numpy as np
import torch

from tenon.evaluate.baselines import Baselines
from tenon.evaluate.exam import EXAMS
from tenon.model.attach import unchanged_random_state
from tenon.model.head import Head
from tenon.verbs.workspace import Workspace


def new_head(space: Workspace) -> Head | None:
    """Make the head of a run, at random from its seed; none where the base writes itself.

    A decoder's, read at its last token, has no bias, as in transformers.
    """
    if space.writes:
        return None
    bias = not (space.trunk.decoder and space.plan.model.pooling == "last")
    with unchanged_random_state():
        torch.manual_seed(space.plan.training_seed)
        head = Head(
            space.trunk.hidden_size, len(space.classes), normalize=space.normalize, bias=bias
        )
    head.constants = dict(EXAMS.get(space.plan.data.task).constants(space.tokens["train"]))
    return head


def first_head(space: Workspace, known: Baselines | None) -> Head | None:
    """Give the head that training starts from.

    Args:
        known: the baselines of the run, whose probe is taken where the plan says so.
    """
    head = new_head(space)
    if known is not None and head is not None and from_probe(space):
        start(head, known, space.plan.train.head_scale)
    return head


def from_probe(space: Workspace) -> bool:
    """Whether the head starts from the linear probe."""
    return space.plan.train.head_start == "probe"


def start(head: Head, known: Baselines, scale: float) -> None:
    """Start a head from the linear probe, its logits scaled down."""
    parts = (scale * known.weight_LD, scale * known.bias_L, known.unit_D)
    head.start_from(*(torch.from_numpy(np.array(part)) for part in parts))
