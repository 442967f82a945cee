"""What a rate that `tenon plan --find-lr` suggests gives, beside the kind's own rate.

    python benchmarks/find_lr.py reviews.csv data.test=test.csv train.epochs=2 --seeds 1 2

Each seed tries rates, then trains twice: at the kind's own rate, and at the one suggested.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

import tenon
from tenon.verbs.target import planned


def main() -> None:
    """Measure, and print a line of JSON for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    given = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    for seed in given.seeds:
        settings = [*given.settings, f"seed={seed}"]
        begun = time.perf_counter()
        preview = getattr(tenon, "plan")(given.data, settings, find_lr=True)  # noqa: B009
        seconds = time.perf_counter() - begun
        rates = preview.rates
        told = {"steepest": rates.steepest, "lowest": rates.lowest, "steps": len(rates.rates)}
        print(json.dumps({"seed": seed, "seconds": round(seconds, 1), **told}), flush=True)
        for rate in (rates.default, rates.suggestion):
            if rate is not None:
                print(json.dumps(trained(given.data, settings, rate)), flush=True)


def trained(data: str, settings: list[str], rate: float) -> dict[str, object]:
    """Train at a rate; give what test says and the mean loss of the last tenth of the steps."""
    (plan,) = planned(data, [*settings, f"train.learning_rate={rate}"])
    with tempfile.TemporaryDirectory() as folder:
        run = getattr(tenon, "train")(plan, Path(folder) / "run", preflight="off")  # noqa: B009
    report = run.report
    losses = [loss for _, loss in report.learning_curve["loss"]]
    last = losses[-max(1, len(losses) // 10) :]
    scores = {name: round(each.value, 4) for name, each in report.metrics[report.part].items()}
    return {"rate": rate, "loss": round(sum(last) / len(last), 4), **scores}


if __name__ == "__main__":
    main()
