"""Memory: the most that a run will have held, as its report will tell it, and what there is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tenon.core.memory import peak_bytes, resident_bytes
from tenon.model.trunk import Trunk
from tenon.plan.devices import CONTEXT, Device
from tenon.plan.footprint import Footprint

MEMINFO = Path("/proc/meminfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")
KIBIBYTE = 1024
SPREAD = {"cpu": 0.1, "cuda": 0.1}
"""By which share a run may differ; benchmarks/plan_accuracy.md has how often it did."""
FRAGMENTS = 1.1
"""What the C library keeps of memory that was given back, on states that come and go."""
LATER = 24 << 20
"""Of modules that are imported, and rows that are gathered, once training begins."""
PRIMITIVE = 750_000
"""Of a matrix product that oneDNN has made code for and keeps, for each shape; on the CPU in
halves."""
PRODUCTS, MOST_PRIMITIVES = 24, 1024
"""How many shapes of products a micro-batch of a new length has, and how many oneDNN keeps."""
RESERVED = 1.06
"""What torch's allocator holds of CUDA memory beside what tensors take."""
WORKSPACE = {9: 32 << 20}
"""Of cuBLAS, by the major version of the card's compute capability; held for each of two threads:
the one that computes forward and the one that computes gradients."""
SMALLER_WORKSPACE = 8_519_680
THREADS = 2


@dataclass(frozen=True)
class Memory:
    """The most that a run will have held.

    Args:
        peak: bytes; of the whole process on the CPU, of tensors on a GPU.
        low, high: nine of ten should lie between them.
        parts: what makes it up, in bytes.
        decided_by: the stage that takes most.
        available: bytes that this process can have; 0 where that is not known.
        needed: bytes of `available` that it will take, with what an allocator holds besides.
        where: what it is taken of.
    """

    peak: int
    low: int
    high: int
    parts: Mapping[str, int]
    decided_by: str
    available: int
    needed: int
    where: str

    @property
    def fits(self) -> bool:
        """Whether it should find room; True where it is not known how much there is."""
        return not self.available or self.needed <= self.available

    @property
    def surely(self) -> bool:
        """Whether it should find room at the upper end of its interval as well."""
        return not self.available or max(self.needed, self.high) <= self.available

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON-able values."""
        return {**asdict(self), "fits": self.fits}


@dataclass(frozen=True)
class Ground:
    """Where a run takes place, as far as its memory goes.

    Args:
        type: "cpu" or "cuda".
        process: bytes of this process without the base; 0 on a GPU.
        reached: most bytes that this process has held so far; 0 on a GPU.
        workspace: bytes of libraries, counted with the tensors.
        available: bytes that it can have.
        where: what it is, in words.
    """

    type: str
    process: int
    reached: int
    workspace: int
    available: int
    where: str


def ground_here(trunk: Trunk) -> Ground:
    """Give the ground of a run on this machine; called when the base is loaded and nothing else."""
    if trunk.device.type == "cuda":
        properties = torch.cuda.get_device_properties(trunk.device)
        free, _ = torch.cuda.mem_get_info(trunk.device)
        workspace = WORKSPACE.get(properties.major, SMALLER_WORKSPACE) * THREADS
        own = torch.cuda.memory_reserved(trunk.device)
        return Ground("cuda", 0, 0, workspace, free + own, f"free on {properties.name}")
    resident = resident_bytes()
    held = _bytes_of(trunk)
    free = _available()
    available = free + resident if free else 0
    return Ground("cpu", max(0, resident - held), peak_bytes(), 0, available, "of this machine")


def ground_of(device: Device) -> Ground:
    """Give the ground of a run on a device that is not here."""
    workspace = WORKSPACE[9] * THREADS if device.name.startswith("h") else SMALLER_WORKSPACE
    return Ground("cuda", 0, 0, workspace, device.memory - CONTEXT, f"of {device.name}")


def memory_of(found: Footprint, ground: Ground, lengths: int = 0) -> Memory:
    """Give what a run will have held at most.

    Args:
        found: on shapes.
        ground: where it takes place.
        lengths: how many different lengths its micro-batches have, where it computes in halves.
    """
    spread = SPREAD[ground.type]
    waxing = found.peak - found.lasting
    fragments = 0
    if ground.type == "cpu":
        code = min(MOST_PRIMITIVES, PRODUCTS * lengths) * PRIMITIVE
        fragments = int(waxing * (FRAGMENTS - 1)) + LATER + code
    besides = ground.process + ground.workspace + fragments
    peak = max(found.peak + besides, ground.reached)
    stage = found.decided_by if peak > ground.reached else "loading the base"
    needed = int(peak * (RESERVED if ground.type == "cuda" else 1))
    return Memory(
        peak=peak,
        low=int(peak * (1 - spread)),
        high=int(peak * (1 + spread)),
        parts=_parts(found, ground, besides),
        decided_by=stage,
        available=ground.available,
        needed=needed,
        where=ground.where,
    )


def _parts(found: Footprint, ground: Ground, besides: int) -> dict[str, int]:
    return {
        "process" if ground.type == "cpu" else "libraries": besides,
        "base": found.base,
        "adapter and head": found.trained,
        "gradients": found.gradients,
        "optimizer": found.optimizer,
        "activations": found.activations,
        "scores": found.scores,
        "passing": found.passing,
        "answering": max(found.judging, found.writing),
    }


def _bytes_of(trunk: Trunk) -> int:
    model = trunk.whole if trunk.whole is not None else trunk.model
    tensors = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors.values())


def _available() -> int:
    """Give the bytes that this process can have besides its own; 0 where that is not known."""
    if not MEMINFO.exists():
        pages = "SC_PHYS_PAGES"
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages in os.sysconf_names else 0
    found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text(encoding="ascii"))
    free = int(found[1]) * KIBIBYTE if found else 0
    limit = LIMIT.read_text(encoding="ascii").strip() if LIMIT.exists() else ""
    return min(free, int(limit)) if limit.isdigit() else free
