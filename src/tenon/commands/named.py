"""Named: what a command names is looked for before anything heavy is imported.

A verb imports the model library as it is called, which takes seconds. That a name or a setting is
wrong is told without it; what is right is looked at again by the verb.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tenon.core.files import require
from tenon.data.spec import HUB, JOINT, STDIN
from tenon.verbs.folder import adapter_folder


def require_adapters(*targets: Path | str) -> None:
    """Check that each target is a run or an adapter, or composed of those that are.

    Raises:
        PlanError: a composition cannot be read.
        FileError: one of the adapters is not there.
        RunError: one is a run that has no adapter yet.
    """
    from tenon.adapters.composition import names
    from tenon.adapters.expression import is_expression, parse

    for target in targets:
        composed = is_expression(str(target)) and not Path(target).exists()
        for name in names(parse(str(target))) if composed else [target]:
            adapter_folder(name)


def require_rows(spec: str | None) -> None:
    """Check that a file of rows is there, if one is named; whether it can be read is seen later.

    Raises:
        FileError: it is not.
    """
    if spec and spec != STDIN and not spec.startswith(HUB) and JOINT not in spec:
        whole, path = Path(spec), Path(spec.partition("#")[0])
        require(path if not whole.exists() else whole)


def require_plan(target: str, arguments: Sequence[str]) -> None:
    """Check that a target can be a plan.

    Raises:
        TenonError: it is not there, or a setting is wrong.
    """
    require_rows(target)
    from tenon.verbs.target import planned

    planned(target, arguments)
