"""Preview page: a plan before it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.plan.plan import Plan, below
from tenon.plan.task import TOKENS, of_other_tasks
from tenon.terminal.forecast import forecast_page
from tenon.terminal.number import count, share, size
from tenon.terminal.preflight import preflight_part
from tenon.terminal.rates import rates_part
from tenon.terminal.sheet import heading, notes, page, sheet
from tenon.verbs.plan import Preview

COLOURS = {"file": "cyan", "override": "magenta", "measured": "green"}
SHOWN_CHARACTERS = 56


def preview_page(preview: Preview) -> RenderableType:
    """Lay out data, sites, cost and settings."""
    return page(
        _data(preview),
        _sites(preview),
        _cost(preview),
        forecast_page(preview.forecast),
        preflight_part(preview.preflight) if preview.preflight else None,
        rates_part(preview.rates) if preview.rates else None,
        settings_table(preview.plan),
    )


def previews_page(previews: Sequence[Preview]) -> RenderableType:
    """Lay out the plan of each adapter."""
    return page(
        *(
            Group(heading(f"[adapters.{each.plan.adapter.name}]"), Text(""), preview_page(each))
            for each in previews
        )
    )


def plans_page(plans: Sequence[Plan]) -> RenderableType:
    """Lay out the settings of each adapter's plan."""
    return page(*(Group(heading(f"[adapters.{p.adapter.name}]"), settings_table(p)) for p in plans))


def settings_table(plan: Plan) -> RenderableType:
    """Lay out every setting with its origin; those left to their defaults take a line a table."""
    rows: list[tuple[RenderableType, ...]] = []
    defaults: dict[str, list[str]] = {}
    foreign = of_other_tasks(plan.data.task)
    for name, value, origin in plan.settings():
        if origin != "default":
            rows.append((name, _value(plan, value), Text(origin, style=COLOURS[origin])))
        elif value is not None and name not in foreign:
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
            count(amount.windowed),
        )
        for part, amount in preview.amounts.items()
    ]
    labels = preview.parts.labels
    shown = ", ".join(labels[:6]) + (", …" if len(labels) > 6 else "")
    title = heading("Data", f"{len(labels)} labels: {shown}" if labels else "")
    head = ("part", "rows", "tokens", "longest", "rows cut", "in windows")
    if not any(amount.windowed for amount in preview.amounts.values()):
        head, rows = head[:-1], [row[:-1] for row in rows]
    table = sheet(*head, rows=rows, numbers=head[1:])
    noted = (*preview.parts.notes, *preview.notes)
    told = [notes(noted)] if noted else []
    return Group(title, table, *told)


def _sites(preview: Preview) -> RenderableType:
    budget, pooled = preview.budget, preview.plan.model.pooling != TOKENS
    read = "pooled vector to labels" if pooled else "hidden state of each token to classes"
    rows = [
        (place.site, count(place.modules), count(place.parameters), place.example)
        for place in budget.places
    ]
    if budget.head_parameters:
        rows.append(("head", "1", count(budget.head_parameters), read))
    title = heading(
        "Trained", f"{count(budget.trained)} parameters, {share(budget.share)} of the base's"
    )
    head = ("site", "modules", "parameters", "such as")
    return Group(title, sheet(*head, rows=rows, numbers=head[1:3], clip=head[3]))


def _cache(preview: Preview) -> str:
    cache = preview.forecast.cache
    if cache is None or not cache.layers:
        return f"off: {cache.why}" if cache else "off"
    return f"{cache.why}; {size(cache.bytes)} on disk, {cache.form}"


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
        (
            "steps",
            f"{steps}: {epochs}, {count(train.tokens_per_step)} tokens a step",
        ),
        *([("number format", preview.precision)] if preview.precision else []),
        ("batches", preview.batches),
        ("trunk cache", _cache(preview)),
    ]
    return Group(heading("Cost"), sheet("", "", rows=[(Text(a, style="dim"), b) for a, b in rows]))
