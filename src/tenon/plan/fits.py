"""Fits: settings with which a run that does not fit would fit, each with its memory and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tenon.adapters.kind import KINDS
from tenon.model.compiled import blocks
from tenon.model.quantization import SCHEMES
from tenon.plan.form import Form
from tenon.plan.memory import Memory
from tenon.plan.plan import Plan
from tenon.plan.ways import LEAST, MICRO, RECOMPUTE

DEQUANTISED = 1.4
"""What putting weights together from few bits costs of a step."""
QUANTIZE = ("int8", "bnb-nf4")


@dataclass(frozen=True)
class Fit:
    """Settings with which a run fits.

    Args:
        settings: as arguments of the command line or lines of run.toml.
        memory: what they take.
        time: factor on the time of training.
    """

    settings: Mapping[str, Any]
    memory: Memory
    time: float

    @property
    def arguments(self) -> str:
        """The settings as arguments of the command line."""
        return " ".join(f"{name}={_said(value)}" for name, value in self.settings.items())

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values."""
        return {
            "settings": dict(self.settings),
            "arguments": self.arguments,
            "memory": self.memory.to_json(),
            "time": self.time,
        }


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def fits(
    plan: Plan,
    form: Form,
    longest: int,
    foresee: Callable[[Plan], Memory],
    seconds: Callable[[Plan], float],
    most: int = 4,
) -> list[Fit]:
    """Give settings with which a run fits, those first that change least of it.

    Args:
        plan: which does not fit.
        form: of its base.
        longest: tokens of the longest row, which no batch can be smaller than.
        foresee: gives the memory of a plan.
        seconds: estimates what all steps of a plan take.
        most: so many are given at most.
    """
    found: list[Fit] = []
    for changes, number in _ladder(plan, form, max(longest, LEAST)):
        memory = foresee(plan.decided(changes))
        if memory.fits:
            ways = {name: changes[name] for name in (MICRO, RECOMPUTE) if name in changes}
            time = seconds(plan.decided(ways)) / max(1e-9, seconds(plan))
            found.append(Fit(changes, memory, number * time))
        if len(found) == most:
            break
    return found


def _ladder(plan: Plan, form: Form, least: int) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield changes, from those that leave every number as it is to those that do not.

    Each has the factor on the time of a step that comes of the base's number format.

    Of each number format, the smallest batch comes first that is not needed to be smaller: it is
    halved until the run fits.
    """
    size = min(plan.train.micro_batch_tokens, max(plan.train.tokens_per_step, least))
    again: list[dict[str, Any]] = [{}]
    if blocks(form.trunk.model) and plan.train.recompute is not True:
        again.append({RECOMPUTE: True})
    for number, more in _numbers(plan):
        for kept in again:
            for small in _smaller(size, least):
                change = {**more, **kept, **_batches(plan, small, size)}
                if change:
                    yield change, number


def _smaller(size: int, least: int) -> Iterator[int]:
    yield size
    while size // 2 >= least:
        size //= 2
        yield size


def _batches(plan: Plan, small: int, size: int) -> dict[str, Any]:
    """Give the settings of batches of a size, for training and for answering."""
    found: dict[str, Any] = {}
    if small < size:
        found[MICRO] = small
    if small < plan.evaluate.batch_tokens:
        found["evaluate.batch_tokens"] = small
    return found


def _numbers(plan: Plan) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield number formats of the base, with a factor on the time of a step."""
    yield 1.0, {}
    if plan.model.dtype == "float32":
        yield 0.6, {"model.dtype": "bfloat16"}
    if plan.model.quantize != "none" or KINDS.get(plan.adapter.kind).quantized_why:
        return
    low = {"model.dtype": "bfloat16"} if plan.model.dtype == "float32" else {}
    for name in QUANTIZE:
        if name in SCHEMES:
            yield DEQUANTISED, {**low, "model.quantize": name}
