"""Decided: settings that memory and time decide on a device, and what a run recorded of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tenon.core.errors import PlanError
from tenon.model.entry import blocks
from tenon.model.lower import named_entry
from tenon.model.recompute import lowest_learning
from tenon.plan.compiling import Compiling, compiling
from tenon.plan.devices import CPU, Device, device_like
from tenon.plan.footprint import Footprint
from tenon.plan.memory import Ground, Memory, ground_here, ground_of
from tenon.plan.plan import Plan
from tenon.plan.room import plainly_fits
from tenon.plan.seconds import Computed, paces_of
from tenon.plan.ways import (
    COMPILE,
    MICRO,
    PARTS,
    RECOMPUTE,
    Note,
    at_once,
    first_that_fits,
    gained,
    is_open,
    kept_whole,
    told,
    ways,
)
from tenon.plan.work import steps_of, work_of
from tenon.verbs.folder import PLAN
from tenon.verbs.planned import Foretold, foresee, foretell, foretell_together, form_of
from tenon.verbs.workspace import Workspace

OPEN = (MICRO, RECOMPUTE, COMPILE)


@dataclass(frozen=True)
class Decided:
    """A plan of which nothing is left open on a device.

    Args:
        plan: it.
        ground: where.
        device: as which it is taken where times are estimated.
        found: what it takes on the device; None where that could not be found.
        memory: the most that it will have held; None with it.
        why: why memory could not be found.
        notes: what was decided.
        compiling: what compiling would do, where it is asked for or left open.
    """

    plan: Plan
    ground: Ground
    device: Device
    found: Footprint | None = None
    memory: Memory | None = None
    why: str = ""
    notes: tuple[Note, ...] = ()
    compiling: Compiling | None = None


def decide(space: Workspace, device: Device | None = None) -> Decided:
    """Decide what a settled plan leaves to memory and time.

    It is called before an adapter is on the base. What is decided depends on the plan, its rows and
    the device alone, and on how much of its memory is free. No pass is timed for it: times are
    estimated as for devices that are not here.

    Args:
        space: of the plan, its base without an adapter.
        device: that is planned for; None for the one where the base is.

    Raises:
        PlanError: the kind refuses the base.
    """
    ground = ground_here(space.trunk) if device is None else ground_of(device)
    plan = _on(space.plan, device)
    whole = at_once(plan, space.tokens["train"].lengths_R, ground.type)
    if whole != plan.train.micro_batch_tokens:
        plan = plan.decided({MICRO: whole})
    return _compiled(space, _roomy(space, plan, ground, device or _here(space)))


def _on(plan: Plan, device: Device | None) -> Plan:
    """Give the plan as it would be settled on another device: on a GPU the base is in halves."""
    left = plan.origins.get("model.dtype") == "measured"
    return plan.decided({"model.dtype": "bfloat16"}) if device and left else plan


def _here(space: Workspace) -> Device:
    device = space.trunk.device
    return device_like(torch.cuda.get_device_name(device)) if device.type == "cuda" else CPU


def _roomy(space: Workspace, plan: Plan, ground: Ground, device: Device) -> Decided:
    """Decide how a step finds room."""
    try:
        found, memory = foresee(space, plan, ground)
    except PlanError as error:  # a kind or base that cannot be computed on shapes can still train
        return Decided(plan, ground, device, why=str(error))
    if memory.fits or not (is_open(plan, MICRO) or is_open(plan, RECOMPUTE)):
        return Decided(plan, ground, device, found, memory, notes=kept_whole(plan, memory))
    learning = _learning(space, plan)
    lengths_R = space.tokens["train"].lengths_R
    tried = list(ways(plan, lengths_R, learning, lambda p: estimated(space, p, device)))
    fitting = first_that_fits(
        plan, found, ground, learning, tried[1:], lambda other: foresee(space, other, ground)
    )
    if fitting is None:
        return Decided(plan, ground, device, found, memory, notes=kept_whole(plan, memory))
    way, changed, took, after = fitting
    notes = told(way, tried[0], memory, after, learning)
    return Decided(changed, ground, device, took, after, notes=notes)


def _learning(space: Workspace, plan: Plan) -> int:
    """Give how many layers compute gradients."""
    model = form_of(space).model(plan).trunk.model
    return len(blocks(model)) - lowest_learning(model)


def estimated(space: Workspace, plan: Plan, device: Device) -> float:
    """Estimate what all steps of a plan take on a device."""
    train, work = space.tokens["train"], work_of(space.trunk)
    entry = named_entry(space.trunk, plan.adapter)
    computed = Computed(entry.layers / max(1, entry.of))
    parts = [rows for step in steps_of(plan, train) for rows in step]
    pace = paces_of(device, plan, space.trunk, work, computed).training
    return pace.of(work.batches(parts, train.lengths_R), plan.train.epochs).seconds


def _compiled(space: Workspace, made: Decided) -> Decided:
    """Decide whether the base's blocks are compiled."""
    left = is_open(made.plan, COMPILE)
    if not left and made.plan.model.compile is not True:
        return made
    plain = estimated(space, made.plan, made.device)
    model = form_of(space).model(made.plan).trunk.model
    fused = left and made.plan.model.kernels == "auto"
    found = compiling(model, made.ground.type, plain, fused=fused)
    plan = made.plan.decided({COMPILE: found.pays}) if left else made.plan
    note = found.note() if left else replace(found.note(), value=True)
    return replace(made, plan=plan, notes=(*made.notes, note), compiling=found)


def recorded(space: Workspace, out: Path) -> Workspace | None:
    """Give the workspace with what the run of a folder recorded of open settings.

    So a run goes on as it began, however much memory there is now. None where there is no run.
    """
    if not (out / PLAN).exists():
        return None
    before, plan = Plan.read(out / PLAN), space.plan
    for name in OPEN:
        if is_open(plan, name) and before.origins.get(name, "default") in ("default", "measured"):
            origin = before.origins.get(name, "default")
            plan = plan.decided({name: before.setting(name)}, origin)
    return replace(space, plan=plan)


def settled(space: Workspace, out: Path, *, anew: bool) -> tuple[Workspace, Foretold | None]:
    """Give the workspace of a run with nothing left open, and the memory that was foretold for it.

    Args:
        space: of the run, its base without an adapter.
        out: the run's folder.
        anew: what an earlier run left there is to be removed.

    Returns:
        The workspace, and what was foretold; None where an earlier run has decided. Where memory
        plainly suffices, it is foretold when the report asks.
    """
    before = None if anew else recorded(space, out)
    if before is not None:
        return before, None
    if _plainly(space):
        return space, foretell(space)
    made = decide(space)
    changed = made.plan.digest != space.plan.digest
    notes = tuple(map(str, made.notes)) if changed else ()
    return replace(space, plan=made.plan), Foretold(lambda: made.memory, notes)


def _plainly(space: Workspace) -> bool:
    """Whether nothing is decided by memory, as there is far more of it than any step takes."""
    if space.trunk.device.type != "cpu" or is_open(space.plan, COMPILE):
        return False
    return plainly_fits(space.plan, space.trunk, space.tokens, ground_here(space.trunk))


def decide_together(
    spaces: Mapping[str, Workspace], ground: Ground | None = None
) -> tuple[dict[str, Workspace], Foretold]:
    """Decide how runs that share their passes over one base find room; see `decide`.

    Only how many layers compute their states again is decided, the same share of those of each.

    Args:
        spaces: of the runs, by name.
        ground: where they take place; None for here.
    """
    ground = ground or ground_here(next(iter(spaces.values())).trunk)
    foretold = foretell_together(list(spaces.values()), ground)
    names = [name for name in spaces if is_open(spaces[name].plan, RECOMPUTE)]
    if foretold.memory is None or foretold.memory.fits or not names:
        return dict(spaces), foretold
    learning = {name: _learning(spaces[name], spaces[name].plan) for name in names}
    parts = min(PARTS, max(learning.values()))
    low, high, best = 0, parts, None
    while low < high:
        # All of them first: where that does not fit, nothing does.
        part = parts if best is None else (low + high) // 2
        changed = {**spaces, **{n: _again(spaces[n], learning[n], part / parts) for n in names}}
        told = foretell_together(list(changed.values()), ground)
        if told.memory is None or not told.memory.surely:
            if best is None:
                break
            low = part + 1
        else:
            high, best = part, (changed, told.memory)
    if best is None:
        return dict(spaces), foretold
    changed, memory = best
    note = Note(
        RECOMPUTE, changed[names[0]].plan.setting(RECOMPUTE), gained(foretold.memory, memory)
    )
    return changed, Foretold(lambda: memory, (str(note),))


def _again(space: Workspace, learning: int, share: float) -> Workspace:
    """Let a share of the layers with gradients compute their states again."""
    layers = True if share == 1 else math.ceil(learning * share)
    return replace(space, plan=space.plan.decided({RECOMPUTE: layers}))
