"""DataSettings: where the rows come from and what their columns mean."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.core.settings import Settings

TaskName = Literal["text-classification", "token-classification"]


class Columns(Settings):
    """Which column of a row holds which field of an example.

    Args:
        text: column of the text.
        pair: column of the second text, for pairs; empty for single texts.
        label: column of the class label; empty for rows without labels.
        tokens: column of the list of words, of a tagged text.
        tags: column of the list of tags, one for each word.
        spans: column of the list of spans, in characters of the text.
    """

    text: str = ""
    pair: str = ""
    label: str = ""
    tokens: str = ""
    tags: str = ""
    spans: str = ""

    def named(self) -> dict[str, str]:
        """Give the fields that have a column, and the column of each."""
        return {field: column for field, column in self.model_dump().items() if column}


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

    task: TaskName = "text-classification"
    train: str
    dev: str | float = 0.1
    test: str = ""
    columns: Columns | None = None
    overlap: Literal["drop_from_train", "keep", "error"] = "drop_from_train"
    quoting: Literal["auto", "rfc4180", "none"] = "auto"
    labels: tuple[str, ...] = Field(default=())
