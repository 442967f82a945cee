"""Progress: how far a long piece of work has come, told to whoever wants to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What long work tells while it goes on; where a function takes None, nothing is told.

    Work consists of stages one after another: `start` ends the stage before it.
    """

    def start(self, what: str, total: int | None, *, done: int = 0) -> None:
        """Begin a stage.

        Args:
            what: the stage, as one reads it: "reading reviews.csv".
            total: how many units it has, or None where that is not known.
            done: how many of them were done before, by a run that is now resumed.
        """
        ...

    def advance(self, n: int, **fields: float) -> None:
        """Tell that `n` more units are done.

        Args:
            n: units since the last call.
            fields: what can be said of the stage by now: `loss`, `dev`, `tokens_per_second`,
                `rows_per_second`.
        """
        ...
