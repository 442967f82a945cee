"""Home: the run around an adapter, and what there must not be written over."""

from __future__ import annotations

from pathlib import Path

from tenon.adapters.files import MANIFEST
from tenon.core.errors import FileError, TenonError
from tenon.data.sources import Source
from tenon.plan.plan import SOURCES, Plan
from tenon.plan.starter import PLAN_FILE
from tenon.train.files import STEP
from tenon.verbs.claim import INPUTS, LEFT_BY_A_RUN
from tenon.verbs.folder import LOCK, PLAN

OF_A_RUN = frozenset({PLAN, PLAN_FILE, INPUTS, LOCK, *LEFT_BY_A_RUN})


def run_of(folder: Path, plan_digest: str) -> tuple[Path, Plan] | None:
    """Give the run that an adapter directory lies in, and its plan.

    Args:
        folder: the adapter directory.
        plan_digest: of the plan that it was trained by; a run of another plan is not its own.
    """
    run = folder.resolve().parent
    if not (run / PLAN).is_file():
        return None
    plan = Plan.read(run / PLAN)
    return (run, plan) if plan.digest == plan_digest else None


def refuse_own(out: Path) -> None:
    """Refuse to write among the files of a run or of an adapter.

    Raises:
        FileError: `out` lies there.
    """
    real = out.resolve()
    for folder in real.parents:
        if (folder / MANIFEST).is_file():
            raise FileError(
                f"{out}: lies in an adapter, whose folder holds nothing else; choose another --out"
            )
        first = real.relative_to(folder).parts[0]
        own = first in OF_A_RUN or STEP.fullmatch(first)
        if own and (folder / PLAN).is_file():
            raise FileError(f"{out}: belongs to the run in {folder.name}; choose another --out")


def refuse_sources(out: Path, rows: str, folder: Path) -> None:
    """Refuse to write over the rows that are to be answered, or those that a run was made of.

    Args:
        out: file to be written.
        rows: `path[#member]` to be answered.
        folder: the adapter directory.

    Raises:
        FileError: `out` is one of them, or no plain file.
    """
    if out.is_dir():
        raise FileError(f"{out}: is a folder; name a file for the answers with --out")
    if out.exists() and not out.is_file():
        raise FileError(f"{out}: is no plain file; without --out, answers go to standard output")
    if rows.strip() and _covers(rows, out):
        raise FileError(f"{out}: holds the rows that are to be answered; choose another --out")
    try:
        plan = Plan.read(folder.parent / PLAN)
    except TenonError:
        return
    for part in SOURCES:
        source = getattr(plan.data, part)
        if isinstance(source, str) and source and _covers(source, out):
            raise FileError(
                f"{out}: holds the rows of data.{part} of the run; choose another --out"
            )


def same_source(one: str, other: object) -> bool:
    """Whether two specs name the same rows."""
    if not isinstance(other, str) or not other:
        return False
    first, second = Source.parse(one), Source.parse(other)
    places = [
        ([Path(file).resolve() for file in each.files], each.member) for each in (first, second)
    ]
    return places[0] == places[1]


def _covers(spec: str, out: Path) -> bool:
    source, real = Source.parse(spec), out.resolve()
    paths = [] if source.hub else [Path(file).resolve() for file in source.files]
    return any(
        path == real or path in real.parents or (out.exists() and _is(path, out)) for path in paths
    )


def _is(path: Path, out: Path) -> bool:
    return path.exists() and path.samefile(out)
