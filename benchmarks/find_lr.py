"""What a rate that `tenon plan --find-lr` suggests gives on dev, beside the kind's own rate.

    python benchmarks/find_lr.py reviews.csv data.dev=dev.csv train.epochs=2 --seeds 1 2

Each seed tries rates as the command does, then trains at the kind's own rate and at the one that is
suggested, from the same first weights, without choosing a checkpoint on dev.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tenon.train.loop import Loop
from tenon.train.untouched import untouched
from tenon.verbs.target import planned
from tenon.verbs.train import build, course_of, dev_score, fit_baselines
from tenon.verbs.tried import tried
from tenon.verbs.workspace import Workspace, open_workspace


def main() -> None:
    """Measure, and print a line of JSON for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    given = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    for seed in given.seeds:
        measure(given.data, [*given.settings, f"seed={seed}"])


def measure(data: str, settings: Sequence[str]) -> None:
    """Try rates, and train at two of them."""
    (plan,) = planned(data, settings)
    begun = time.process_time()
    _, rates = tried(open_workspace(plan), find_lr=True)
    if rates is None:
        raise SystemExit("the preflight failed")
    told = {"steepest": rates.steepest, "lowest": rates.lowest, "steps": len(rates.rates)}
    say(plan.seed, cpu_seconds=time.process_time() - begun, **told, ended=rates.told)
    space = open_workspace(plan)
    for rate in (rates.default, rates.suggestion):
        if rate is not None:
            say(plan.seed, rate=rate, **trained(space, rate))
            space = open_workspace(plan)


def trained(space: Workspace, rate: float) -> dict[str, float]:
    """Train at a rate; give the scores on dev, and the mean loss of the last tenth of the steps."""
    model, _ = build(space, None if space.writes else fit_baselines(space))
    settings = space.plan.train.model_copy(update={"learning_rate": rate})
    losses: list[float] = []

    class Told:
        """Keeps the losses."""

        def start(self, what: str, total: int | None, *, done: int = 0) -> None:
            """Take nothing in."""

        def advance(self, n: int, **fields: float) -> None:
            """Keep a loss."""
            losses.extend([fields["loss"]] if n else [])

    with tempfile.TemporaryDirectory() as folder, untouched(model):
        course = course_of(space, Path(folder), Told())
        Loop(model, space.tokens["train"], replace(course, settings=settings, score=None)).run()
        scores = dev_score(model, space)
    last = losses[-max(1, len(losses) // 10) :]
    return {"loss": sum(last) / len(last), **scores}


def say(seed: int, **fields: object) -> None:
    """Print a line."""
    short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in fields.items()}
    print(json.dumps({"seed": seed, **short}), flush=True)


if __name__ == "__main__":
    main()
