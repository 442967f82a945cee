"""Exportable: for every target, whether an adapter can be written so, and why not else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenon.core.errors import MissingExtra
from tenon.export.case import Case, case_of
from tenon.export.target import TARGETS, Target
from tenon.verbs.folder import adapter_folder

HUB = "hub"
State = Literal["yes", "no", "open"]
OPEN = (
    "it is made a LoRA by its singular values: only writing it tells whether each module is one "
    "matrix, and of which rank"
)


@dataclass(frozen=True)
class Possible:
    """Whether an adapter can be written as one target.

    Args:
        to: the target, as in `--to`.
        state: "yes"; "no"; or "open" where only writing it tells.
        what: the target, in a line.
        why: why not, or what only writing tells; empty for "yes".
    """

    to: str
    state: State
    what: str
    why: str = ""


@dataclass(frozen=True)
class Exportable:
    """What an adapter can be written as.

    Args:
        name, kind, task: of the adapter.
        base: its name.
        targets: each with its answer.
    """

    name: str
    kind: str
    task: str
    base: str
    targets: tuple[Possible, ...]


def exportable(adapter: Path | str, *, base: str = "") -> Exportable:
    """Say for every target whether an adapter can be written so; nothing is loaded or written.

    Args:
        adapter: the adapter directory, or a run.
        base: where the base is now, if not under the name it was trained on.

    Raises:
        AdapterError: the adapter cannot be trusted.
        FileError: it, or its base, is not there.
    """
    case = case_of(adapter_folder(adapter), base)
    manifest = case.manifest
    found = [_possible(target, case) for _, target in TARGETS]
    found.append(Possible(HUB, "yes", "the adapter's own folder, in a repository of the hub"))
    name = manifest.base.name
    return Exportable(manifest.name, manifest.kind, manifest.task, name, tuple(found))


def _possible(target: Target, case: Case) -> Possible:
    state, why = _answer(target, case)
    return Possible(target.name, state, target.summary, why)


def _answer(target: Target, case: Case) -> tuple[State, str]:
    if why := target.refuses(case):
        return "no", why
    if target.missing:
        return "no", str(MissingExtra(f"--to {target.name}", target.missing[0], target.extra))
    if not target.ranked:
        return "yes", ""
    rank = case.rank
    if not rank:
        return "open", OPEN
    if rank > target.most:
        return "no", f"it takes rank {rank:,}, at most {target.most:,} can be; cut it with --rank"
    return "yes", ""
