"""Preflight of a run: its subject put together from a workspace, and what was found kept."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tenon.adapters.kind import KINDS
from tenon.core.files import read_json, write_json
from tenon.core.progress import Progress
from tenon.core.proof import Check
from tenon.evaluate.ground import rendered_by
from tenon.model.attach import Attached
from tenon.model.model import Model
from tenon.text.taught import Taught
from tenon.train.preflight import preflight
from tenon.train.subject import Subject
from tenon.verbs.names import Names
from tenon.verbs.outcome import lengths_of
from tenon.verbs.workspace import Workspace, embeddings

NAME = "preflight.json"
EXAMPLES = 8
Manner = Literal["stop", "tell", "off"]
"""What a failed check does to a run: it stops it, or is told in the report; "off" asks nothing."""


def subject_of(space: Workspace, model: Model, attached: Attached) -> Subject:
    """Put together what a preflight looks at."""
    plan = space.plan
    return Subject(
        model=model,
        taught=taught_of(space),
        places=attached.places,
        adapter=plan.adapter,
        settings=plan.train,
        factors=KINDS.get(plan.adapter.kind).factors(plan.adapter.own),
        seed=plan.seed,
    )


def taught_of(space: Workspace) -> Taught:
    """Give the rows of a run, and the renderer that its adapter will be served with.

    That one is made from the base's files anew, as a server makes it.
    """
    plan, seq2seq = space.plan, space.trunk.seq2seq
    lengths = lengths_of(space)
    return Taught(
        tokens=space.tokens["train"],
        renderer=space.renderer,
        served=rendered_by(plan.data.task, space.classes, lengths, space.base, seq2seq=seq2seq),
        examples=tuple(islice(space.parts.examples("train"), EXAMPLES)),
        units=space.units,
        vocabulary=embeddings(space.trunk),
        longest=lengths.max_new_tokens,
    )


def look(
    space: Workspace,
    model: Model,
    attached: Attached,
    out: Path,
    manner: Manner,
    progress: Progress | None,
) -> None:
    """Look at a run before its first step, and keep what is found in its folder.

    Raises:
        RunError: a check has failed, and the manner is to stop. Nothing has been trained.
    """
    if manner == "off":
        return
    if progress:
        progress.start("preflight", None)
    found = preflight(subject_of(space, model, attached))
    write_json(out / NAME, found.to_json())
    if manner == "stop":
        found.raise_if_failed("preflight")


def found_before(out: Path, names: Names) -> dict[str, Any]:
    """Give what a report says of a run's preflight; empty where there was none."""
    if not (out / NAME).exists():
        return {}
    kept = read_json(out / NAME)
    rows = [{**row, "origin": names.told(row["origin"])} for row in kept["rows"]]
    checks = [{**check, "what": names.told(check["what"])} for check in kept["checks"]]
    return {**kept, "checks": checks, "rows": rows}


def failures(found: Mapping[str, Any]) -> list[str]:
    """Give a note for each check that failed and did not stop the run."""
    checks = (Check(**check) for check in found.get("checks", ()))
    return [said(check) for check in checks if not check.passed]


def said(check: Check) -> str:
    """Give a sentence for a check that failed."""
    return f"preflight, {check.name}: {check.what}. To do: {check.remedy}"
