"""Halves: whether a CPU multiplies bfloat16 by instructions of its own.

Where it does not, torch converts to float32 and back, which takes longer than float32 alone.
"""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
"""Where Linux tells what the processor can do."""
INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""As Linux names them. Source: Linux, `arch/x86/include/asm/cpufeatures.h`."""


def instructions(cpuinfo: Path | None = None) -> tuple[str, ...]:
    """Give which instructions for products in bfloat16 the processor has; none where none is told.

    Args:
        cpuinfo: where the system tells what the processor can do; `CPUINFO` unless given.
    """
    try:
        text = (cpuinfo or CPUINFO).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    lines = (line for line in text.splitlines() if line.partition("\t")[0].strip() == "flags")
    flags = next(lines, "").split()
    return tuple(name for name in INSTRUCTIONS if name in flags)
