"""Structure: what of a plan decides whether it trains, looked at once before its first trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tenon.core.errors import RunError
from tenon.core.files import digest_of, read_json, write_json
from tenon.plan.plan import Plan
from tenon.train.preflight import Preflight, preflight
from tenon.verbs.preflight import said, subject_of
from tenon.verbs.train import Place
from tenon.verbs.workspace import foundation


def structure(plan: Plan) -> str:
    """Give a digest of what decides whether a plan trains, be its rates what they may.

    That is the adapter's kind, sites, sizes and choices, and all that decides rows and base. A
    setting of the kind that is no whole number, as alpha or dropout, is a strength.
    """
    own = {name: v for name, v in plan.adapter.own.items() if not isinstance(v, float)}
    how = [plan.train.recompute, plan.train.head_start]
    where = [list(plan.adapter.sites), list(plan.adapter.layers)]
    return digest_of([foundation(plan), plan.adapter.kind, where, own, how])


def looked_at(shared: Path, plan: Plan) -> Preflight | None:
    """Give what was found of a plan's structure; None where it was not looked at.

    Args:
        shared: folder of what trials share.
        plan: of the trial, as it was asked for.
    """
    path = _path(shared, plan)
    return Preflight.from_json(read_json(path)) if path.exists() else None


def look_once(shared: Path, plan: Plan, place: Place) -> None:
    """Look at a structure before its first trial, at the rate that suits its kind.

    A sweep tries rates that suit no kind, and finds out by itself what comes of them.

    Args:
        shared: folder of what trials share, where it is kept.
        plan: of the trial, as it was asked for.
        place: the trial, before its first step.

    Raises:
        RunError: a check has failed. Nothing has been trained.
    """
    found = looked_at(shared, plan)
    if found is None:
        subject = subject_of(place.space, place.model, place.attached)
        usual = {"learning_rate": subject.kind.learning_rate}
        settings = subject.settings.model_copy(update=usual)
        found = preflight(replace(subject, settings=settings))
        write_json(_path(shared, plan), found.to_json())
    if reason := why_not(found):
        raise RunError(reason)


def why_not(found: Preflight | None) -> str:
    """Say why a structure does not train; "" where it does, or nobody has looked."""
    if found is None or not found.failed:
        return ""
    first, *others = found.failed
    more = f" ({len(others) + 1} of {len(found.checks)} checks failed)" if others else ""
    return f"{said(first)}{more}"


def _path(shared: Path, plan: Plan) -> Path:
    return shared / foundation(plan)[:12] / f"preflight-{structure(plan)[:12]}.json"
