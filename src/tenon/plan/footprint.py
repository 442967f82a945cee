"""Footprint: the memory that training takes, by component, found on shapes before anything runs.

The step of the micro-batch that takes most is computed without data, by the very code that
trains: which states are kept for gradients is not modelled but seen. So are the passes that judge.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.pool import POOL
from tenon.core.errors import PlanError
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.predict import by_length
from tenon.evaluate.settings import BY_TASK
from tenon.evaluate.together import PROMPT_TOKENS
from tenon.model.model import Model
from tenon.model.sized import grown_size_of
from tenon.plan.form import Form
from tenon.plan.kernels import by_borders, replays
from tenon.plan.ledger import Ledger
from tenon.plan.plan import Plan
from tenon.plan.unreal import META, CountingUnreal, Unreal
from tenon.plan.writing import writing
from tenon.text.batch import Batch, batch
from tenon.text.order import Order, Rows, micro_batches
from tenon.text.tokens import Tokens

EPOCHS = 3
"""So many epochs are searched for the micro-batch that takes most."""
MOMENTS = 2
GRAIN = 512
"""CUDA's allocator of torch rounds up to this many bytes."""


@dataclass(frozen=True)
class Footprint:
    """Bytes on the device where a run computes, at the moment of most.

    Args:
        base: the frozen base's weights and buffers.
        trained: adapter and head.
        gradients: of what is trained.
        optimizer: its moments.
        activations: states of the largest micro-batch that are kept for gradients.
        scores: what the loss keeps beside them: scores of classes, or of the vocabulary.
        passing: what is alive for a while at the moment of most: gradients of states, copies.
        judging: most that answering a part takes beside the weights, without gradients.
        writing: most that writing answers takes beside the weights: keys and values of all tokens.
        tokens: of the micro-batch that takes most.
    """

    base: int
    trained: int
    gradients: int
    optimizer: int
    activations: int
    scores: int
    passing: int
    judging: int
    writing: int
    tokens: int

    @property
    def lasting(self) -> int:
        """What is there all the time."""
        return self.base + self.trained + self.optimizer

    @property
    def training(self) -> int:
        """Most that a step takes, with all that lasts."""
        return self.lasting + self.gradients + self.activations + self.scores + self.passing

    @property
    def peak(self) -> int:
        """Most that any stage takes."""
        return max(self.training, self.lasting + max(self.judging, self.writing))

    @property
    def decided_by(self) -> str:
        """The stage that takes most."""
        if self.training >= self.peak:
            return "training"
        return "answering" if self.judging >= self.writing else "writing answers"

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values."""
        derived = {"training": self.training, "peak": self.peak, "decided_by": self.decided_by}
        return {**asdict(self), **derived}


@dataclass
class _Marks:
    """What the ledger held as the states reached what scores them."""

    ledger: Ledger
    live: int | None = None
    handles: list[Any] = field(default_factory=list[Any])

    def watch(self, module: nn.Module) -> None:
        def seen(*_: Any) -> None:
            if self.live is None:
                self.live = self.ledger.live

        self.handles.append(module.register_forward_pre_hook(seen))


def footprint(plan: Plan, form: Form, tokens: dict[str, Tokens], device: str) -> Footprint:
    """Find what a run of a plan takes on a type of device.

    Args:
        plan: settled.
        form: of the base.
        tokens: of each part.
        device: "cpu" or "cuda".

    Raises:
        PlanError: the kind refuses the base.
    """
    grain = GRAIN if device == "cuda" else 1
    micro, size = plan.train.micro_batch_tokens, plan.evaluate.batch_tokens
    judged = [part for name, part in tokens.items() if name != "train"]
    read = judged if BY_TASK[plan.data.task].writes else [*judged, tokens["train"]]
    with _told():
        model = form.model(plan)
        if model.head is not None:
            model.head.constants = dict(EXAMS.get(plan.data.task).constants(tokens["train"]))
        parts = largest(plan, tokens["train"], micro)
        steps = [_step(model, part, device, grain) for part in parts]
        if replays(plan, model.trunk, device):
            steps = [_filled(step, part) for step, part in zip(steps, parts, strict=True)]
        most = max(steps, key=lambda step: step.training)
        part, rows = widest(read, size)
        judging = _judged(model, part, rows, device, grain)
        # While some answers are written the prompts of others are read.
        share = min(1.0, PROMPT_TOKENS[device] / (len(rows) * int(part.lengths_R[rows].max())))
        writing = max((_written(plan, model, part, device) for part in judged), default=0)
        writing += round(share * judging) if writing else 0
    return Footprint(**{**asdict(most), "judging": judging, "writing": writing})


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what libraries raise that cannot compute without data into a PlanError."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise PlanError(
            f"memory: cannot be found without computing this kind or base on data "
            f"({type(error).__name__}: {first}); a run's report has it"
        ) from error


def largest(plan: Plan, train: Tokens, size: int) -> list[Batch]:
    """Give the micro-batches of a run that may take most: most tokens, and most with padding."""
    order = Order(train.lengths_R, plan.seed, plan.train.tokens_per_step)
    best: dict[str, tuple[int, Rows]] = {}
    for epoch in range(min(EPOCHS, plan.train.epochs)):
        for step in order.epoch(epoch):
            for rows in micro_batches(step, train.lengths_R, size):
                lengths = train.lengths_R[rows]
                for name, amount in (
                    ("tokens", int(lengths.sum())),
                    ("padded", int(len(rows) * lengths.max())),
                ):
                    if amount > best.get(name, (0, rows))[0]:
                        best[name] = amount, rows
    unlike = {tuple(rows.tolist()): rows for _, rows in best.values()}
    return [batch(train, rows) for rows in unlike.values()]


def _step(model: Model, part: Batch, device: str, grain: int) -> Footprint:
    """Compute one step of a micro-batch on shapes."""
    module = cast(nn.Module, model)
    module.train()
    ledger = Ledger(grain)
    trained = list(model.trainable().values())
    parts = _lasting(ledger, model, trained)
    # From the second step on gradients meet moments, and from the second micro-batch on gradients.
    held = [torch.empty_like(parameter) for parameter in trained for _ in range(MOMENTS)]
    optimizer = _noted(ledger, held)
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    gradients = _noted(ledger, [cast(Tensor, parameter.grad) for parameter in trained])
    before = ledger.live
    marks = _Marks(ledger)
    marks.watch(_scorer(model))
    with _computing(model, ledger, device):
        ledger.peak = ledger.live
        loss = model.nats(part)
        at_head = marks.live or ledger.live
        after = ledger.live
        torch.autograd.backward(loss)
    for handle in marks.handles:
        handle.remove()
    peak = max(ledger.peak, before + _updating(trained, grain))
    for parameter in trained:
        parameter.grad = None
    activations, scores = at_head - before, max(0, after - at_head)
    passing = max(0, peak - before - activations - scores)
    return Footprint(*parts, gradients, optimizer, activations, scores, passing, 0, 0, part.tokens)


def _filled(found: Footprint, part: Batch) -> Footprint:
    """Give what a step takes with what its micro-batch is filled up with as it is recorded."""
    share = grown_size_of(part).tokens / part.tokens
    activations, passing = (round(n * share) for n in (found.activations, found.passing))
    return replace(found, activations=activations, passing=passing)


def _updating(trained: Sequence[Tensor], grain: int) -> int:
    """Give what AdamW has for itself as it updates: about one number a trained one."""
    return sum(-(-each.numel() * each.itemsize // grain) * grain for each in trained)


def _lasting(ledger: Ledger, model: Model, trained: Sequence[Tensor]) -> tuple[int, int]:
    module = cast(nn.Module, model)
    tuned = {id(parameter) for parameter in trained}
    own = [module, *([model.trunk.whole] if model.trunk.whole is not None else [])]
    tensors = [t for each in own for t in (*each.parameters(), *each.buffers())]
    base = _noted(ledger, (tensor for tensor in tensors if id(tensor) not in tuned))
    return base, _noted(ledger, trained)


def _noted(ledger: Ledger, tensors: Iterable[Tensor]) -> int:
    before = ledger.live
    for tensor in tensors:
        ledger.note(tensor)
    return ledger.live - before


def _scorer(model: Model) -> nn.Module:
    """Give the module that makes scores of states."""
    return model.trunk.output if model.head is None else model.head.linear


def _computing(model: Model, ledger: Ledger, device: str) -> ExitStack:
    """Compute on shapes as on a type of device."""
    stack = ExitStack()
    POOL.forget(META.type)  # what another pass on shapes has left there would not be counted
    stack.enter_context(by_borders(device, model.trunk.model.dtype))
    stack.enter_context(Unreal(device))
    stack.enter_context(CountingUnreal(ledger))
    return stack


def widest(parts: Iterable[Tokens], size: int) -> tuple[Tokens, Rows]:
    """Give the batch of some parts that is largest with its padding.

    Args:
        size: tokens computed at once.
    """
    found: list[tuple[int, Tokens, Rows]] = [
        (int(len(rows) * part.lengths_R[rows].max()), part, rows)
        for part in parts
        for rows in by_length(part, size)
    ]
    _, part, rows = max(found, key=lambda each: each[0])
    return part, rows


def _judged(model: Model, part: Tokens, rows: Rows, device: str, grain: int) -> int:
    """Give the most that reading a batch takes beside the weights."""
    cast(nn.Module, model).eval()
    ledger = Ledger(grain)
    _lasting(ledger, model, list(model.trainable().values()))
    before = ledger.live
    with torch.no_grad(), _computing(model, ledger, device):
        ledger.peak = before
        model.nats(batch(part, rows))
    return ledger.peak - before


def _written(plan: Plan, model: Model, part: Tokens, device: str) -> int:
    """Give what keys, values and scores take while answers are written."""
    if not BY_TASK[plan.data.task].writes or not len(part):
        return 0
    config = model.trunk.model.config
    how = writing(plan, part, device, together=not model.trunk.seq2seq)
    item = model.trunk.model.dtype.itemsize
    heads = getattr(config, "num_key_value_heads", 0) or config.num_attention_heads
    channels = getattr(config, "head_dim", 0) or config.hidden_size // config.num_attention_heads
    width = heads * channels
    layers = int(config.num_hidden_layers)
    kept = 2 * layers * width * item * how.held
    scores = how.rows * int(config.vocab_size) * (item + 3 * torch.float32.itemsize)
    return kept + kept // layers + scores
