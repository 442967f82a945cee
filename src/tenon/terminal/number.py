"""Number: quantities as one reads them."""

from __future__ import annotations

UNITS = ("B", "KB", "MB", "GB", "TB")


def count(value: float) -> str:
    """Give a count with thousands apart: 12,345."""
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Give bytes in the unit that leaves one to three digits before the point."""
    for unit in UNITS[:-1]:
        if abs(value) < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {UNITS[-1]}"


def share(value: float) -> str:
    """Give a share in per cent."""
    return f"{100 * value:.3g} %"


def duration(seconds: float) -> str:
    """Give seconds as 8 s, 3:20 min or 1:05 h."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
