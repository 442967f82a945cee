"""Attention within packed rows, forward and back: our kernels and torch's variable-length one.

    python benchmarks/attention.py --out benchmarks/results/attention-h100.json

One layer in bfloat16 with about 6,400 tokens of random states: microseconds of the card, of calls
that are recorded as a CUDA graph, the least of three turns. Torch's time has in it the sums over
heads that share keys. With --tiles, other tiles than those of the table as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenon.model import attention_kernel
from tenon.model.attention_kernel import TILES, Tiles
from tenon.model.attention_math import Attended
from tenon.model.packing import VARLEN, Borders, _options

TOKENS, CALLS, TURNS, SPREAD = 6400, 10, 3, 0.8
HEADS = (
    (16, 8, 128), (16, 16, 128), (24, 8, 128), (32, 8, 128), (16, 2, 128), (16, 8, 64),
    (16, 16, 64), (32, 8, 64), (14, 2, 64), (16, 8, 32),
)  # fmt: skip
"""Query heads, key heads, channels of a head."""
LONGEST = {14: 4096, 50: 4096, 200: 1024, 800: 4096}
"""Tokens of a row at most, by the mean of all."""
OTHERS: dict[str, tuple[Tiles, ...]] = {
    "forward": ((64, 32, 4, 2), (64, 32, 4, 3), (64, 64, 4, 2), (64, 64, 4, 3), (128, 64, 8, 3)),
    "queries": ((64, 32, 4, 2), (64, 32, 4, 3), (64, 64, 4, 2), (64, 64, 4, 3), (128, 64, 8, 3)),
    "keys": ((32, 64, 4, 2), (32, 64, 4, 3), (64, 64, 4, 2), (64, 64, 8, 2), (64, 128, 8, 2)),
}


def rows_of(mean: int) -> list[int]:
    """Draw the lengths of the rows of a step."""
    random = np.random.default_rng(7)
    lengths: list[int] = []
    while sum(lengths) < TOKENS:
        drawn = random.lognormal(np.log(mean) - SPREAD * SPREAD / 2, SPREAD)
        lengths.append(int(np.clip(drawn, 4, LONGEST[mean])))
    return lengths


def microseconds(call: Callable[[], object]) -> float:
    """Time a call as it is replayed."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    graph.replay()
    times = []
    for _ in range(TURNS):
        begun, done = (torch.cuda.Event(enable_timing=True) for _ in "ab")
        begun.record()
        graph.replay()
        done.record()
        torch.cuda.synchronize()
        times.append(begun.elapsed_time(done) / CALLS * 1e3)
    return min(times)


class Case:
    """A layer's states and the ways to attend with them."""

    def __init__(self, rows: list[int], heads: tuple[int, int, int]) -> None:
        query, key, channels = heads
        states = [
            torch.randn(sum(rows), count, channels, device="cuda").bfloat16()
            for count in (query, key, key, query)
        ]
        self.states, self.given = [each.requires_grad_() for each in states[:3]], states[3]
        self.borders, self.scaling = Borders(tuple(rows), states[0].device), channels**-0.5

    def torchs(self) -> torch.Tensor:
        starts, longest = self.borders.starts_B1, max(1024, self.borders.longest)
        options = _options(None, self.scaling, causal=True)
        return VARLEN(*self.states, starts, starts, longest, longest, **options)

    def ours(self) -> Any:
        return Attended.apply(*self.states, self.borders.spans, self.scaling, 0)

    def timed(self, attend: Callable[[], torch.Tensor]) -> dict[str, float]:
        def both() -> Any:
            return torch.autograd.grad(attend(), self.states, self.given)

        assert all(bool(each.any()) for each in both())
        with torch.no_grad():
            forward = microseconds(attend)
        return {"forward": forward, "both": microseconds(both)}

    def tiled(self, kernel: str, tiles: Tiles) -> float:
        """Time one of our kernels with tiles of other sizes."""
        states = tuple(each.detach() for each in self.states)
        spans = self.borders.spans
        how = (spans, self.scaling * attention_kernel.LOG2E.value, 0)
        with torch.no_grad():
            made = attention_kernel.attended(states, spans, self.scaling, 0)
            table = TILES[states[0].shape[2]]
            back = attention_kernel._to_queries  # noqa: SLF001
            delta = back(self.given, states, made, how, table[1])[1]
            calls: dict[str, Callable[[], object]] = {
                "forward": lambda: attention_kernel.attended(states, spans, self.scaling, 0, tiles),
                "queries": lambda: back(self.given, states, made, how, tiles),
                "keys": lambda: attention_kernel._to_keys(  # noqa: SLF001
                    self.given, states, (made[1], delta), how, tiles
                ),
            }
            return microseconds(calls[kernel])


def main() -> None:
    """Time all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=len(HEADS), help="so many of the kinds")
    parser.add_argument("--tiles", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = {str(mean): rows_of(mean) for mean in LONGEST} | {"4096 and 2304": [4096, 2304]}
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__, "layers": [],
    }  # fmt: skip
    for heads in HEADS[: options.heads]:
        for name, lengths in rows.items():
            case = Case(lengths, heads)
            line: dict[str, Any] = {"heads": heads, "rows": name, "tokens": sum(lengths)}
            line |= {"torch": case.timed(case.torchs), "ours": case.timed(case.ours)}
            line["ratio"] = line["torch"]["both"] / line["ours"]["both"]
            print(heads, name, {key: line[key] for key in ("torch", "ours", "ratio")}, flush=True)
            if options.tiles:
                line["tiles"] = [
                    [kernel, tiles, case.tiled(kernel, tiles)]
                    for kernel, sizes in OTHERS.items()
                    for tiles in sizes
                ]
                for each in line["tiles"]:
                    print("   ", *each, flush=True)
            found["layers"].append(line)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
