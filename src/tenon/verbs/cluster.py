"""Cluster: a sweep's trials on the machines of a Ray cluster, an engine like the local one.

What a worker is given and what it gives back are texts in JSON. The cluster's machines share the
folder of the sweep, and have this Tenon, the base and the data under the same paths.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from tenon.plan.plan import Plan
from tenon.verbs.bench import Bench
from tenon.verbs.crew import Crew, told
from tenon.verbs.engine import Done
from tenon.verbs.trial import Result, Trial


class Worker:
    """A bench on a machine of the cluster.

    Args:
        shared: folder of what trials share.
        threads: that torch computes with; rounding depends on it.
    """

    def __init__(self, shared: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.bench = Bench(Path(shared))

    def run(self, group: str) -> str:
        """Run a group of trials; give their results, or an error."""
        trials = [Trial.from_json(each) for each in json.loads(group)]
        return told(lambda: [each.to_json() for each in self.bench.run(trials)])

    def compare(self, groups: str) -> str:
        """Compare two recipes."""
        first, second = ([Trial.from_json(each) for each in group] for group in json.loads(groups))
        return told(lambda: self.bench.compare(first, second))

    def conclude(self, plan: str, out: str, source: str) -> str:
        """Bring a run to its end."""
        read, trial = Plan.from_json(json.loads(plan)), Path(source) if source else None
        return told(lambda: self.bench.conclude(read, Path(out), trial))


class Cluster:
    """The workers of a cluster, as many as groups can run at once.

    Args:
        shared: folder of what trials share.
        address: of the cluster; "auto" finds the one of this machine, "" begins one here.
        workers: how many at most; 0 for as many as the cluster has GPUs, or CPUs without them.
    """

    def __init__(self, shared: Path, address: str = "", workers: int = 0) -> None:
        self.shared = shared.absolute()
        self.crew = Crew("tenon sweep --engine ray", address, workers)

    def __enter__(self) -> Self:
        self.crew.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.crew.__exit__(kind, error, trace)

    def run(self, groups: Sequence[Sequence[Trial]], done: Done) -> list[list[Result]]:
        """Run groups of trials, as `Engine.run` says; a worker that is free takes the next one."""
        idle = list(self._workers(len(groups)))
        waiting, going = list(enumerate(groups)), dict[Any, tuple[int, Any]]()
        found: dict[int, list[Result]] = {}
        while waiting or going:
            while waiting and idle:
                place, group = waiting.pop(0)
                worker = idle.pop(0)
                asked = json.dumps([trial.to_json() for trial in group])
                going[worker.run.remote(asked)] = place, worker
            ready, _ = self.crew.ray.wait(list(going))
            place, worker = going.pop(ready[0])
            idle.append(worker)
            found[place] = [Result.from_json(each) for each in self.crew.got(ready[0])]
            for result in found[place]:
                done(result)
        return [found[place] for place in range(len(groups))]

    def compare(self, first: Sequence[Trial], second: Sequence[Trial]) -> dict[str, Any]:
        """Compare two recipes, as `Engine.compare` says."""
        groups = [[trial.to_json() for trial in group] for group in (first, second)]
        return self.crew.got(self._workers(1)[0].compare.remote(json.dumps(groups)))

    def conclude(self, plan: Plan, out: Path, source: Path | None) -> None:
        """Bring a run to its end, as `Engine.conclude` says."""
        places = [str(path.absolute()) if path else "" for path in (out, source)]
        self.crew.got(self._workers(1)[0].conclude.remote(json.dumps(plan.to_json()), *places))

    def _workers(self, wanted: int) -> list[Any]:
        """Give workers for so many groups, as far as the cluster has room for them."""
        return self.crew.hire(wanted, Worker, str(self.shared), torch.get_num_threads())
