"""Environment: how the templates of pages are read; every text of the user's is escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Give an environment of ours, without filters yet."""
    return Environment(
        loader=PackageLoader("tenon.evaluate", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
