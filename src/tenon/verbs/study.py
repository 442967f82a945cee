"""Study: the folder of a sweep, whole after every interruption.

study.json    what is swept, and the values of every trial that was begun
trials/7/     a run, and its result once it has ended
finals/       runs of the best choices with fresh seeds
best/         the winner's run, with its report and adapter
shared/       baselines, and the preflight of each structure, made once for all trials
sweep.json    what was found; its presence says that the sweep has ended
sweep.html    the same as a page
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tenon.core.errors import FileError, Occupied
from tenon.core.files import is_beside, read_json, remove, write_json
from tenon.evaluate.report import Report
from tenon.evaluate.swept import Swept
from tenon.plan.space import Space
from tenon.verbs.claim import ended
from tenon.verbs.folder import LOCK

FORMAT = 1
STUDY, OUTCOME, PAGE = "study.json", "sweep.json", "sweep.html"
TRIALS, FINALS, BEST, SHARED = "trials", "finals", "best", "shared"
LEFT = (OUTCOME, PAGE, TRIALS, FINALS, BEST, SHARED, STUDY)
ANEW = "choose another --out, or begin anew there with --resume never"


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended.

    Args:
        out: its folder.
        swept: what was found.
        report: of the winner's run, the only one that has answered the test part.
        ended_before: whether it had ended before this call.
    """

    out: Path
    swept: Swept
    report: Report
    ended_before: bool = False

    @property
    def adapter(self) -> Path:
        """The winner's adapter directory."""
        return self.out / BEST / "adapter"

    @property
    def page(self) -> Path:
        """What a browser shows."""
        return self.out / PAGE

    def to_json(self) -> dict[str, Any]:
        """Give the sweep as JSON-able values."""
        told = {"out": str(self.out), "ended_before": self.ended_before}
        return {**told, "sweep": self.swept.to_json(), "report": self.report.to_json()}


def concluded(out: Path) -> Sweep | None:
    """Give the sweep that has ended in a folder; None where none has."""
    report = ended(out / BEST)
    if report is None or not (out / OUTCOME).exists():
        return None
    return Sweep(out, Swept.from_json(read_json(out / OUTCOME)), report)


@dataclass(frozen=True)
class Rules:
    """What decides a search, beside what is searched.

    Args:
        at_once: trials whose values are chosen at once, before any of them is known.
        prune: whether trials are given up that fall behind earlier ones.
        seeds: fresh seeds of the final comparison.
    """

    at_once: int = 4
    prune: bool = True
    seeds: int = 3


@dataclass
class Study:
    """A sweep that has begun.

    Args:
        out: its folder.
        space: what is searched.
        rules: how.
        batches: values of the trials that were begun, those that were chosen at once together.
    """

    out: Path
    space: Space
    rules: Rules
    batches: list[list[dict[str, Any]]] = field(default_factory=list[list[dict[str, Any]]])

    def begin(self, batch: list[dict[str, Any]]) -> None:
        """Note the values of trials before they are run."""
        self.batches.append(batch)
        self.write()

    def write(self) -> None:
        """Write `study.json`."""
        write_json(self.out / STUDY, {**self._identity(), "batches": self.batches})

    def _identity(self) -> dict[str, Any]:
        told = {"format": FORMAT, "digest": self.space.digest, "over": self.space.to_json()}
        return {**told, "rules": asdict(self.rules)}

    def folder(self, number: int) -> Path:
        """Give the folder of a trial."""
        return self.out / TRIALS / str(number)

    @classmethod
    def claim(cls, out: Path, space: Space, rules: Rules, *, anew: bool) -> Study:
        """Make `out` the folder of a sweep, or go on with the one that is there.

        Args:
            out: the folder, whose lock this process holds.
            anew: remove what an earlier sweep left there.

        Raises:
            Occupied: it holds another sweep.
        """
        made = cls(out, space, rules)
        if anew and (out / STUDY).exists():
            for name in LEFT:
                remove(out / name)
        if not (out / STUDY).exists():
            made.write()
            return made
        before = _read(out)
        now = made._identity()  # noqa: SLF001 - of its own class
        changed = [name for name in ("over", "rules", "digest") if before.get(name) != now[name]]
        if changed:
            raise Occupied(
                f"{out}: holds another sweep ({_difference(changed[0], before, now)}); {ANEW}"
            )
        return cls(out, space, rules, before["batches"])


def refuse_foreign(out: Path) -> None:
    """Refuse a folder that holds what no sweep left there.

    Raises:
        Occupied: it is a file, or holds other files.
    """
    if out.exists() and not out.is_dir():
        raise Occupied(f"{out}: is a file; choose another --out")
    if not out.is_dir() or (out / STUDY).exists():
        return
    odd = [path.name for path in out.iterdir() if path.name != LOCK and not is_beside(path)]
    if odd:
        name = min(odd)
        raise Occupied(f"{out}: holds {name}, which no sweep left there; choose another --out")


def _read(out: Path) -> dict[str, Any]:
    value = read_json(out / STUDY)
    if not isinstance(value, dict) or not isinstance(value.get("batches"), list):  # pyright: ignore[reportUnknownMemberType]
        raise FileError(f"{out / STUDY}: is not of a sweep; {ANEW}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _difference(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    if name == "digest":
        return "its plan has other settings"
    if name == "over":
        old, new = (
            " ".join(f"{key}={spec}" for key, spec in each["over"]) for each in (before, now)
        )
        return f"over {old}, not {new}"
    rules = {key: value for key, value in before["rules"].items() if now["rules"].get(key) != value}
    return ", ".join(
        f"{key} was {value}, is {now['rules'].get(key)}" for key, value in rules.items()
    )
