"""Tagging: a row's text with labelled spans, from its tokens and tags or from its annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from tenon.data.example import Row
from tenon.data.fields import Problem, missing_column
from tenon.data.gold import Span
from tenon.data.span_values import Found, flat, flaw_of, span_in
from tenon.data.strict_json import Decoder, Unreadable, kind_of
from tenon.data.tables import excerpt
from tenon.data.tags import SchemeName, breaches_of, remedy_of, spans_of, strange_tags

Words = tuple[tuple[int, int], ...]
# Han with its extensions, kana, bopomofo, CJK punctuation and full-width forms; not Hangul, since
# Korean parts its words by blanks.
_CJK = re.compile(
    "[\u2e80-\u2fdf\u3000-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class TagColumns:
    """Which columns hold a tagged text: `tokens` and `tags`, or `text` and `spans`.

    Args:
        tokens, tags: lists of one length; or texts whose words are those. Without tags, a row has
            no spans.
        text, spans: a text, and a list of annotations; see `span_in`. `a.b` is the key b of the
            object in column a.
        optional: whether a row without the column `spans` is a text without spans.
    """

    tokens: str = ""
    tags: str = ""
    text: str = ""
    spans: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Tagged:
    """A text with its spans.

    Args:
        text: as given, or the tokens joined by `joined`.
        words: start and end of each given token in the text; none where annotations are given.
        spans: in order, none overlapping another.
        dropped: spans left out because they overlapped a longer one.
        repeated: spans left out because they were given twice.
        trimmed: spans and tokens whose outer blanks were left out.
        breaches: places where the tags break their scheme; see `breaches_of`.
    """

    text: str
    words: Words
    spans: tuple[Span, ...]
    dropped: int = 0
    repeated: int = 0
    trimmed: int = 0
    breaches: int = 0


def judge_tagged(
    values: Mapping[str, object], columns: TagColumns, scheme: SchemeName = "bio"
) -> Tagged | list[Problem]:
    """Give what a row says, or all that is wrong with it.

    Args:
        values: of one row.
        columns: which column holds what.
        scheme: of the tags; see `scheme_of`.
    """
    if columns.tokens:
        return _from_tokens(values, columns, scheme)
    return _from_annotations(values, columns)


def joined(tokens: Sequence[str]) -> tuple[str, Words]:
    """Join tokens to a text, and give the place of each in it.

    One blank parts two tokens, but none where both characters that meet are Chinese or Japanese;
    nor in a row of single characters of which half or more are: there the parts of a number or a
    Latin word are characters as well.
    """
    single = all(len(token) == 1 for token in tokens)
    unparted = single and 2 * sum(map(_is_cjk, tokens)) >= len(tokens)
    pieces: list[str] = []
    words: list[tuple[int, int]] = []
    place, last = 0, ""
    for token in tokens:
        if last and not unparted and not (_is_cjk(last) and _is_cjk(token[0])):
            pieces.append(" ")
            place += 1
        pieces.append(token)
        words.append((place, place + len(token)))
        place, last = place + len(token), token[-1]
    return "".join(pieces), tuple(words)


def value_at(values: Mapping[str, object], column: str) -> tuple[bool, object]:
    """Tell whether a row has `column`, and its value.

    `a.b` may be the key b of the object in column a, and `a.0` the first item of its list.
    """
    if column in values:
        return True, values[column]
    name, _, rest = column.partition(".")
    inner = values.get(name)
    if isinstance(inner, list):
        inner = {str(place): item for place, item in enumerate(cast(list[object], inner))}
    if rest and isinstance(inner, Mapping):
        return value_at(cast(Mapping[str, object], inner), rest)
    return False, None


def listed(value: object) -> list[object] | str:
    """Give a list that a column holds: as one, as JSON in a text, or as words parted by blanks.

    Returns:
        The list; or what is wrong, in words.
    """
    if isinstance(value, (list, tuple)):
        return list(cast(Iterable[object], value))
    if not isinstance(value, str):
        return f"is {kind_of(value)}, {excerpt(str(value))}, not a list"
    body = value.strip()
    if body.startswith("["):
        decoder = Decoder()
        try:
            inner, end = decoder.decode(body)
        except (json.JSONDecodeError, Unreadable):
            inner, end = None, 0
        if end == len(body) and isinstance(inner, list):
            problems = decoder.taken()
            return problems[0].what if problems else cast(list[object], inner)
        if body.startswith(("['", '["', "[{")):
            return f"looks like a list of Python, {excerpt(body)}, and is not JSON"
    return list(body.split())


def _from_tokens(
    values: Mapping[str, object], columns: TagColumns, scheme: SchemeName
) -> Tagged | list[Problem]:
    tokens, problems = _texts(values, columns.tokens, "tokens")
    tags: list[str] = []
    if columns.tags:
        tags, more = _texts(values, columns.tags, "tags", scheme)
        problems += more
    if not problems and not tokens:
        what = f"{columns.tokens!r} is an empty list"
        problems.append(Problem("empty_text", what, "give tokens or remove the row"))
    if columns.tags and not problems and len(tags) != len(tokens):
        what = f"{len(tokens)} tokens in {columns.tokens!r}, but {len(tags)} tags in "
        what += f"{columns.tags!r}"
        problems.append(Problem("unequal_tags", what, "give each token one tag"))
    for place in strange_tags(tags, scheme) if not problems else []:
        what = f"{columns.tags}[{place}] is {tags[place]!r}, none of {scheme.upper()}"
        problems.append(Problem("unknown_tag", what, remedy_of(scheme)))
    if problems:
        return problems
    bare = [token.strip() for token in tokens]
    text, words = joined(bare)
    found = spans_of(tags, scheme)
    breaches = len(breaches_of(tags, scheme))
    spans = (Span(words[first][0], words[end - 1][1], label) for first, end, label in found)
    trimmed = sum(a != b for a, b in zip(bare, tokens, strict=True))
    return Tagged(text, words, tuple(spans), trimmed=trimmed, breaches=breaches)


def _from_annotations(values: Mapping[str, object], columns: TagColumns) -> Tagged | list[Problem]:
    there, text = value_at(values, columns.text)
    problems: list[Problem] = [] if there else [_missing(values, columns.text, "text")]
    if there and (problem := _text_problem(text, columns.text)):
        problems.append(problem)
    annotations, more = _annotations(values, columns)
    if not isinstance(text, str) or problems:
        return problems + more
    found: list[Found] = []
    for place, value in enumerate(annotations):
        read = span_in(value, text, f"{columns.spans}[{place}]")
        if isinstance(read, Problem):
            more.append(read)
        else:
            found.append(read)
    if more:
        return more
    chosen = flat(item.span for item in found)
    trimmed = sum(item.trimmed for item in found)
    return Tagged(text, (), chosen.spans, chosen.dropped, chosen.repeated, trimmed)


def _annotations(
    values: Mapping[str, object], columns: TagColumns
) -> tuple[list[object], list[Problem]]:
    """Give a row's annotations, or why there are none to read."""
    if not columns.spans:
        return [], []
    there, value = value_at(values, columns.spans)
    remedy = "write [] for a text without spans"
    if not there:
        if columns.optional:
            return [], []
        problem = _missing(values, columns.spans, "spans")
        return [], [problem._replace(remedy=f"{problem.remedy}; {remedy}")]
    if value is None:
        return [], [Problem("no_spans", f"{columns.spans!r} is null", remedy)]
    found = listed(value) if not isinstance(value, str) or value.strip()[:1] == "[" else None
    if isinstance(found, list):
        return found, []
    what = f"{columns.spans!r} {found or 'is text, ' + excerpt(str(value)) + ', not a list'}"
    if isinstance(value, Mapping):
        keys = [str(key) for key, held in value.items() if isinstance(held, list)]
        if keys:
            remedy = f'name the list within it: data.columns.spans = "{columns.spans}.{keys[0]}"'
    elif isinstance(value, str):
        remedy = "write the list with json.dumps"
    return [], [Problem("spans_not_list", what, remedy)]


def _texts(
    values: Mapping[str, object], column: str, noun: str, scheme: SchemeName | None = None
) -> tuple[list[str], list[Problem]]:
    """Give the tokens or tags of a row, or all that is wrong with them."""
    there, value = value_at(values, column)
    if not there:
        return [], [_missing(values, column, noun)]
    items = listed(value)
    if isinstance(items, str):
        remedy = "write a list with json.dumps, or words parted by blanks"
        return [], [Problem(f"{noun}_not_list", f"{column!r} {items}", remedy)]
    if scheme is not None and items and all(type(item) is int for item in items):
        return _numbered(items, column, scheme)
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) == len(items) and _all_fine(texts, noun):
        return texts, []
    problems: list[Problem] = []
    for place, item in enumerate(items):
        name = f"{column}[{place}]"
        if problem := _item_problem(item, name, noun):
            problems.append(problem)
    return texts, problems


def _all_fine(texts: list[str], noun: str) -> bool:
    """Tell quickly, as for most rows, that `_item_problem` has nothing to say of any text."""
    if flaw_of("".join(texts)):
        return False
    if noun == "tags":
        return all(text and text == text.strip() for text in texts)
    return all(text and not text.isspace() for text in texts)


def _numbered(
    items: list[object], column: str, scheme: SchemeName
) -> tuple[list[str], list[Problem]]:
    """Read tags that are numbers, which have no spans: their names are not known."""
    if scheme == "plain":
        return [str(item) for item in items], []
    what = f"{column!r} holds numbers, {excerpt(str(items))}, which do not say what begins a span"
    remedy = "write their names, O and B-PER (in `datasets`: features[...].feature.int2str)"
    return [], [Problem("tags_without_names", what, remedy)]


def _item_problem(item: object, name: str, noun: str) -> Problem | None:
    one = noun.removesuffix("s")
    if not isinstance(item, str):
        what = f"{name} is {kind_of(item)}, {excerpt(str(item))}, not a {one}"
        return Problem(f"{one}_not_text", what, f"write each {one} as a text")
    if not item or item.isspace():
        what = f"{name} is {'empty' if not item else 'blank'}"
        return Problem(f"empty_{one}", what, "leave out the token and its tag, or write both")
    if flaw := flaw_of(item):
        return Problem(f"unsound_{one}", f"{name} {flaw}", "mend or remove it")
    if noun == "tags" and item != item.strip():
        what = f"{name} is {item!r}, with blanks around it"
        return Problem("blanks_around_tag", what, f"write {item.strip()!r}")
    return None


def _text_problem(text: object, column: str) -> Problem | None:
    if text is None:
        return Problem("null_text", f"{column!r} is null", "give a text or remove the row")
    if not isinstance(text, str):
        what = f"{column!r} is {kind_of(text)}, {excerpt(str(text))}, not text"
        return Problem("text_not_text", what, "quote it, or choose another column")
    if not text or text.isspace():
        what = f"{column!r} is {'empty' if not text else 'blank'}"
        return Problem("empty_text", what, "give a text or remove the row")
    if flaw := flaw_of(text):
        remedy = "mend or remove it; the text was damaged or cut within a character"
        return Problem("unsound_text", f"{column!r} {flaw}", remedy)
    return None


def _missing(values: Mapping[str, object], column: str, field: str) -> Problem:
    return missing_column(Row(dict(values), ""), column, field)


def _is_cjk(character: str) -> bool:
    return _CJK.match(character) is not None
