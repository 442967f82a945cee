"""Verdict: one plain sentence on whether the adapter is better than its strongest baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenon.data.findings import counted
from tenon.evaluate.scorers import Scorer
from tenon.evaluate.statistics import Interval, Paired

Outcome = Literal["better", "no_difference", "worse", "unproved"]
STRONGEST_FIRST = ("few_shot", "zero_shot", "linear_probe", "frequent_tag", "majority")
MINUS = "\N{MINUS SIGN}"
HUNDREDS = {"percent": " %", "points": ""}
"""Units of scores that are shown times 100, and what stands behind them."""
SPOKEN = {
    "zero_shot": "the base without the adapter",
    "few_shot": "the base with three examples",
    "copy_source": "the text itself",
    "lead_3": "the first three sentences",
    "linear_probe": "the linear probe",
    "majority": "the majority class",
    "label_frequency": "the labels that are most frequent",
    "train_mean": "the mean of train",
    "question_overlap": "the sentence that shares most words with the question",
    "always_no_answer": "never giving an answer",
    "frequent_tag": "the tag that is most frequent for each word",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome and its sentence.

    Args:
        outcome: "unproved" where there was no baseline, or were too few rows, to compare with.
        sentence: for people.
    """

    outcome: Outcome
    sentence: str


def judge(
    scorer: Scorer,
    value: Interval,
    baselines: Mapping[str, Interval],
    compared: Mapping[str, Paired],
    *,
    part: str,
    level: float,
) -> Verdict:
    """Compare with the strongest baseline there is.

    A difference counts where both its test and its interval say so.

    Args:
        scorer: the leading one.
        value: the adapter's score.
        baselines: name to the baseline's score.
        compared: name to the paired difference, adapter minus baseline; none where the rows are
            too few for any.
        part: what was scored, "test".
        level: confidence; a p below 1 - level counts.
    """
    lead = f"{scorer.title} on {part} is {amount(scorer, value.value)}"
    ordered = strongest_first(scorer, {name: baselines[name].value for name in compared})
    if not ordered:
        return Verdict("unproved", f"{lead}{_uncompared(value.n, baselines)}")
    strongest = ordered[0]
    outcome = decide(scorer, compared[strongest], level)
    sentence = _sentence(
        scorer, value, lead, spoken(strongest), baselines[strongest], compared[strongest], outcome
    )
    lower = next((name for name in ordered[1:] if name == "majority"), None)
    if lower and decide(scorer, compared[lower], level) != "better":
        sentence += " It is not even shown to be better than always answering the commonest label."
    return Verdict(outcome, sentence)


def strongest_first(scorer: Scorer, values: Mapping[str, float]) -> list[str]:
    """Give baselines by their score, the best first; of equals as `STRONGEST_FIRST` has them."""
    known = [name for name in STRONGEST_FIRST if name in values]
    known += [name for name in values if name not in known]
    sign = -1 if scorer.better == "higher" else 1
    return sorted(known, key=lambda name: sign * values[name])


def _uncompared(rows: int, baselines: Mapping[str, Interval]) -> str:
    if not baselines:
        return ". There is no baseline to compare it with."
    rival = next((name for name in STRONGEST_FIRST if name in baselines), next(iter(baselines)))
    are = "is" if rows == 1 else "are"
    return f" of {counted(rows, 'row')}, which {are} too few to compare it with {spoken(rival)}."


def decide(scorer: Scorer, compared: Paired, level: float) -> Outcome:
    """Say whether a paired difference is one, and to whose favour."""
    if compared.p >= 1 - level or compared.low <= 0 <= compared.high:
        return "no_difference"
    return "better" if (compared.difference > 0) == (scorer.better == "higher") else "worse"


def _on_fewer(scorer: Scorer, lead: str, rival: str, compared: Paired, outcome: Outcome) -> str:
    """Say it where the baseline has answered a part of the rows: scores of all are no match."""
    size = difference(scorer, compared.difference)
    bounds = f"{signed(scorer, compared.low)} to {signed(scorer, compared.high)}"
    known = {"better": "better than", "worse": "worse than"}
    said = known.get(outcome, "not shown to differ from")
    return (
        f"{lead}. On the {counted(compared.n, 'row')} that it was asked, it is {said} {rival}: "
        f"{size} ({bounds}; {probability(compared.p)})."
    )


def _sentence(
    scorer: Scorer,
    value: Interval,
    lead: str,
    rival: str,
    baseline: Interval,
    compared: Paired,
    outcome: Outcome,
) -> str:
    rows = counted(compared.n, "row")
    if compared.n < value.n:
        return _on_fewer(scorer, lead, rival, compared, outcome)
    other = amount(scorer, baseline.value)
    if outcome == "no_difference":
        bounds = f"{signed(scorer, compared.low)} to {signed(scorer, compared.high)}"
        return (
            f"{lead}: no difference from {rival} ({other}) that {rows} could show. The change of "
            f"{difference(scorer, compared.difference)} ({bounds}) is within noise, "
            f"{probability(compared.p)}.{_reach(scorer, compared)}"
        )
    size = difference(scorer, abs(compared.difference)).lstrip("+")
    ends = sorted((abs(compared.low), abs(compared.high)))
    near, far = (signed(scorer, end).lstrip("+") for end in ends)
    evidence = f"{near} to {far}; {probability(compared.p)}, {rows}"
    return f"{lead}, {outcome} than {rival}'s {other} by {size} ({evidence})."


def _reach(scorer: Scorer, compared: Paired) -> str:
    """Say which difference the rows could show, and how many would show a small one.

    A difference that is shown is found in four of five such comparisons.
    """
    if not compared.smallest:
        return ""
    smallest = difference(scorer, compared.smallest).lstrip("+")
    shown = f" They would show one of {smallest} or more"
    if compared.needed <= compared.n:
        return f"{shown}."
    goal = "1 point" if scorer.unit in HUNDREDS else difference(scorer, compared.goal).lstrip("+")
    return f"{shown}; {_about(compared.needed)} would be needed for {goal}."


def _about(rows: int) -> str:
    """Give a number of rows in two figures, as an estimate has no more: "2,300"."""
    digits = max(0, len(str(rows)) - 2)
    return f"{-(-rows // 10**digits) * 10**digits:,}"


def spoken(baseline: str) -> str:
    """Give a baseline's name as a sentence has it."""
    return SPOKEN.get(baseline, baseline.replace("_", " "))


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
