"""Full: the same base trained as a whole, in the same way as the adapter, to compare with.

Rows, their order, the steps, the head's start, the choice of the step on dev and the exams are the
adapter's. The base that carries the adapter has no part in it: another copy is loaded, trained, and
freed. Its weights lie below the run until the run has ended, its log for good.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tenon.core.errors import PlanError, RunError
from tenon.core.files import sweep
from tenon.core.progress import Progress
from tenon.evaluate.baselines import Baselines
from tenon.evaluate.settings import FULL
from tenon.model.head import Head
from tenon.model.holding import STORED
from tenon.model.model import Model
from tenon.model.models import model_for
from tenon.plan.ways import MICRO, is_open
from tenon.train import checkpoint, steplog
from tenon.train.checkpoint import Checkpoint
from tenon.train.chosen import chosen
from tenon.train.loop import Course, Loop, Trained
from tenon.train.settings import TrainSettings
from tenon.verbs.heads import first_head
from tenon.verbs.sitting import alone
from tenon.verbs.workspace import Workspace, load_trunk

NAME = "full"
"""Of the folder below a run's."""
REMEDY = "lower evaluate.full_learning_rate, or leave full out of evaluate.against"


@dataclass(frozen=True)
class Full:
    """What the base answers that was trained as a whole.

    Args:
        answers: by part; none where it is not compared with.
        notes: how it was trained.
    """

    answers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()


def wanted(space: Workspace) -> bool:
    """Whether the adapter is compared with full fine-tuning."""
    return FULL in (space.plan.evaluate.against or ())


def refuse_untrainable(space: Workspace) -> None:
    """Refuse to compare with a base trained as a whole that cannot be trained as a whole.

    Raises:
        PlanError: it is stored in few bits.
    """
    holding = space.trunk.holding
    if wanted(space) and holding is not None and holding.quantize == STORED:
        raise PlanError(
            f"evaluate.against: names full, and base {space.base.name} is stored quantised, so "
            "that its weights cannot be trained; leave full out"
        )


def train_full(
    space: Workspace,
    known: Baselines | None,
    score: Callable[[Model], dict[str, float]] | None,
    out: Path,
    progress: Progress | None,
) -> Full:
    """Train a copy of the base as a whole where that is wanted, and let it answer.

    Args:
        known: the baselines of the run, whose probe the head may start from.
        score: gives the metrics on dev; None without a dev part.
        out: the run's folder. A training that was stopped goes on from there.

    Raises:
        RunError: a loss, a weight or a score on dev is not finite.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of the last whole step.
    """
    if not wanted(space):
        return Full()
    folder = out / NAME
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    try:
        return _trained(space, known, score, folder, progress)
    except RunError as error:
        raise RunError(f"full fine-tuning: {error}; {REMEDY}") from error
    finally:
        _free()


def forget(out: Path) -> None:
    """Remove the weights, which are larger than all else of a run; the log stays."""
    checkpoint.clear(out / NAME)


def _trained(
    space: Workspace,
    known: Baselines | None,
    score: Callable[[Model], dict[str, float]] | None,
    folder: Path,
    progress: Progress | None,
) -> Full:
    if progress:
        progress.start("loading the base for full fine-tuning", None)
    model = _whole(space, first_head(space, known))
    plan = space.plan
    at_once = plan.train.micro_batch_tokens
    if is_open(plan, MICRO):
        # What fits was found for the adapter; gradients of all weights leave less room.
        at_once = min(at_once, TrainSettings().micro_batch_tokens)
    # Trackers show the adapter's run.
    rate = {
        "learning_rate": plan.evaluate.full_learning_rate,
        "micro_batch_tokens": at_once,
        "trackers": (),
    }
    course = Course(
        run=folder,
        plan=plan.digest,
        seed=plan.training_seed,
        settings=plan.train.model_copy(update=rate),
        score=score,
        progress=progress,
    )
    loop = Loop(model, space.tokens["train"], course)
    loop.resume()
    trained = loop.run()
    _settle(loop)
    made = alone(space, model, progress, "answers of full fine-tuning")
    return Full(made.answers, tuple(_notes(space, model, trained, folder)))


def _settle(loop: Loop) -> None:
    """Keep the chosen weights alone, without the optimizer: three times less than a checkpoint.

    Whoever goes on from there has nothing left to train.
    """
    weights = {name: p.detach().cpu().contiguous() for name, p in loop.parameters.items()}
    run, plan = loop.course.run, loop.course.plan
    checkpoint.keep_only(run, Checkpoint(loop.steps, plan, weights, {}, None))


def _whole(space: Workspace, head: Head | None) -> Model:
    """Give the model of the task over a copy of the base in float32, all of which is trained.

    In 16 bits, steps as small as full fine-tuning makes are rounded away.
    """
    plan = space.plan
    floats = {"dtype": "float32", "quantize": "none"}
    held = plan.model_copy(update={"model": plan.model.model_copy(update=floats)})
    trunk = load_trunk([held], space.base, space.trunk.start[1:])
    (trunk.whole or trunk.model).requires_grad_(requires_grad=True)
    return model_for(
        plan.data.task,
        trunk,
        None,
        head,
        plan.model.pooling,
        trunk_dropout=plan.model.trunk_dropout,
    )


def _notes(space: Workspace, model: Model, trained: Trained, folder: Path) -> list[str]:
    times = [entry["seconds"] for entry in steplog.read(folder) if "loss" in entry]
    steps, seconds = len(times), sum(times)
    count = sum(parameter.numel() for parameter in model.trainable().values())
    best = chosen(folder, space.plan.train.metric)
    step = "" if best is None else f"; dev chose step {best.step:,}"
    rate = space.plan.evaluate.full_learning_rate
    notes = [
        f"full fine-tuning: {count:,} parameters, learning rate {rate:g}, {steps:,} steps "
        f"in {seconds:,.0f} s{step}"
    ]
    if space.trunk.model.dtype != torch.float32 or space.trunk.holding is not None:
        notes.append("full fine-tuning: in float32, as 16 or fewer bits round its steps away")
    return [*notes, *(f"full fine-tuning: {note}" for note in trained.notes)]


def _free() -> None:
    """Give back the memory of what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
