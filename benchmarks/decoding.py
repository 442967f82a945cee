"""Continuous batching against batches that `generate` writes, in tokens per second.

    python benchmarks/decoding.py --base MODEL --rows 32 --new 64 --adapters 8

Rows of like lengths have prompts and answers of the same length; of unlike ones, prompts of 4 to
128 tokens and answers of an eighth to twice as many tokens, so that a batch of `generate` waits for
its longest answer. Tokens that nobody asked for do not count. With adapters, each row has one of
them in turn: `generate` writes adapter after adapter, what is ours writes all at once. Random
weights do for a base, as they cost the same: `--shape` is of a Qwen3.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen3Config
from transformers.utils import logging

from tenon.adapters import pack
from tenon.adapters.kind import settle
from tenon.adapters.weights import take
from tenon.evaluate.decoding import Decoding
from tenon.evaluate.generate import generate
from tenon.evaluate.running import Prompt, Running
from tenon.evaluate.sampling import Sampling
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.rack import Rack
from tenon.model.settings import ModelSettings
from tenon.model.stacked import stacked
from tenon.model.writer import Writer
from tenon.serve.settings import EngineSettings

KINDS = ({"kind": "lora.v1"}, {"kind": "bottleneck.v1", "preset": "pfeiffer"})


def folder_of(shape: str, cache: Path) -> Path:
    """Write a Qwen3 with random weights."""
    layers, hidden, heads, pairs, inner, vocabulary = map(int, shape.split(","))
    config = Qwen3Config(num_hidden_layers=layers, hidden_size=hidden, intermediate_size=inner,
                         num_attention_heads=heads, num_key_value_heads=pairs, pad_token_id=0,
                         head_dim=128 if hidden >= 1024 else hidden // heads,
                         vocab_size=vocabulary, max_position_embeddings=4096,
                         tie_word_embeddings=True)  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(cache)
    return cache


def rack_of(folder: Path, device: str, adapters: int, *, slots: bool = False) -> Rack:
    """Load a base with adapters that have been moved from where they begin."""
    trunk = trunks.load(locate(str(folder)), ModelSettings(device=device), writes=True)
    rack = Rack(trunk)
    for n in range(adapters):
        name, settings = f"a{n}", settle(f"a{n}", KINDS[n % 2])
        held = attach(trunk, settings, seed=n)
        config = held.peft.peft_config["default"]
        weights = {key: tensor.clone() for key, tensor in take(held.peft).items()}
        rack.keep(name, settings.kind, held.peft.eval())
        if slots:
            # `generate` has the adapter in its layers, and what is ours in a slot.
            adapter = pack.Adapter(name, settings.kind, settings, config, weights, {}, None)
            made = stacked(trunk.model, adapter)
            pool = rack.slots.pool(made.form)
            pool.resize(pool.capacity + 1)
            rack.slots.put(name, made)
    return rack


def rows_of(rack: Rack, rows: int, new: int, *, like: bool) -> list[tuple[str | None, tuple, int]]:
    """Make up prompts, each with its adapter and the tokens of its answer."""
    chance, vocabulary = random.Random(5), rack.trunk.model.config.vocab_size
    names = list(rack.fittings) or [None]
    found = []
    for n in range(rows):
        length = 32 if like else chance.randint(4, 128)
        most = new if like else chance.randint(max(1, new // 8), 2 * new)
        ids = tuple(chance.randrange(5, vocabulary - 1) for _ in range(length))
        found.append((names[n % len(names)], ids, most))
    return found


def theirs(rack: Rack, rows, at_once: int) -> None:
    """Write with `generate`: adapter after adapter, in batches of rows of like length."""
    for name in dict.fromkeys(owner for owner, _, _ in rows):
        own = sorted((r for r in rows if r[0] == name), key=lambda row: (row[2], len(row[1])))
        for start in range(0, len(own), at_once):
            part = own[start : start + at_once]

            def write(peft, part=part):
                generate(Writer(rack.trunk, peft).eval(), [ids for _, ids, _ in part],
                         stop_ids=(rack.trunk.model.config.vocab_size - 1,),
                         max_new_tokens=max(most for _, _, most in part),
                         batch_tokens=1 << 30)  # fmt: skip

            if name is None:
                write(None)
                continue
            with rack.only(name) as peft:
                write(peft)


def ours(rack: Rack, decoding: Decoding, rows, passes: list[int]) -> None:
    """Write with continuous batching; the adapters stay in."""
    with rack.all():
        waiting = [
            Running(owner, Prompt(ids, Sampling(max_new_tokens=most)), str)
            for owner, ids, most in rows
        ]
        while waiting or decoding.rows:
            while waiting and decoding.room(waiting[0].prompt):
                decoding.begin(waiting.pop(0))
            decoding.step()
            passes[0] += 1


def measured(rack: Rack, rows, options: argparse.Namespace) -> dict[str, object]:
    """Write the rows in both ways, in turns; give tokens per second, the median of the turns."""
    wall = options.wall or options.device == "cuda"
    clock = time.perf_counter if wall else time.process_time
    settings = EngineSettings(batch_rows=options.at_once, cache_tokens=1 << 16)
    decoding, passes = Decoding(rack, settings, inside=contextlib.nullcontext), [0]
    ways = {
        "generate": lambda: theirs(rack, rows, options.at_once),
        "decoding": lambda: ours(rack, decoding, rows, passes),
    }
    tokens, found = sum(most for _, _, most in rows), {way: [] for way in ways}
    for _ in range(options.turns):
        for way, write in ways.items():
            start = clock()
            write()
            if options.device == "cuda":
                torch.cuda.synchronize()
            found[way].append(tokens / (clock() - start))
    rates = {way: round(statistics.median(each), 1) for way, each in found.items()}
    times = round(rates["decoding"] / rates["generate"], 2)
    return {"tokens": tokens, "passes": passes[0] // options.turns, **rates, "times": times}


def main() -> None:
    """Measure, and print one JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path)
    parser.add_argument("--shape", default="28,1024,16,8,3072,151936",
                        help="layers,hidden,heads,pairs,inner,vocabulary")  # fmt: skip
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--adapters", type=int, nargs="*", default=[0, 8])
    parser.add_argument("--slots", action="store_true", help="put adapters into slots")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--wall", action="store_true", help="clock on the wall, not of the process")
    options = parser.parse_args()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as cache:
        folder = options.base or folder_of(options.shape, Path(cache))
        for adapters in options.adapters:
            rack = rack_of(folder, options.device, adapters, slots=options.slots)
            for like in (True, False):
                rows = rows_of(rack, options.rows, options.new, like=like)
                found = measured(rack, rows, options)
                print(json.dumps({"adapters": adapters, "like": like, **found}), flush=True)


if __name__ == "__main__":
    main()
