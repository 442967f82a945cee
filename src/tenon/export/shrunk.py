"""Shrunk: a graph in int8, and what that loses.

Legend: B texts, L classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from tenon.core.errors import MissingExtra
from tenon.evaluate.scorers import SCORERS
from tenon.evaluate.settings import BY_TASK, FEWEST_ROWS
from tenon.evaluate.statistics import Interval, Paired, intervals, paired
from tenon.evaluate.verdict import amount, difference, probability, signed
from tenon.export.runtime import Runtime
from tenon.export.target import Order
from tenon.model.merge import relative
from tenon.text.tokens import Tokens

BATCH_TOKENS = 4096
LEVEL, RESAMPLES = 0.95, 2000


@dataclass(frozen=True)
class Shrunk:
    """How much a graph in int8 differs from the whole one.

    Args:
        bytes: of the whole graph, and of this one.
        error: largest difference of the scores of the proof's texts / largest score.
        scorer: by which rows were judged; empty where none are known.
        whole: the whole graph's score of these rows.
        small: this one's.
        lost: the second minus the first.
        notes: the same in sentences.
    """

    bytes: tuple[int, int]
    error: float
    scorer: str = ""
    whole: Interval | None = None
    small: Interval | None = None
    lost: Paired | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values."""
        return asdict(self)


def shrunk(
    graph: Path,
    path: Path,
    whole: Runtime,
    expected_BL: Tensor,
    score: Callable[[Any], Tensor],
    order: Order,
) -> Shrunk:
    """Write a graph with its weights in int8, and compare both on labelled rows, if there are any.

    Args:
        graph: the whole one.
        path: of the one to be written.
        whole: the whole one, running.
        expected_BL: the adapter's scores of the proof's texts.
        score: gives a model's scores of these.
        order: whose rows are judged.

    Raises:
        MissingExtra: onnxruntime is not installed.
    """
    _quantize(graph, path)
    small = Runtime(path, whole.trunk, whole.head)
    sizes, error = (graph.stat().st_size, path.stat().st_size), relative(expected_BL, score(small))
    share = f"{100 * sizes[1] / sizes[0]:.0f} % of the bytes"
    told = f"{path.name}: {share}; scores differ by {error:.1e} of their size"
    if order.rows is None or not len(order.rows):
        return Shrunk(sizes, error, notes=(f"{told}; what it loses was measured on no rows",))
    return _judged(Shrunk(sizes, error), whole, small, order, told)


def _quantize(graph: Path, path: Path) -> None:
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingExtra("--to onnx", "onnxruntime", "onnx") from error
    quantize_dynamic(graph, path, weight_type=QuantType.QInt8, per_channel=True)


def _judged(found: Shrunk, whole: Runtime, small: Runtime, order: Order, told: str) -> Shrunk:
    task, rows = order.answerer.manifest.task, cast(Tokens, order.rows)
    answers = [
        replace(order.answerer, model=cast(Any, model)).answer(rows, batch_tokens=BATCH_TOKENS)
        for model in (whole, small)
    ]
    scorer = SCORERS.get(BY_TASK[task].scorers[0])
    how: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "seed": 0}
    first, second = (intervals(each, [scorer], **how)[scorer.name] for each in answers)
    if first.n < FEWEST_ROWS:
        few = f"{told}; {first.n} labelled rows are too few to say what it loses"
        return Shrunk(found.bytes, found.error, notes=(few,))
    lost = paired(answers[1], answers[0], [scorer], **how)[scorer.name]
    bounds = f"{signed(scorer, lost.low)} to {signed(scorer, lost.high)}"
    note = (
        f"{told}; on {first.n:,} labelled rows its {scorer.title} is "
        f"{amount(scorer, second.value)}, the whole graph's {amount(scorer, first.value)}: "
        f"{difference(scorer, lost.difference)} ({bounds}; {probability(lost.p)})"
    )
    return Shrunk(found.bytes, found.error, scorer.name, first, second, lost, (note,))
