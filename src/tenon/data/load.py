"""Load: from DataSettings to Parts, with every reason against it told at once."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace

from tenon.core.errors import DataError, Faults, FileError, PlanError
from tenon.core.files import digest_of
from tenon.data.columns import SAMPLE_ROWS, require
from tenon.data.example import Row
from tenon.data.findings import said
from tenon.data.members import members, require_file
from tenon.data.names import PARTS
from tenon.data.parts import Parts, Route
from tenon.data.places import in_order
from tenon.data.recognition import recognise
from tenon.data.settings import Columns, DataSettings
from tenon.data.sources import Source, read
from tenon.data.survey import Survey, judge_labels, survey, unused_parts
from tenon.data.task import TASKS, Guess, Task

LARGEST_SHARE = 0.5
SHOWN_PARTS = 12


def load(settings: DataSettings, seed: int) -> Parts:
    """Read all sources once, count them, and say what is wrong with them, all at once.

    A row of train whose inputs also stand in dev or test, and a row of dev whose inputs stand in
    test, is left out of the first (`settings.overlap`). Where dev is a share of train, a label all
    of whose rows would fall to dev keeps them in train.

    Args:
        settings: sources, columns, split.
        seed: of the split.

    Raises:
        FileError: a source is not there.
        PlanError: `settings.dev` is no share in (0, 0.5].
        DataError: a row or column cannot be used; there is one label only, or none; there are
            fewer rows than labels; dev or test has a label that train never has.
    """
    route = plan_route(settings, seed)
    faults, notes = Faults(), list[str]()
    columns = _columns(route, faults, notes)
    found = survey(route, columns, faults, notes)
    faults.kept = in_order(faults.kept)
    if found.homeless and not faults.count:
        route = replace(route, kept=frozenset[str]().union(*found.homeless.values()))
        found = survey(route, columns, faults, [])
        notes.append(
            said(len(route.kept), "text", "stay in train that the split gives to dev: ")
            + "no other row has the label"
        )
    faults.raise_if_any(DataError)
    labels = judge_labels(found, route, faults)
    faults.raise_if_any(DataError)
    return _parts(route, columns, found, labels, notes)


def sniff(path: str, task: str = "", fields: Collection[str] = ()) -> DataSettings:
    """Give settings for a file or container: its task, and its parts train, dev and test.

    Args:
        path: `path[#member]`.
        task: what is learned, where that is known; else the rows tell.
        fields: fields of `Columns` that are named already.

    Raises:
        FileError: nothing is there.
        DataError: a container holds no part that is named after train, or the rows suit two tasks.
    """
    sources = _sources(path)
    if not task:
        rows = _head(str(sources["train"]))
        task = recognise(rows, fields, path).task
    return DataSettings.model_validate({"task": task, **sources})


def _sources(path: str) -> dict[str, str | float]:
    parts = members(path)
    if not parts:
        require_file(path)
        return {"train": path}
    if "train" not in parts:
        if len(parts) == 1:
            return {"train": next(iter(parts.values()))}
        more = ", …" if len(parts) > SHOWN_PARTS else ""
        known = ", ".join(itertools.islice(parts.values(), SHOWN_PARTS)) + more
        raise DataError(f"{path}: no part is named train; it has {known}; name one of these")
    return {"train": parts["train"], "dev": parts.get("dev", 0.1), "test": parts.get("test", "")}


def _head(source: str) -> list[Row]:
    """Give the first rows of a source; none where it cannot be read, which is told later."""
    try:
        return list(itertools.islice(read(source, Faults()), SAMPLE_ROWS))
    except DataError:
        return []


def guess_columns(
    settings: DataSettings, seed: int = 0, known: Mapping[str, str] | None = None
) -> Guess:
    """Give the columns of `settings`, guessed from the first rows of train where left out.

    Args:
        settings: sources and, if they are known, the columns.
        seed: of the split.
        known: fields whose columns are known, and their columns.

    Raises:
        FileError: a source is not there.
        DataError: there are no rows, or the columns cannot be told.
    """
    if settings.columns is not None:
        return Guess(settings.columns, [])
    faults = Faults()
    sample = sample_of(plan_route(settings, seed), "train", faults)
    if not sample:
        faults.raise_if_any(DataError)
        raise _no_rows(settings.train)
    return TASKS.get(settings.task).guess(sample, known or {})


def _no_rows(source: str) -> DataError:
    return DataError(f"{source}: holds no row to learn from; give a file with rows")


def plan_route(settings: DataSettings, seed: int) -> Route:
    """Decide which source feeds which part, and that each source is there.

    Raises:
        FileError: sources that are not there, all at once.
        PlanError: `settings.dev` is no share in (0, 0.5].
    """
    specs = {"train": settings.train, "dev": settings.dev, "test": settings.test}
    share = 0.0
    if isinstance(settings.dev, float):
        share = settings.dev
        if not 0 < share <= LARGEST_SHARE:
            raise PlanError(
                f"data.dev = {share}: is no share of train; give one in (0, {LARGEST_SHARE}], "
                'a file, or "" for none'
            )
        specs["dev"] = ""
    sources = {part: str(spec) for part, spec in specs.items() if spec or part == "train"}
    absent: list[str] = []
    for part, spec in sources.items():
        try:
            Source.parse(spec).require()
        except FileError as error:
            absent.append(f"data.{part}: {error}")
    if absent:
        raise FileError("\n".join(absent))
    return Route(sources, share, seed, settings)


def sample_of(route: Route, source: str, faults: Faults) -> list[Row]:
    """Give the first rows of a source, by which columns are guessed."""
    return list(itertools.islice(route.rows(source, faults), SAMPLE_ROWS))


def _columns(route: Route, faults: Faults, notes: list[str]) -> Columns:
    """Give the columns, and check that each source has them.

    Raises:
        DataError: they cannot be guessed, or a source lacks one.
    """
    samples = {source: sample_of(route, source, Faults()) for source in route.sources}
    columns = route.settings.columns
    if columns is None:
        if not samples["train"]:
            for _ in route.rows("train", faults):
                pass
            faults.raise_if_any(DataError)
            raise _no_rows(route.sources["train"])
        guessed = route.task.guess(samples["train"], {})
        columns = guessed.columns
        notes.extend(guessed.why)
    for sample in samples.values():
        require(sample, columns, faults)
    if not faults.count:
        columns = route.task.settle(samples["train"], columns, notes)
    _require_fields(columns, route.task, faults)
    faults.raise_if_any(DataError)
    return columns


def _require_fields(columns: Columns, task: Task, faults: Faults) -> None:
    """Check that the columns are those of the task: all that it needs, and no other."""
    named = columns.named()
    if not set(task.gold) & columns.given():
        options = " or ".join(f"data.columns.{field}" for field in task.gold)
        faults.add("data.columns", f"no {task.gold[0]} column is named", f"set {options}")
    if not any(set(fields) <= named.keys() for fields in task.inputs):
        options = " or ".join(" and ".join(fields) for fields in task.inputs)
        faults.add("data.columns", f"{options} must be named", "set them")
    for field in sorted(named.keys() - set(task.columns)):
        known = ", ".join(task.columns)
        faults.add(
            f"data.columns.{field}", f"{task.name} does not read it", f"it reads {known}; remove it"
        )


def _parts(
    route: Route, columns: Columns, found: Survey, labels: tuple[str, ...], notes: list[str]
) -> Parts:
    taken = {source: frozenset(ids) for source, ids in found.taken.items()}
    return Parts(
        settings=route.settings,
        seed=route.seed,
        columns=columns,
        labels=labels,
        counts={part: found.rows[part] for part in route.parts},
        label_counts={
            part: {label: counts[label] for label in labels}
            for part, counts in found.labels.items()
        },
        notes=tuple(dict.fromkeys([*notes, *_ranges(found), *unused_parts(route)])),
        digest=_digest(route, columns, labels),
        dropped=found.dropped["train"],
        shared=found.shared,
        shared_ids=found.shared_ids,
        route=replace(route, taken=taken),
    )


def _ranges(found: Survey) -> list[str]:
    parts = [part for part in PARTS if part in found.ranges]
    return [f"{part}: numbers lie {found.ranges[part].said}" for part in parts]


def _digest(route: Route, columns: Columns, labels: tuple[str, ...]) -> str:
    """Give the digest of what the parts are made of; where the files lie does not matter."""
    files: dict[str, str] = {}
    sources: dict[str, list[str]] = {}
    for part, spec in route.sources.items():
        source = Source.parse(spec)
        if source.path not in files:
            files[source.path] = _source_digest(route, part, columns)
        sources[part] = [files[source.path], source.member]
    settings = route.settings
    return digest_of(
        {
            "sources": sources,
            "split": [route.share, route.seed] if route.share else [],
            "columns": columns.model_dump(),
            "labels": labels,
            "settings": [settings.task, settings.overlap, settings.quoting],
        }
    )


def _source_digest(route: Route, part: str, columns: Columns) -> str:
    """Give the digest of a file, of a folder's files, or of the rows of a hub data set."""
    source = Source.parse(route.sources[part])
    if source.hub:
        rows = hashlib.sha256()
        for example in route.judged(part, columns, Faults()):
            rows.update(f"{example.id}{example.gold}\n".encode())
        return rows.hexdigest()
    return source.digest()
