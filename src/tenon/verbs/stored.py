"""Stored: the parts of runs with the states of the layers below all of their adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

from tenon.core.progress import Progress
from tenon.evaluate.predict import inference
from tenon.model.entry import Entry
from tenon.model.lower import entry_of
from tenon.model.model import Model
from tenon.model.trunk import DTYPES
from tenon.text.tokens import Tokens
from tenon.train.trunk_cache import Choice, choose, keep, stored_bytes
from tenon.verbs.workspace import Workspace

Holding = Callable[[int], AbstractContextManager[object]]


class Stored(NamedTuple):
    """The parts of a run.

    Args:
        tokens: of each part, with states where they are kept.
        choice: whether they are, and why.
    """

    tokens: dict[str, Tokens]
    choice: Choice


def lowest(models: Sequence[Model], holding: Holding) -> Entry:
    """Give the lowest of the layers at which runs that share a trunk can enter it.

    Args:
        models: of the runs.
        holding: puts the adapter of the model of a number on the trunk, alone.
    """
    found: list[Entry] = []
    for number, model in enumerate(models):
        with holding(number), inference(model):
            found.append(entry_of(model.trunk))
    return min(found, key=lambda entry: entry.layers)


def choice_of(space: Workspace, entry: Entry) -> Choice:
    """Decide whether the states of a plan's rows are kept, all of its seeds' runs counted.

    Raises:
        PlanError: they are to be kept, and cannot be.
    """
    plan = space.plan
    return choose(
        plan.train,
        entry,
        space.tokens,
        DTYPES[plan.model.dtype],
        dropout=plan.model.trunk_dropout,
        runs=len(plan.training_seeds),
    )


def stored(
    spaces: Sequence[Workspace],
    model: Model,
    entry: Entry,
    progress: Progress | None = None,
    *,
    runs: int = 1,
) -> list[Stored]:
    """Give the parts of runs that share a trunk; states that are not there are computed.

    Args:
        spaces: of the runs, which share their passes: where one keeps nothing, none does.
        model: of one of them.
        entry: where all of them can enter the trunk.
        progress: told of every row that is computed.
        runs: that each run's rows are for.

    Raises:
        PlanError: the states are to be kept, and cannot be.
        FileError: the disk refused.
    """
    bases = [space.fingerprint.digest if entry.layers else "" for space in spaces]
    choices = [
        choose(
            space.plan.train, entry, space.tokens, space.trunk.model.dtype,
            dropout=space.plan.model.trunk_dropout, runs=runs,
            stored=lambda made, s=space, b=base: stored_bytes(s.trunk, s.tokens, made, b),
        )
        for space, base in zip(spaces, bases, strict=True)
    ]  # fmt: skip
    if not all(choice.layers for choice in choices):
        choices = [replace(choice, layers=0) for choice in choices]
    return [
        Stored(keep(model, space.tokens, choice, base, progress), choice)
        for space, base, choice in zip(spaces, bases, choices, strict=True)
    ]
