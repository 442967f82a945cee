"""Train the same adapters from several seeds with a GPU's own kernels and without them.

    python benchmarks/blocks.py --shared ../shared --out runs/blocks --seeds 1,2,3 --at-once 6
    python benchmarks/blocks.py --out runs/blocks --result result.json

Whole runs of `tenon train` in bfloat16, every setting its default but the data, the seed and
`model.kernels`: "auto" computes blocks in few kernels and replays CUDA graphs, "plain" neither.
Runs go side by side, as only what they learn is compared: of one seed they see the same rows in
the same order. The second form puts together what the runs gave.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
WAYS = ("plain", "auto")
BASE = "models/tenon-small-lm"
CASES = {
    "translation": ["data.task=translation", "evaluate.written_rows=500",
                    "evaluate.max_new_tokens=64", "train.epochs=1"],
    "intents": ["data.task=text-classification", "train.epochs=2",
                "evaluate.against=['linear_probe']"],
}  # fmt: skip
SCORES = {"translation": ("bits_per_byte", "chrf"), "intents": ("accuracy", "log_loss")}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("runs/blocks"))
    parser.add_argument("--only", default=",".join(CASES), help="cases")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    parser.add_argument("--rows", type=int, default=8000, help="of train")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--result", type=Path, help="write what the runs gave, run none")
    parser.add_argument("settings", nargs="*", help="further settings of every run")
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> None:
    """Write the rows of both cases: by book for translation, the official parts of CLINC150."""
    from sets import prepare as classes
    from tasks import Places, classical

    shared = options.shared.resolve()
    classes(shared / "data", options.out, options.rows, 2000)
    places = Places(shared, options.out)
    places.made.mkdir(parents=True, exist_ok=True)
    classical(places)
    for part, most in (("train", options.rows), ("dev", 200), ("test", 2000)):
        lines = (places.made / f"classical.{part}.jsonl").read_text(encoding="utf-8").splitlines()
        step = max(1, len(lines) // most)
        text = "\n".join(lines[::step][:most]) + "\n"
        (options.out / f"translation.{part}.jsonl").write_text(text, encoding="utf-8")


def run(options: argparse.Namespace, case: str, seed: int, way: str) -> str:
    """Carry out one run in a process of its own; what was carried out before stays."""
    out = options.out / f"{case}-{seed}-{way}"
    if not (out / "report" / "report.json").exists():
        command = [
            sys.executable, "-c", "from tenon.cli import main; main()",
            "train", str(options.out / f"{case}.train.jsonl"),
            f"base={(options.shared / BASE).resolve()}", f"seed={seed}", f"model.kernels={way}",
            f"model.device={options.device}", "model.dtype=bfloat16", "data.dev=",
            f"data.test={options.out / f'{case}.test.jsonl'}", *CASES[case],
            *options.settings, "--out", str(out), "--quiet",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{out.name}: {done.stdout[-800:]}{done.stderr[-1500:]}"
    report = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    found = {name: held["value"] for name, held in report["metrics"]["test"].items()}
    return f"{out.name}: {found} {report['cost']['seconds']:.1f} s"


def summary(options: argparse.Namespace) -> dict[str, Any]:
    """Put the runs of each case together: scores of both ways, and their differences by seed."""
    found: dict[str, Any] = {}
    for case in CASES:
        held = {way: scores(options.out, case, way) for way in WAYS}
        seeds = sorted(set(held["plain"]) & set(held["auto"]))
        names = [n for n in SCORES[case] if seeds and n in held["plain"][seeds[0]]["scores"]]
        if len(seeds) < 2:  # noqa: PLR2004
            continue
        found[case] = {"seeds": seeds, "notes": held["auto"][seeds[0]]["notes"]}
        for name in names:
            pairs = [tuple(held[w][s]["scores"][name] for w in WAYS) for s in seeds]
            apart = [auto - plain for plain, auto in pairs]
            found[case][name] = {
                "plain": [p for p, _ in pairs],
                "auto": [a for _, a in pairs],
                "plain_standard_error": error([p for p, _ in pairs]),
                "difference": statistics.mean(apart),
                "difference_standard_error": error(apart),
            }
    return found


def scores(out: Path, case: str, way: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for file in sorted(out.glob(f"{case}-*-{way}/report/report.json")):
        report = json.loads(file.read_text(encoding="utf-8"))
        test = {name: held["value"] for name, held in report["metrics"]["test"].items()}
        seed = int(file.parent.parent.name.split("-")[1])
        found[seed] = {"scores": test, "notes": report.get("notes", [])}
    return found


def error(values: list[float]) -> float:
    """Give the standard error of a mean."""
    return statistics.stdev(values) / math.sqrt(len(values))


def main() -> None:
    options = arguments()
    options.out = options.out.resolve()
    if options.result:
        import torch

        where = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        told = {"machine": {"device": where, "torch": torch.__version__}, "cases": summary(options)}
        options.result.write_text(json.dumps(told, indent=1) + "\n")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / "translation.test.jsonl").exists():
        prepare(options)
    seeds = map(int, options.seeds.split(","))
    todo = [(c, s, w) for s in seeds for c in options.only.split(",") for w in WAYS]
    with ThreadPoolExecutor(options.at_once) as pool:
        for line in pool.map(lambda each: run(options, *each), todo):
            print(line, flush=True)


if __name__ == "__main__":
    main()
