"""DataSettings: where the rows come from and what their columns mean."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tenon.core.settings import Settings

TaskName = Literal[
    "text-classification", "multi-label-classification", "text-regression", "token-classification",
    "text-generation", "question-answering", "translation", "summarization",
]  # fmt: skip

OPTIONS = ("scheme", "without_spans", "answers", "several", "separator", "flags")
"""Fields of `Columns` that say how another one is read, or name several columns at once."""


class Columns(Settings):
    """Which column of a row holds which field of an example.

    Args:
        text: column of the text; of a summary, what it sums up.
        pair: column of the second text, for pairs; empty for single texts.
        label: column of the class label, of the list of labels, or of the number; empty for rows
            without labels.
        flags: columns of 0 and 1, one for each label, of texts with several labels.
        separator: what stands between several labels in one text; told from them where left out.
        tokens: column of the list of words, of a tagged text.
        tags: column of the list of tags, one for each word.
        spans: column of the list of spans, in characters of the text.
        scheme: how tags say spans; told from the tags where left out. "plain" gives each token a
            class of its own; "io" makes a span of neighbours with one tag.
        without_spans: what a row is that lacks the column of spans; "none" makes it a text
            without spans, "" an error.
        question: column of the question about a context.
        context: column of the text that holds the answer.
        answer: column of the answers: lists of texts and starts, a list of answers, or one text.
        start: column of the answer's start, where the answer is one text.
        impossible: column that says whether the context does not answer.
        several: which place is meant where an answer without a start stands several times;
            "first" takes the first one, "" is an error.
        group: column whose values keep rows together: no value stands in two parts, and intervals
            and tests take its rows as one. Of questions, the context does so where left out.
        turns: column of the list of turns, of a conversation.
        prompt: column of what is asked.
        input: column of what goes on below the prompt, after a blank line, where it is not empty.
        completion: column of what shall be written after the prompt.
        source: column of the text to translate.
        target: column of its translation, or of a list of translations.
        summary: column of the summary of a text, or of a list of summaries.
        system: column of what the system says before a conversation or prompt.
        answers: which of a conversation's answers are learned; all of them where left out.
    """

    text: str = ""
    pair: str = ""
    label: str = ""
    flags: tuple[str, ...] = ()
    separator: Literal["", "|", ";", ","] = ""
    tokens: str = ""
    tags: str = ""
    spans: str = ""
    scheme: Literal["", "bio", "iob1", "bioes", "bilou", "bmes", "io", "plain"] = ""
    without_spans: Literal["", "none"] = ""
    question: str = ""
    context: str = ""
    answer: str = ""
    start: str = ""
    impossible: str = ""
    several: Literal["", "first"] = ""
    group: str = ""
    turns: str = ""
    prompt: str = ""
    input: str = ""
    completion: str = ""
    source: str = ""
    target: str = ""
    summary: str = ""
    system: str = ""
    answers: Literal["", "all", "last"] = ""

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Give the fields whose value is a column."""
        return tuple(name for name in cls.model_fields if name not in OPTIONS)

    def named(self) -> dict[str, str]:
        """Give the fields that have a column, and the column of each."""
        fields = self.model_dump(exclude={*OPTIONS})
        return {field: column for field, column in fields.items() if column}

    def given(self) -> set[str]:
        """Give the fields that have a value."""
        return {name for name in type(self).model_fields if getattr(self, name)}


class DataSettings(Settings):
    """Sources, columns and the split.

    Args:
        task: what is learned.
        train: the rows to learn from: a file, or `path#member` for one part of an archive, a JSON
            object or a folder; `train.en+train.de` for two files whose lines belong together.
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
