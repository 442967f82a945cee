"""Train LoRA on a GPU with Tenon and with PEFT + transformers.Trainer: speed, use, memory.

    python benchmarks/gpu_training.py --sizes 0.6,1.7 --rounds 3 --out result.json
    python benchmarks/gpu_training.py --sizes tiny --device cpu --rounds 1 --seconds 1

The base has the shape of a Qwen3 and random weights; rows have lognormal lengths of mean 200, of
which a part is learned; LoRA of rank 16 is on all linear layers. A step is of 32 rows, or of as
many real tokens. The ways take turns in one process and share one copy of the frozen base; ratios
are taken within a round. MFU counts 4 operations for each frozen weight and real token, of the
head for each learned token, against a product of two matrices measured in this process. Memory is
the most that was allocated in a turn, with the base and the adapter; ways that hold 8 rows at once
are told apart from those that hold a whole step. Gradients are asserted to be other than zero.
The file of results is written after every part.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

SHAPES = {
    "tiny": (2, 64, 4, 2, 16, 128, 512),
    "0.6": (28, 1024, 16, 8, 128, 3072, 151_936),
    "1.7": (28, 2048, 16, 8, 128, 6144, 151_936),
}
"""Layers, hidden, heads, heads of keys, channels of a head, inner, vocabulary."""
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA, ROWS, AT_ONCE, SEED, RATE = 16, 32, 32, 8, 7, 1e-4
MANY, EACH = 8, 1000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="0.6,1.7")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--mean", type=int, default=200, help="tokens of a row")
    parser.add_argument("--longest", type=int, default=1024)
    parser.add_argument("--ways", default="", help="some of them; all where left out")
    parser.add_argument("--profile", default="", help="ways of which a step is looked into")
    parser.add_argument("--joint", action="store_true", help="also eight adapters in one run")
    parser.add_argument("--deadline", type=float, default=1e9, help="begin nothing after it")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


OPTIONS = arguments()
BEGUN = time.perf_counter()

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from tenon.adapters.kind import settle  # noqa: E402
from tenon.adapters.lean import Lean  # noqa: E402
from tenon.model import writer as writers  # noqa: E402
from tenon.model.attach import attach  # noqa: E402
from tenon.model.base import Base  # noqa: E402
from tenon.model.compiled import compile_blocks  # noqa: E402
from tenon.model.fused import fuse  # noqa: E402
from tenon.model.rack import Rack  # noqa: E402
from tenon.model.recompute import recompute  # noqa: E402
from tenon.model.settings import ModelSettings  # noqa: E402
from tenon.model.trunk import Trunk, load  # noqa: E402
from tenon.model.writer import Writer  # noqa: E402
from tenon.text.tokens import SCHEMA, Tokens  # noqa: E402
from tenon.train.joint import Joint  # noqa: E402
from tenon.train.loop import Course, Loop  # noqa: E402
from tenon.train.settings import TrainSettings  # noqa: E402

CUDA = OPTIONS.device == "cuda"
DTYPE = torch.bfloat16
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def wait() -> None:
    if CUDA:
        torch.cuda.synchronize()


def log(*what: object) -> None:
    print(f"[{time.perf_counter() - BEGUN:5.0f}]", *what, flush=True)


@dataclass
class Turn:
    """What one way did in one turn: real tokens, learned ones, seconds, bytes at most."""

    tokens: int = 0
    learned: int = 0
    seconds: float = 0.0
    bytes: int = 0
    steps: int = 0


# ------------------------------------------------------------------ rows and bases


def rows_of(count: int, seed: int) -> list[tuple[list[int], list[float]]]:
    """Make up rows: ids, and 1 for each token that is learned."""
    random, spread = np.random.default_rng(seed), 0.8
    mean = math.log(OPTIONS.mean) - spread * spread / 2
    lengths = random.lognormal(mean, spread, count).astype(int).clip(8, OPTIONS.longest)
    found = []
    for length in lengths.tolist():
        read = int(length * random.uniform(0.2, 0.6))
        ids = random.integers(1, 500, length).tolist()
        found.append((ids, [0.0] * read + [1.0] * (length - read)))
    return found


def tokens_of(rows: list[tuple[list[int], list[float]]]) -> Tokens:
    count = len(rows)
    columns: dict[str, list[Any]] = {field.name: [None] * count for field in SCHEMA}
    columns |= {
        "id": [f"r{n}" for n in range(count)],
        "origin": [f"made.jsonl:{n + 1}" for n in range(count)],
        "text": [""] * count,
        "example": list(range(count)),
        "ids": [ids for ids, _ in rows],
        "cut": [0] * count,
        "targets": [weights for _, weights in rows],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    batch = pa.record_batch(arrays, schema=SCHEMA)
    return Tokens(pa.Table.from_batches([batch], schema=SCHEMA), OPTIONS.longest)


def config_of(size: str) -> transformers.Qwen3Config:
    layers, hidden, heads, pairs, channels, inner, vocabulary = SHAPES[size]
    return transformers.Qwen3Config(
        num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
        num_key_value_heads=pairs, head_dim=channels, intermediate_size=inner,
        vocab_size=vocabulary, max_position_embeddings=4096, tie_word_embeddings=True,
        pad_token_id=0,
    )  # fmt: skip


def folder_of(size: str, cache: Path) -> Path:
    """Write a base with random weights."""
    torch.manual_seed(0)
    with torch.device(OPTIONS.device):
        model = transformers.Qwen3ForCausalLM(config_of(size))
    model.to(DTYPE).save_pretrained(cache / size)
    return cache / size


class Setting:
    """The base, its rows, and what there is of the hardware."""

    def __init__(self, size: str, cache: Path) -> None:
        self.size = size
        self.folder = folder_of(size, cache)
        self.rows = rows_of(4096 if CUDA else 256, SEED)
        self.tokens = tokens_of(self.rows)
        self.trunk = self.load()
        self.shared = dict(self.trunk.whole.named_parameters())
        inside = self.trunk.model.layers.named_parameters()
        self.body = sum(p.numel() for _, p in inside if p.dim() == 2)
        self.head = self.trunk.output.weight.numel()
        self.peak = matmul()

    def load(self) -> Trunk:
        settings = ModelSettings(device=OPTIONS.device, dtype="bfloat16", batches="packed")
        return load(Base(self.size, self.folder), settings, writes=True)

    def fresh(self) -> Trunk:
        """Give a trunk of its own modules over the shared weights."""
        trunk = self.load()
        for name, parameter in trunk.whole.named_parameters():
            parameter.data = self.shared[name].data
        return trunk

    def used(self, turn: Turn) -> float:
        """Give the share of the measured product's rate that a turn has needed."""
        needed = 4 * (self.body * turn.tokens + self.head * turn.learned)
        return needed / turn.seconds / self.peak


def matmul() -> float:
    """Give the operations a second of a product of two large matrices."""
    n = 8192 if CUDA else 512
    a, b = (torch.randn(n, n, device=OPTIONS.device, dtype=DTYPE) for _ in "ab")
    for _ in range(5):
        a @ b
    rates = []
    for _ in range(3):
        wait()
        begun = time.perf_counter()
        for _ in range(10):
            a @ b
        wait()
        rates.append(2 * n**3 * 10 / (time.perf_counter() - begun))
    return max(rates)


@contextlib.contextmanager
def remembered(turn: Turn, owned: int) -> Iterator[None]:
    """Note the most bytes of a turn: what it took, and what its way holds between turns."""
    if not CUDA:
        yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    yield
    turn.bytes = torch.cuda.max_memory_allocated() - before + owned


def forget_accelerator() -> None:
    """Let the next way choose its number format anew; accelerate keeps one for a process."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
    GradientState._reset_state()  # noqa: SLF001


def renew(loops: Iterable[Loop]) -> None:
    """Give loops an accelerator as they had at first."""
    from accelerate import Accelerator

    forget_accelerator()
    for loop in loops:
        loop.accelerator = Accelerator(cpu=not CUDA, mixed_precision="no")


def bytes_of(tensors: Any) -> int:
    held = {t.data_ptr(): t.numel() * t.element_size() for t in tensors}
    return sum(held.values())


# ------------------------------------------------------------------ the ways


class WithTrainer:
    """PEFT and Trainer as in their documentation: 8 rows at once, 4 times a step, bf16."""

    def __init__(self, setting: Setting, *, grouped: bool = False, liger: bool = False) -> None:
        from peft import LoraConfig, get_peft_model

        trunk = setting.fresh()
        self.liger = None
        if liger:
            from liger_kernel.transformers import apply_liger_kernel_to_qwen3
            from transformers.models.qwen3 import modeling_qwen3 as modeling

            before = dict(vars(modeling))
            apply_liger_kernel_to_qwen3(model=trunk.whole)
            put = {n: each for n, each in vars(modeling).items() if before.get(n) is not each}
            self.liger = (modeling, {name: before[name] for name in put if name in before}, put)
            self.restore(ours=True)
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM")
        self.model = get_peft_model(trunk.whole, config)
        self.model.config.use_cache = False
        self.rows = [
            {"input_ids": ids, "labels": [i if w else -100 for i, w in zip(ids, ws, strict=True)]}
            for ids, ws in setting.rows
        ]
        self.grouped, self.turns = grouped, 0

    def restore(self, *, ours: bool) -> None:
        """Put the functions that liger replaces for all models in place, or the models' own."""
        if self.liger:
            modeling, own, theirs = self.liger
            for name, function in (own if ours else theirs).items():
                setattr(modeling, name, function)

    def take(self, seconds: float) -> Turn:
        from transformers import Trainer, TrainerCallback, TrainingArguments

        turn, seen, model, accumulated = Turn(), [], self.model, ROWS // AT_ONCE
        self.turns += 1

        class Clock(TrainerCallback):
            steps, warm = 0, 2

            def on_pre_optimizer_step(self, *_: object, **__: object) -> None:
                if self.steps == 0:
                    gradients = [p.grad for p in model.parameters() if p.requires_grad]
                    assert all(g is not None for g in gradients)
                    assert sum(float(g.abs().sum()) for g in gradients) > 0

            def on_step_end(self, _: object, __: object, control: Any, **___: object) -> None:
                self.steps += 1
                if self.steps == self.warm:
                    wait()
                    self.begun = time.perf_counter()
                elif self.steps > self.warm and time.perf_counter() - self.begun > seconds:
                    wait()
                    turn.seconds = time.perf_counter() - self.begun
                    turn.steps = self.steps - self.warm
                    control.should_training_stop = True

        def collate(rows: list[dict]) -> dict:
            longest = max(len(row["input_ids"]) for row in rows)
            fill = [longest - len(row["input_ids"]) for row in rows]
            learned = sum(label != -100 for row in rows for label in row["labels"])
            seen.append((sum(len(row["input_ids"]) for row in rows), learned))
            pairs = list(zip(rows, fill, strict=True))
            return {
                "input_ids": torch.tensor([r["input_ids"] + [0] * n for r, n in pairs]),
                "labels": torch.tensor([r["labels"] + [-100] * n for r, n in pairs]),
                "attention_mask": torch.tensor([[1] * (longest - n) + [0] * n for n in fill]),
            }

        grouping = {"train_sampling_strategy": "group_by_length"} if self.grouped else {}
        clock = Clock()
        settings = TrainingArguments(
            tempfile.mkdtemp(), per_device_train_batch_size=AT_ONCE, bf16=CUDA,
            gradient_accumulation_steps=accumulated, learning_rate=RATE, max_steps=100_000,
            lr_scheduler_type="constant", report_to=[], save_strategy="no", seed=self.turns,
            logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
            use_cpu=not CUDA, dataloader_pin_memory=CUDA, **grouping,
        )  # fmt: skip
        owned = bytes_of(self.model.parameters())
        self.restore(ours=False)
        forget_accelerator()
        with remembered(turn, owned):
            trainer = Trainer(
                model=self.model, args=settings, train_dataset=self.rows, data_collator=collate,
                callbacks=[clock],
            )  # fmt: skip
            trainer.pop_callback(transformers.trainer_callback.PrinterCallback)
            trainer.train()
        self.restore(ours=True)
        self.model.zero_grad(set_to_none=True)
        used = seen[clock.warm * accumulated : clock.steps * accumulated]
        turn.tokens, turn.learned = (sum(each) for each in zip(*used, strict=True))
        return turn


class WithTenon:
    """The same LoRA in Tenon's loop, with some of what makes it fast left out where told."""

    def __init__(
        self, setting: Setting, *, at_once: int = 1 << 14, peft: bool = False,
        scores: bool = False, compiled: bool = False, steps: int = 1, fused: bool = True,
        graphs: bool = True,
    ) -> None:  # fmt: skip
        trunk = setting.fresh()
        table = {"kind": "lora.v1", "rank": RANK, "alpha": ALPHA}
        held = attach(trunk, settle("bench", table), seed=1)
        count = sum(isinstance(module, Lean) for module in trunk.model.modules())
        assert count == 7 * trunk.model.config.num_hidden_layers
        if peft:
            as_peft(trunk.model)
        if compiled:
            compile_blocks(trunk.model)
        elif fused:
            log(fuse(trunk))
        # Until all sizes that are met often have been recorded.
        self.warm = 60 if graphs and CUDA else 2
        self.scores = scores
        self.model = Writer(trunk, held.peft)
        step = steps * ROWS * int(setting.tokens.lengths_R.mean())
        settings = train_settings(step, at_once)
        course = Course(
            Path(tempfile.mkdtemp()),
            "bench",
            SEED,
            settings,
            unrecorded="" if graphs else "left out",
        )
        forget_accelerator()
        self.loop = Loop(self.model, setting.tokens, course)
        self.model.train()
        self.batches = self.loop.batches()
        self.tokens = setting.tokens

    def gradients(self) -> dict[str, torch.Tensor]:
        """Give the gradients of the first step, before anything is learned."""
        with keeping_scores() if self.scores else contextlib.nullcontext():
            for batch in next(self.loop.batches()):
                self.loop.passes.passed(batch, 1000, torch.Tensor.backward)
        found = {name: p.grad.clone() for name, p in self.loop.parameters.items()}
        self.loop.optimizer.zero_grad(set_to_none=True)
        return found

    def step(self) -> Any:
        with keeping_scores() if self.scores else contextlib.nullcontext():
            batches = next(self.batches)
            result = self.loop.step(batches)
        assert result.norm > 0
        return result

    def take(self, seconds: float) -> Turn:
        turn = Turn()
        state = [t for s in self.loop.optimizer.state.values() for t in s.values()]
        owned = bytes_of([*self.model.parameters(), *state])
        renew([self.loop])
        with remembered(turn, owned):
            for _ in range(self.warm):
                self.step()
            self.warm = 2
            wait()
            begun = time.perf_counter()
            while time.perf_counter() - begun < seconds:
                result = self.step()
                turn.tokens += result.tokens
                turn.learned += result.targets
                turn.steps += 1
            wait()
            turn.seconds = time.perf_counter() - begun
        turn.bytes += self.loop.passes.bytes
        return turn


def train_settings(step: int, at_once: int) -> TrainSettings:
    return TrainSettings(
        epochs=1000, tokens_per_step=step, micro_batch_tokens=at_once, learning_rate=RATE,
        warmup=0.0, schedule="constant", metric="perplexity",
    )  # fmt: skip


def as_peft(model: Any) -> None:
    from peft.tuners.lora import Linear

    for module in model.modules():
        if type(module) is Lean:
            module.__class__ = Linear


@contextlib.contextmanager
def keeping_scores() -> Iterator[None]:
    """Compute scores again on the way back, as for a base that changes them."""
    before = writers._plain  # noqa: SLF001
    writers._plain = lambda *_: False  # noqa: SLF001
    try:
        yield
    finally:
        writers._plain = before  # noqa: SLF001


def plain(setting: Setting, **own: Any) -> WithTenon:
    """Give Tenon's loop without blocks in few kernels and without graphs."""
    return WithTenon(setting, fused=False, graphs=False, **own)


WAYS: dict[str, Callable[[Setting], Any]] = {
    "trainer": WithTrainer,
    "trainer_grouped": lambda s: WithTrainer(s, grouped=True),
    "packed": lambda s: plain(s, peft=True, scores=True),
    "packed_head": lambda s: plain(s, peft=True),
    "tenon_plain": lambda s: plain(s),
    "tenon_graphs": lambda s: WithTenon(s, fused=False),
    "tenon_fused": lambda s: WithTenon(s, graphs=False),
    "tenon": WithTenon,
    "tenon_compiled": lambda s: plain(s, compiled=True),
    "tenon_graphs_compiled": lambda s: WithTenon(s, compiled=True),
    "tenon_4_steps": lambda s: WithTenon(s, steps=4),
    "tenon_8_rows": lambda s: WithTenon(s, at_once=AT_ONCE * OPTIONS.mean),
    "liger": lambda s: WithTrainer(s, liger=True),
}


# ------------------------------------------------------------------ eight adapters


class Eight:
    """Eight adapters over one trunk, whose rows are their own."""

    def __init__(self, setting: Setting, *, again: bool) -> None:
        forget_accelerator()
        self.rack = Rack(setting.fresh())
        self.loops: dict[str, Loop] = {}
        table = {"kind": "lora.v1", "rank": RANK, "alpha": ALPHA}
        for n in range(MANY):
            held = attach(self.rack.trunk, settle(f"a{n}", table), seed=n)
            model = Writer(self.rack.trunk, held.peft)
            course = Course(
                Path(tempfile.mkdtemp()), f"a{n}", n, train_settings(EACH, 1 << 14), unrecorded=""
            )
            self.loops[f"a{n}"] = Loop(model, tokens_of(rows_of(512, n)), course)
            self.rack.keep(f"a{n}", "lora.v1", held.peft)
        log(fuse(self.rack.trunk))
        if again:
            recompute(self.rack.trunk)
        self.joint = Joint(self.rack, self.loops)
        self.batches = {name: loop.batches() for name, loop in self.loops.items()}
        self.setting = setting

    def owned(self, names: list[str]) -> int:
        tensors = list(self.rack.trunk.whole.parameters())
        for name in names:
            loop = self.loops[name]
            tensors += [*loop.parameters.values()]
            tensors += [t for s in loop.optimizer.state.values() for t in s.values()]
        return bytes_of(tensors)

    def together(self, steps: int) -> Turn:
        turn = Turn(steps=steps)
        with remembered(turn, self.owned(list(self.loops))):
            wait()
            begun = time.perf_counter()
            for _ in range(steps):
                given = {name: next(batches) for name, batches in self.batches.items()}
                results = self.joint.step(given)
                assert all(result.norm > 0 for result in results.values())
                turn.tokens += sum(result.tokens for result in results.values())
                turn.learned += sum(result.targets for result in results.values())
            wait()
            turn.seconds = time.perf_counter() - begun
        return turn

    def apart(self, steps: int) -> Turn:
        turn = Turn(steps=steps)
        with remembered(turn, self.owned(["a0"])):
            for name, loop in self.loops.items():
                with self.rack.only(name):
                    loop.model.train()
                    wait()
                    begun = time.perf_counter()
                    for _ in range(steps):
                        result = loop.step(next(self.batches[name]))
                        assert result.norm > 0
                        turn.tokens += result.tokens
                        turn.learned += result.targets
                    wait()
                    turn.seconds += time.perf_counter() - begun
        turn.bytes += self.loops["a0"].passes.bytes
        return turn


# ------------------------------------------------------------------ what is written


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


@dataclass
class Results:
    """All that was measured."""

    machine: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        if OPTIONS.out:
            OPTIONS.out.write_text(json.dumps(asdict(self), indent=1) + "\n")


def summary(setting: Setting, turns: dict[str, list[Turn]]) -> dict[str, Any]:
    base, found = turns.get("trainer", []), {}
    for name, held in turns.items():
        rates = [t.tokens / t.seconds for t in held]
        found[name] = {
            "tokens_per_second": spread(rates),
            "mfu": spread([setting.used(t) for t in held]),
            "peak_bytes": max(t.bytes for t in held),
            "turns": [asdict(t) for t in held],
        }
        paired = list(zip(rates, base, strict=False))
        if paired:
            found[name]["ratio_to_trainer"] = spread(
                [rate / (b.tokens / b.seconds) for rate, b in paired]
            )
            found[name]["memory_to_trainer"] = found[name]["peak_bytes"] / max(
                1, max(t.bytes for t in base)
            )
    return found


def profiled(way: WithTenon) -> dict[str, Any]:
    """Look into three steps: the kernels that take most, and how long the GPU had to wait."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if CUDA else [])
    way.step()
    wait()
    with profile(activities=kinds) as seen:
        begun = time.perf_counter()
        for _ in range(3):
            way.step()
        wait()
        seconds = time.perf_counter() - begun
    averages = seen.key_averages()
    order = "self_device_time_total" if CUDA else "self_cpu_time_total"
    print(averages.table(sort_by=order, row_limit=45, max_name_column_width=70), flush=True)
    kernels = [e for e in averages if str(e.device_type).endswith("CUDA")]
    busy = sum(e.self_device_time_total for e in kernels) / 1e6
    count = sum(e.count for e in kernels)
    log(f"3 steps: {seconds:.3f} s under the profiler, GPU busy {busy:.3f} s, {count} kernels")
    return {"seconds": seconds, "busy": busy, "kernels": count}


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Give the size of the difference of all gradients by their size."""
    apart = sum(float((one[name] - other[name]).square().sum()) for name in one)
    return math.sqrt(apart / sum(float(each.square().sum()) for each in other.values()))


def measure(size: str, results: Results, cache: Path) -> None:
    setting = Setting(size, cache)
    log(f"{size}: body {setting.body / 1e6:.0f} M, head {setting.head / 1e6:.0f} M, "
        f"product {setting.peak / 1e12:.1f} TFLOP/s")  # fmt: skip
    found = results.sizes[size] = {"matmul_tflops": setting.peak / 1e12, "body": setting.body,
                                   "head": setting.head}  # fmt: skip
    names = OPTIONS.ways.split(",") if OPTIONS.ways else list(WAYS)
    ways: dict[str, Any] = {}
    turns: dict[str, list[Turn]] = {}
    first: dict[str, torch.Tensor] = {}
    for turn in range(OPTIONS.rounds):
        for name in names:
            if time.perf_counter() - BEGUN > OPTIONS.deadline:
                log("out of time")
                break
            try:
                if name not in ways:
                    begun = time.perf_counter()
                    way = ways[name] = WAYS[name](setting)
                    if isinstance(way, WithTenon) and "4_steps" not in name:
                        mine = way.gradients()
                        first = first or mine
                        apart = found.setdefault("gradient_difference", {})
                        apart[name] = difference(mine, first)
                        log(f"{name}: gradients differ by {apart[name]:.5f}")
                        del mine
                    ways[name].take(0.5)
                    found.setdefault("warm_seconds", {})[name] = time.perf_counter() - begun
                    log(f"{name}: made and warmed in {time.perf_counter() - begun:.1f} s")
                taken = ways[name].take(OPTIONS.seconds)
            except Exception as error:  # a way that fails leaves the others to be measured
                log(f"{name} failed: {type(error).__name__}: {str(error)[:400]}")
                names = [other for other in names if other != name]
                ways.pop(name, None)
                continue
            turns.setdefault(name, []).append(taken)
            log(f"round {turn + 1} {name:24s} {taken.tokens / taken.seconds:10,.0f} tokens/s  "
                f"MFU {setting.used(taken):.3f}  {taken.bytes / 2**30:6.2f} GiB  "
                f"{1e3 * taken.seconds / taken.steps:7.1f} ms a step")  # fmt: skip
        found["ways"] = summary(setting, turns)
        results.write()
    for name in filter(None, OPTIONS.profile.split(",")):
        if name in ways and time.perf_counter() - BEGUN < OPTIONS.deadline:
            log(f"profile of {name}")
            found.setdefault("profiles", {})[name] = profiled(ways[name])
            results.write()
    ways.clear()
    if OPTIONS.joint:
        joint(setting, found, results)


def joint(setting: Setting, found: dict[str, Any], results: Results) -> None:
    """Train eight adapters together, their states kept or computed again; apart they are kept."""
    steps = 10 if CUDA else 2
    kept, again = (Eight(setting, again=each) for each in (False, True))
    for each in (kept, again):
        each.together(2)
    kept.apart(40 if CUDA else 2)
    rounds = []
    for _ in range(OPTIONS.rounds):
        if time.perf_counter() - BEGUN > OPTIONS.deadline:
            return
        turns = {
            "together": kept.together(steps),
            "together_recomputed": again.together(steps),
            "apart": kept.apart(steps),
        }
        rates = {name: turn.tokens / turn.seconds for name, turn in turns.items()}
        rounds.append({name: asdict(turn) for name, turn in turns.items()})
        log("eight:", "; ".join(
            f"{name} {rates[name]:,.0f} tokens/s x{rates[name] / rates['apart']:.2f} "
            f"{turn.bytes / 2**30:.2f} GiB" for name, turn in turns.items()))  # fmt: skip
        found["eight"] = rounds
        results.write()


def main() -> None:
    """Measure every size."""
    results = Results()
    from tenon.model.packing import KNOWN

    results.machine = {
        "device": torch.cuda.get_device_name() if CUDA else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "attention": sorted(KNOWN),
    }
    log(results.machine)
    with tempfile.TemporaryDirectory() as cache:
        for size in OPTIONS.sizes.split(","):
            if time.perf_counter() - BEGUN < OPTIONS.deadline:
                measure(size, results, Path(cache))
                gc.collect()
    results.write()


if __name__ == "__main__":
    main()
