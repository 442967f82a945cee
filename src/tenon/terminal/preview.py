"""Preview page: a plan before it runs."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.plan.budget import Budget
from tenon.plan.plan import Plan, below
from tenon.terminal.number import count, share, size
from tenon.terminal.sheet import heading, notes, page, sheet
from tenon.verbs.plan import Preview

COLOURS = {"file": "cyan", "override": "magenta", "measured": "green"}
SHOWN_CHARACTERS = 56
UNTOLD = (
    "how long it takes, and the memory of a batch's activations, which grows with "
    "train.micro_batch_tokens; a run shows its pace, its report both"
)


def preview_page(preview: Preview) -> RenderableType:
    """Lay out data, sites, cost and settings."""
    return page(
        _data(preview),
        _sites(preview.budget),
        _cost(preview),
        settings_table(preview.plan),
    )


def settings_table(plan: Plan) -> RenderableType:
    """Lay out every setting with its origin; those left to their defaults take a line a table."""
    rows: list[tuple[RenderableType, ...]] = []
    defaults: dict[str, list[str]] = {}
    for name, value, origin in plan.settings():
        if origin != "default":
            rows.append((name, _value(plan, value), Text(origin, style=COLOURS[origin])))
        elif value is not None:
            table, _, last = name.rpartition(".")
            defaults.setdefault(table, []).append(f"{last} = {_value(plan, value)}")
    left = [(Text(table), Text(" · ".join(said), style="dim")) for table, said in defaults.items()]
    return Group(
        heading("Settings", f"plan {plan.digest[:12]}"),
        sheet("setting", "value", "from", rows=rows),
        Text(""),
        heading("Left to their defaults"),
        sheet("", "", rows=left),
    )


def _value(plan: Plan, value: Any) -> str:
    if isinstance(value, str):
        return below(value, plan.folder) or '""'
    text = json.dumps(value, ensure_ascii=False).replace('"', "")
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _data(preview: Preview) -> RenderableType:
    rows = [
        (
            part,
            count(amount.rows),
            count(amount.tokens),
            count(amount.longest),
            f"{count(amount.rows_cut)} ({count(amount.tokens_cut)} tokens)"
            if amount.rows_cut
            else "0",
        )
        for part, amount in preview.amounts.items()
    ]
    labels = preview.parts.labels
    shown = ", ".join(labels[:6]) + (", …" if len(labels) > 6 else "")
    title = heading("Data", f"{len(labels)} labels: {shown}")
    head = ("part", "rows", "tokens", "longest", "rows cut")
    table = sheet(*head, rows=rows, numbers=head[1:])
    told = [notes(preview.parts.notes)] if preview.parts.notes else []
    return Group(title, table, *told)


def _sites(budget: Budget) -> RenderableType:
    rows = [
        (place.site, count(place.modules), count(place.parameters), place.example)
        for place in budget.places
    ]
    rows.append(("head", "1", count(budget.head_parameters), "pooled vector to labels"))
    title = heading(
        "Trained", f"{count(budget.trained)} parameters, {share(budget.share)} of the base's"
    )
    head = ("site", "modules", "parameters", "such as")
    return Group(title, sheet(*head, rows=rows, numbers=head[1:3], clip=head[3]))


def _cost(preview: Preview) -> RenderableType:
    budget, train = preview.budget, preview.plan.train
    epochs = f"{count(train.epochs)} epoch{'s' if train.epochs > 1 else ''}"
    steps = f"{count(preview.steps)}{' at most' if train.patience else ''}"
    rows = [
        (
            "base",
            f"{count(budget.base_parameters)} parameters, {size(budget.base_bytes)}, frozen"
            f" ({budget.model_type})",
        ),
        ("adapter on disk", size(budget.adapter_bytes)),
        ("gradients, optimizer", size(budget.optimizer_bytes)),
        (
            "steps",
            f"{steps}: {epochs}, {count(train.tokens_per_step)} tokens a step",
        ),
        ("batches", preview.batches),
        ("not told", UNTOLD),
    ]
    return Group(heading("Cost"), sheet("", "", rows=[(Text(a, style="dim"), b) for a, b in rows]))
