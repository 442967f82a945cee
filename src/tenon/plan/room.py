"""Room: whether a run plainly finds room, by a bound that takes no pass on shapes to find.

The footprint is seen, by computing a step without data, which takes a second or more. Where memory
is many times what any step could take, nothing is decided by it, and the first step need not wait.

The bound is of what linear layers read and write: every state of a step lies between two of them,
or has the size of one that does. It is several times what is really kept, for all kinds and bases
of the tests; a run that is over it may still fit, and has its footprint found.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tenon.evaluate.settings import BY_TASK
from tenon.model.entry import blocks
from tenon.model.trunk import Trunk
from tenon.plan.footprint import largest, widest
from tenon.plan.memory import Ground
from tenon.plan.plan import Plan
from tenon.text.tokens import Tokens

COPIES = 8
"""States of the size of each layer's input and output that are held, in float32."""
SCORES = 4
"""Tensors of attention scores that each layer holds, and of class scores."""
WEIGHTS = 10
"""Copies of the base's parameters: the base, and whatever an adapter of its size would take."""
FLOAT = 4
SHARE = 0.5
"""Of what there is, that the bound may take."""


def plainly_fits(plan: Plan, trunk: Trunk, tokens: dict[str, Tokens], ground: Ground) -> bool:
    """Whether a run finds room whatever its footprint is.

    Args:
        plan: settled.
        trunk: its base, which is loaded.
        tokens: of each part.
        ground: where it takes place.
    """
    task = BY_TASK[plan.data.task]
    if task.writes or trunk.seq2seq or trunk.quantize != "none" or not ground.available:
        return False
    return ground.reached + bound(plan, trunk, tokens) <= SHARE * ground.available


def bound(plan: Plan, trunk: Trunk, tokens: dict[str, Tokens]) -> int:
    """Give bytes that no stage of a run takes more of, where answers are not written."""
    config: Any = trunk.model.config
    weights = WEIGHTS * FLOAT * sum(each.numel() for each in trunk.model.parameters())
    layers = max(1, len(blocks(trunk.model)))
    states = COPIES * FLOAT * _widths(trunk.model)
    heads = int(getattr(config, "num_attention_heads", 1))
    scores = SCORES * FLOAT * heads * layers
    train = [
        (len(part) * max(part.lengths), max(part.lengths))
        for part in largest(plan, tokens["train"], plan.train.micro_batch_tokens)
    ]
    part, rows = widest(tokens.values(), plan.evaluate.batch_tokens)
    longest = int(part.lengths_R[rows].max())
    learned = max(padded * (states + longest * scores) for padded, longest in train)
    read = len(rows) * longest * -(-(states + longest * scores) // layers)
    return weights + max(learned, read)


def _widths(model: nn.Module) -> int:
    """Give what the layers of a model read and write for a token, tables of tokens aside."""
    return sum(
        sum(weight.shape)
        for module in model.modules()
        if not isinstance(module, nn.Embedding)
        and (weight := getattr(module, "weight", None)) is not None
    )
