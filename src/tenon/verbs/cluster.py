"""Cluster: a sweep's trials on the machines of a Ray cluster, an engine like the local one.

What a worker is given and what it gives back are texts in JSON. The cluster's machines share the
folder of the sweep, and have this Tenon, the base and the data under the same paths.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from tenon.core.errors import FileError, MissingExtra, Occupied, PlanError, RunError, TenonError
from tenon.plan.plan import Plan
from tenon.verbs.bench import Bench
from tenon.verbs.engine import Done
from tenon.verbs.trial import Result, Trial

NAME = "ray"
KNOWN = {each.__name__: each for each in (FileError, Occupied, PlanError, RunError)}


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
        return _told(lambda: [each.to_json() for each in self.bench.run(trials)])

    def compare(self, groups: str) -> str:
        """Compare two recipes."""
        first, second = ([Trial.from_json(each) for each in group] for group in json.loads(groups))
        return _told(lambda: self.bench.compare(first, second))

    def conclude(self, plan: str, out: str, source: str) -> str:
        """Bring a run to its end."""
        read, trial = Plan.from_json(json.loads(plan)), Path(source) if source else None
        return _told(lambda: self.bench.conclude(read, Path(out), trial))


class Cluster:
    """The workers of a cluster, as many as groups can run at once.

    Args:
        shared: folder of what trials share.
        address: of the cluster; "auto" finds the one of this machine, "" begins one here.
        workers: how many at most; 0 for as many as the cluster has GPUs, or CPUs without them.
    """

    def __init__(self, shared: Path, address: str = "", workers: int = 0) -> None:
        self.shared, self.address, self.most = shared.absolute(), address, workers
        self.ray: Any = None
        self.begun = False
        self.workers: list[Any] = []

    def __enter__(self) -> Self:
        self.ray = _ray()
        self.begun = not self.ray.is_initialized()
        if self.begun:
            self._connect()
        return self

    def _connect(self) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not self.address:
            self.ray.init(include_dashboard=False, **quiet)
            return
        try:
            self.ray.init(address=self.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            what = str(error).partition("\n")[0]
            raise RunError(
                f"--address {self.address}: no Ray cluster answers ({what}); begin one with "
                "`ray start --head`, or leave --address out"
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            self.ray.kill(worker)
        self.workers = []
        if self.begun:
            self.ray.shutdown()

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
            ready, _ = self.ray.wait(list(going))
            place, worker = going.pop(ready[0])
            idle.append(worker)
            found[place] = [Result.from_json(each) for each in self._got(ready[0])]
            for result in found[place]:
                done(result)
        return [found[place] for place in range(len(groups))]

    def compare(self, first: Sequence[Trial], second: Sequence[Trial]) -> dict[str, Any]:
        """Compare two recipes, as `Engine.compare` says."""
        groups = [[trial.to_json() for trial in group] for group in (first, second)]
        return self._got(self._workers(1)[0].compare.remote(json.dumps(groups)))

    def conclude(self, plan: Plan, out: Path, source: Path | None) -> None:
        """Bring a run to its end, as `Engine.conclude` says."""
        places = [str(path.absolute()) if path else "" for path in (out, source)]
        self._got(self._workers(1)[0].conclude.remote(json.dumps(plan.to_json()), *places))

    def _workers(self, wanted: int) -> list[Any]:
        """Give workers for so many groups, as far as the cluster has room for them."""
        held = self.ray.cluster_resources()
        device = "GPU" if held.get("GPU") else "CPU"
        room = self.most or max(1, int(held.get(device, 1)))
        taken = {"num_gpus": 1} if device == "GPU" else {"num_cpus": 1}
        while len(self.workers) < min(wanted, room):
            made = self.ray.remote(Worker).options(**taken)
            self.workers.append(made.remote(str(self.shared), torch.get_num_threads()))
        return self.workers

    def _got(self, reference: Any) -> Any:
        """Give what a worker told.

        Raises:
            TenonError: that the worker met, or the worker is lost.
        """
        try:
            told = json.loads(self.ray.get(reference))
        except self.ray.exceptions.RayActorError as error:
            what = str(error).partition("\n")[0]
            raise RunError(
                f"ray: a worker is lost ({what}); the same command goes on from here"
            ) from error
        if "error" in told:
            raise KNOWN.get(told["error"], RunError)(told["what"])
        return told["value"]


def _told(work: Any) -> str:
    try:
        return json.dumps({"value": work()})
    except TenonError as error:
        return json.dumps({"error": type(error).__name__, "what": str(error)})


def _ray() -> Any:
    try:
        return importlib.import_module(NAME)
    except ImportError as error:
        raise MissingExtra("tenon sweep --engine ray", "the package ray", "ray") from error
