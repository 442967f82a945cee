"""Output: a verb's value to standard output, its progress to standard error.

Nothing heavy is imported before there is something to show.
"""

from __future__ import annotations

import contextlib
import json as js
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenon.core.progress import Progress


def emit(value: object, *, json: bool, quiet: bool) -> None:
    """Print a verb's value: as JSON, as a page, or not at all."""
    if json:
        from tenon.terminal.page import to_json

        sys.stdout.write(js.dumps(to_json(value), ensure_ascii=False, indent=2) + "\n")
    elif not quiet:
        from rich.console import Console

        from tenon.terminal.page import render

        Console().print(render(value))


@contextlib.contextmanager
def bar(*, silent: bool) -> Iterator[Progress | None]:
    """Yield what shows progress on standard error; None where nothing is to be shown."""
    if silent:
        yield None
        return
    from rich.console import Console

    from tenon.terminal.bar import Bar

    with Bar(Console(stderr=True)) as shown:
        yield shown
