"""Bar: progress on a terminal; on a pipe, one line a stage."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

FORMS = {
    "loss": "loss {:.3f}",
    "dev": "dev {:.3f}",
    "tokens_per_second": "{:,.0f} tokens/s",
    "rows_per_second": "{:,.0f} rows/s",
}


class Bar:
    """The progress of a verb, a line for each of its stages.

    Args:
        console: where it is drawn; where that is no terminal, each stage is told once.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stage: TaskID | None = None
        self.fields: dict[str, float] = {}
        self.progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Count(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[said]}", style="dim", markup=False),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        self.progress.stop()

    def start(self, what: str, total: int | None, *, done: int = 0) -> None:
        """Begin a stage; the one before it is done."""
        self._finish()
        self.fields = {}
        if self.progress.disable:
            self.console.print(what, markup=False, highlight=False)
        self.stage = self.progress.add_task(what, total=total, completed=done, said="")

    def advance(self, n: int, **fields: float) -> None:
        """Move the stage's bar and say what is known of it."""
        if self.stage is None:
            return
        self.fields |= fields
        said = [
            form.format(self.fields[name]) for name, form in FORMS.items() if name in self.fields
        ]
        self.progress.update(self.stage, advance=n, said=" · ".join(said))

    def _finish(self) -> None:
        if self.stage is None:
            return
        task = self.progress.tasks[-1]
        done = task.total if task.total is not None else max(task.completed, 1)
        self.progress.update(self.stage, total=done, completed=done)
        self.progress.stop_task(self.stage)


class _Count(ProgressColumn):
    """How many units are done, of how many."""

    def render(self, task: Task) -> Text:
        done = f"{task.completed:,.0f}"
        return Text(done if task.total in (None, task.completed) else f"{done}/{task.total:,.0f}")
