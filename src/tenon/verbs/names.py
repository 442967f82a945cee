"""Names: how a report calls the files that a plan names by their places on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tenon.data.sources import Source
from tenon.evaluate.prediction import A, renamed
from tenon.plan.plan import SOURCES, Plan, below


@dataclass(frozen=True)
class Names:
    """Places to names that say nothing of the machine.

    Args:
        names: a path, as it stands in origins and notes, to what it is called.
    """

    names: Mapping[str, str]

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Name a plan's files as they lie below run.toml, all others by their bare names."""
        specs = [getattr(plan.data, part) for part in SOURCES]
        sources = [Source.parse(spec) for spec in specs if isinstance(spec, str) and spec]
        paths = [path for source in sources if not source.hub for path in source.files]
        return cls({path: bare(path, plan.folder) for path in sorted(paths, key=len, reverse=True)})

    def told(self, text: str) -> str:
        """Give a note or an origin with the names in place of the paths."""
        for path, name in self.names.items():
            text = text.replace(path, name)
        return text

    def of_answers(self, answers: A) -> A:
        """Give answers whose origins have the names in place of the paths."""
        return renamed(
            answers,
            [self.told(origin) for origin in answers.origins],
            {self.told(origin): cause for origin, cause in answers.failed.items()},
        )


def bare(path: str, folder: str) -> str:
    """Give a path as it stands below `folder`; only its name where it lies elsewhere."""
    inside = below(path, folder)
    return Path(inside).name if Path(inside).is_absolute() else inside
