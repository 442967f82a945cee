"""Checkpoint: a step's weights and optimizer state in a folder, whole or absent."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tenon.core.errors import FileError, RunError
from tenon.core.files import digest, folder_aside, read_json, write_json

FORMAT = 1
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
NAME = re.compile(r"step-(\d{8})")
KEPT = 2


@dataclass(frozen=True)
class Best:
    """The checkpoint that did best on dev so far.

    Args:
        step: its position.
        value: of the dev metric.
        since: evaluations since then that brought no gain.
    """

    step: int
    value: float
    since: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    Args:
        position: the next step.
        plan: digest of the plan.
        weights: trained tensors by parameter name.
        optimizer: the optimizer's tensors.
        best: the best evaluation so far, or None before the first.
    """

    position: int
    plan: str
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    best: Best | None


def save(run: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint under `run`, then drop those that are neither recent nor the best.

    Raises:
        FileError: the disk refused. Every earlier checkpoint is as it was.
    """
    folder = path_of(run, checkpoint.position)
    with folder_aside(folder) as beside:
        save_file(checkpoint.weights, beside / WEIGHTS)
        save_file(checkpoint.optimizer, beside / OPTIMIZER)
        best = checkpoint.best
        state: dict[str, Any] = {
            "format": FORMAT,
            "position": checkpoint.position,
            "plan": checkpoint.plan,
            "best": None if best is None else [best.step, best.value, best.since],
            "files": {name: digest(beside / name) for name in (WEIGHTS, OPTIMIZER)},
        }
        write_json(beside / STATE, state)
    _drop_old(run, checkpoint)
    return folder


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Raises:
        RunError: a file is missing, changed, or of another format.
    """
    try:
        state: dict[str, Any] = read_json(folder / STATE)
        if state.get("format") != FORMAT:
            raise RunError(f"{folder}: checkpoint format {state.get('format')}, expected {FORMAT}")
        for name, expected in state["files"].items():
            if digest(folder / name) != expected:
                raise RunError(f"{folder / name}: its bytes have changed since it was written")
    except FileError as error:
        raise RunError(f"{folder}: not a whole checkpoint ({error})") from error
    return Checkpoint(
        position=state["position"],
        plan=state["plan"],
        weights=load_file(folder / WEIGHTS),
        optimizer=load_file(folder / OPTIMIZER),
        best=None if state["best"] is None else Best(*state["best"]),
    )


def newest(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """Give the newest checkpoint that is whole, and a note for each newer one that is not.

    Raises:
        RunError: there are checkpoints, and none of them is whole.
    """
    damaged: list[str] = []
    for folder in sorted(_folders(run), reverse=True):
        try:
            return load(folder), damaged
        except RunError as error:
            damaged.append(str(error))
    if damaged:
        raise RunError(
            "\n".join([*damaged, f"{run}: no checkpoint is whole; start anew with --resume never"])
        )
    return None, []


def path_of(run: Path, position: int) -> Path:
    """Give the folder of the checkpoint whose next step is `position`."""
    return run / f"step-{position:08d}"


def clear(run: Path) -> None:
    """Remove every checkpoint of a run."""
    for folder in _folders(run):
        shutil.rmtree(folder)


def _folders(run: Path) -> list[Path]:
    return [path for path in run.glob("step-*") if NAME.fullmatch(path.name) and path.is_dir()]


def _drop_old(run: Path, checkpoint: Checkpoint) -> None:
    recent = sorted(_folders(run))[-KEPT:]
    kept = {path.name for path in recent}
    if checkpoint.best is not None:
        kept.add(path_of(run, checkpoint.best.step).name)
    for folder in _folders(run):
        if folder.name not in kept:
            shutil.rmtree(folder)
