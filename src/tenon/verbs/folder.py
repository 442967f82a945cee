"""Folder: where an adapter lies, by the folder of its own or of its run.

Nothing heavy is imported to find it, so that a name that is wrong is refused at once.
"""

from __future__ import annotations

from pathlib import Path

from tenon.adapters.files import CONFIG, MANIFEST
from tenon.core.errors import FileError, RunError, nearest
from tenon.train.files import STEP

ADAPTER = "adapter"
PLAN = "plan.json"
LOCK = ".lock"
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


def _unfinished(run: Path) -> RunError:
    """Say how far a run has come, and the command that ends it."""
    steps = sorted(path.name for path in run.glob("step-*") if STEP.fullmatch(path.name))
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
    from filelock import FileLock, Timeout

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
