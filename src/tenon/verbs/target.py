"""Target: what a verb is pointed at, a plan file or data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenon.core.errors import Occupied, PlanError
from tenon.core.files import reading, write_text
from tenon.plan.plan import Plan
from tenon.plan.resolve import parse_toml
from tenon.plan.several import resolve_several
from tenon.plan.space import Space, space
from tenon.plan.starter import PLAN_FILE, adapter_name, starter

RUNS = Path("runs")
PLAN_SUFFIX = ".toml"
SETTLED = "plan.json"


def is_plan_file(target: str) -> bool:
    """Whether `target` names a plan file; everything else is a source of rows."""
    return Path(target).suffix == PLAN_SUFFIX or Path(target).name == SETTLED


def planned(target: str, arguments: Sequence[str] = ()) -> tuple[Plan, ...]:
    """Give the plans in a plan file, one an adapter, or the one that a data file suggests.

    Args:
        target: run.toml, the plan.json of a run, or `path[#member]` of labelled rows.
        arguments: `key=value` overrides.

    Raises:
        TenonError: the target is absent, or cannot be a plan.
    """
    return explained(target, arguments)[0]


def explained(
    target: str, arguments: Sequence[str] = ()
) -> tuple[tuple[Plan, ...], tuple[str, ...]]:
    """Give the plans as `planned` does, and why what was inferred from a data file is so."""
    if is_plan_file(target):
        return _written(Path(target), arguments), ()
    made = starter(target, Path.cwd() / PLAN_FILE, arguments)
    return (made.plan,), made.notes


def _written(path: Path, arguments: Sequence[str]) -> tuple[Plan, ...]:
    if path.name != SETTLED:
        return resolve_several(path, arguments)
    if arguments:
        raise PlanError(
            f"{path}: is the settled plan of a run, beside which {arguments[0]} cannot be set; "
            "give the run.toml that it came from, or change the settings there"
        )
    return (Plan.read(path),)


@dataclass(frozen=True)
class Order:
    """What is to be trained, and where.

    Args:
        plans: from a plan file, one for each adapter, or inferred.
        out: the run's folder; of several adapters, the folder of their runs' folders.
        text: of the run.toml that was inferred; empty where there is one.
    """

    plans: tuple[Plan, ...]
    out: Path
    text: str = ""

    @contextlib.contextmanager
    def kept(self, *, anew: bool = False) -> Iterator[None]:
        """Leave the inferred run.toml in the run's folder, once that has become one.

        A run.toml that is there stays, unless the run begins anew or with another plan; a folder
        that belongs to another run is left alone.
        """
        path, ours = self.out / PLAN_FILE, True
        before = _content(self.out / SETTLED)
        try:
            yield
        except Occupied:
            ours = False
            raise
        finally:
            now = _content(self.out / SETTLED)
            begun = ours and now is not None
            if self.text and begun and (anew or now != before or not path.exists()):
                write_text(path, self.text)


def _content(path: Path) -> bytes | None:
    """Give what a file holds; None where there is none."""
    return path.read_bytes() if path.is_file() else None


def order(target: str, arguments: Sequence[str], out: Path | None) -> Order:
    """Give the plan to train and the folder of its run.

    Args:
        target: run.toml, the plan.json of a run, or `path[#member]` of labelled rows.
        arguments: `key=value` overrides.
        out: the run's folder; `runs/NAME` after the adapter unless given.

    Raises:
        TenonError: the target is absent, or cannot be a plan.
    """
    if is_plan_file(target):
        plans = _written(Path(target), arguments)
        alone = RUNS / plans[0].adapter.name
        return Order(plans, out or (alone if len(plans) == 1 else RUNS))
    folder = out or RUNS / adapter_name(target)
    made = starter(target, folder / PLAN_FILE, arguments)
    return Order((made.plan,), folder, made.text)


@dataclass(frozen=True)
class Wanted:
    """What is to be swept, and where.

    Args:
        space: what is searched.
        out: the sweep's folder.
        text: of the run.toml that was inferred; empty where there is one.
    """

    space: Space
    out: Path
    text: str = ""

    def keep(self, *, anew: bool) -> None:
        """Leave the inferred run.toml in the sweep's folder; unless one is there."""
        if self.text and (anew or not (self.out / PLAN_FILE).exists()):
            write_text(self.out / PLAN_FILE, self.text)


def searched(
    target: str, arguments: Sequence[str], over: Sequence[str], out: Path | None
) -> Wanted:
    """Give what a sweep searches, and its folder.

    Args:
        target: run.toml, or `path[#member]` of labelled rows.
        arguments: `key=value` overrides that hold for every trial.
        over: `KEY=SPEC` of each swept setting.
        out: the sweep's folder; `runs/NAME-sweep` unless given.

    Raises:
        TenonError: the target is absent, or cannot be a plan with what is swept.
    """
    path = Path(target)
    if path.name == SETTLED:
        raise PlanError(
            f"{path}: is the settled plan of a run, in which nothing is left to be swept; give the "
            "run.toml that it came from"
        )
    if path.suffix == PLAN_SUFFIX:
        with reading(path):
            content = path.read_bytes()
        made = space(parse_toml(content, str(path)), path, arguments, over)
        return Wanted(made, out or RUNS / f"{made.default.adapter.name}-sweep")
    folder = out or RUNS / f"{adapter_name(target)}-sweep"
    inferred = starter(target, folder / PLAN_FILE, arguments)
    table = parse_toml(inferred.text.encode(), PLAN_FILE)
    return Wanted(space(table, inferred.path, (), over), folder, inferred.text)
