"""Planned: what was foretold of a run's memory and time, beside what it took."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from tenon.core.errors import PlanError
from tenon.plan.footprint import Footprint, footprint
from tenon.plan.form import Form
from tenon.plan.memory import Ground, Memory, ground_here, memory_of
from tenon.plan.pace import LEAST_SPREAD
from tenon.plan.plan import Plan
from tenon.plan.shared import passes, together
from tenon.plan.work import steps_of
from tenon.verbs.workspace import Workspace

FIRST = 0.05
"""Share of the steps from whose pace the rest is foretold."""
FEWEST, ENOUGH = 3, 10
"""Steps that this is at least, and at most."""


def form_of(space: Workspace) -> Form:
    """Give what decides the shapes of a workspace's model."""
    labels = 0 if space.writes else len(space.classes)
    return Form(space.base, space.trunk, labels, space.normalize)


def foresee(space: Workspace, plan: Plan, ground: Ground) -> tuple[Footprint, Memory]:
    """Give the memory of a plan that may differ from the workspace's in how it is computed."""
    found = footprint(plan, form_of(space), space.tokens, ground.type)
    lengths = 0
    if plan.model.dtype != "float32":
        train = space.tokens["train"].lengths_R
        parts = [rows for step in steps_of(plan, space.tokens["train"]) for rows in step]
        lengths = len({int(train[rows].sum()) for rows in parts})
    return found, memory_of(found, ground, lengths)


@dataclass(frozen=True)
class Foretold:
    """What is foretold of a run, from where it stood before its first step.

    Args:
        find: gives the memory of the run, on shapes alone; it takes a second or more, and where
            nothing is decided by it, it is asked for the report, so that the first step does not
            wait for it. None, or a refusal, for a kind or base that cannot be computed on shapes.
        notes: what was decided, in sentences, where that is not what there would be with room
            enough.
    """

    find: Callable[[], Memory | None]
    notes: tuple[str, ...] = ()

    @cached_property
    def memory(self) -> Memory | None:
        """Memory of the run; None where it cannot be found."""
        try:
            return self.find()
        except PlanError:
            return None

    def beside(
        self, cost: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Give what a report tells: foretold values beside the measured ones.

        Args:
            cost: of the report.
            entries: of the run's log of steps.
        """
        memory = self.memory
        took = np.array([entry["seconds"] for entry in entries if "seconds" in entry])
        if memory is None:
            return _by_first(took)
        rows: list[dict[str, Any]] = [
            {
                "name": "peak_bytes",
                "value": memory.peak,
                "low": memory.low,
                "high": memory.high,
                "measured": cost["peak_bytes"],
                "unit": "bytes",
            }
        ]
        return [*rows, *_by_first(took)]


def foretell(space: Workspace) -> Foretold:
    """Foretell the memory of a run; called before an adapter is on the base."""
    ground = ground_here(space.trunk)
    return Foretold(lambda: foresee(space, space.plan, ground)[1])


def foretell_together(spaces: Sequence[Workspace], ground: Ground | None = None) -> Foretold:
    """Foretell the memory of runs that share their passes over one base; see `foretell`.

    Args:
        spaces: of the runs.
        ground: where they take place; None for here.
    """
    return Foretold(partial(_together, spaces, ground or ground_here(spaces[0].trunk)))


def _together(spaces: Sequence[Workspace], ground: Ground) -> Memory:
    shared = passes([each.plan for each in spaces], [each.tokens["train"] for each in spaces])
    found = _footprints(spaces, [max(each) for each in zip(*shared, strict=True)], ground.type)
    halves = spaces[0].plan.model.dtype != "float32"
    lengths = len({sum(each) for each in shared}) if halves else 0
    return memory_of(together(found, shared), ground, lengths)


def _footprints(spaces: Sequence[Workspace], most: Sequence[int], device: str) -> list[Footprint]:
    """Give the footprint of each run; of runs of one form that of the one that takes most.

    States are taken to grow with the tokens, so that one footprint, which takes seconds to find,
    tells those of others.

    Args:
        most: tokens of the largest micro-batch of each.
        device: "cpu" or "cuda".
    """
    alike: dict[str, list[int]] = {}
    for number, each in enumerate(spaces):
        alike.setdefault(_form_key(each), []).append(number)
    made: dict[int, Footprint] = {}
    for held in alike.values():
        one = spaces[max(held, key=most.__getitem__)]
        judged = {
            f"{number} {part}": tokens
            for number in held
            for part, tokens in spaces[number].tokens.items()
            if part != "train"
        }
        tokens = {"train": one.tokens["train"], **judged}
        made |= dict.fromkeys(held, footprint(one.plan, form_of(one), tokens, device))
    return [made[number] for number in range(len(spaces))]


def _form_key(space: Workspace) -> str:
    """Give what decides the shapes of a run: all but its rows, its name and what it draws."""
    plan, form = space.plan, form_of(space)
    held = plan.model_dump(mode="json", exclude={"folder", "origins", "seed", "seeds", "data"})
    for adapter in held["adapters"]:
        adapter.pop("name")
    return json.dumps([held, plan.data.task, form.labels, form.normalize], sort_keys=True)


def _by_first(took: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Give what the first steps' pace says of all steps, where there are more than those."""
    first = min(max(FEWEST, int(FIRST * len(took))), ENOUGH)
    if len(took) < 2 * first:
        return []
    # The very first step is slower than any other.
    known = took[1 : first + 1]
    value = float(took[0] + known.mean() * (len(took) - 1))
    spread = max(LEAST_SPREAD, 2 * float(known.std()) / max(1e-9, float(known.mean())) / first**0.5)
    return [
        {
            "name": "training_seconds",
            "value": value,
            "low": value / (1 + spread),
            "high": value * (1 + spread),
            "measured": float(took.sum()),
            "unit": "seconds",
        }
    ]
