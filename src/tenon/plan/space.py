"""Space: a plan with some of its settings left open, and a plan for every choice of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, cast, get_args

from tenon.adapters.kind import KINDS
from tenon.core.errors import Faults, PlanError
from tenon.core.files import digest_of
from tenon.plan import override, span
from tenon.plan.plan import Plan
from tenon.plan.resolve import FLOORS, Top, known_names, resolve_table
from tenon.plan.several import holds_several
from tenon.plan.span import Number, Span
from tenon.plan.table import suggestion

ALL = "adapters.*."
MOST_TRIED = 1_000
"""Choices that are validated before anything runs; beyond, each value of each setting once."""
SEEDS = "seeds are no setting to be chosen; the best trials are trained with fresh ones"
FIXED = {
    "data.": "trials would be judged on other rows",
    "evaluate.": "it changes how a trial is judged, not the trial",
    "seed": SEEDS,
    "seeds": SEEDS,
    "train.metric": "it is what trials are compared by",
    "train.trackers": "it changes nothing that is learned",
    "train.save_every": "it changes nothing that is learned",
    "train.recompute": "it changes nothing that is learned",
    "model.compile": "it changes nothing that is learned",
    "model.kernels": "it changes nothing that is learned",
    "model.device": "it changes nothing that is learned",
}
"""Settings that no sweep chooses, and why."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Space:
    """What a sweep searches.

    Args:
        table: of the plan file.
        path: where the plan file lies, or would lie.
        arguments: `key=value` overrides that hold for every trial.
        spans: the settings that are swept.
    """

    table: Mapping[str, Any]
    path: Path
    arguments: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def default(self) -> Plan:
        """The plan as it stands, without the sweep."""
        return resolve_table(self.table, self.path, self.arguments)

    @property
    def size(self) -> int | None:
        """How many choices there are; None where they are too many to tell apart."""
        counts = [each.count for each in self.spans]
        return None if None in counts else prod(cast("list[int]", counts))

    @property
    def listed(self) -> bool:
        """Whether every setting has a list of values."""
        return all(each.choices for each in self.spans)

    def plan(self, values: Values) -> Plan:
        """Give the plan of one choice.

        Args:
            values: dotted name of each swept setting to its value.

        Raises:
            PlanError: the plan cannot be carried out.
        """
        return resolve_table(self.table, self.path, (*self.arguments, *self.settings(values)))

    def settings(self, values: Values) -> tuple[str, ...]:
        """Give a choice as `key=value` arguments."""
        return tuple(each.argument(values[each.key]) for each in self.spans)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yield every choice of lists, the last setting fastest."""
        for values in product(*(each.choices for each in self.spans)):
            yield dict(zip((each.key for each in self.spans), values, strict=True))

    def to_json(self) -> list[list[str]]:
        """Give each swept setting and its span."""
        return [[each.key, each.spec] for each in self.spans]

    @property
    def digest(self) -> str:
        """What makes it another sweep: the plan as it stands, and what is swept."""
        return digest_of([self.default.digest, self.to_json()])


def space(
    table: Mapping[str, Any], path: Path, arguments: Sequence[str], over: Sequence[str]
) -> Space:
    """Read what is swept, and validate the plans of it.

    Args:
        table: of the plan file.
        path: where the plan file lies, or would lie.
        arguments: `key=value` overrides that hold for every trial.
        over: `KEY=SPEC`; a name without its table is enough where no other is spelled so.

    Raises:
        PlanError: everything that is wrong, one fault a line.
    """
    if holds_several(table):
        names = ", ".join(table["adapters"])
        raise PlanError(
            f"{path.name}: holds several adapters ({names}), and a sweep has one goal; "
            "give each a file of its own"
        )
    if not over:
        raise PlanError(
            f"--over: nothing is swept; name a setting and its values: --over learning_rate="
            f"log:1e-5..1e-2, --over adapters.*.rank={span.FORMS.split(', or')[0]}"
        )
    given = tuple(each.argument for each in override.parse(arguments))
    made = Space(table, path, given, _spans(table, given, over))
    _validate(made)
    return made


def _spans(
    table: Mapping[str, Any], arguments: Sequence[str], over: Sequence[str]
) -> tuple[Span, ...]:
    merged = override.merge(dict(table), override.parse(arguments))
    adapters = cast("dict[str, Any]", merged.get("adapters") or {})
    name = next(iter(adapters), "NAME")
    pairs = [_pair(each, name) for each in over]
    kinds = _kinds(adapters, name, pairs)
    known = tuple(dict.fromkeys(each for kind in kinds for each in _known(name, kind)))
    faults, found = Faults(), dict[str, Span]()
    for short, spec in pairs:
        try:
            key = _full(short, spec, known)
            _refuse_fixed(key, spec, arguments, found)
            found[key] = span.parse(key, spec, _number(key, kinds))
        except PlanError as error:
            where, _, what = str(error).partition(": ")
            faults.add(where, what)
    faults.raise_if_any(PlanError)
    return tuple(found.values())


def _pair(text: str, name: str) -> tuple[str, str]:
    key, equals, spec = text.partition("=")
    if not equals or not key.strip():
        raise PlanError(f"--over {text}: is not KEY=SPEC; write --over learning_rate={span.FORMS}")
    key = key.strip()
    return (f"adapters.{name}.{key.removeprefix(ALL)}" if key.startswith(ALL) else key), spec


def _kinds(
    adapters: Mapping[str, Any], name: str, pairs: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """Give the kinds that an adapter may be of; all of them where none is known."""
    swept = [spec for key, spec in pairs if key in ("kind", f"adapters.{name}.kind")]
    if swept:
        words = [word.strip().strip("\"'") for word in swept[0].split(",")]
        return tuple(word for word in words if word in KINDS.names()) or tuple(KINDS.names())
    kind = cast("dict[str, Any]", adapters.get(name) or {}).get("kind")
    return (kind,) if kind in KINDS.names() else tuple(KINDS.names())


def _known(name: str, kind: str) -> tuple[str, ...]:
    tables = {*FLOORS, "adapters"}
    names = known_names({name: {"kind": kind}})
    return tuple(each for each in names if each not in tables)


def _full(key: str, spec: str, known: Sequence[str]) -> str:
    """Give the dotted name that a key means.

    Raises:
        PlanError: it means none, or several.
    """
    where = f"--over {key}={spec}"
    if key in known:
        return key
    meant = [name for name in known if "." not in key and name.rpartition(".")[2] == key]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise PlanError(f"{where}: {key} may be {' or '.join(meant)}; write it in full")
    raise PlanError(f"{where}: {key} is not a setting; {suggestion(key, known)}")


def _refuse_fixed(key: str, spec: str, arguments: Sequence[str], found: Values) -> None:
    """Refuse a setting that no sweep chooses, or that is given already.

    Raises:
        PlanError: it is such a setting.
    """
    where = f"--over {key}={spec}"
    for name, why in FIXED.items():
        if key == name or (name.endswith(".") and key.startswith(name)):
            raise PlanError(f"{where}: {key} cannot be swept: {why}")
    if key in found:
        raise PlanError(f"{where}: {key} is swept twice; give one --over for it")
    held = [each for each in arguments if each.partition("=")[0] == key]
    if held:
        raise PlanError(f"{where}: {held[0]} sets it already; leave one of the two out")


def _number(key: str, kinds: Sequence[str]) -> Number:
    """Say which numbers a setting takes, by its type."""
    table, _, field = key.rpartition(".")
    owners = [FLOORS[table]] if table in FLOORS else [KINDS.get(kind).settings for kind in kinds]
    owners = owners if table else [Top]
    for owner in owners:
        if field in owner.model_fields:
            wanted = owner.model_fields[field].annotation
            parts = {wanted, *get_args(wanted)}
            return "float" if float in parts else "int" if int in parts else ""
    return ""


def choices(made: Space) -> list[dict[str, Any]]:
    """Give the choices to validate: all of lists and of ends, or each value once if too many."""
    keys, ends = [each.key for each in made.spans], [each.ends for each in made.spans]
    if prod(map(len, ends)) <= MOST_TRIED:
        return [dict(zip(keys, values, strict=True)) for values in product(*ends)]
    first = {key: values[0] for key, values in zip(keys, ends, strict=True)}
    return [{**first, key: each} for key, values in zip(keys, ends, strict=True) for each in values]


def _validate(made: Space) -> None:
    """Resolve the plan of every choice.

    Raises:
        PlanError: the faults of all, each once.
    """
    faults, told = Faults(), set[str]()
    for values in [None, *choices(made)]:
        try:
            made.default if values is None else made.plan(values)
        except PlanError as error:
            for line in str(error).splitlines():
                if line not in told:
                    told.add(line)
                    with_what = (
                        "" if values is None else f" (with {' '.join(made.settings(values))})"
                    )
                    faults.add(*(line + with_what).partition(": ")[::2])
    faults.raise_if_any(PlanError)
