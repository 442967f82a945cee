"""Home: where an adapter lies, the run around it, and what there must not be written over."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from tenon.adapters.directory import CONFIG, MANIFEST
from tenon.core.errors import FileError, RunError, TenonError, nearest
from tenon.data.sources import Source
from tenon.plan.plan import SOURCES, Plan
from tenon.plan.starter import PLAN_FILE
from tenon.train import checkpoint
from tenon.verbs.claim import INPUTS, LEFT_BY_A_RUN, LOCK, PLAN

ADAPTER = "adapter"
OF_A_RUN = frozenset({PLAN, PLAN_FILE, INPUTS, LOCK, *LEFT_BY_A_RUN})
SHOWN_RUNS = 6


def adapter_folder(path: Path | str) -> Path:
    """Give the adapter directory of a run, or `path` itself.

    Raises:
        FileError: there is no run and no adapter.
        RunError: there is a run that has no adapter yet.
    """
    if not str(path).strip():
        raise FileError(f"{str(path)!r}: is an empty path; name the folder of a run or an adapter")
    path = Path(path)
    if (path / ADAPTER / MANIFEST).is_file():
        return path / ADAPTER
    if (path / PLAN).is_file():
        raise _unfinished(path)
    if any((path / name).is_file() for name in (MANIFEST, CONFIG)):
        return path
    raise _nothing(path)


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
        own = first in OF_A_RUN or checkpoint.NAME.fullmatch(first)
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


def _unfinished(run: Path) -> RunError:
    """Say how far a run has come, and the command that ends it."""
    steps = sorted(path.name for path in run.glob("step-*") if checkpoint.NAME.fullmatch(path.name))
    reached = f" ({int(steps[-1].removeprefix('step-')):,} steps are saved)" if steps else ""
    if _is_held(run / LOCK):
        return RunError(f"{run}: is being trained{reached}; its adapter comes at the end: wait")
    return RunError(
        f"{run}: this run has not ended{reached}, so it has no adapter yet; the command that "
        f"began it goes on with it, as does: tenon train {run / PLAN} --out {run}"
    )


def _is_held(lock: Path) -> bool:
    """Whether another process holds a lock; the file is not made where there is none."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _nothing(path: Path) -> FileError:
    """Say what lies at a path where a run or an adapter was expected, and what is near."""
    if path.is_dir():
        runs = sorted(folder.name for folder in path.iterdir() if _is_target(folder))
        if not runs:
            return FileError(
                f"{path}: is neither a run nor an adapter; name a folder that `tenon train` wrote"
            )
        more = ", …" if len(runs) > SHOWN_RUNS else ""
        return FileError(
            f"{path}: is neither a run nor an adapter, but holds {', '.join(runs[:SHOWN_RUNS])}"
            f"{more}; name one of these"
        )
    if path.exists():
        return FileError(f"{path}: is a file; name the folder of a run or an adapter")
    parent = path.parent
    beside = [folder.name for folder in parent.iterdir()] if parent.is_dir() else []
    near = nearest(path.name, beside)
    remedy = f"did you mean {parent / near[0]}?" if near else "`tenon train` makes a run"
    return FileError(f"{path}: no such folder; {remedy}")


def _is_target(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (PLAN, MANIFEST))
