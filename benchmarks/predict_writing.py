"""Answers to many prompts of mixed lengths, against padded batches of `generate`: tokens a second.

    python benchmarks/predict_writing.py --out benchmarks/results/predict-writing-cpu.json
    python benchmarks/predict_writing.py --device cuda --shape 28,1024,16,8,3072,151936

What `tenon predict` writes answers with (`tenon.evaluate.together`) against `generate` of
transformers, which gets the same prompts sorted by length, in padded batches of the size at which
it is fastest here. Prompts and answers have lengths of their own (lognormal); nobody knows how long
an answer will be before it ends, so a padded batch runs until its longest has ended. Tokens that
were not asked for do not count. Random weights do for a base, as they cost the same.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from decoding import folder_of
from served_adapters import note
from transformers import GenerationConfig
from transformers.utils import logging

from tenon.evaluate.decoding import Decoding
from tenon.evaluate.running import Prompt, Running
from tenon.evaluate.sampling import Sampling
from tenon.evaluate.together import limits
from tenon.model import trunk as trunks
from tenon.model.base import locate
from tenon.model.rack import Rack
from tenon.model.settings import ModelSettings
from tenon.model.trunk import Trunk

SEED, SPREAD = 11, 0.8
Row = tuple[tuple[int, ...], int]
"""Ids of a prompt, and tokens of its answer."""


def lengths(chance: random.Random, mean: float, most: int) -> int:
    """Draw a length: lognormal with this mean, between 4 and `most`."""
    drawn = chance.lognormvariate(math.log(mean) - SPREAD**2 / 2, SPREAD)
    return int(min(max(drawn, 4), most))


def rows_of(options: Any, vocabulary: int) -> list[Row]:
    """Make up prompts and how long their answers are."""
    chance, found = random.Random(SEED), []
    for _ in range(options.prompts):
        length = lengths(chance, options.prompt, 512)
        ids = tuple(chance.randrange(5, vocabulary) for _ in range(length))
        found.append((ids, lengths(chance, options.new, options.most)))
    return found


def theirs(trunk: Trunk, rows: Sequence[Row], size: int) -> int:
    """Write by `generate`, in padded batches of rows of like length; give the steps it takes."""
    whole: Any = trunk.whole
    ordered, steps = sorted(rows, key=lambda row: len(row[0])), 0
    for start in range(0, len(ordered), size):
        part = ordered[start : start + size]
        longest, new = max(len(ids) for ids, _ in part), max(most for _, most in part)
        ids = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids, _ in part])
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in part])
        config = GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False,
                                  pad_token_id=0, use_cache=True)  # fmt: skip
        with torch.inference_mode():
            whole.generate(input_ids=ids.to(trunk.device), attention_mask=mask.to(trunk.device),
                           generation_config=config)  # fmt: skip
        steps += new
    return steps


def ours(trunk: Trunk, rows: Sequence[Row], tokens: int) -> int:
    """Write as `tenon predict` does; give the passes that it takes."""
    longest = max(len(ids) + most for ids, most in rows)
    decoding = Decoding(Rack(trunk), limits(trunk.device.type, longest, tokens),
                        inside=nullcontext, fault="")  # fmt: skip
    waiting = [Running(None, Prompt(ids, Sampling(max_new_tokens=most)), None)
               for ids, most in sorted(rows, key=lambda row: len(row[0]))]  # fmt: skip
    passes = 0
    while waiting or decoding.rows:
        while waiting and decoding.room(waiting[-1].prompt):
            decoding.begin(waiting.pop())
        decoding.step()
        passes += 1
    assert not decoding.why, decoding.why
    return passes


def timed(device: str, write: Callable[[], int]) -> tuple[float, int]:
    """Give seconds, of this process' one thread on a CPU, and steps."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    begun = clock()
    steps = write()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - begun, steps


def measured(options: Any, trunk: Trunk, machine: dict[str, Any]) -> dict[str, Any]:
    """Find the best size of padded batches, and measure it and ours in turns."""
    rows = rows_of(options, trunk.model.config.vocab_size)
    asked = sum(most for _, most in rows)
    told: dict[str, Any] = {"prompts": len(rows), "tokens_asked": asked,
                            "prompt_tokens": sum(len(ids) for ids, _ in rows)}  # fmt: skip
    some = rows[: options.search]
    theirs(trunk, some[:8], 8)
    ours(trunk, some[:64], options.tokens)
    rates = {size: sum(most for _, most in some)
             / timed(options.device, lambda size=size: theirs(trunk, some, size))[0]
             for size in options.sizes}  # fmt: skip
    best = max(rates, key=lambda size: rates[size])
    told |= {"sizes": rates, "best_size": best, "rounds": []}
    for _ in range(options.rounds):
        took = {
            "generate": timed(options.device, lambda: theirs(trunk, rows, best)),
            "tenon": timed(options.device, lambda: ours(trunk, rows, options.tokens)),
        }
        told["rounds"].append(
            {way: {"tokens_per_second": asked / seconds, "passes": steps}
             for way, (seconds, steps) in took.items()}
            | {"times": took["generate"][0] / took["tenon"][0]}
        )  # fmt: skip
        print(json.dumps(told["rounds"][-1]), flush=True)
        times = [each["times"] for each in told["rounds"]]
        told["times"] = {"min": min(times), "median": statistics.median(times), "max": max(times)}
        if options.out:
            note(options.out, {"machine": machine, **told})
    return told


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="6,384,6,2,1024,16000",
                        help="layers,hidden,heads,pairs,inner,vocabulary of a Qwen3")  # fmt: skip
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--prompt", type=float, default=48, help="mean tokens of a prompt")
    parser.add_argument("--new", type=float, default=48, help="mean tokens of an answer")
    parser.add_argument("--most", type=int, default=256, help="most tokens of an answer")
    parser.add_argument("--tokens", type=int, default=16_384, help="held at once by ours")
    parser.add_argument("--sizes", type=int, nargs="*", default=[16, 32, 64, 128])
    parser.add_argument("--search", type=int, default=256, help="prompts to find the size with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable_progress_bar()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            cwd=Path(__file__).parent, check=False).stdout.strip()  # fmt: skip
    with tempfile.TemporaryDirectory() as cache:
        folder = folder_of(options.shape, Path(cache))
        trunk = trunks.load(locate(str(folder)), ModelSettings(device=options.device), writes=True)
        card = torch.cuda.get_device_name() if options.device == "cuda" else ""
        told = {name: str(value) for name, value in vars(options).items()}
        machine = {"commit": commit, "torch": torch.__version__, "card": card,
                   "parameters": trunk.parameters, "options": told}  # fmt: skip
        print(json.dumps(measured(options, trunk, machine)["times"]))


if __name__ == "__main__":
    main()
