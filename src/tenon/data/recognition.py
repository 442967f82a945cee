"""Recognition: which task the rows of a file are for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from tenon.core.errors import DataError
from tenon.data.example import Row
from tenon.data.settings import TaskName
from tenon.data.task import TASKS

DEFAULT: TaskName = "text-classification"


class Recognised(NamedTuple):
    """The task of some rows.

    Args:
        task: as the hub names it.
        why: what the rows hold that says so; "" where it was named, or nothing says so.
    """

    task: str
    why: str


def recognise(rows: Sequence[Row], fields: Collection[str] = (), where: str = "") -> Recognised:
    """Tell the task of rows by what their columns hold.

    Args:
        rows: a sample of one source.
        fields: fields of `Columns` that are named already; only a task that reads all of them
            comes into question.
        where: name of the source, for messages.

    Raises:
        DataError: they suit two tasks.
    """
    open_tasks = [task for _, task in TASKS if set(fields) <= set(task.columns)]
    if len(open_tasks) == 1:
        return Recognised(open_tasks[0].name, "")
    suited = {task.name: why for task in open_tasks if rows and (why := task.recognise(rows))}
    if len(suited) > 1:
        told = ", or as ".join(f"{name}: {why}" for name, why in suited.items())
        options = " or ".join(f"data.task={name}" for name in suited)
        raise DataError(f"{where or rows[0].origin}: can be read as {told}; say which: {options}")
    for name, why in suited.items():
        return Recognised(name, why)
    names = [task.name for task in open_tasks]
    return Recognised(DEFAULT if DEFAULT in names or not names else names[0], "")
