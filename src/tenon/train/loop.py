"""Loop: steps, evaluations on dev, checkpoints; resumed exactly where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin

from tenon.core.errors import RunError
from tenon.core.files import digest_of
from tenon.core.progress import Progress
from tenon.model.model import Model
from tenon.text.batch import Batch, batch
from tenon.text.order import Order, micro_batches
from tenon.text.tokens import Tokens
from tenon.train import checkpoint, optim, steplog
from tenon.train.ahead import Ahead
from tenon.train.checkpoint import Best, Checkpoint
from tenon.train.interrupt import Interrupt
from tenon.train.passes import Passes
from tenon.train.settings import TrainSettings
from tenon.train.step import StepResult, step
from tenon.train.tracker import Tracker

Score = Callable[[Model], dict[str, float]]
Hopeless = Callable[[Sequence[tuple[float, float]]], bool]
"""Says of the evaluations so far, each a share of the run and a value, whether to give up."""
LOWER_IS_BETTER = {
    "bits_per_byte", "label_log_loss", "log_loss", "mae", "perplexity", "rmse", "tag_log_loss",
    "token_log_loss",
}  # fmt: skip
REMEDY = "lower train.learning_rate"
ANEW = "start anew with --resume never"


@dataclass(frozen=True)
class Course:
    """What a run is made of.

    Args:
        run: folder of checkpoints and log.
        plan: digest of the plan; a checkpoint of another plan is refused.
        seed: of order and dropout.
        settings: of training.
        score: gives the metrics on dev, or None without a dev part.
        progress: told of every step.
        factors: part of a parameter's name to the factor on the adapter's learning rate.
        hopeless: ends the run before its time where its evaluations say so; None never does.
        unrecorded: why passes are not to be recorded as CUDA graphs; empty where they may be.
    """

    run: Path
    plan: str
    seed: int
    settings: TrainSettings
    score: Score | None = None
    progress: Progress | None = None
    factors: Mapping[str, float] = field(default_factory=dict[str, float])
    hopeless: Hopeless | None = None
    unrecorded: str = "it is not asked for"


@dataclass(frozen=True)
class Trained:
    """How a run ended; the model holds the weights of the best step.

    Args:
        steps: taken in all.
        best: the best evaluation, or None without a dev part.
        stopped_early: whether patience ended the run before its last step.
        seconds: of stepping in this process.
        tokens: stepped over in this process.
        notes: what happened on the way, in sentences.
        given_up: whether its evaluations were found hopeless before its last step.
    """

    steps: int
    best: Best | None
    stopped_early: bool
    seconds: float
    tokens: int
    notes: list[str] = field(default_factory=list[str])
    given_up: bool = False


class Loop:
    """One run over one model.

    Args:
        model: its trainable parameters are changed.
        tokens: of the train part.
        course: where, how long, how.
    """

    def __init__(self, model: Model, tokens: Tokens, course: Course) -> None:
        settings = course.settings
        self.model = model
        self.tokens = tokens
        self.course = course
        self.order = Order(tokens.lengths_R, course.seed, settings.tokens_per_step)
        self.steps = settings.epochs * self.order.steps_per_epoch
        self.evaluate_every = settings.evaluate_every or self.order.steps_per_epoch
        self.parameters = model.trainable()
        self.optimizer = optim.adamw(self.parameters, settings, course.factors)
        self.accelerator = Accelerator(
            cpu=model.trunk.device.type == "cpu",
            # Said here, so that no ACCELERATE_ variable of the environment decides it.
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        )
        self.passes = Passes(model, self.parameters, course.unrecorded)
        self.tracker = Tracker(self.accelerator, course.run, settings)
        self.ahead: Ahead[list[Batch]] | None = None
        self.position = 0
        self.saved: int | None = None
        self.best: Best | None = None
        self.seen: list[tuple[float, float]] = []
        self.notes: list[str] = []

    def resume(self) -> None:
        """Go to the newest whole checkpoint of the run folder, if there is one.

        Raises:
            RunError: the checkpoint is of another plan, or none is whole.
        """
        found, damaged = checkpoint.newest(self.course.run)
        self.notes += [f"passed over a damaged checkpoint: {note}" for note in damaged]
        if found is None:
            return
        if found.plan != self.course.plan:
            raise RunError(
                f"{self.course.run}: its checkpoints are of another plan; choose another --out, "
                f"or {ANEW}"
            )
        self.put(found.weights)
        optim.load_state(self.optimizer, self.parameters, found.optimizer)
        self.position, self.saved, self.best = found.position, found.position, found.best
        metric = self.course.settings.metric
        self.seen = [
            ((entry["step"] + 1) / self.steps, entry["dev"][metric])
            for entry in steplog.read(self.course.run)
            if "dev" in entry and entry["step"] < self.position
        ]
        self.notes.append(f"resumed at step {found.position:,} of {self.steps:,}")

    def run(self) -> Trained:
        """Train to the end, or to the end of patience, and leave the best weights in the model.

        Raises:
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of the last whole step.
            RunError: a loss, a weight or a score on dev is not finite. The last checkpoint holds
                steps before.
            FileError: the disk refused. The last checkpoint is whole.
        """
        log = self.log()
        started, tokens = time.perf_counter(), 0
        if self.course.progress:
            self.course.progress.start("train", self.steps, done=self.position)
        self.model.train()
        with self.tracker, Interrupt() as interrupt:
            for batches in self.batches():
                if self.over:
                    break
                begun = time.perf_counter()
                result = self.step(batches)
                tokens += result.tokens
                self.note(log, result, time.perf_counter() - begun)
                self.after_step(log)
                if interrupt.wished:
                    self.save(log)
                    raise KeyboardInterrupt
        seconds = time.perf_counter() - started
        return self.finish(seconds, tokens)

    def log(self) -> steplog.StepLog:
        """Open the log of the run at the position."""
        return steplog.StepLog(self.course.run, self.position)

    def batches(self) -> Ahead[list[Batch]]:
        """Give the micro-batches of each step from the position on."""
        self.ahead = Ahead(self._batches())
        return self.ahead

    def _batches(self) -> Iterator[list[Batch]]:
        first, done = divmod(self.position, self.order.steps_per_epoch)
        for epoch in range(first, self.course.settings.epochs):
            for rows in self.order.epoch(epoch)[done if epoch == first else 0 :]:
                tokens = self.course.settings.micro_batch_tokens
                parts = micro_batches(rows, self.tokens.lengths_R, tokens)
                yield [batch(self.tokens, part) for part in parts]

    def step(self, batches: list[Batch]) -> StepResult:
        """Take the step at the position; the dropout's randomness depends on the position alone."""
        self.prepare()
        clip = self.course.settings.clip
        cuda = self.model.trunk.device.type == "cuda"
        meanwhile = self.ahead.make if cuda and self.ahead is not None else None
        result = step(
            self.model, batches, self.optimizer, self.accelerator, clip, self.passes, meanwhile
        )
        self.position += 1
        return result

    def prepare(self) -> None:
        """Set torch's generator and the learning rate for the step at the position."""
        torch.manual_seed(step_seed(self.course.seed, self.position))
        self.set_rate()

    def set_rate(self) -> None:
        """Set the learning rate for the step at the position."""
        factor = optim.rate(self.position, self.steps, self.course.settings)
        optim.set_rate(self.optimizer, factor)

    def note(self, log: steplog.StepLog, result: StepResult, seconds: float) -> None:
        """Write the step to the log, the tracker and the progress bar."""
        entry = {
            "step": self.position - 1,
            "epoch": round(self.position / self.order.steps_per_epoch, 4),
            "loss": result.loss,
            "targets": result.targets,
            "tokens": result.tokens,
            "norm": result.norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(seconds, 6),
        }
        log.add(entry)
        self.tracker.log({"train/loss": result.loss, "train/norm": result.norm}, self.position)
        if self.course.progress:
            pace = result.tokens / max(seconds, 1e-9)
            self.course.progress.advance(1, loss=result.loss, tokens_per_second=pace)

    def after_step(self, log: steplog.StepLog) -> None:
        """Evaluate and save where the settings say so."""
        if self.course.score and self.evaluates:
            self.evaluate(log, self.course.score)
            self.save(log)
        elif self.position == self.steps or self._save_due():
            self.save(log)

    @property
    def evaluates(self) -> bool:
        """Whether dev is scored at the position."""
        due = self.position == self.steps or self.position % self.evaluate_every == 0
        return bool(self.course.score) and due

    def _save_due(self) -> bool:
        every = self.course.settings.save_every
        if every:
            return self.position % every == 0
        return self.course.score is None and self.position % self.evaluate_every == 0

    def evaluate(self, log: steplog.StepLog, score: Score) -> None:
        """Score dev and remember the best step.

        Raises:
            RunError: the score is not a finite number.
        """
        self.passes.make_room()
        metrics = score(self.model)
        metric = self.course.settings.metric
        value = metrics[metric]
        if not math.isfinite(value):
            raise RunError(
                f"{self.course.run}: {metric} on dev is {value} at step {self.position:,}; {REMEDY}"
            )
        lower = metric in LOWER_IS_BETTER
        gain = self.best is None or (value < self.best.value if lower else value > self.best.value)
        if gain:
            self.best = Best(self.position, value)
        elif self.best is not None:
            self.best = Best(self.best.step, self.best.value, self.best.since + 1)
        self.seen.append((self.position / self.steps, value))
        log.add({"step": self.position - 1, "dev": metrics})
        self.tracker.log({f"dev/{name}": number for name, number in metrics.items()}, self.position)
        if self.course.progress:
            self.course.progress.advance(0, dev=value)

    @property
    def over(self) -> bool:
        """Whether no further step is to be taken, though there may be some."""
        return self.out_of_patience or self.given_up

    @property
    def out_of_patience(self) -> bool:
        """Whether as many evaluations as patience allows brought no gain."""
        patience = self.course.settings.patience
        return bool(patience and self.best and self.best.since >= patience)

    @property
    def given_up(self) -> bool:
        """Whether the evaluations so far are hopeless; of a run at its end they never are."""
        hopeless = self.course.hopeless
        return bool(hopeless and self.position < self.steps and hopeless(self.seen))

    def save(self, log: steplog.StepLog) -> None:
        """Write a checkpoint of the position, unless there is one.

        Raises:
            RunError: a weight is not finite. Nothing is written.
        """
        if self.saved == self.position:
            return
        weights = {
            name: parameter.detach().cpu().contiguous()
            for name, parameter in self.parameters.items()
        }
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            raise RunError(
                f"{self.course.run}: weights are not finite at step {self.position:,}; {REMEDY}"
            )
        log.flush()
        state = optim.state_tensors(self.optimizer, self.parameters)
        checkpoint.save(
            self.course.run, Checkpoint(self.position, self.course.plan, weights, state, self.best)
        )
        self.saved = self.position

    def put(self, weights: dict[str, torch.Tensor]) -> None:
        """Copy weights into the trainable parameters.

        Raises:
            RunError: the names or shapes are not those of the model. Nothing is changed.
        """
        shapes = {name: tuple(p.shape) for name, p in self.parameters.items()}
        if shapes != {name: tuple(tensor.shape) for name, tensor in weights.items()}:
            raise RunError(
                f"{self.course.run}: the checkpoint holds other parameters than the plan; {ANEW}"
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def finish(self, seconds: float, tokens: int) -> Trained:
        """Put the best weights into the model and say how it went."""
        given_up, early = self.given_up, self.position < self.steps
        self.notes += self.passes.notes
        if given_up:
            self.notes.append(f"given up at step {self.position:,} of {self.steps:,}")
        elif early:
            self.notes.append(
                f"stopped at step {self.position:,} of {self.steps:,}: no gain on dev in "
                f"{self.course.settings.patience} evaluations"
            )
        if self.best is not None and self.best.step != self.position:
            folder = checkpoint.path_of(self.course.run, self.best.step)
            try:
                self.put(checkpoint.load(folder).weights)
            except RunError as error:
                lost = "it did best on dev, and nothing can stand for it"
                raise RunError(f"{error}; {lost}; {ANEW}") from error
        self.model.eval()
        early = early and not given_up
        return Trained(self.position, self.best, early, seconds, tokens, self.notes, given_up)


def step_seed(seed: int, position: int) -> int:
    """Give the seed of torch's generator at a step, so that no generator state need be kept."""
    return int(digest_of(["step", seed, position])[:15], 16)
