"""Plan: every setting and where it came from, and what the run would weigh."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tenon.adapters.wrapped import adapted
from tenon.core.progress import Progress
from tenon.data.parts import Parts
from tenon.model.encoded import FORM
from tenon.model.fused import fusion_of
from tenon.model.lower import named_entry
from tenon.plan.budget import Budget, budget
from tenon.plan.devices import device_named
from tenon.plan.plan import Plan
from tenon.text.order import Order
from tenon.text.tokens import Tokens
from tenon.train.joint_passes import unshared
from tenon.train.passes import unrecordable
from tenon.train.preflight import Preflight
from tenon.train.rate_test import RateTest
from tenon.verbs.decided import OPEN, decide
from tenon.verbs.forecast import Forecast, forecast
from tenon.verbs.kernels import unrecorded
from tenon.verbs.outcome import token_notes
from tenon.verbs.precision import open_run
from tenon.verbs.target import explained
from tenon.verbs.tried import tried
from tenon.verbs.workspace import Workspace, open_workspace


@dataclass(frozen=True)
class Amount:
    """How much one part holds.

    Args:
        rows: of the part.
        tokens: of all rows, as the base will read them.
        longest: tokens of the longest row, after cutting.
        rows_cut: rows that lose tokens.
        tokens_cut: tokens that they lose.
        windowed: rows that are longer than the base reads, and are read in windows.
    """

    rows: int
    tokens: int
    longest: int
    rows_cut: int
    tokens_cut: int
    windowed: int


@dataclass(frozen=True)
class Preview:
    """A plan, seen before it runs.

    Args:
        plan: all settings, each with its origin.
        parts: the rows that were found.
        amounts: of each part.
        budget: parameters and bytes.
        batches: whether rows are packed or padded, and why.
        steps: of the whole run, unless patience ends it before.
        forecast: memory and time of the run.
        notes: why what was inferred is so, and what could not be done with the texts as they are.
        preflight: what would be looked at before the first step.
        rates: which learning rate suits, where that was asked for.
        precision: the number format of the base and why, where it was left open on a CPU.
    """

    plan: Plan
    parts: Parts
    amounts: Mapping[str, Amount]
    budget: Budget
    batches: str
    steps: int
    forecast: Forecast
    notes: tuple[str, ...] = ()
    preflight: Preflight | None = None
    rates: RateTest | None = None
    precision: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give the preview as JSON-able values."""
        data = {
            "parts": {part: asdict(amount) for part, amount in self.amounts.items()},
            "labels": list(self.parts.labels),
            "label_counts": {part: dict(n) for part, n in self.parts.label_counts.items()},
            "notes": [*self.parts.notes, *self.notes],
        }
        budget = self.budget.to_json()
        return {
            "plan": self.plan.to_json(),
            "data": data,
            "batches": self.batches,
            "precision": self.precision,
            "steps": self.steps,
            "budget": budget,
            "preflight": self.preflight.to_json() if self.preflight else None,
            "rates": self.rates.to_json() if self.rates else None,
            "forecast": self.forecast.to_json(),
        }


def plan(
    target: str,
    arguments: Sequence[str] = (),
    *,
    find_lr: bool = False,
    device: str = "",
    progress: Progress | None = None,
) -> Preview | tuple[Preview, ...]:
    """Resolve a plan, read its data and base, count what it trains, and prove that it will.

    Some passes are timed, and memory is found on shapes. Nothing is written but the tokens, which
    the run will find in the cache. A plan of several adapters has a preview for each, as if it
    were alone.

    Args:
        target: run.toml, or `path[#member]` of labelled rows.
        arguments: `key=value` overrides.
        find_lr: try learning rates on the rows; it takes as long as some 130 steps of training.
        device: a device that is not here, to be planned for: "h100-80gb"; see
            `tenon.plan.devices`.
        progress: told of every stage.

    Raises:
        TenonError: whatever would keep the run from starting, but for a check of the preflight,
            which is told; or rates are to be tried, and there are too few rows for it.
    """
    wanted, why = explained(target, arguments)
    how: dict[str, Any] = {"find_lr": find_lr, "device": device, "progress": progress}
    several = len(wanted) > 1
    first, *others = [_preview(each, why, several=several, **how) for each in wanted]
    return (first, *others) if others else first


def _preview(
    wanted: Plan,
    why: Sequence[str],
    *,
    several: bool,
    find_lr: bool,
    device: str,
    progress: Progress | None,
) -> Preview:
    begun = time.perf_counter()
    space = open_workspace(wanted, progress) if device else open_run(wanted, progress)
    holding = space.trunk.holding
    counted = budget(space.plan, space.base, len(space.classes), holding)
    if progress:
        progress.start("memory and time", None)
    elsewhere = device_named(device) if device else None
    decided = decide(space, elsewhere)
    # A run decides as well, before its first step.
    opened = time.perf_counter() - begun
    space = space if elsewhere else replace(space, plan=decided.plan)
    batches = _batches(space)
    foretold, bare = forecast(space, opened, decided, elsewhere)
    found, rates = tried(bare, progress, find_lr=find_lr)
    return Preview(
        plan=_shown(space.plan, decided.plan),
        parts=space.parts,
        amounts={part: _amount(tokens) for part, tokens in space.tokens.items()},
        budget=counted,
        steps=_steps(space.plan, space.tokens["train"]),
        forecast=replace(foretold, seconds=foretold.seconds.preceded(found.seconds)),
        batches="; ".join((batches, *_kernels(space, several=several))),
        notes=(
            *(note for note in why if note not in space.parts.notes),
            *((str(holding),) if holding else ()),
            *token_notes(space.tokens),
        ),
        preflight=found,
        rates=rates,
        precision="" if device else space.precision,
    )


def _shown(plan: Plan, decided: Plan) -> Plan:
    """Give the plan that is shown: as it is here, with what was decided for the planned device."""
    values = {
        name: decided.setting(name) for name in OPEN if decided.setting(name) != plan.setting(name)
    }
    return plan.decided(values)


def _batches(space: Workspace) -> str:
    """Say whether rows are packed, and whether the last layer is computed for the read tokens."""
    trunk, model = space.trunk, space.plan.model
    said = f"{'packed' if trunk.packed else 'padded'}: {trunk.why}"
    narrow = trunk.alone and model.pooling not in ("mean", "tokens")
    if not narrow or model.trunk_dropout or _last_again(space):
        return said
    return f"{said}; in training the last layer is computed for the token that pooling reads"


def _last_again(space: Workspace) -> bool:
    """Whether the last layer computes its states again; there is no adapter on the base yet."""
    again = space.plan.train.recompute
    if again is True or not again or again == "auto":
        return again is True
    entry = named_entry(space.trunk, space.plan.adapter)
    return entry.layers + again >= entry.of


def _kernels(space: Workspace, *, several: bool) -> Iterator[str]:
    """Say how passes over a base are computed, once its adapter has been tried.

    Args:
        several: whether they are of several adapters.
    """
    fusion, cuda = fusion_of(space.trunk), space.trunk.device.type == "cuda"
    # Other bases than encoders are not computed otherwise on a CPU, with whatever adapter.
    if fusion is not None and (cuda or fusion.why != FORM):
        yield str(fusion)
    if not cuda:
        return
    why = unrecorded(space.plan) or unrecordable(space.trunk, writes=space.writes)
    if several and not why:
        why = unshared(space.plan.adapter.name, adapted(space.trunk.model))
    beside = ", if each other adapter allows it" if several else ""
    yield f"no CUDA graphs: {why}" if why else f"passes are replayed as CUDA graphs{beside}"


def _steps(plan: Plan, train: Tokens) -> int:
    order = Order(train.lengths_R, plan.seed, plan.train.tokens_per_step)
    return plan.train.epochs * order.steps_per_epoch


def _amount(tokens: Tokens) -> Amount:
    longest = int(tokens.lengths_R.max()) if len(tokens) else 0
    cut = tokens.rows_cut, tokens.tokens_cut
    return Amount(tokens.texts, tokens.total, longest, *cut, tokens.windowed)
