"""Parts: the examples that a run trains, chooses and tests on, and each row's route to its part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tenon.core.errors import DataError, Faults, did_you_mean
from tenon.data.example import Example, Row
from tenon.data.findings import said
from tenon.data.names import PARTS
from tenon.data.settings import Columns, DataSettings
from tenon.data.sources import read
from tenon.data.split import part_of
from tenon.data.task import TASKS, Tally, Task, to_examples


@dataclass(frozen=True)
class Parts:
    """The examples of a run, by part; the texts stay in the files and are read as they are needed.

    Args:
        settings: what was loaded.
        seed: of the split.
        columns: meaning of the columns, given or guessed.
        labels: label names in the order of their class numbers.
        counts: examples per part, after what was dropped.
        label_counts: part to label to how often it stands there; empty without classes.
        notes: what was guessed, accepted, dropped and counted, for the user.
        digest: of the sources' bytes, the settings and the seed.
        dropped: rows of train's source left out because their inputs are in dev or test.
        shared: "train & test" to the number of rows of the second whose inputs are in the first,
            as the files have them.
        shared_ids: ids of the inputs that stand in more than one source.
        route: how rows find their parts.
    """

    settings: DataSettings
    seed: int
    columns: Columns
    labels: tuple[str, ...]
    counts: Mapping[str, int]
    label_counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    digest: str
    dropped: int
    shared: Mapping[str, int]
    shared_ids: frozenset[str] = field(repr=False)
    route: Route = field(repr=False)

    def examples(self, part: str) -> Iterator[Example]:
        """Read the examples of `part`, in the order of the file.

        Raises:
            DataError: there is no such part, or its file has changed since it was loaded.
        """
        if part not in self.counts:
            raise DataError(f"there is no part {part!r}; {did_you_mean(part, self.counts)}")
        return self._examples(part)

    def _examples(self, part: str) -> Iterator[Example]:
        faults, seen = Faults(), 0
        for example in self.route.examples(part, self.columns, faults):
            seen += 1
            yield example
        if faults.count or seen != self.counts[part]:
            spec = self.route.sources[self.route.source_of(part)]
            raise DataError(
                f"{spec}: has changed since it was loaded ({seen:,} rows of {part}, "
                f"{self.counts[part]:,} before); run again"
            )


@dataclass(frozen=True)
class Route:
    """Which row of which source goes to which part.

    Args:
        sources: part to spec, for the parts that have a source.
        share: share of train's source that is dev; 0 where dev has a source or is not wanted.
        seed: of the split.
        settings: quoting and overlap.
        taken: part to the keys that its source must leave to the parts after it.
        kept: keys that stay in train although the split gives them to dev.
    """

    sources: Mapping[str, str]
    share: float
    seed: int
    settings: DataSettings
    taken: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    kept: frozenset[str] = frozenset()

    @property
    def parts(self) -> list[str]:
        """The parts that there are, in their order."""
        return [part for part in PARTS if part in self.sources or (part == "dev" and self.share)]

    def source_of(self, part: str) -> str:
        """Give the part in whose source the rows of `part` stand."""
        return part if part in self.sources else "train"

    def rows(self, source: str, faults: Faults, notes: list[str] | None = None) -> Iterator[Row]:
        """Read the rows of a part's source."""
        return read(self.sources[source], faults, quoting=self.settings.quoting, notes=notes)

    @property
    def task(self) -> Task:
        """What is learned."""
        return TASKS.get(self.settings.task)

    def judged(
        self, source: str, columns: Columns, faults: Faults, notes: list[str] | None = None
    ) -> Iterator[Example]:
        """Read the examples of a part's source."""
        tally = Tally()
        rows = self.rows(source, faults, notes)
        yield from to_examples(rows, columns, faults, self.settings.task, tally)
        if notes is not None:
            notes += [f"{source}: {said(n, *what)}" for what, n in tally.items()]

    def examples(self, part: str, columns: Columns, faults: Faults) -> Iterator[Example]:
        """Read the examples of `part`."""
        source = self.source_of(part)
        leave = self.taken.get(source, frozenset[str]())
        split = source == "train" and self.share > 0
        for example in self.judged(source, columns, faults):
            if example.key in leave:
                continue
            if not split or self.part(example.key) == part:
                yield example

    def part(self, key: str) -> str:
        """Give the part of a row of train's source, by its key."""
        if not self.share or key in self.kept:
            return "train"
        return part_of(key, self.seed, self.share)
