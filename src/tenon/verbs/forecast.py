"""Forecast: what a run will take, in memory and time, before anything is trained."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from tenon.evaluate.generate import Writing as Written
from tenon.evaluate.generate import clipped, generate, room
from tenon.evaluate.predict import by_length, inference
from tenon.evaluate.together import together_fault
from tenon.model.attach import attach, unchanged_random_state
from tenon.model.lower import Recalled, entry_of, named_entry
from tenon.model.model import Model
from tenon.model.models import model_for
from tenon.model.recompute import recompute
from tenon.model.sized import sorts_of
from tenon.plan.devices import Device
from tenon.plan.fits import Fit, fits
from tenon.plan.footprint import Footprint
from tenon.plan.memory import Memory
from tenon.plan.pace import Pace, timed
from tenon.plan.plan import Plan
from tenon.plan.seconds import (
    Computed,
    Paces,
    Seconds,
    longest_batches,
    paces_of,
    seconds_of,
)
from tenon.plan.ways import Note
from tenon.plan.work import steps_of, work_of
from tenon.plan.writing import writing
from tenon.text.batch import batch
from tenon.text.order import Rows
from tenon.text.tokens import Tokens
from tenon.train import optim
from tenon.train.passes import Passes
from tenon.train.trunk_cache import Choice
from tenon.verbs.bared import bared
from tenon.verbs.decided import Decided, estimated
from tenon.verbs.heads import new_head
from tenon.verbs.kernels import quicken, unrecorded
from tenon.verbs.planned import foresee, form_of
from tenon.verbs.stored import choice_of
from tenon.verbs.workspace import Workspace

TRAINING, JUDGING = 3.0, 1.0
"""Seconds that passes are timed for."""
LOADED = time.process_time()
"""Seconds that this process had computed when the last of its libraries was loaded."""
LONGEST_START = 30.0
NEW_TOKENS = 8
FEW_ROWS = 16


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Args:
        device: where.
        memory: the most that it will have held; None where it could not be found.
        footprint: what of it is on the device, by component; None with it.
        seconds: how long it takes.
        fits: settings with which it fits, where it does not as it is.
        why: why the memory could not be found.
        cache: whether states of lower layers are kept on disk.
        decided: of settings that were left to memory and time.
    """

    device: str
    memory: Memory | None
    footprint: Footprint | None
    seconds: Seconds
    fits: tuple[Fit, ...] = ()
    why: str = ""
    cache: Choice | None = None
    decided: tuple[Note, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values."""
        return {
            "device": self.device,
            "memory": None if self.memory is None else self.memory.to_json(),
            "footprint": None if self.footprint is None else self.footprint.to_json(),
            "seconds": self.seconds.to_json(),
            "fits": [fit.to_json() for fit in self.fits],
            "why": self.why,
            "trunk_cache": None if self.cache is None else asdict(self.cache),
            "decided": [asdict(note) for note in self.decided],
        }


def forecast(
    space: Workspace, opened: float, decided: Decided, device: Device | None = None
) -> tuple[Forecast, Workspace]:
    """Foretell a run; random state and adapters are left as they were.

    Args:
        space: of the run, its base without an adapter.
        opened: seconds that opening it and deciding took.
        decided: its plan on the device, with its memory.
        device: of `tenon.plan.devices`; None for the one of the run.

    Returns:
        The forecast, and the workspace with a base that carries no adapter.
    """
    settled, memory = decided.plan, decided.memory
    where = device.name if device else str(space.trunk.device)
    large = memory is not None and not memory.fits
    offers = _offers(space, decided) if large else ()
    work = work_of(space.trunk)
    if device:
        entry = named_entry(space.trunk, settled.adapter)
        cache, bare = choice_of(replace(space, plan=settled), entry), space
        computed = Computed(entry.layers / max(1, entry.of), cache.share)
        paces = paces_of(device, settled, space.trunk, work, computed)
    else:
        paces, cache, bare = probe(space, opened, small=large)
    classes = 0 if space.writes else len(space.classes)
    seconds = seconds_of(
        settled, space.tokens, classes, space.trunk, work, paces, spared=cache.share
    )
    if decided.compiling is not None and settled.model.compile is True:
        seconds = seconds.compiled(decided.compiling)
    return Forecast(
        where, memory, decided.found, seconds, offers, decided.why, cache, decided.notes
    ), bare


def _offers(space: Workspace, decided: Decided) -> tuple[Fit, ...]:
    longest = max(int(part.lengths_R.max()) for part in space.tokens.values() if len(part))
    found = fits(
        decided.plan, form_of(space), longest,
        lambda other: foresee(space, other, decided.ground)[1],
        lambda other: estimated(space, other, decided.device),
    )  # fmt: skip
    return tuple(found)


def probe(
    space: Workspace, opened: float, *, small: bool = False
) -> tuple[Paces, Choice, Workspace]:
    """Time some passes of the run that a workspace is of, and take its adapter off the base.

    Steps are timed from stored states where the run will have them.

    Args:
        opened: seconds that opening it took.
        small: take single rows, as a whole batch finds no room.
    """
    plan, train = space.plan, space.tokens["train"]
    work, device = work_of(space.trunk), space.trunk.device
    steps = [rows for step in steps_of(plan, train) for rows in step]
    if small:
        steps = [rows[:1] for rows in steps]
    others = [part for name, part in space.tokens.items() if name != "train" and len(part)]
    judged = max(others, key=len) if others else train
    read = by_length(judged, plan.evaluate.batch_tokens)
    read = [rows[:1] for rows in read] if small else read
    with unchanged_random_state():
        torch.manual_seed(plan.seed)
        model = fresh(space)
        with inference(model):
            cache = choice_of(space, entry_of(model.trunk))
        if cache.layers:
            train = replace(train, below=Recalled(model.trunk, train, cache.layers))
        passes = Passes(model, model.trainable(), unrecorded(plan))
        training = timed(
            longest_batches(steps, train.lengths_R), train.lengths_R, work,
            lambda rows: _learn(passes, train, rows), device, TRAINING,
        )  # fmt: skip
        if passes.sizes:
            tokens = (int(train.lengths_R[rows].sum()) for rows in steps)
            training = replace(training, colds=sorts_of(tokens))
        updating = _updating(model, plan)
        passes.make_room(1.0)
        with inference(model):
            judging = timed(
                longest_batches(read, judged.lengths_R), judged.lengths_R, work,
                lambda rows: _read(model, judged, rows), device, JUDGING,
            )  # fmt: skip
        together = space.writes and not together_fault(cast(Written, model))
        written = _writing(space, model, judged, together=together) if space.writes else None
    bare = bared(space, cast(Any, model.peft), space)
    paces = Paces(
        training, judging, updating, written, started(), opened,
        timed=True, together=together, device=device.type,
    )  # fmt: skip
    return paces, cache, bare


def started() -> float:
    """Give about how many seconds the program took to start, its libraries above all.

    It is what this process had computed when it loaded them, of which a longer session may have
    spent more on other things.
    """
    return min(LOADED, LONGEST_START)


def fresh(space: Workspace) -> Model:
    """Put the fresh adapter of a workspace and a head at random on its base, to be trained."""
    plan = space.plan
    peft = attach(space.trunk, plan.adapter, plan.seed).peft
    recompute(space.trunk, plan.train.recompute)
    quicken(plan, space.trunk)
    model = model_for(
        plan.data.task, space.trunk, peft, new_head(space), plan.model.pooling,
        trunk_dropout=plan.model.trunk_dropout,
    )  # fmt: skip
    model.train()
    return model


def _learn(passes: Passes, tokens: Tokens, rows: Rows) -> None:
    part = batch(tokens, rows)
    passes.passed(part, max(1, passes.model.targets(part)), lambda loss: loss.backward())


def _read(model: Model, tokens: Tokens, rows: Rows) -> None:
    model.nats(batch(tokens, rows))


def _updating(model: Model, plan: Plan) -> float:
    """Time an optimizer step, at a rate of 0."""
    trained = model.trainable()
    optimizer = optim.adamw(trained, plan.train)
    optim.set_rate(optimizer, 0.0)
    took: list[float] = []
    for _ in range(2):
        begun = time.perf_counter()
        nn.utils.clip_grad_norm_(list(trained.values()), plan.train.clip).item()
        optimizer.step()
        took.append(time.perf_counter() - begun)
    for parameter in trained.values():
        parameter.grad = None
    return took[-1]


def _writing(space: Workspace, model: Model, part: Tokens, *, together: bool) -> Pace:
    """Time some new tokens of a batch of prompts, by rows."""
    plan, writer = space.plan, cast(Written, model)
    how = writing(plan, part, space.trunk.device.type, together=together)
    rows = min(how.rows, len(part), FEW_ROWS)
    chosen = np.linspace(0, len(part) - 1, rows).astype(int).tolist()
    most = room(writer, plan.text.max_tokens, plan.evaluate.max_new_tokens)
    asked = [clipped(part.ids(row).tolist(), min(most, 256), None) for row in chosen]
    never = int(space.trunk.model.config.vocab_size)
    took = {}
    # The first of all is slower: memory is new, kernels are chosen.
    for new in (2, 1, 1 + NEW_TOKENS):
        begun = time.perf_counter()
        generate(writer, asked, stop_ids=[never], max_new_tokens=new, batch_tokens=1 << 30)
        took[new] = time.perf_counter() - begun
    each = max(1e-5, (took[1 + NEW_TOKENS] - took[1]) / NEW_TOKENS)
    if space.trunk.device.type == "cuda":
        return Pace(each, 0.0, 0.3)
    return Pace(each / 2, each / 2 / rows, 0.3)
