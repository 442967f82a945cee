"""Environment: how the templates of pages are read; every text of the user's is escaped."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment(use: str) -> Environment:  # noqa: ARG001 - the key of the cache
    """Give the environment of one use, whose templates are compiled once a process.

    Args:
        use: what it is for; pages that have filters of different meaning are different uses, as a
            template that was imported keeps the filters that it met first.
    """
    del use  # one is kept for each
    return Environment(
        loader=PackageLoader("tenon.evaluate", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
