"""Verdict: whether a difference is one, and the numbers of scores as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tenon.evaluate.scorers import Scorer
from tenon.evaluate.statistics import Paired

Outcome = Literal["better", "no_difference", "worse", "unproved"]
STRONGEST_FIRST = ("full", "few_shot", "zero_shot", "linear_probe", "frequent_tag", "majority")
MINUS = "\N{MINUS SIGN}"
HUNDREDS = {"percent": " %", "points": ""}
"""Units of scores that are shown times 100, and what stands behind them."""


def strongest_first(scorer: Scorer, values: Mapping[str, float]) -> list[str]:
    """Give baselines by their score, the best first; of equals as `STRONGEST_FIRST` has them."""
    known = [name for name in STRONGEST_FIRST if name in values]
    known += [name for name in values if name not in known]
    sign = -1 if scorer.better == "higher" else 1
    return sorted(known, key=lambda name: sign * values[name])


def decide(scorer: Scorer, compared: Paired, level: float) -> Outcome:
    """Say whether a paired difference is one, and to whose favour."""
    if compared.p >= 1 - level or compared.low <= 0 <= compared.high:
        return "no_difference"
    return "better" if (compared.difference > 0) == (scorer.better == "higher") else "worse"


def amount(scorer: Scorer, value: float) -> str:
    """Give a score as people read it: "93.2 %", "0.253 nats", "0.931"."""
    if scorer.unit in HUNDREDS:
        return f"{100 * value:.1f}{HUNDREDS[scorer.unit]}"
    return f"{value:.3f} nats" if scorer.unit == "nats" else f"{value:.3f}"


def mark(scorer: Scorer, value: float) -> str:
    """Give a round value as a scale has it: "93 %", "0.25"."""
    if scorer.unit in HUNDREDS:
        return f"{100 * value:.4g}{HUNDREDS[scorer.unit]}".replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


def step(scorer: Scorer, value: float) -> str:
    """Give a round difference as a scale has it, in points or the scorer's own unit: "+1"."""
    text = f"{100 * value if scorer.unit in HUNDREDS else value:+.4g}"
    return text[1:] if not float(text) else text.replace("-", MINUS)


def signed(scorer: Scorer, value: float) -> str:
    """Give a difference with its sign and without its unit: "+0.5", "−0.012", "0.0"."""
    text = f"{100 * value:+.1f}" if scorer.unit in HUNDREDS else f"{value:+.3f}"
    return text[1:] if not float(text) else text.replace("-", MINUS)


def difference(scorer: Scorer, value: float) -> str:
    """Give a difference with its sign and unit: "+0.5 points", "−0.012 nats"."""
    unit = {"percent": " points", "points": " points", "nats": " nats", "plain": ""}[scorer.unit]
    return signed(scorer, value) + unit


def probability(p: float) -> str:
    """Give a p-value as people write it: "p = 0.012", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}" if p < 0.1 else f"p = {p:.2f}"
