"""Check: what is in this data, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenon.core.errors import FileError, MissingExtra
from tenon.core.progress import Progress
from tenon.data import check as doctor
from tenon.data.findings import Finding, Findings
from tenon.data.lengths import Tokenizer
from tenon.data.load import sniff
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
    progress: Progress | None = None,
) -> Findings | tuple[Findings, ...]:
    """Find rows, lengths, labels, duplicates, leaks and unreadable lines.

    Rows that are wrong are findings, not errors. Where the plan's base is on this machine, tokens
    are counted, and a linear probe on it looks for doubtful labels. A plan of several adapters has
    findings for each.

    Args:
        target: run.toml, or `path[#member]`; of a container, all parts are checked together.
        arguments: `key=value` overrides.
        base: the model on which tokens are counted and labels probed; a plan names its own.
        progress: told of the rows of each source.

    Raises:
        FileError: a source is not there.
        PlanError: the plan file or an argument is wrong.
    """
    tell = _Rows(progress) if progress else None
    arguments = [*arguments, f"base={base}"] if base else arguments
    if is_plan_file(target):
        first, *others = [_planned(plan, tell) for plan in planned(target, arguments)]
        return (first, *others) if others else first
    if override.parse(arguments):
        made = starter(target, Path.cwd() / PLAN_FILE, arguments, otherwise=UNNAMED)
        return _planned(made.plan, tell)
    return check_file(target, progress=progress)


def check_file(source: str, *, progress: Progress | None = None) -> Findings:
    """Find what is in a data file and wrong with it, without a plan."""
    return doctor.check(sniff(source), 0, progress=_Rows(progress) if progress else None)


def _planned(plan: Plan, tell: _Rows | None) -> Findings:
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
