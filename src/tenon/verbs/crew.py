"""Crew: workers on the machines of a Ray cluster, which are given and give back texts in JSON."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tenon.core.errors import (
    AdapterError,
    DataError,
    FileError,
    MissingExtra,
    Occupied,
    PlanError,
    RequestError,
    RunError,
    TenonError,
)

NAME = "ray"
LEAVES = (AdapterError, DataError, FileError, Occupied, PlanError, RequestError, RunError)
KNOWN: dict[str, type[TenonError]] = {each.__name__: each for each in LEAVES}


class Crew:
    """Workers of a cluster, as many as work can be done at once.

    Args:
        command: that needs the cluster, for the message where Ray is not installed.
        address: of the cluster; "auto" finds the one of this machine, "" begins one here.
        most: how many workers at most; 0 for as many as the cluster has GPUs, or CPUs without them.
    """

    def __init__(self, command: str, address: str = "", most: int = 0) -> None:
        self.command, self.address, self.most = command, address, most
        self.ray: Any = None
        self.begun = False
        self.workers: list[Any] = []

    def __enter__(self) -> Self:
        self.ray = _ray(self.command)
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

    def hire(self, wanted: int, kind: type, *given: object) -> list[Any]:
        """Give workers, as many as are wanted and the cluster has room for.

        Args:
            kind: of worker; it has a GPU of its own where the cluster has any, else a CPU.
            given: what a worker is made of.
        """
        held = self.ray.cluster_resources()
        device = "GPU" if held.get("GPU") else "CPU"
        room = self.most or max(1, int(held.get(device, 1)))
        taken = {"num_gpus": 1} if device == "GPU" else {"num_cpus": 1}
        while len(self.workers) < min(wanted, room):
            made = self.ray.remote(kind).options(**taken)
            self.workers.append(made.remote(*given))
        return self.workers

    def got(self, reference: Any) -> Any:
        """Give what a worker told.

        Raises:
            TenonError: that the worker met, or the worker is lost.
        """
        try:
            said = json.loads(self.ray.get(reference))
        except self.ray.exceptions.RayActorError as error:
            what = str(error).partition("\n")[0]
            raise RunError(
                f"ray: a worker is lost ({what}); the same command goes on from here"
            ) from error
        if "error" in said:
            raise KNOWN.get(said["error"], RunError)(said["what"])
        return said["value"]


def told(work: Callable[[], object]) -> str:
    """Do some work; give what came of it, or the error that a user can mend."""
    try:
        return json.dumps({"value": work()})
    except TenonError as error:
        return json.dumps({"error": type(error).__name__, "what": str(error)})


def _ray(command: str) -> Any:
    try:
        return importlib.import_module(NAME)
    except ImportError as error:
        raise MissingExtra(command, "the package ray", "ray") from error
