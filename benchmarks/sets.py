"""Rows of the public sets that several benchmarks share, in Tenon's forms."""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEED = 7


def texts(data: Path) -> Iterator[tuple[str, str, list[dict[str, Any]], list[dict[str, Any]]]]:
    """Yield name, task, rows of train and rows of test of each set."""
    for name, folder in (("banking", "banking77"), ("films", "sst2")):
        parts = []
        for part in ("train", "test"):
            suffix = "csv" if folder == "banking77" else "tsv"
            with (data / folder / f"{part}.{suffix}").open(encoding="utf-8") as file:
                plain = suffix == "tsv"
                quoting = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
                rows = list(csv.reader(file, delimiter="\t" if plain else ",", quoting=quoting))
            pairs = [(row[0], row[1]) for row in rows if len(row) == 2 and row[1] != "category"]
            if folder == "sst2":
                pairs = [p if p[1] in "01" else p[::-1] for p in pairs]
            parts.append([{"text": text, "label": label} for text, label in pairs])
        yield name, "text-classification", *parts
    clinc = json.loads((data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    yield (
        "intents",
        "text-classification",
        *(
            [{"text": text, "label": label} for text, label in clinc[part]]
            for part in ("train", "test")
        ),
    )
    with zipfile.ZipFile(data / "chnsenticorp" / "chnsenticorp.zip") as archive:
        names = {Path(name).stem: name for name in archive.namelist() if name.endswith(".tsv")}
        parts = []
        for part in ("train", "test"):
            lines = io.TextIOWrapper(archive.open(names[part]), encoding="utf-8")
            rows = [line.rstrip("\n").split("\t", 1) for line in lines]
            parts.append([{"text": r[1], "label": r[0]} for r in rows if r[0] in ("0", "1")])
    yield "reviews", "text-classification", *parts
    slots = [json.loads((data / "restaurant8k" / f"{part}.json").read_text(encoding="utf-8"))
             for part in ("train_2", "test")]  # fmt: skip
    yield "slots", "token-classification", *([_spans(row) for row in part] for part in slots)
    yield "kinds", "multi-label-classification", *([_kinds(row) for row in part] for part in slots)
    yield (
        "entities",
        "token-classification",
        *(
            list(_sentences(data / "wnut17" / name))
            for name in ("wnut17train.conll", "emerging.test.annotated")
        ),
    )
    gsm8k = [(data / "gsm8k" / f"{part}.jsonl").read_text(encoding="utf-8").split("\n")
             for part in ("train", "test")]  # fmt: skip
    yield "steps", "text-regression", *([_steps(line) for line in part if line] for part in gsm8k)


def _spans(row: dict[str, Any]) -> dict[str, Any]:
    spans = [
        {"start": s["valueSpan"].get("startIndex", 0), "end": s["valueSpan"]["endIndex"],
         "label": s["slot"]} for s in row.get("labels", [])
    ]  # fmt: skip
    return {"text": row["userInput"]["text"], "spans": spans}


def _kinds(row: dict[str, Any]) -> dict[str, Any]:
    found = sorted({span["slot"] for span in row.get("labels", [])})
    return {"text": row["userInput"]["text"], "labels": found}


def _steps(line: str) -> dict[str, Any]:
    row = json.loads(line)
    return {"text": row["question"], "score": row["answer"].count("<<") + 0.5}


def _sentences(path: Path) -> Iterator[dict[str, Any]]:
    tokens: list[tuple[str, str]] = []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        cells = line.split("\t")
        if line.strip() and len(cells) > 1:
            tokens.append((cells[0], cells[1]))
        elif tokens:
            yield {"tokens": [t for t, _ in tokens], "tags": [tag for _, tag in tokens]}
            tokens = []


def prepare(data: Path, out: Path, rows: int, test_rows: int) -> dict[str, str]:
    """Write a sample of at most so many rows of each set; give the sets' tasks."""
    tasks: dict[str, str] = {}
    for name, task, train, test in texts(data):
        tasks[name] = task
        drawn = random.Random(SEED)
        for part, held, most in (("train", train, rows), ("test", test, test_rows)):
            usable = [row for row in held if str(row.get("text", "-")).strip()]
            chosen = drawn.sample(usable, min(most, len(usable)))
            if part == "train":
                known = {str(row.get("label")) for row in chosen}
            else:
                chosen = [row for row in chosen if str(row.get("label")) in known]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
            (out / f"{name}.{part}.jsonl").write_text(lines, encoding="utf-8")
    return tasks
