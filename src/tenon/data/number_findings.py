"""Number findings: between which numbers each part's lie, and whether they can be learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tenon.data.findings import Finding
from tenon.data.numbers import Range


def number_findings(ranges: Mapping[str, Range]) -> Iterator[Finding]:
    """Find what is to be said of the numbers of each part.

    Args:
        ranges: part to the numbers in it.
    """
    train = ranges.get("train")
    for part, found in ranges.items():
        what, remedy = found.flaw
        if what and part == "train":
            yield Finding("narrow-numbers", "error", found.count, what, remedy)
        elif what:
            yield Finding("narrow-numbers", "warning", found.count, f"{part}: {what}", remedy)
        else:
            yield Finding("numbers", "note", found.count, f"{part}: numbers lie {found.said}")
        if part != "train" and train and (found.low < train.low or found.high > train.high):
            beyond = (
                f"{found.low:.6g} to {found.high:.6g}, train's {train.low:.6g} to {train.high:.6g}"
            )
            yield Finding(
                "beyond-train",
                "warning",
                found.count,
                f"the numbers of {part} reach from {beyond}",
                "what train never shows is answered by guess; give train such rows",
            )
