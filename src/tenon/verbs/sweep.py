"""Sweep: settings of a plan, searched by trials on dev; the winner is proved by fresh seeds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tenon.core.errors import Occupied, PlanError
from tenon.core.files import locked, write_json
from tenon.core.files import sweep as sweep_remains
from tenon.core.progress import Progress
from tenon.data.findings import counted
from tenon.evaluate.language import language
from tenon.evaluate.sweep_page import html
from tenon.plan.space import Space
from tenon.verbs.claim import refuse_several_processes
from tenon.verbs.cluster import Cluster
from tenon.verbs.engine import Local
from tenon.verbs.folder import LOCK
from tenon.verbs.grouping import width
from tenon.verbs.reported import rewrite, write_page
from tenon.verbs.search import optuna_or_refuse
from tenon.verbs.study import (
    BEST,
    OUTCOME,
    SHARED,
    Rules,
    Study,
    Sweep,
    concluded,
    refuse_foreign,
)
from tenon.verbs.sweeping import Sweeping
from tenon.verbs.target import searched

ENGINES = ("local", "ray")


def sweep(
    target: str,
    arguments: Sequence[str] = (),
    *,
    over: Sequence[str],
    trials: int = 20,
    out: Path | str | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str = "",
    at_once: int = 4,
    together: int = 0,
    seeds: int = 3,
    prune: bool = True,
    resume: Literal["auto", "never"] = "auto",
    lang: str = "en",
    progress: Progress | None = None,
) -> Sweep:
    """Search settings of a plan by trials on dev; go on where a sweep under `out` stopped.

    Args:
        target: run.toml, or `path[#member]` of labelled rows.
        arguments: `key=value` overrides that hold for every trial.
        over: `KEY=SPEC` of each swept setting: `learning_rate=log:1e-5..1e-2`, `rank=8,16,32`.
        trials: how many.
        out: the sweep's folder; `runs/NAME-sweep` unless given.
        engine: "local", or "ray" for a cluster.
        address: of the cluster; "auto" finds it, "" begins one on this machine.
        at_once: trials whose values are chosen at once; the same for the same results.
        together: trials that are trained side by side in one pass over the base; 0: by the device.
        seeds: fresh seeds with which the two best trials and the plan as it stands are trained
            again; 0 leaves that out.
        prune: give up trials that fall behind the median of earlier ones.
        resume: "never" removes what an earlier sweep left there and begins anew.
        lang: language of the pages, "en" or "zh".
        progress: told of every trial.

    Raises:
        TenonError: the sweep cannot be carried out. What is under `out` is whole: the same call
            goes on from there.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a checkpoint of each trial that runs.
    """
    refuse_several_processes()
    optuna_or_refuse()
    language(lang)
    _refuse_odd(engine, address, trials=trials, at_once=at_once, together=together, seeds=seeds)
    wanted = searched(target, arguments, over, Path(out) if out else None)
    _refuse_undecided(wanted.space)
    folder, anew = wanted.out, resume == "never"
    refuse_foreign(folder)
    with locked(folder / LOCK):
        sweep_remains(folder)
        study = Study.claim(folder, wanted.space, Rules(at_once, prune, seeds), anew=anew)
        wanted.keep(anew=anew)
        if before := _before(study, trials, lang):
            return before
        shared = folder / SHARED
        made = Cluster(shared, address) if engine == "ray" else Local(shared, progress)
        with made as running:
            sweeping = Sweeping(study, running, width(together, at_once), progress)
            return _ended(sweeping, trials, _command(target, arguments, over, trials, folder), lang)


def _ended(sweeping: Sweeping, trials: int, command: str, lang: str) -> Sweep:
    """Bring a sweep to its end; that it has ended is written last."""
    out = sweeping.study.out
    swept = sweeping.swept(trials, command)
    made = Sweep(out, swept, sweeping.best(swept))
    _write_pages(made, lang)
    write_json(out / OUTCOME, swept.to_json())
    sweeping.clear()
    return made


def _write_pages(made: Sweep, lang: str) -> None:
    """Write the pages of a sweep and of its winner in a language."""
    rewrite(made.page, html(made.swept, made.report, lang, f"{BEST}/report/report.html"))
    write_page(made.report, made.out / BEST / "report", lang)


def _refuse_odd(engine: str, address: str, **counts: int) -> None:
    if engine not in ENGINES:
        raise PlanError(f"--engine {engine}: is not known; choose one of {', '.join(ENGINES)}")
    if address and engine != "ray":
        raise PlanError(
            f"--address {address}: has no effect with --engine {engine}; add --engine ray"
        )
    least = {"trials": 1, "at_once": 1, "together": 0, "seeds": 0}
    for name, count in counts.items():
        if count < least[name]:
            flag = name.replace("_", "-")
            raise PlanError(f"--{flag} {count}: is too few; give {least[name]} or more")


def _refuse_undecided(space: Space) -> None:
    if space.default.data.dev == "":
        raise PlanError(
            'data.dev = "": a sweep compares its trials on dev, and test is for the winner alone; '
            "give data.dev"
        )
    if len(space.default.training_seeds) > 1:
        raise PlanError(
            f"seeds = {len(space.default.training_seeds)}: has no effect on trials, and the best "
            "of them are trained with fresh seeds by --seeds; leave seeds out"
        )


def _before(study: Study, trials: int, lang: str) -> Sweep | None:
    """Give the sweep that has ended in this folder, if one has; its pages are in `lang` then.

    Raises:
        Occupied: it has ended with fewer trials than are wanted.
    """
    found = concluded(study.out)
    if found is None:
        return None
    out, swept = study.out, found.swept
    more = trials > len(swept.trials)
    if more and swept.rules["trials"] != trials:
        raise Occupied(
            f"{out}: this sweep has ended after {counted(len(swept.trials), 'trial')}, and its "
            "winner has answered test, which is done once; choose another --out, or begin anew "
            "with --resume never"
        )
    _write_pages(found, lang)
    return replace(found, ended_before=True)


def _command(
    target: str, arguments: Sequence[str], over: Sequence[str], trials: int, out: Path
) -> str:
    words = ["tenon", "sweep", target, *arguments]
    words += [word for each in over for word in ("--over", each)]
    return shlex.join([*words, "--trials", str(trials), "--out", str(out)])
