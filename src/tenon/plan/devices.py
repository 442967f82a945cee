"""Devices: accelerators that a run can be planned for without having them here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tenon.core.errors import PlanError, did_you_mean

GIB = 1 << 30


@dataclass(frozen=True)
class Device:
    """An accelerator.

    Args:
        name: as `tenon plan --device` takes it.
        memory: bytes that a process can have of it.
        halves: dense floating-point operations a second in bfloat16 (float16 where it has none).
        singles: the same in float32.
        bandwidth: bytes a second from and to its memory.
        bfloat16: whether it computes in bfloat16.
        launches: seconds of a layer's kernels being started in one direction of a pass, however
            small they are.
    """

    name: str
    memory: int
    halves: float
    singles: float
    bandwidth: float
    bfloat16: bool = True
    launches: float = 1.2e-3


def _device(
    name: str, gib: float, halves: float, singles: float, bandwidth: float, *, bfloat16: bool = True
) -> Device:
    return Device(name, int(gib * GIB), halves * 1e12, singles * 1e12, bandwidth * 1e9, bfloat16)


DEVICES = {
    device.name: device
    for device in (
        _device("h200-141gb", 139.8, 989, 67, 4800),
        _device("h100-80gb", 79.1, 989, 67, 3350),
        _device("a100-80gb", 79.1, 312, 19.5, 2039),
        _device("a100-40gb", 39.4, 312, 19.5, 1555),
        _device("l40s-48gb", 44.4, 362, 91.6, 864),
        _device("l4-24gb", 22.0, 121, 30.3, 300),
        _device("rtx4090-24gb", 23.5, 165, 82.6, 1008),
        _device("rtx3090-24gb", 23.5, 71, 35.6, 936),
        _device("t4-16gb", 14.6, 65, 8.1, 320, bfloat16=False),
    )
}
"""By name. Memory is what CUDA reports as the card's, or 1.5 GB less than it is sold with; none of
it is taken by the driver's context, which `CONTEXT` counts.

Source: NVIDIA's data sheets of H200, H100 SXM, A100 SXM, L40S, L4 and T4 (dense figures, half of
    those with sparsity), and the whitepapers of Ada and Ampere GA102 (tensor cores with float32
    accumulation).
"""
CPU = Device("cpu", 0, halves=1e11, singles=1e11, bandwidth=2e10, launches=2e-4)
"""A processor of a few cores, as far as it decides which of several ways to compute is faster."""
OTHER = "a100-40gb"
"""As which a GPU is taken that is not in the table."""
CONTEXT = 600 << 20
"""What CUDA's context and libraries take of a card beside the tensors."""


def device_named(name: str) -> Device:
    """Give a device of the table.

    Raises:
        PlanError: it has none of that name.
    """
    if name not in DEVICES:
        known = sorted(DEVICES)
        raise PlanError(
            f"--device {name}: is not in the table ({', '.join(known)}); "
            f"{did_you_mean(name, known)}"
        )
    return DEVICES[name]


def device_like(product: str) -> Device:
    """Give the device of the table that a product's name means, `OTHER` where it has none.

    Args:
        product: as its driver names it: "NVIDIA H100 80GB HBM3".
    """
    words = re.findall(r"[a-z0-9]+", product.lower())
    known = {*words, *map("".join, zip(words, words[1:], strict=False))}
    names = (name for name in DEVICES if name.partition("-")[0] in known)
    return DEVICES[next(names, OTHER)]
