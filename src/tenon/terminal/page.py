"""Page: any verb's value for the terminal, or as JSON.

A page is found by the name of the value's class, so that showing one thing
does not import what another one needs.
"""

from __future__ import annotations

import importlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import RenderableType
from rich.text import Text

PAGES = {
    "Answered": "run:answered_page",
    "Comparison": "comparison:comparison_page",
    "Demonstration": "run:demo_page",
    "Exportable": "exported:exportable_page",
    "Exported": "exported:exported_page",
    "Findings": "findings:findings_page",
    "Imported": "exported:imported_page",
    "Manifest": "adapter:adapter_page",
    "Opened": "served:opened_page",
    "Plan": "preview:settings_table",
    "Preview": "preview:preview_page",
    "Published": "exported:published_page",
    "Report": "report:report_page",
    "Run": "run:run_page",
    "Runs": "run:runs_page",
    "RunView": "run:view_page",
    "Starter": "lists:starter_page",
    "Sweep": "sweep:sweep_page",
    "Written": "adapter:written_page",
    "tuple of Findings": "findings:several_page",
    "tuple of Kind": "lists:kinds_page",
    "tuple of Plan": "preview:plans_page",
    "tuple of Preview": "preview:previews_page",
    "tuple of Refused": "lists:refused_page",
    "tuple of Scorer": "lists:scorers_page",
    "tuple of Setting": "lists:settings_page",
}


def render(value: object) -> RenderableType:
    """Lay out a verb's value; one without a page of its own is shown as it says itself."""
    home = PAGES.get(_name(value))
    if home is None:
        return Text(str(value))
    module, _, function = home.partition(":")
    return getattr(importlib.import_module(f"tenon.terminal.{module}"), function)(value)


def _name(value: object) -> str:
    if isinstance(value, tuple) and value and not hasattr(value, "_fields"):
        return f"tuple of {type(cast(Any, value)[0]).__name__}"
    return type(value).__name__


def to_json(value: object) -> Any:
    """Give a verb's value as JSON-able values; functions and the like in it are left out."""
    untyped = cast(Any, value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return {str(key): to_json(part) for key, part in untyped.items()}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in untyped]
    if hasattr(value, "to_json"):
        return untyped.to_json()
    if hasattr(value, "model_dump"):
        return untyped.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    return _fields(untyped) if is_dataclass(value) else str(value)


def _fields(value: Any) -> dict[str, Any]:
    named = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: to_json(part) for name, part in named.items() if not callable(part)}
