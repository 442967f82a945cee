"""Engine: where a sweep's trials are run; here, in this process, some side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tenon.core.progress import Progress
from tenon.plan.plan import Plan
from tenon.verbs.bench import Bench
from tenon.verbs.trial import Result, Trial

Done = Callable[[Result], None]


class Engine(Protocol):
    """Runs trials; what it makes of them does not depend on which engine it is."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def run(self, groups: Sequence[Sequence[Trial]], done: Done) -> list[list[Result]]:
        """Run groups of trials, those of one group side by side, each from where it stopped.

        Args:
            groups: of plans that can be trained side by side.
            done: told of each result as it comes.

        Raises:
            TenonError: the disk or the cluster refused. What is there is whole.
            KeyboardInterrupt: on Ctrl-C or SIGTERM; what is there is whole.
        """
        ...

    def compare(self, first: Sequence[Trial], second: Sequence[Trial]) -> dict[str, Any]:
        """Compare two recipes by their runs from several seeds, as `Bench.compare` does."""
        ...

    def conclude(self, plan: Plan, out: Path, source: Path | None) -> None:
        """Bring a run to its end, as `Bench.conclude` does."""
        ...


class Local:
    """All groups in this process, one after another.

    Args:
        shared: folder of what trials share.
        progress: told of steps.
    """

    def __init__(self, shared: Path, progress: Progress | None = None) -> None:
        self.bench = Bench(shared)
        self.progress = Within(progress) if progress else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bench.spaces.clear()

    def run(self, groups: Sequence[Sequence[Trial]], done: Done) -> list[list[Result]]:
        """Run groups of trials, as `Engine.run` says."""
        found: list[list[Result]] = []
        for group in groups:
            found.append(self.bench.run(group, self.progress))
            for result in found[-1]:
                done(result)
        return found

    def compare(self, first: Sequence[Trial], second: Sequence[Trial]) -> dict[str, Any]:
        """Compare two recipes, as `Engine.compare` says."""
        return self.bench.compare(first, second)

    def conclude(self, plan: Plan, out: Path, source: Path | None) -> None:
        """Bring a run to its end, as `Engine.conclude` says."""
        self.bench.conclude(plan, out, source)


class Within:
    """A progress whose stages are within the one that another is at.

    Args:
        outer: told of what is known, and of no stage and no unit.
    """

    def __init__(self, outer: Progress) -> None:
        self.outer = outer

    def start(self, what: str, total: int | None, *, done: int = 0) -> None:
        """Begin a stage, which the outer one holds."""

    def advance(self, n: int, **fields: float) -> None:
        """Tell of the loss and the pace."""
        del n
        self.outer.advance(0, **fields)
