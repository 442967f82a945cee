"""Search: which values a sweep tries next, and which settings mattered; Optuna is behind it.

What is asked is a function of what was told before and of the seed alone: nothing is kept between
two calls, so that a sweep which was interrupted, or runs on several machines, tries the same.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenon.core.errors import MissingExtra
from tenon.core.files import canonical, digest_of
from tenon.plan.space import Space
from tenon.plan.span import Span
from tenon.verbs.trial import Result

NAME = "optuna"
ATTEMPTS = 50
"""How often values are drawn anew that were tried before."""
FEWEST_ENDED = 4
"""Trials without which nothing can be said of what mattered."""
FANOVA_TREES = 32


@dataclass(frozen=True)
class Told:
    """A trial that has ended.

    Args:
        values: dotted name of each swept setting to its value.
        result: what came of it.
    """

    values: Mapping[str, Any]
    result: Result


def startup(space: Space) -> int:
    """Give how many trials are drawn by chance before what they show is followed."""
    return 4 + 2 * len(space.spans)


def ask(
    space: Space, told: Sequence[Told], count: int, *, seed: int, lower: bool, whole: bool
) -> list[dict[str, Any]]:
    """Give the values of the next trials, none of which was tried before.

    Args:
        space: what is searched.
        told: every trial until now.
        count: how many are wanted; fewer are given where there are no more.
        seed: of the search.
        lower: whether lower values of the goal are better.
        whole: whether every choice of lists will be tried, one after another.

    Raises:
        MissingExtra: Optuna is not installed.
    """
    tried = {_key(each.values) for each in told}
    if whole:
        return [values for values in space.grid() if _key(values) not in tried][:count]
    optuna = optuna_or_refuse()
    sampler = optuna.samplers.TPESampler(
        seed=int(digest_of(["sweep", seed, len(told)])[:8], 16),
        multivariate=False,
        n_startup_trials=startup(space),
        constant_liar=True,
    )
    study = _study(optuna, space, told, lower=lower, sampler=sampler)
    found: list[dict[str, Any]] = []
    for _ in range(count):
        for _ in range(ATTEMPTS):
            trial = study.ask(_distributions(optuna, space))
            values = {span.key: _value(span, trial.params[span.key]) for span in space.spans}
            if _key(values) not in tried:
                tried.add(_key(values))
                found.append(values)
                break
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            break
    return found


def importance(space: Space, told: Sequence[Told], *, seed: int, lower: bool) -> dict[str, float]:
    """Give the share of the goal's variance that each setting explains, the largest first.

    Empty where too few trials have ended, or all have the same value.

    Raises:
        MissingExtra: Optuna is not installed.

    Source: Hutter, Hoos and Leyton-Brown 2014, An Efficient Approach for Assessing Hyperparameter
    Importance (fANOVA).
    """
    ended = [each for each in told if each.result.state == "complete"]
    values = {each.result.value for each in ended}
    if len(ended) < FEWEST_ENDED or len(values) < 2:  # noqa: PLR2004 - a variance needs two
        return {}
    if len(space.spans) == 1:
        return {space.spans[0].key: 1.0}
    optuna = optuna_or_refuse()
    study = _study(optuna, space, ended, lower=lower, sampler=None)
    judge = optuna.importance.FanovaImportanceEvaluator(n_trees=FANOVA_TREES, seed=seed % 2**32)
    found = optuna.importance.get_param_importances(study, evaluator=judge)
    return {name: float(share) for name, share in found.items()}


def optuna_or_refuse() -> Any:
    """Give Optuna.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        optuna = importlib.import_module(NAME)
    except ImportError as error:
        raise MissingExtra("tenon sweep", "the package optuna", "sweep") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(optuna: Any, space: Space, told: Sequence[Told], *, lower: bool, sampler: Any) -> Any:
    with warnings.catch_warnings():
        # Releases before 5 call the multivariate sampler an experiment.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction="minimize" if lower else "maximize", sampler=sampler)
    distributions = _distributions(optuna, space)
    states = optuna.trial.TrialState
    # A failed trial stands as one that was pruned before any value, the worst there is: Optuna
    # passes over what it calls failed, and would try the like again.
    known = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.PRUNED}
    for each in told:
        result = each.result
        study.add_trial(
            optuna.trial.create_trial(
                state=known[result.state],
                params={span.key: _place(span, each.values[span.key]) for span in space.spans},
                distributions=distributions,
                value=result.value if result.state == "complete" else None,
                intermediate_values={
                    step: value for step, (_, value) in enumerate(result.curve, 1)
                },
            )
        )
    return study


def _distributions(optuna: Any, space: Space) -> dict[str, Any]:
    return {span.key: _distribution(optuna.distributions, span) for span in space.spans}


def _distribution(known: Any, span: Span) -> Any:
    """Give Optuna's form of a span; a list is searched by the places of its values."""
    if span.choices and span.ordered:
        return known.IntDistribution(0, len(span.choices) - 1)
    if span.choices:
        return known.CategoricalDistribution(tuple(range(len(span.choices))))
    if span.whole:
        low, high = round(span.low), round(span.high)
        return known.IntDistribution(low, high, log=span.log, step=round(span.step) or 1)
    return known.FloatDistribution(span.low, span.high, log=span.log, step=span.step or None)


def _value(span: Span, drawn: float) -> Any:
    return span.choices[int(drawn)] if span.choices else span.shown(drawn)


def _place(span: Span, value: Any) -> Any:
    return span.choices.index(value) if span.choices else value


def _key(values: Mapping[str, Any]) -> str:
    return canonical(dict(values))
