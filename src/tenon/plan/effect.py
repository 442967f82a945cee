"""Effect: which given settings would change nothing, or cannot hold together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Set
from pathlib import Path, PurePath

from tenon.core.errors import did_you_mean
from tenon.evaluate.scorers import SCORERS
from tenon.plan.plan import SOURCES, Plan
from tenon.plan.table import Told

TYPED = (".jsonl", ".json", ".parquet")
COMPRESSED = (".gz", ".xz", ".zst")
LISTS = ("data.labels", "evaluate.scorers", "evaluate.against", "train.trackers")

Finding = tuple[str, str, str]
Rule = Callable[[Plan, Set[str]], Iterator[Finding]]


def tell_idle(plan: Plan, given: Set[str], told: Told) -> None:
    """Tell each setting in `given` that has no effect in this plan, or contradicts another.

    Args:
        plan: all settings.
        given: dotted names of those that the file or an argument sets.
        told: where it is told.
    """
    for rule in RULES:
        for dotted, what, remedy in rule(plan, given):
            told.add(dotted, what, remedy)


def _overlap(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    if "data.overlap" in given and not isinstance(plan.data.dev, str) and not plan.data.test:
        yield (
            "data.overlap",
            "has no effect: dev is carved out of train, and there is no test",
            "remove it, or give data.test",
        )


def _quoting(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    named = [getattr(plan.data, name) for name in SOURCES]
    sources = [source for source in named if isinstance(source, str) and source]
    if "data.quoting" in given and all(_suffix(source) in TYPED for source in sources):
        yield "data.quoting", "has no effect: no source is CSV or TSV", "remove it"


def _suffix(source: str) -> str:
    path = PurePath(source.rpartition("#")[2])
    return PurePath(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def _empty(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    columns = plan.data.columns
    for name in ("pair", "label"):
        dotted = f"data.columns.{name}"
        if columns and dotted in given and not getattr(columns, name):
            yield dotted, 'has no effect: "" names no column', "remove it"


def _revision(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    local = Path(plan.base).is_dir() or "/" not in plan.base
    if "model.revision" in given and plan.model.revision and local:
        yield (
            "model.revision",
            f"has no effect: {plan.base} is a folder or a package, only hub bases have revisions",
            "remove it",
        )


def _same_source(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    del given
    named = [(name, getattr(plan.data, name)) for name in SOURCES]
    seen: dict[str, str] = {}
    for name, source in named:
        if not isinstance(source, str) or not source:
            continue
        if source in seen:
            yield (
                f"data.{name}",
                f"is the same source as data.{seen[source]}",
                "judge on rows that were not trained on: give another file, or leave it out",
            )
        seen.setdefault(source, name)


def _share(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    del given
    dev = plan.data.dev
    if not isinstance(dev, str) and not 0 < dev <= 0.5:
        yield "data.dev", f"= {dev:g} is no share of train", "give a file, or a share in (0, 0.5]"


def _undecided(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    if plan.data.dev == "":
        for name in sorted({"train.patience", "train.metric"} & given):
            yield name, 'has no effect: data.dev = "" leaves no dev part', "remove it, or give dev"


def _twice(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    lists = {name: value for name, value, _ in plan.settings() if name in LISTS}
    for dotted, values in lists.items():
        doubles = [value for value, count in Counter(values).items() if count > 1]
        if dotted in given and doubles:
            yield dotted, f"names {doubles[0]} twice", "name it once"


def _scorers(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    del given
    known = SCORERS.names()
    for name in plan.evaluate.scorers:
        if name not in known:
            yield "evaluate.scorers", f"names {name}, which is no scorer", did_you_mean(name, known)
    if not plan.evaluate.scorers:
        yield "evaluate.scorers", "is empty: nothing would be measured", "name at least one"


def _room(plan: Plan, given: Set[str]) -> Iterator[Finding]:
    micro, step = plan.train.micro_batch_tokens, plan.train.tokens_per_step
    if {"train.micro_batch_tokens", "train.tokens_per_step"} <= given and 0 < step < micro:
        yield (
            "train.micro_batch_tokens",
            f"= {micro} has no effect: a whole step has only train.tokens_per_step = {step}",
            "lower it, or leave it out",
        )


RULES: tuple[Rule, ...] = (
    _overlap,
    _quoting,
    _empty,
    _revision,
    _same_source,
    _share,
    _undecided,
    _twice,
    _scorers,
    _room,
)
