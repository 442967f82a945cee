"""Token classification: texts in which stretches have labels: names, slots, parts of speech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from tenon.core.errors import DataError
from tenon.data.classification import guess_text
from tenon.data.columns import has
from tenon.data.example import Example, Row, content_id, group_id
from tenon.data.fields import Refusal, missing_column
from tenon.data.gold import Gold, Span
from tenon.data.settings import Columns
from tenon.data.tagging import TagColumns, Tagged, judge_tagged, listed
from tenon.data.tagging_columns import TOKENS_NAMES, guess_tagging, tagging_held
from tenon.data.tags import OUTSIDE, is_chunk_tag, scheme_of
from tenon.data.task import TASKS, Guess, Tally, Task

SLIPS = 0.02
"""The largest share of tags that can be slips of the pen."""
KINDS = {
    "no_text_column": ("row", "lack the text column"),
    "no_tokens_column": ("row", "lack the column of tokens"),
    "no_tags_column": ("row", "lack the column of tags"),
    "no_spans_column": ("row", "lack the column of spans"),
    "null_text": ("row", "have null for text"),
    "empty_text": ("row", "have an empty text"),
    "text_not_text": ("row", "hold something else than text in the text column"),
    "unsound_text": ("text", "hold characters that no UTF-8 can hold, or NUL"),
    "unsound_token": ("token", "hold characters that no UTF-8 can hold, or NUL"),
    "unsound_tag": ("tag", "hold characters that no UTF-8 can hold, or NUL"),
    "tokens_not_list": ("row", "hold something else than a list of tokens"),
    "tags_not_list": ("row", "hold something else than a list of tags"),
    "spans_not_list": ("row", "hold something else than a list of spans"),
    "no_spans": ("row", "have null for spans"),
    "token_not_text": ("token", "are not text"),
    "tag_not_text": ("tag", "are not text"),
    "empty_token": ("token", "are empty or blank"),
    "empty_tag": ("tag", "are empty or blank"),
    "blanks_around_tag": ("tag", "have outer blanks"),
    "tags_without_names": ("row", "have numbers for tags, without their names"),
    "not_a_span": ("annotation", "are no spans"),
    "span_keys": ("span", "lack a start, an end or a label"),
    "span_not_integer": ("span", "have borders that are no whole numbers"),
    "span_label": ("span", "have a label that is none"),
    "unequal_tags": ("row", "have more or fewer tags than tokens"),
    "unknown_tag": ("tag", "are none of the scheme's"),
    "span_outside": ("span", "lie outside the text"),
    "span_text": ("span", "are not where their own text stands"),
    "empty_span": ("span", "have no characters"),
    "blank_span": ("span", "hold blanks alone"),
}
"""How a finding counts each kind of problem."""


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
        _count(found, row.origin, tally)
        gold = found.spans if labelled else None
        words = found.words or None
        group = group_id(row, columns.group)
        yield Example(
            content_id(found.text), row.origin, found.text, None, gold, words, group=group
        )


def _count(found: Tagged, origin: str, tally: Tally) -> None:
    overlaps = "overlap a longer one, which alone is learned"
    tally.enter("span", overlaps, found.dropped, origin, "overlapping-spans", grave=True)
    twice = "are given twice, counted once"
    tally.enter("span", twice, found.repeated, origin, "repeated-spans")
    trimmed = "have outer blanks, which are left out"
    tally.enter("token or span", trimmed, found.trimmed, origin, "blanks-around-spans")
    breach = "break the scheme, read as conlleval does: an I- without B- begins a span"
    tally.enter("tag", breach, found.breaches, origin, "illegal-transitions", grave=True)


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
    sequences = _meant([[str(tag) for tag in tags] for tags in lists if isinstance(tags, list)])
    if not any(sequences):
        return columns  # each row says for itself why its tags cannot be read
    found = scheme_of(sequences, rows[0].origin.rpartition(":")[0] if rows else "")
    notes.append(f"tags are {found.name.upper()}: {found.why}")
    return columns.model_copy(update={"scheme": found.name})


def _meant(sequences: list[list[str]]) -> list[list[str]]:
    """Leave out the few tags that are no scheme's, where nearly all are; rows are refused for them.

    So one slip of the pen is told with its line, and is not what the scheme is told by.
    """
    counts = Counter(tag for tags in sequences for tag in tags)
    odd = {tag for tag in counts if tag != OUTSIDE and not is_chunk_tag(tag)}
    rare = sum(counts[tag] for tag in odd) <= SLIPS * counts.total()
    spans = any(len(tag) > 1 for tag in counts.keys() - odd)
    if not (odd and rare and spans):
        return sequences
    return [[tag for tag in tags if tag not in odd] for tags in sequences]


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
        found = _guess_labelled(rows, trained)
        notes += found.why
        return settle(rows, found.columns, notes)
    words = next((name for name in TOKENS_NAMES if has(rows[0], name)), "")
    if words:
        notes.append(f"tokens are column {words!r}, by its name")
        return Columns(tokens=words)
    found = guess_text(rows).columns
    unread = f"; {found.pair!r} is not read" if found.pair else ""
    notes.append(f"text is column {found.text!r}{unread}")
    return Columns(text=found.text)


def _guess_labelled(rows: Sequence[Row], trained: Columns) -> Guess:
    """Guess the columns of rows that answers are to be judged by.

    Raises:
        DataError: none of them hold spans, or two pairs do.
    """
    if not tagging_held(rows):
        named = trained.named() or {"tokens": "tokens", "tags": "tags"}
        wanted = " and ".join(f"{field} in {column!r}" for field, column in named.items())
        raise DataError(
            f"{rows[0].origin}: holds no spans to judge answers by; this row has "
            f"{', '.join(map(str, rows[0].values)) or 'no columns'}; the adapter was trained with "
            f"{wanted}: name the columns so, or ask for answers alone: tenon predict"
        )
    return guess(rows, {})


def classes(gold: Gold) -> Iterable[str]:
    """Give the label of each span."""
    return [span.label for span in cast(tuple[Span, ...], gold)]


TASKS.add(
    "token-classification",
    Task(
        "token-classification",
        columns=("tokens", "tags", "text", "spans", "group"),
        inputs=(("tokens",), ("text",)),
        gold=("tags", "spans"),
        judge=judge,
        guess=guess,
        settle=settle,
        adapt=adapt,
        classes=classes,
        least=1,
        every=False,
        counts="span",
        windowed=True,
        kinds=KINDS,
        recognise=tagging_held,
    ),
)
