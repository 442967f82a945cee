"""Probed: what a linear probe on the frozen base says of the labels of a check.

Legend: R rows, D features.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from torch import cuda

from tenon.core.errors import Faults
from tenon.core.progress import Progress
from tenon.data.example import Example
from tenon.data.findings import Finding
from tenon.data.load import plan_route
from tenon.data.settings import Columns
from tenon.data.survey import label_order
from tenon.evaluate.cross_fit import FOLDS, cross_fit
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.label_errors import label_errors
from tenon.evaluate.learnability import learnability, learning_curve
from tenon.evaluate.probe import Floats
from tenon.model import trunk as trunks
from tenon.model.base import locate, trained_pooling
from tenon.model.head import Head
from tenon.model.models import model_for
from tenon.plan import measure
from tenon.plan.plan import Plan
from tenon.text.renderers import RENDERINGS, Reading
from tenon.text.tokenizer import load_tokenizer, token_limit
from tenon.text.tokens import Tokens, collect
from tenon.verbs.workspace import load_trunk

MOST_ROWS = 20_000
FEWEST_ROWS = 10 * FOLDS
MOST_BYTES = 4 << 30
"""Weights of a base that is run without a GPU."""
LARGE = 500_000_000
"""Parameters from which on a base reads a tenth of the rows, as it takes its time."""


def probed(plan: Plan, columns: Columns, progress: Progress | None = None) -> Iterator[Finding]:
    """Find doubtful labels, and whether more rows would help.

    Of more than 20,000 rows of train a seeded sample is looked at.

    Args:
        plan: a classification with one label a row.
        columns: which column holds what.
        progress: told of the stages.

    Raises:
        FileError: the base is not there.
    """
    found = locate(plan.base, plan.model.revision)
    if too_large(found.folder):
        what = f"labels were not probed: the base is larger than {MOST_BYTES >> 30} GiB, and no "
        what += "GPU is here; name a smaller one with --base"
        yield Finding("label-errors-unseen", "note", 1, what)
        return
    trunk = load_trunk([plan], found)
    large = sum(each.numel() for each in trunk.model.parameters()) >= LARGE
    most = MOST_ROWS // 10 if large else MOST_ROWS
    examples, total = _sampled(plan, columns, most)
    labels = tuple(label_order({str(example.gold) for example in examples}))
    if len(examples) < FEWEST_ROWS or len(labels) < 2:
        what = f"labels were not probed: {len(examples):,} rows whose labels recur are too few"
        yield Finding("label-errors-unseen", "note", len(examples), what)
        return
    tokens = _tokens(plan, examples, labels, trunk)
    features_RD = _features(plan, trunk, tokens, progress)
    if progress:
        progress.start("linear probes", None)
    gold_R = tokens.labels_R
    ids = [example.id for example in examples]
    crossed = cross_fit(features_RD, gold_R, len(labels), ids, seed=plan.seed)
    origins = [example.origin for example in examples]
    doubtful = label_errors(crossed.log_probs_RL, gold_R, labels, origins)
    if doubtful is not None:
        yield _of_a_sample(doubtful, len(examples), total)
    yield learnability(learning_curve(features_RD, gold_R, labels, crossed, seed=plan.seed))


def too_large(folder: Path) -> bool:
    """Tell whether a base takes too long to read some thousand rows on this machine."""
    weights = (*folder.glob("*.safetensors"), *folder.glob("*.bin"))
    return sum(file.stat().st_size for file in weights) > MOST_BYTES and not cuda.is_available()


def _of_a_sample(finding: Finding, looked_at: int, total: int) -> Finding:
    if looked_at == total:
        return finding
    told = f"{finding.what}; {looked_at:,} of {total:,} rows were looked at"
    return replace(finding, what=told)


def _sampled(plan: Plan, columns: Columns, most: int) -> tuple[list[Example], int]:
    """Give rows of train whose labels recur among them, at most so many, and how many there are.

    Every row is as likely to be taken; those that are stand in the order of the file.
    """
    route = plan_route(plan.data, plan.seed)
    random, seen = Random(plan.seed), 0
    heap: list[tuple[float, int, Example]] = []
    for example in route.judged("train", columns, Faults()):
        if example.gold is None:
            continue
        seen += 1
        entry = (random.random(), seen, example)
        if len(heap) < most:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    chosen = [example for _, _, example in sorted(heap, key=lambda entry: entry[1])]
    counts = Counter(example.gold for example in chosen)
    return [example for example in chosen if counts[example.gold] > 1], seen


def _tokens(
    plan: Plan, examples: list[Example], labels: tuple[str, ...], trunk: trunks.Trunk
) -> Tokens:
    tokenizer = load_tokenizer(locate(plan.base, plan.model.revision).folder)
    limit = measure.limit(plan, token_limit(tokenizer, trunks.positions(trunk)))
    rendering = RENDERINGS.get(plan.data.task)
    reading = Reading(labels, limit, plan.text.cut, "rows")
    return collect(examples, rendering.make(tokenizer, reading))


def _features(plan: Plan, trunk: trunks.Trunk, tokens: Tokens, progress: Progress | None) -> Floats:
    """Give what a head would read of each row, [R, D]."""
    folder = locate(plan.base, plan.model.revision).folder
    trained = trained_pooling(folder, decoder=trunk.decoder)
    chosen = plan.model.pooling
    pooling = trained.pooling if chosen == "auto" else chosen
    normalize = trained.normalize and trained.pooling == pooling
    head = Head(trunk.hidden_size, 1, normalize=normalize, bias=False)
    bare: Any = model_for(plan.data.task, trunk, None, head, pooling)
    if progress:
        progress.start("features of train", len(tokens))
    return EXAMS.get(plan.data.task).features(
        bare, tokens, batch_tokens=plan.evaluate.batch_tokens, progress=progress
    )
