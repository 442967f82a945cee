"""Token classification: texts in which stretches have labels: names, slots, parts of speech."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from tenon.core.errors import DataError
from tenon.data.classification import guess_text
from tenon.data.columns import has
from tenon.data.example import Example, Row, content_id
from tenon.data.fields import Refusal, missing_column
from tenon.data.gold import Gold, Span
from tenon.data.settings import Columns
from tenon.data.tagging import TagColumns, Tagged, judge_tagged, listed
from tenon.data.tagging_columns import TOKENS_NAMES, guess_tagging
from tenon.data.tags import scheme_of
from tenon.data.task import TASKS, Guess, Tally, Task

KINDS = {
    "no_text_column": ("row", "lack the text column"),
    "no_tokens_column": ("row", "lack the column of tokens"),
    "no_tags_column": ("row", "lack the column of tags"),
    "no_spans_column": ("row", "lack the column of spans"),
    "null_text": ("row", "have null for text"),
    "empty_text": ("row", "have an empty text"),
    "text_not_text": ("row", "hold something else than text in the text column"),
    "unsound_text": ("text", "hold characters that no UTF-8 can hold, or NUL"),
    "unequal_tags": ("row", "have more or fewer tags than tokens"),
    "unknown_tag": ("tag", "are none of the scheme's"),
    "span_outside": ("span", "lie outside the text"),
    "span_text": ("span", "are not where their own text stands"),
    "empty_span": ("span", "have no characters"),
    "blank_span": ("span", "hold blanks alone"),
}
"""How a finding counts the commonest problems; of others it says that rows cannot be used."""


def judge(rows: Iterable[Row], columns: Columns, tally: Tally) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    Args:
        rows: rows of one source.
        columns: which column holds what; settled, so that tags have a scheme.
        tally: takes in spans that are left out or trimmed, and tags that break their scheme.
    """
    places = TagColumns(
        tokens=columns.tokens,
        tags=columns.tags,
        text=columns.text,
        spans=columns.spans,
        optional=columns.without_spans == "none" or not columns.spans,
    )
    labelled = bool(columns.tags or columns.spans)
    for row in rows:
        found = judge_tagged(row.values, places, columns.scheme or "bio")
        if not isinstance(found, Tagged):
            yield Refusal(row.origin, found)
            continue
        _count(found, tally)
        gold = found.spans if labelled else None
        words = found.words or None
        yield Example(content_id(found.text), row.origin, found.text, None, gold, words)


def _count(found: Tagged, tally: Tally) -> None:
    if found.dropped:
        tally["span", "overlap a longer one and are left out"] += found.dropped
    if found.repeated:
        tally["span", "are given twice and count once"] += found.repeated
    if found.trimmed:
        tally["token or span", "have outer blanks, which are left out"] += found.trimmed
    if found.breaches:
        tally["tag", "break the scheme and are read as conlleval reads them"] += found.breaches


def guess(rows: Sequence[Row], known: Mapping[str, str]) -> Guess:
    """Guess which columns hold tokens and tags, or a text and its spans.

    Raises:
        DataError: there are no rows, no such columns, or both kinds; or a named one is not there.
    """
    for field, column in known.items():
        if rows and not any(column in row.values for row in rows):
            _, what, remedy = missing_column(rows[0], column, field)
            raise DataError(f"{rows[0].origin}: {what}; {remedy}")
    if {"tokens", "tags"} <= known.keys() or {"text", "spans"} <= known.keys():
        return Guess(Columns(**dict(known)), [])  # type: ignore[arg-type] - names of columns
    found, why = guess_tagging(rows)
    named = {
        "tokens": found.tokens, "tags": found.tags, "text": found.text, "spans": found.spans,
        "without_spans": "none" if found.optional else "",
    }  # fmt: skip
    return Guess(Columns(**{**named, **known}), why)  # type: ignore[arg-type]


def settle(rows: Sequence[Row], columns: Columns, notes: list[str]) -> Columns:
    """Find out the scheme of the tags, where it is not given.

    Args:
        rows: a sample of train.

    Raises:
        DataError: the tags can be read in two ways that differ.
    """
    if not columns.tags or columns.scheme:
        return columns
    lists = [listed(row.values.get(columns.tags)) for row in rows]
    sequences = [[str(tag) for tag in tags] for tags in lists if isinstance(tags, list)]
    found = scheme_of(sequences, rows[0].origin.rpartition(":")[0] if rows else "")
    notes.append(f"tags are {found.name.upper()}: {found.why}")
    return columns.model_copy(update={"scheme": found.name})


def adapt(rows: Sequence[Row], trained: Columns, notes: list[str], *, labelled: bool) -> Columns:
    """Give the columns of rows that an adapter shall answer: those it was trained on, or a guess.

    Args:
        labelled: whether the rows' own spans are wanted.

    Raises:
        DataError: no column holds the tokens or the text; or, if labelled, their spans.
    """
    pairs = (("tokens", "tags"), ("text", "spans"))
    wanted = [name for pair in pairs for name in (pair if labelled else pair[:1])]
    named = {field: column for field, column in trained.named().items() if field in wanted}
    more = {"scheme": trained.scheme, "without_spans": trained.without_spans}
    if named and all(has(rows[0], column) for column in named.values()):
        return Columns(**named, **more)  # type: ignore[arg-type] - names of columns
    if labelled:
        found = guess(rows, {})
        notes += found.why
        return settle(rows, found.columns, notes)
    words = next((name for name in TOKENS_NAMES if has(rows[0], name)), "")
    if words:
        notes.append(f"tokens are column {words!r}, by its name")
        return Columns(tokens=words)
    found = guess_text(rows)
    notes += found.why
    return Columns(text=found.columns.text)


def classes(gold: Gold) -> Iterable[str]:
    """Give the label of each span."""
    return [span.label for span in cast(tuple[Span, ...], gold)]


TASKS.add(
    "token-classification",
    Task(
        "token-classification",
        columns=("tokens", "tags", "text", "spans"),
        inputs=(("tokens",), ("text",)),
        gold=("tags", "spans"),
        judge=judge,
        guess=guess,
        settle=settle,
        adapt=adapt,
        classes=classes,
        least=1,
        every=False,
        kinds=KINDS,
    ),
)
