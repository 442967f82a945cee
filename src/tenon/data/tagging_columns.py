"""Tagging columns: which columns of a source hold tokens and tags, or a text and its spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from tenon.core.errors import DataError
from tenon.data.example import Row
from tenon.data.names import TEXT_NAMES
from tenon.data.tagging import TagColumns, listed, value_at

TOKENS_NAMES = ("tokens", "words", "token", "word", "characters", "chars", "词语", "字", "词")
TAGS_NAMES = (
    "ner_tags", "tags", "labels", "label", "ner", "bio_tags", "iob_tags", "bio", "slots",
    "pos_tags", "upos", "pos", "upos_tags", "xpos", "chunk_tags", "标签",
)  # fmt: skip
SPANS_NAMES = (
    "spans", "entities", "labels", "label", "annotations", "ents", "entity", "slots", "实体",
)  # fmt: skip
TAGGED_TEXT_NAMES = (*TEXT_NAMES, "userInput.text", "data.text", "0")
_OPTIONAL_TEXTS = ("userInput.text",)
"""A text in an object of protocol buffers, whose JSON leaves out lists that are empty."""


class TagGuess(NamedTuple):
    """Columns that were guessed, and why: one sentence per decision."""

    columns: TagColumns
    why: list[str]


def tagging_held(rows: Sequence[Row]) -> str:
    """Say which columns hold tokens and a tag for each, or a text and its spans; "" for none."""
    held = _columns(rows)
    tokens = _named(held, TOKENS_NAMES, _is_words)
    tags = _named(held, TAGS_NAMES, _is_words)
    if tokens and (chosen := next((n for n in tags if _parallel(rows, tokens[0], n)), "")):
        return f"tokens and a tag for each ({tokens[0]!r}, {chosen!r})"
    texts = _named(held, TAGGED_TEXT_NAMES, _is_text)
    spans = _named(held, SPANS_NAMES, _is_annotations)
    return f"a text and its spans ({texts[0]!r}, {spans[0]!r})" if texts and spans else ""


def guess_tagging(rows: Sequence[Row]) -> TagGuess:
    """Guess which columns hold tokens and tags, or a text and its spans, by name and content.

    Args:
        rows: a sample of one source.

    Raises:
        DataError: there are no rows, none of these columns, or both kinds.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    held = _columns(rows)
    tokens = _named(held, TOKENS_NAMES, _is_words)
    tags = _named(held, TAGS_NAMES, _is_words)
    spans = _named(held, SPANS_NAMES, _is_annotations)
    texts = _named(held, TAGGED_TEXT_NAMES, _is_text)
    if tokens and tags and texts and spans:
        raise DataError(
            f"{rows[0].origin}: rows hold tokens and tags ({tokens[0]!r}, {tags[0]!r}) as well as "
            f"a text and spans ({texts[0]!r}, {spans[0]!r}); name the two that are to be learned: "
            f"data.columns.tags or data.columns.spans"
        )
    if tokens and tags:
        return _words_guess(rows, tokens[0], tags, held)
    if texts and spans:
        return _spans_guess(rows, texts[0], spans, held)
    raise DataError(
        f"{rows[0].origin}: no columns of tokens and tags, and none of a text and its spans; this "
        f"row has {', '.join(map(str, rows[0].values)) or 'no columns'}: name two with "
        "data.columns.tokens and data.columns.tags, or data.columns.text and data.columns.spans"
    )


def _words_guess(
    rows: Sequence[Row], tokens: str, tags: list[str], held: Mapping[str, list[object]]
) -> TagGuess:
    chosen = next((name for name in tags if _parallel(rows, tokens, name)), tags[0])
    why = [f"tokens are column {tokens!r} and tags are {chosen!r}, by their names"]
    if all(type(item) is int for value in held[chosen] for item in listed(value)):
        why.append(
            f"{chosen!r} holds numbers without names: each token has a class of its own, called "
            '"0", "1" ...; if they stand for B- and I-, write the names'
        )
    used = {tokens, chosen, "lines"}
    return TagGuess(TagColumns(tokens=tokens, tags=chosen), why + _unused(held, used))


def _spans_guess(
    rows: Sequence[Row], text: str, spans: list[str], held: Mapping[str, list[object]]
) -> TagGuess:
    why = [f"text is column {text!r} and spans are {spans[0]!r}, by their names"]
    lacking = sum(not value_at(row.values, spans[0])[0] for row in rows)
    optional = text in _OPTIONAL_TEXTS
    if optional and lacking:
        why.append(f"{lacking:,} rows of the sample lack {spans[0]!r}: they have no spans")
    column = spans[0]
    items = [item for value in held[column] for item in listed(value)]
    if items and all(isinstance(item, dict) and "result" in item for item in items):
        column = f"{column}.0.result"
        why.append(f"of each row's annotations (Label Studio) the first counts: {column!r}")
    columns = TagColumns(text=text, spans=column, optional=optional)
    return TagGuess(columns, why + _unused(held, {text, column}))


def _unused(held: Iterable[str], used: set[str]) -> list[str]:
    heads = {name.partition(".")[0] for name in used}
    rest = [name for name in held if name not in used and name.partition(".")[0] not in heads]
    tops = list(dict.fromkeys(name.partition(".")[0] for name in rest))
    return [f"not used: {', '.join(map(repr, tops))}"] if tops else []


def _columns(rows: Sequence[Row]) -> dict[str, list[object]]:
    """Give the values of each column that are not null; `a.b` for the keys of objects."""
    held: dict[str, list[object]] = {}
    for row in rows:
        for name, value in row.values.items():
            held.setdefault(name, [])
            if isinstance(value, Mapping):
                for key, inner in cast(Mapping[str, object], value).items():
                    held.setdefault(f"{name}.{key}", []).append(inner)
            elif value is not None:
                held[name].append(value)
    return held


def _named(
    held: Mapping[str, list[object]], names: Sequence[str], fits: Callable[[list[object]], bool]
) -> list[str]:
    """Give the columns called by one of `names`, or with a key so called, whose values fit."""
    folded = {column.strip().casefold(): column for column in held}
    keyed = {column.rpartition(".")[2].casefold(): column for column in held if "." in column}
    found = [folded[name.casefold()] for name in names if name.casefold() in folded]
    found += [keyed[name] for name in names if name in keyed]
    return [column for column in dict.fromkeys(found) if held[column] and fits(held[column])]


def _is_words(values: list[object]) -> bool:
    """Tell whether most values are lists of texts or numbers, or texts of several words."""
    lists = [listed(value) for value in values if isinstance(value, (list, str))]
    several = any(isinstance(value, list) or " " in value for value in lists if value)
    words = [
        value
        for value in lists
        if isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value)
    ]
    # A list as Python prints it is meant as one; each row that has it is told what to write.
    printed = sum(isinstance(value, str) and value.startswith(("['", '["')) for value in values)
    return (several or printed > 0) and 2 * max(len(words), printed) > len(values)


def _is_annotations(values: list[object]) -> bool:
    """Tell whether most values are lists of objects or lists, as annotations are."""
    lists = [
        listed(value)
        for value in values
        if isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))
    ]
    fit = [
        value
        for value in lists
        if isinstance(value, list) and all(isinstance(item, (list, dict)) for item in value)
    ]
    return bool(fit) and 2 * len(fit) > len(values)


def _is_text(values: list[object]) -> bool:
    return 2 * sum(isinstance(value, str) for value in values) > len(values)


def _parallel(rows: Sequence[Row], tokens: str, tags: str) -> bool:
    """Tell whether two columns have lists of one length in most rows."""
    pairs = [(listed(row.values.get(tokens)), listed(row.values.get(tags))) for row in rows]
    fitting = sum(
        isinstance(first, str) or isinstance(second, str) or len(first) == len(second)
        for first, second in pairs
    )
    return 2 * fitting > len(rows)
