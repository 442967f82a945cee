"""Shared: what runs take that share one base and the passes over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from tenon.plan.footprint import EPOCHS, Footprint
from tenon.plan.plan import Plan
from tenon.text.order import Order, micro_batches
from tenon.text.tokens import Tokens

Pass = tuple[int, ...]
"""Tokens of each run in one pass; 0 of one that has none."""


def passes(plans: Sequence[Plan], trains: Sequence[Tokens]) -> list[Pass]:
    """Give the passes of runs that take their steps side by side.

    Args:
        plans: settled.
        trains: the rows of train of each.
    """
    found: list[Pass] = []
    for step in zip_longest(*map(_sizes, plans, trains), fillvalue=()):
        found += zip_longest(*step, fillvalue=0)
    return found


def _sizes(plan: Plan, train: Tokens) -> list[tuple[int, ...]]:
    """Give the tokens of each micro-batch of each step of the first epochs."""
    order = Order(train.lengths_R, plan.seed, plan.train.tokens_per_step)
    size, lengths_R = plan.train.micro_batch_tokens, train.lengths_R
    return [
        tuple(int(lengths_R[part].sum()) for part in micro_batches(rows, lengths_R, size))
        for epoch in range(min(EPOCHS, plan.train.epochs))
        for rows in order.epoch(epoch)
    ]


def together(found: Sequence[Footprint], shared: Sequence[Pass]) -> Footprint:
    """Give what runs take together: one base, each one's weights, the states of the widest pass.

    States are taken to grow with the tokens; answering is done by one run at a time.

    Args:
        found: of each run alone.
        shared: the passes, each with the runs in the same order.
    """

    def parts(tokens: Pass) -> list[tuple[Footprint, float]]:
        return [(each, own / max(1, each.tokens)) for each, own in zip(found, tokens, strict=True)]

    def states(tokens: Pass) -> float:
        return sum(
            part * (each.activations + each.scores + each.passing) for each, part in parts(tokens)
        )

    widest = max(shared, key=lambda tokens: (states(tokens), sum(tokens)))

    def scaled(name: str) -> int:
        return int(sum(part * getattr(each, name) for each, part in parts(widest)))

    one = max(found, key=lambda each: max(each.judging, each.writing))
    lasting: Mapping[str, int] = {
        name: sum(getattr(each, name) for each in found)
        for name in ("trained", "gradients", "optimizer")
    }
    return replace(
        one,
        base=max(each.base for each in found),
        activations=scaled("activations"),
        scores=scaled("scores"),
        passing=scaled("passing"),
        tokens=sum(widest),
        **lasting,
    )
