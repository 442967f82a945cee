"""Survey: what one reading of all sources finds: labels, counts, and inputs that sources share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tenon.core.errors import Faults, nearest
from tenon.data.example import Example
from tenon.data.findings import agreed, counted, said
from tenon.data.members import members
from tenon.data.names import PARTS
from tenon.data.numbers import Range
from tenon.data.parts import Route
from tenon.data.settings import Columns
from tenon.data.sources import Source

MOST_LABELS = 100_000


@dataclass
class Survey:
    """Counts of every part; grows while sources are read.

    Args:
        rows: part to examples.
        labels: part to label to how often it stands there.
        origins: (part, label) to the origin of the first such row.
        inputs: source to the inputs in it, key to rows; train's are not kept.
        taken: source to the keys that it leaves to later parts.
        dropped: source to its rows left out.
        repeated: (source, later source) to the keys that stand in both.
        homeless: label to the keys of its rows, for labels that the split gives to dev alone.
        members: group to the ids of its rows; train's are not kept.
        ranges: part to its numbers, where a gold is one.
    """

    labels: dict[str, Counter[str]]
    rows: Counter[str] = field(default_factory=Counter[str])
    origins: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    inputs: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    taken: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    dropped: Counter[str] = field(default_factory=Counter[str])
    repeated: dict[tuple[str, str], set[str]] = field(
        default_factory=dict[tuple[str, str], set[str]]
    )
    homeless: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    members: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    ranges: dict[str, Range] = field(default_factory=dict[str, Range])

    @property
    def shared(self) -> dict[str, int]:
        """Rows of the second source whose inputs stand in the first, under "train & test"."""
        return {
            f"{source} & {later}": sum(self.inputs[later][id] for id in ids)
            for (source, later), ids in sorted(self.repeated.items())
        }

    @property
    def shared_ids(self) -> frozenset[str]:
        """The ids of rows whose inputs, or whose group, stand in more than one source."""
        keys = frozenset[str]().union(*self.repeated.values())
        return frozenset[str]().union(*(self.members.get(key, {key}) for key in keys))


def survey(route: Route, columns: Columns, faults: Faults, notes: list[str]) -> Survey:
    """Read every source once: test before dev before train, as each gives way to those before it.

    Args:
        route: sources and split.
        columns: meaning of the columns.
        faults: rows that cannot be used.
        notes: what was met, accepted and left out.
    """
    found = Survey({part: Counter() for part in route.parts})
    for source in reversed(PARTS):
        if source in route.sources:
            examples = route.judged(source, columns, faults, notes)
            _survey_source(found, route, source, examples, faults)
    notes.extend(_overlap_notes(found, route))
    return found


def _survey_source(
    found: Survey, route: Route, source: str, examples: Iterable[Example], faults: Faults
) -> None:
    later = list(found.inputs)
    inputs = Counter[str]()
    overlap = route.settings.overlap
    for example in examples:
        if source != "train":
            inputs[example.key] += 1
        if source != "train" and example.group:
            found.members.setdefault(example.group, set()).add(example.id)
        repeated = [other for other in later if example.key in found.inputs[other]]
        for other in repeated:
            found.repeated.setdefault((source, other), set()).add(example.key)
        if repeated and overlap == "error":
            remedy = 'remove one of the two, or set data.overlap = "drop_from_train"'
            faults.add(example.origin, f"the same inputs stand in {' and '.join(repeated)}", remedy)
        elif repeated and overlap == "drop_from_train":
            found.dropped[source] += 1
            found.taken.setdefault(source, set()).add(example.key)
            continue
        _count(found, route, source, example)
        if len(found.labels[source]) > MOST_LABELS:
            what = f"more than {MOST_LABELS:,} different labels up to this row"
            faults.add(example.origin, what, "choose another column with data.columns.label")
            break
    if source != "train":
        found.inputs[source] = inputs


def _count(found: Survey, route: Route, source: str, example: Example) -> None:
    part = route.part(example.key) if source == "train" else source
    found.rows[part] += 1
    if route.task.number and example.gold is not None:
        found.ranges.setdefault(part, Range()).add(route.task.number(example.gold))
    counts = found.labels[part]
    for label in () if example.gold is None else route.task.classes(example.gold):
        if not counts[label]:
            found.origins[part, label] = example.origin
            if part == "train":
                found.homeless.pop(label, None)
        if part == "dev" and source == "train" and not found.labels["train"][label]:
            found.homeless.setdefault(label, set()).add(example.key)
        counts[label] += 1


def _overlap_notes(found: Survey, route: Route) -> list[str]:
    what = "contexts" if found.members else "inputs"
    notes = [
        f"{counted(count, 'row')} of {source} {agreed(count, 'are')} left out: "
        f"{'its' if count == 1 else 'their'} {what} also stand in "
        f"{' or '.join(later for first, later in sorted(found.repeated) if first == source)}"
        for source, count in found.dropped.items()
    ]
    if route.settings.overlap == "keep":
        notes += [
            said(count, "row", f"are shared by {pair} and kept")
            for pair, count in found.shared.items()
        ]
    return notes


def label_order(labels: Iterable[str]) -> list[str]:
    """Give labels in the order of their class numbers: by value where all are numbers."""
    known = list(labels)
    try:
        return sorted(known, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(known)


def judge_labels(found: Survey, route: Route, faults: Faults) -> tuple[str, ...]:
    """Give the label names in their order; record what makes them unfit to learn."""
    given = route.settings.labels
    labels = tuple(given or label_order(found.labels["train"]))
    before = faults.count
    if given:
        _judge_given(found, given, route.task.counts, faults)
    _judge_train(found, route, labels, faults)
    for part in route.parts:
        # What is wrong with train is no news of the share of it that is dev.
        carved = part == "dev" and bool(route.share)
        if part != "train" and not (carved and faults.count > before):
            _judge_part(found, route, part, labels, faults)
    return labels


def _judge_train(found: Survey, route: Route, labels: tuple[str, ...], faults: Faults) -> None:
    train, task = found.labels["train"], route.task
    rows = found.rows["train"] + (found.rows["dev"] if route.share else 0)
    where = route.sources["train"]
    if "train" in found.ranges and (flaw := found.ranges["train"].flaw)[0]:
        faults.add(where, *flaw)
    if not rows:
        left_out = found.dropped["train"]
        what = f": all its {left_out:,} rows also stand in dev or test" if left_out else ""
        remedy = "give a file with rows that are in no other part"
        faults.add(where, f"no row is left to train on{what}", remedy)
    elif len(labels) < task.least and not labels:
        what = "a label" if task.every else f"a {task.counts}"
        faults.add(where, f"none of its {rows:,} rows has {what}", "label some of them")
    elif len(labels) < task.least:
        whose = f"all {rows:,} rows have" if rows > 1 else "the only row has"
        only = f"{whose} the label {min(labels)!r}"
        faults.add(where, only, "give rows of at least two labels")
    elif task.every and rows == len(train):
        few = f"{rows:,} rows with {len(labels):,} labels, so that no label recurs"
        faults.add(where, few, "give more rows, or choose another column with data.columns.label")
    elif task.every and rows < len(labels):
        faults.add(
            where, f"{rows:,} rows are fewer than the {len(labels):,} labels", "give more rows"
        )


def _judge_given(found: Survey, given: tuple[str, ...], noun: str, faults: Faults) -> None:
    for label in sorted({label for label in given if given.count(label) > 1}):
        faults.add("data.labels", f"{label!r} stands twice", "keep one")
    for label in given:
        if not found.labels["train"][label]:
            faults.add(
                "data.labels", f"no row of train has the label {label!r}", "remove it from the list"
            )
    for label in label_order(set(found.labels["train"]) - set(given)):
        near = nearest(label, given)
        rows = counted(found.labels["train"][label], noun)
        faults.add(
            found.origins["train", label],
            f"label {label!r} ({rows}) is not in data.labels",
            f"did you mean {near[0]!r}?" if near else "add it to the list or mend the rows",
        )


def _judge_part(
    found: Survey, route: Route, part: str, labels: tuple[str, ...], faults: Faults
) -> None:
    counts = found.labels[part]
    if not found.rows[part] and part == "dev" and route.share:
        rows = found.rows["train"]
        of = f"the share {route.share} of {counted(rows, 'row')}"
        what = f"{of} holds out none with seed {route.seed}"
        faults.add("data.dev", what, "raise it (0.5 at most), give a file, or give more rows")
    elif not found.rows[part]:
        faults.add(route.sources[part], f"no row is left for {part}", "give a file with rows")
    if not labels:
        return
    for label in label_order(set(counts) - set(labels)):
        near = nearest(label, labels)
        rows = f"{counted(counts[label], route.task.counts)} of {part}"
        faults.add(
            found.origins[part, label],
            f"label {label!r} ({rows}) never stands in train, which has {len(labels):,} labels",
            f"did you mean {near[0]!r}?" if near else "add such rows to train or remove these",
        )


def unused_parts(route: Route) -> list[str]:
    """Tell which parts of a container nobody asked for."""
    notes: list[str] = []
    for path in dict.fromkeys(Source.parse(spec).container() for spec in route.sources.values()):
        if path:
            parts = members(path)
            left = [name for name, spec in parts.items() if spec not in route.sources.values()]
            if left:
                notes.append(f"{path} also holds {', '.join(left)}, which no part uses")
    return notes
