"""Lists: what there is to choose from, kinds and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from rich.console import Group, RenderableType
from rich.text import Text

from tenon.adapters.kind import Kind
from tenon.adapters.refused import Refused
from tenon.core.manual import Setting
from tenon.evaluate.scorers import Scorer
from tenon.plan.plan import below
from tenon.plan.planfile import toml
from tenon.plan.starter import Starter
from tenon.terminal.place import short
from tenon.terminal.sheet import heading, notes, page, sheet

BY_PRESET = "by preset"


def kinds_page(kinds: Sequence[Kind]) -> RenderableType:
    """Lay out the kinds of adapters, all in a table and then each with its settings."""
    rows = [
        (kind.name, kind.title, "yes" if kind.mergeable else "no", f"{kind.learning_rate:g}")
        for kind in kinds
    ]
    table = sheet("kind", "title", "merge", "learning rate", rows=rows)
    more = Text("  What PEFT has besides, and why it is no kind here: tenon show refused", "dim")
    overview = Group(heading("Kinds", "of adapters"), table, more)
    return page(overview, *(_kind(kind) for kind in kinds))


def refused_page(refused: Sequence[Refused]) -> RenderableType:
    """Lay out the methods that are no kinds, with the reasons."""
    rows = [(each.title, each.why, each.instead) for each in refused]
    return Group(heading("Refused"), sheet("method of PEFT", "why", "take", rows=rows))


def _kind(kind: Kind) -> RenderableType:
    facts = [
        ("paper", kind.paper),
        ("sites", BY_PRESET if kind.presets else ", ".join(kind.default_sites)),
        ("learning rate", f"{kind.learning_rate:g}: {kind.rate_source}"),
        ("merge", f"{'yes' if kind.mergeable else 'no'}: {kind.mergeable_why}"),
        ("at the start", kind.start or "changes nothing, bit for bit"),
    ]
    rows = [(Text(name, style="dim"), text) for name, text in facts]
    return Group(
        heading(kind.name, kind.title),
        Text(f"  {kind.summary}"),
        sheet("", "", rows=rows),
        *([settings_table(kind.manual())] if kind.manual() else []),
        *([Text(""), _presets(kind)] if kind.presets else []),
    )


def _presets(kind: Kind) -> RenderableType:
    """Lay out what each preset decides, a column each."""
    decided = kind.by_preset()
    names = dict.fromkeys(name for values in decided.values() for name in values)
    rows = [(name, *(_decided(values.get(name)) for values in decided.values())) for name in names]
    return sheet("decided by the preset", *decided, rows=rows)


def _decided(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, cast(tuple[object, ...], value)))
    return "not used" if value is None else str(value) if isinstance(value, str) else toml(value)


def settings_page(settings: Sequence[Setting]) -> RenderableType:
    """Lay out all settings of run.toml."""
    return Group(heading("Settings", "of run.toml, or as key=value"), settings_table(settings))


def scorers_page(scorers: Sequence[Scorer]) -> RenderableType:
    """Lay out the scorers."""
    rows = [(each.name, each.title, each.better, each.interval) for each in scorers]
    return Group(heading("Scorers"), sheet("scorer", "title", "better", "interval", rows=rows))


def settings_table(settings: Sequence[Setting]) -> RenderableType:
    """Lay out settings with default and meaning."""
    rows = [(setting.name, _default(setting), _meaning(setting)) for setting in settings]
    return sheet("setting", "default", "meaning", rows=rows)


def starter_page(made: Starter) -> RenderableType:
    """Lay out what was inferred, and what comes next."""
    file = short(str(made.path))
    rows = [
        (name, toml(below(value, made.plan.folder) if isinstance(value, str) else value))
        for name, value, origin in made.plan.settings()
        if origin != "default"
    ]
    steps = [
        (f"tenon check {file}", "what is wrong with the data"),
        (f"tenon plan {file}", "every setting, and what would be trained"),
        (f"tenon train {file}", "train, and see how good it is"),
    ]
    return page(
        heading(f"Wrote {file}", "every other setting stands in it with its default"),
        sheet("", "", rows=rows),
        notes(made.notes),
        Group(heading("Next"), sheet("", "", rows=[(a, Text(b, style="dim")) for a, b in steps])),
    )


def _default(setting: Setting) -> str:
    if setting.required:
        return "(needed)"
    if setting.by_preset:
        return BY_PRESET
    return "" if setting.default is None else toml(setting.default)


def _meaning(setting: Setting) -> str:
    meaning = setting.meaning.rstrip(".")
    return f"{meaning}: {', '.join(setting.choices)}" if setting.choices else meaning
