"""Correction: p-values of several comparisons, as each would be if it had to stand among all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tenon.evaluate.statistics import Paired


def holm(raw: Sequence[float]) -> list[float]:
    """Give the p-values with which the chance of any false one is kept, in their order.

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    corrected, least = [0.0] * len(raw), 0.0
    for rank, place in enumerate(sorted(range(len(raw)), key=lambda place: raw[place])):
        least = max(least, min(1.0, (len(raw) - rank) * raw[place]))
        corrected[place] = least
    return corrected


def corrected(compared: Mapping[str, Mapping[str, Paired]]) -> dict[str, dict[str, Paired]]:
    """Correct each scorer's comparisons for the number of baselines.

    What one scorer says of all baselines is one family: the verdict names the strongest of them
    after the fact. Scorers are families of their own: they measure different things, the first
    alone gives the verdict, and as they rise and fall together, a correction over all of them
    would hide differences that are there.

    Args:
        compared: baseline to scorer to difference, each with its raw p.
    """
    given = {name: dict(group) for name, group in compared.items()}
    for scorer in {scorer: None for group in compared.values() for scorer in group}:
        names = [name for name, group in compared.items() if scorer in group]
        for name, p in zip(
            names, holm([compared[name][scorer].raw_p for name in names]), strict=True
        ):
            given[name][scorer] = replace(compared[name][scorer], p=p)
    return given
