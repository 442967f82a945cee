"""Checkpoint: a step's weights and optimizer state in a folder, whole or absent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import torch as tensors

from tenon.core.errors import FileError, RunError
from tenon.core.files import digest, digest_of, folder_aside, read_json, remove, write_json
from tenon.train.files import STEP

FORMAT = 1
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
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
    """Write a checkpoint under `run`, then drop those that no resumption needs.

    Kept are the two newest, and what each of them calls the best.

    Raises:
        FileError: the disk refused. Every earlier checkpoint is as it was.
    """
    folder = path_of(run, checkpoint.position)
    content = {WEIGHTS: checkpoint.weights, OPTIMIZER: checkpoint.optimizer}
    with folder_aside(folder) as beside:
        for name, held in content.items():
            # safetensors' own writer gives mode 0600 and, on a full disk, no OSError
            (beside / name).write_bytes(tensors.save(held))
        best = checkpoint.best
        state: dict[str, Any] = {
            "format": FORMAT,
            "position": checkpoint.position,
            "plan": checkpoint.plan,
            "best": None if best is None else [best.step, best.value, best.since],
            "files": {name: digest(beside / name) for name in content},
        }
        write_json(beside / STATE, {**state, "digest": digest_of(state)})
    _drop_old(run, checkpoint.position)
    return folder


def keep_only(run: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint under `run`, then drop all others.

    Raises:
        FileError: the disk refused. Every earlier checkpoint is as it was.
    """
    kept = save(run, checkpoint)
    for folder in _folders(run):
        if folder != kept:
            remove(folder)


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint and check every byte of it.

    Raises:
        RunError: a file is missing, changed, or of another format.
    """
    try:
        state = _state(folder)
        for name in (WEIGHTS, OPTIMIZER):
            if digest(folder / name) != state["files"][name]:
                raise RunError(f"{folder / name}: its bytes have changed since it was written")
    except FileError as error:
        raise RunError(f"{folder}: not a whole checkpoint ({error})") from error
    return Checkpoint(
        position=state["position"],
        plan=state["plan"],
        weights=tensors.load_file(folder / WEIGHTS),
        optimizer=tensors.load_file(folder / OPTIMIZER),
        best=None if state["best"] is None else Best(*state["best"]),
    )


def _state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    value = read_json(path)
    if not isinstance(value, dict):
        raise RunError(f"{path}: holds a {type(value).__name__}, expected an object")
    state = cast("dict[str, Any]", value)
    if state.get("format") != FORMAT:
        raise RunError(f"{folder}: checkpoint format {state.get('format')}, expected {FORMAT}")
    if state.pop("digest", None) != digest_of(state):
        raise RunError(f"{path}: its bytes have changed since it was written")
    if path_of(folder.parent, state["position"]) != folder:
        raise RunError(f"{folder}: is of step {state['position']}, not of its name's")
    return state


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
        remove(folder)


def any_in(run: Path) -> bool:
    """Whether a run has a checkpoint."""
    return bool(_folders(run))


def _folders(run: Path) -> list[Path]:
    return [path for path in run.glob("step-*") if STEP.fullmatch(path.name) and path.is_dir()]


def _drop_old(run: Path, position: int) -> None:
    """Drop what is neither recent nor the best of a recent one, and what lies ahead, damaged."""
    reached = path_of(run, position)
    recent = sorted(folder for folder in _folders(run) if folder <= reached)[-KEPT:]
    kept = {*recent, *(best for folder in recent if (best := _best_of(folder)))}
    for folder in _folders(run):
        if folder not in kept:
            remove(folder)


def _best_of(folder: Path) -> Path | None:
    try:
        best = _state(folder)["best"]
    except (FileError, RunError):
        return None
    return path_of(folder.parent, best[0]) if best else None
