"""Show: anything that Tenon knows or wrote, as a value.

The model library is imported for what Tenon wrote alone, so that lists come at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenon.adapters.kind import KINDS, Kind
from tenon.adapters.manifest import Manifest
from tenon.adapters.refused import REFUSED, Refused
from tenon.core.errors import FileError, PlanError, RunError
from tenon.core.files import read_json, write_text
from tenon.core.manual import Setting, manual
from tenon.data.findings import counted
from tenon.evaluate.language import language
from tenon.plan.plan import Plan
from tenon.plan.resolve import FLOORS, Top
from tenon.plan.several import resolve_several
from tenon.train import steplog
from tenon.verbs.lists import require
from tenon.verbs.target import is_plan_file

if TYPE_CHECKING:
    from tenon.evaluate.report import Report
    from tenon.evaluate.scorers import Scorer
    from tenon.verbs.study import Sweep


@dataclass(frozen=True)
class RunView:
    """A run folder, as far as it has come.

    Args:
        folder: where it lies.
        plan: what it does.
        steps: taken up to its last logged step, by all its seeds.
        report: how it ended; None while it has not.
    """

    folder: Path
    plan: Plan
    steps: int
    report: Report | None

    def to_json(self) -> dict[str, Any]:
        """Give the view as JSON-able values."""
        report = self.report.to_json() if self.report else None
        return {
            "folder": str(self.folder),
            "plan": self.plan.to_json(),
            "steps": self.steps,
            "report": report,
        }


if TYPE_CHECKING:
    Listed = (
        tuple[Plan, ...]
        | tuple[Kind, ...]
        | tuple[Refused, ...]
        | tuple[Setting, ...]
        | tuple[Scorer, ...]
    )
    Shown = Listed | Plan | Manifest | RunView | Report | Sweep


def show(
    what: str, *, html: Path | str | None = None, lang: str = "en", texts: bool = True
) -> Shown:
    """Give what a word or path stands for.

    Args:
        what: `kinds`, `refused`, `settings` or `scorers`; a run.toml or plan.json; a run, a
            sweep, an adapter or a report, as folder or file.
        html: file for the page of a sweep, or of a run's or an adapter's report; nothing is
            written without it.
        lang: language of the page, "en" or "zh".
        texts: whether the page quotes rows.

    Raises:
        FileError: it is neither a word that is known nor something that Tenon wrote; or a page is
            wanted of what has no report.
        PlanError: the language is none, or one is given without a page; or a sweep's page is
            asked for without rows.
        RunError: it is a sweep that has not ended.
    """
    language(lang)
    if html is None:
        if lang != "en" or not texts:
            raise PlanError("--lang and --no-texts have no effect without --html OUT")
        return _shown(what)
    shown = _shown(what)
    write_text(Path(html), _page(what, shown, lang, texts=texts))
    return shown


def _page(what: str, shown: Shown, lang: str, *, texts: bool) -> str:
    from tenon.evaluate.page import html
    from tenon.evaluate.sweep_page import html as swept_html
    from tenon.evaluate.withheld import without_texts
    from tenon.verbs.study import Sweep

    if not isinstance(shown, Sweep):
        report = _report_of(what, shown)
        return html(report if texts else without_texts(report), lang)
    if not texts:
        raise PlanError("--no-texts has no effect: the page of a sweep quotes no row")
    return swept_html(shown.swept, shown.report, lang)


def _report_of(what: str, shown: Shown) -> Report:
    """Give the report of what is shown.

    Raises:
        FileError: it has none.
    """
    from tenon.evaluate.report import Report

    if isinstance(shown, Report):
        return shown
    if isinstance(shown, RunView) and shown.report is not None:
        return shown.report
    beside = Path(what).resolve().parent / "report" / "report.json"
    if isinstance(shown, Manifest) and beside.is_file():
        return Report.from_json(read_json(beside))
    raise FileError(f"{what}: has no report, so there is no page; name a run that has ended")


def _shown(what: str) -> Shown:
    match what:
        case "kinds":
            return tuple(kind for _, kind in KINDS)
        case "refused":
            return tuple(REFUSED.values())
        case "scorers":
            from tenon.evaluate.scorers import SCORERS

            return tuple(scorer for _, scorer in SCORERS)
        case "settings":
            return (*manual(Top), *(s for name in FLOORS for s in manual(FLOORS[name], f"{name}.")))
        case _:
            require(what)
            return _written(Path(what))


def _written(path: Path) -> Shown:
    from tenon.adapters import pack
    from tenon.evaluate.report import Report
    from tenon.verbs.study import STUDY

    if path.name == "plan.json":
        return Plan.read(path)
    if is_plan_file(str(path)):
        first, *others = resolve_several(path)
        return (first, *others) if others else first
    if (path / "plan.json").is_file():
        return _run(path)
    if (path / STUDY).is_file():
        return _sweep(path)
    manifest = path if path.name == "tenon.json" else path / "tenon.json"
    if manifest.is_file():
        return pack.read(manifest.parent).manifest
    report = path if path.suffix == ".json" else path / "report.json"
    if report.is_file():
        return Report.from_json(read_json(report))
    raise FileError(
        f"{path}: is no plan, run, sweep, adapter or report; is something missing in it?"
    )


def _sweep(folder: Path) -> Sweep:
    """Give a sweep that has ended.

    Raises:
        RunError: it has not.
    """
    from tenon.verbs.study import TRIALS, concluded
    from tenon.verbs.trial import ENDED

    found = concluded(folder)
    if found is None:
        trials = sum(1 for _ in folder.glob(f"{TRIALS}/*/{ENDED}"))
        raise RunError(
            f"{folder}: this sweep has not ended ({counted(trials, 'trial')} until now); the "
            "command that began it goes on with it"
        )
    return found


def _run(folder: Path) -> RunView:
    from tenon.evaluate.report import Report

    report = folder / "report" / "report.json"
    runs = (folder, *(folder / "seeds").glob("*"))
    return RunView(
        folder=folder,
        plan=Plan.read(folder / "plan.json"),
        steps=sum("loss" in entry for run in runs for entry in steplog.read(run)),
        report=Report.from_json(read_json(report)) if report.is_file() else None,
    )
