"""Check: what is in this data, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tenon.core.errors import DataError, FileError, MissingExtra, PlanError
from tenon.core.progress import Progress
from tenon.data import check as doctor
from tenon.data.findings import Finding, Findings
from tenon.data.lengths import Tokenizer
from tenon.data.load import plan_route, sniff
from tenon.data.mend import mend
from tenon.data.settings import DataSettings
from tenon.data.task import TASKS
from tenon.plan import override
from tenon.plan.plan import Plan
from tenon.plan.starter import PLAN_FILE, starter
from tenon.verbs.target import is_plan_file, planned

UNNAMED = "(none)"
"""Stands for the base where the rows are looked at without one."""


def check(
    target: str,
    arguments: Sequence[str] = (),
    *,
    base: str = "",
    fix: Path | str | None = None,
    progress: Progress | None = None,
) -> Findings | tuple[Findings, ...]:
    """Find rows, lengths, labels, duplicates, leaks and unreadable lines.

    Rows that are wrong are findings, not errors. Where the plan's base is on this machine, tokens
    are counted, and a linear probe on it looks for doubtful labels. A plan of several adapters has
    findings for each.

    Args:
        target: run.toml, or `path[#member]`; of a container, all parts are checked together.
        arguments: `key=value` overrides.
        fix: a file to write a mended copy of train into, as JSON lines; beside it stands the list
            of what was done.
        base: the model on which tokens are counted and labels probed; a plan names its own.
        progress: told of the rows of each source.

    Raises:
        FileError: a source is not there.
        PlanError: the plan file or an argument is wrong, or `fix` is given for a plan of several
            adapters.
        DataError: `fix` is given, and train cannot be read.
    """
    tell = _Rows(progress) if progress else None
    arguments = [*arguments, f"base={base}"] if base else arguments
    copy = None if fix is None else Path(fix)
    if is_plan_file(target):
        plans = planned(target, arguments)
        if copy is not None and len(plans) > 1:
            raise PlanError(f"--fix {copy}: {target} has several adapters; check one data file")
        first, *others = [_planned(plan, tell, copy) for plan in plans]
        return (first, *others) if others else first
    if override.parse(arguments):
        made = starter(target, Path.cwd() / PLAN_FILE, arguments, otherwise=UNNAMED)
        return _planned(made.plan, tell, copy)
    settings = sniff(target)
    return _mended(doctor.check(settings, 0, progress=tell), settings, 0, copy)


def check_file(source: str, *, progress: Progress | None = None) -> Findings:
    """Find what is in a data file and wrong with it, without a plan."""
    return doctor.check(sniff(source), 0, progress=_Rows(progress) if progress else None)


def _mended(findings: Findings, settings: DataSettings, seed: int, copy: Path | None) -> Findings:
    """Write a mended copy where one is wanted."""
    if copy is None:
        return findings
    if findings.columns is None:
        raise DataError(
            f"{settings.train}: its columns cannot be told, so that nothing can be mended; name "
            'them: data.columns.text="..." data.columns.label="..."'
        )
    return replace(findings, mended=mend(plan_route(settings, seed), findings.columns, copy))


def _planned(plan: Plan, tell: _Rows | None, copy: Path | None = None) -> Findings:
    return _mended(_found(plan, tell), plan.data, plan.seed, copy)


def _found(plan: Plan, tell: _Rows | None) -> Findings:
    try:
        tokenizer, limit = _tokens(plan)
    except (FileError, MissingExtra) as error:
        findings = doctor.check(plan.data, plan.seed, progress=tell)
        why = "no base is named" if plan.base == UNNAMED else str(error)
        note = Finding("base", "note", 1, f"no tokens were counted: {why}")
        return findings.with_more([note])
    findings = doctor.check(
        plan.data, plan.seed, tokenizer=tokenizer, max_tokens=limit, progress=tell
    )
    if not (TASKS.get(plan.data.task).every and findings.columns and findings.rows["train"]):
        return findings
    from tenon.verbs.probed import probed

    progress = tell.progress if tell else None
    return findings.with_more(list(probed(plan, findings.columns, progress)))


def _tokens(plan: Plan) -> tuple[Tokenizer, int]:
    """Give what counts the tokens of texts in the plan's base, and the most that a row may have."""
    from tenon.model.base import locate
    from tenon.plan import measure
    from tenon.text.tokenizer import load_tokenizer, token_limit

    tokenizer = load_tokenizer(locate(plan.base, plan.model.revision).folder)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]]

    return count, measure.limit(plan, token_limit(tokenizer, 0))


class _Rows:
    """Tells progress of a check: a stage for each part."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.part, self.rows = "", 0

    def __call__(self, part: str, rows: int) -> None:
        if part != self.part:
            self.part, self.rows = part, 0
            self.progress.start(f"reading {part}", None)
        self.progress.advance(rows - self.rows)
        self.rows = rows
