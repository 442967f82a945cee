"""DataSettings: where the rows come from and what their columns mean."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.core.settings import Settings

Task = Literal["text-classification"]


class Columns(Settings):
    """Which column of a row holds which field of an example.

    Args:
        text: column of the text.
        pair: column of the second text, for pairs; empty for single texts.
        label: column of the class label; empty for rows without labels.
    """

    text: str
    pair: str = ""
    label: str = ""


class DataSettings(Settings):
    """Sources, columns and the split.

    Args:
        task: what is learned.
        train, test: a source, `path[#member]`; see `tenon.data.sources`.
        dev: a source, or the share of train that is held out, in (0, 0.5]; "" for none, and then
            the last step is the result.
        columns: meaning of the columns; guessed and reported where left out.
        overlap: what happens to a train row whose inputs also occur in dev or test.
        quoting: how quotation marks in CSV and TSV are read; "auto" is RFC 4180 for CSV and
            none for TSV.
        labels: the labels in the order of their classes; those of the data where left out.
    """

    task: Task = "text-classification"
    train: str
    dev: str | float = 0.1
    test: str = ""
    columns: Columns | None = None
    overlap: Literal["drop_from_train", "keep", "error"] = "drop_from_train"
    quoting: Literal["auto", "rfc4180", "none"] = "auto"
    labels: tuple[str, ...] = Field(default=())
