"""Evidence: which settings of seeds, full fine-tuning and temperature would change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Set

from tenon.evaluate.settings import BY_TASK, FULL
from tenon.plan.plan import Plan

Found = Iterator[tuple[str, str, str]]


def _seeds(plan: Plan, given: Set[str]) -> Found:
    """Tell what is wrong with a list of seeds."""
    seeds = plan.seeds
    if "seeds" not in given or isinstance(seeds, int):
        return
    if not seeds:
        yield "seeds", "is empty: nothing would be trained", "name a seed, or leave it out"
    for double in [seed for seed, count in Counter(seeds).items() if count > 1][:1]:
        yield "seeds", f"names {double} twice", "name it once"


def _full(plan: Plan, given: Set[str]) -> Found:
    name = "evaluate.full_learning_rate"
    wanted = FULL in (plan.evaluate.against or ())
    if name in given and plan.evaluate.full_learning_rate and not wanted:
        what = (
            'has no effect: full fine-tuning is not compared with, as evaluate.against lacks "full"'
        )
        yield name, what, "remove it, or add full"


def _temperature(plan: Plan, given: Set[str]) -> Found:
    task, name = plan.data.task, "evaluate.temperature"
    if name not in given or not plan.evaluate.temperature:
        return
    if not BY_TASK[task].calibration:
        yield name, f"has no effect: {_why(task)}", "remove it"
    elif plan.data.dev == "":
        yield name, 'has no effect: data.dev = "" leaves no rows to fit it on', "remove it"


def _why(task: str) -> str:
    """Say why a task has no temperature."""
    if BY_TASK[task].writes:
        return f"{task} has no probabilities of classes, the base writes its answers"
    reasons = {
        "text-regression": "a number has no probabilities",
        "multi-label-classification": "each label has a threshold of its own, chosen on dev",
        "question-answering": "places in a context are no classes",
    }
    return reasons.get(task, f"{task} has no classes of which each unit has one")


EVIDENCE: tuple[Callable[[Plan, Set[str]], Found], ...] = (_seeds, _full, _temperature)
"""Rules, as those of `tenon.plan.effect`."""
