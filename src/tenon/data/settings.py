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
        scheme: how tags say spans; told from the tags where left out. "plain" gives each token a
            class of its own; "io" makes a span of neighbours with one tag.
        without_spans: what a row is that lacks the column of spans; "none" makes it a text
            without spans, "" an error.
    """

    text: str = ""
    pair: str = ""
    label: str = ""
    tokens: str = ""
    tags: str = ""
    spans: str = ""
    scheme: Literal["", "bio", "iob1", "bioes", "bilou", "bmes", "io", "plain"] = ""
    without_spans: Literal["", "none"] = ""

    def named(self) -> dict[str, str]:
        """Give the fields that have a column, and the column of each."""
        fields = self.model_dump(exclude={"scheme", "without_spans"})
        return {field: column for field, column in fields.items() if column}


class DataSettings(Settings):
    """Sources, columns and the split.

    Args:
        task: what is learned.
        train: the rows to learn from: a file, or `path#member` for one part of an archive, a JSON
            object or a folder.
        dev: the rows that choose the best step, given as train is; or the share of train that is
            held out for it, in (0, 0.5]; "" for none, and then the last step is the result.
        test: the rows of the final report, given as train is; "" reports on dev.
        columns: which column holds what; guessed and told where left out.
        overlap: what to do with a train row whose text is also in dev or test.
        quoting: how quotation marks in CSV and TSV are read; "auto" reads CSV by RFC 4180 and
            takes those of TSV as text.
        labels: all labels, in the order of the classes; found in the data where left out.
    """

    task: TaskName = "text-classification"
    train: str
    dev: str | float = 0.1
    test: str = ""
    columns: Columns | None = None
    overlap: Literal["drop_from_train", "keep", "error"] = "drop_from_train"
    quoting: Literal["auto", "rfc4180", "none"] = "auto"
    labels: tuple[str, ...] = Field(default=())
