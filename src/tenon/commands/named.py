"""Named: what a command names is looked for before anything heavy is imported.

A verb imports the model library as it is called, which takes seconds. That a name or a setting is
wrong is told without it; what is right is looked at again by the verb.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenon.adapters.expression import is_expression, parse
from tenon.verbs.folder import adapter_folder

STDIN = "-"


def require_adapters(*targets: Path | str) -> None:
    """Check that each target is a run or an adapter, or composed of those that are.

    Raises:
        PlanError: a composition cannot be read.
        FileError: one of the adapters is not there.
        RunError: one is a run that has no adapter yet.
    """
    from tenon.adapters.composition import names

    for target in targets:
        composed = is_expression(str(target)) and not Path(target).exists()
        for name in names(parse(str(target))) if composed else [target]:
            adapter_folder(name)


def require_rows(spec: str | None) -> None:
    """Check that the file of some rows is there, if any is named.

    Raises:
        FileError: it is not.
    """
    if spec and spec != STDIN:
        from tenon.data.sources import Source

        Source.parse(spec).require()


def require_plan(target: str, arguments: Sequence[str]) -> None:
    """Check that a target can be a plan.

    Raises:
        TenonError: it is not there, or a setting is wrong.
    """
    from tenon.verbs.target import planned

    planned(target, arguments)
