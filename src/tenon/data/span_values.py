"""Span values: a labelled stretch of a text in the forms that annotation tools write."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from tenon.core.errors import nearest
from tenon.data.fields import Problem
from tenon.data.gold import Span
from tenon.data.strict_json import kind_of
from tenon.data.tables import excerpt

START_KEYS = (
    "start", "start_offset", "begin", "begin_offset", "start_char", "char_start", "start_index",
    "startIndex", "startOffset", "start_idx", "from", "offset",
)  # fmt: skip
END_KEYS = (
    "end", "end_offset", "stop", "end_char", "char_end", "end_index", "endIndex", "endOffset",
    "end_idx", "to",
)  # fmt: skip
LABEL_KEYS = (
    "label", "labels", "type", "tag", "slot", "entity_type", "entity_group", "entity_label",
    "category", "class", "entity",
)  # fmt: skip
TEXT_KEYS = ("text", "value", "word", "mention", "surface", "surface_form")
_PAIR_KEYS = ("span", "offsets", "position", "indices")
_EXAMPLE = '{"start": 0, "end": 5, "label": "PER"}'
_MISSING = object()


class Found(NamedTuple):
    """A span, and whether blanks around it were left out."""

    span: Span
    trimmed: bool


class Flat(NamedTuple):
    """Spans of which none overlaps another, in their order in the text.

    Args:
        spans: those kept.
        dropped: how many overlapped a longer one.
        repeated: how many said what another had said.
    """

    spans: tuple[Span, ...]
    dropped: int
    repeated: int


class _Said(NamedTuple):
    """What an annotation says, not yet judged."""

    start: object
    end: object
    label: object
    stated: str | None


def span_in(value: object, text: str, name: str) -> Found | Problem:
    """Read one span of a text.

    Accepted are an object with one of `START_KEYS`, `END_KEYS` and `LABEL_KEYS` each (the first
    that is there), a list [start, end, label] or [label, start, end], Label Studio's object with
    all of these in "value", and `{"slot", "valueSpan": {"startIndex", "endIndex"}}`, where an
    index that is left out is 0, as in all JSON of protocol buffers. Further keys are not looked
    at. Where a span states its text, under one of `TEXT_KEYS`, it must be that.

    Args:
        value: the annotation.
        text: the text; offsets count its characters (code points), the end is exclusive.
        name: what messages call the span: "spans[3]".
    """
    said = _said(value, name)
    if isinstance(said, Problem):
        return said
    numbers = _numbers(said, text, name)
    if isinstance(numbers, Problem):
        return numbers
    label = _label(said.label, name)
    if isinstance(label, Problem):
        return label
    start, end = numbers
    if said.stated is not None and text[start:end].strip() != said.stated.strip():
        return _mismatch(start, end, said.stated, text, name)
    body = text[start:end]
    if body.isspace():
        what = f"{name} holds only blanks: {excerpt(body)}"
        return Problem("blank_span", what, "remove it or mend its offsets")
    start += len(body) - len(body.lstrip())
    end -= len(body) - len(body.rstrip())
    return Found(Span(start, end, label), end - start != len(body))


def flat(spans: Iterable[Span]) -> Flat:
    """Choose among overlapping spans: the longest wins, of equally long ones the first given.

    Flat tags give each word one label, so that of two spans with a common character one cannot be
    said. The longer one is kept: it is the whole of which a nested one is a part.
    """
    given = list(spans)
    distinct = list(dict.fromkeys(given))
    kept: list[Span] = []
    for span in sorted(distinct, key=lambda span: span.start - span.end):
        # Those kept part the text in order, so that only the two neighbours can overlap.
        place = bisect_left(kept, span.end, key=lambda other: other.start)
        if not place or kept[place - 1].end <= span.start:
            kept.insert(place, span)
    return Flat(tuple(kept), len(distinct) - len(kept), len(given) - len(distinct))


def _said(value: object, name: str) -> _Said | Problem:
    if isinstance(value, (list, tuple)):
        return _triple(cast(Sequence[object], value), name)
    if not isinstance(value, Mapping):
        what = f"{name} is {kind_of(value)}, {excerpt(str(value))}, not a span"
        return Problem("not_a_span", what, f"write an object: {_EXAMPLE}")
    outer = cast(Mapping[str, object], value)
    nested = outer.get("value")
    inner = cast(Mapping[str, object], nested) if isinstance(nested, Mapping) else outer
    start, end = _ends(inner)
    label_key = next((key for key in LABEL_KEYS if key in inner), "")
    label = inner[label_key] if label_key else _MISSING
    if label is _MISSING and inner is not outer:
        label = next((outer[key] for key in ("label", "labels") if key in outer), _MISSING)
    lacking = [
        noun
        for noun, held in (("start", start), ("end", end), ("label", label))
        if held is _MISSING
    ]
    if lacking:
        return _lacking(lacking, inner, name)
    stated = (inner[key] for key in TEXT_KEYS if key in inner and key != label_key)
    return _Said(start, end, label, next((text for text in stated if isinstance(text, str)), None))


def _triple(value: Sequence[object], name: str) -> _Said | Problem:
    if len(value) == 3 and isinstance(value[0], str) and not isinstance(value[2], str):
        return _Said(value[1], value[2], value[0], None)
    if len(value) == 3:
        return _Said(value[0], value[1], value[2], None)
    what = f"{name} is a list of {len(value)}: {excerpt(str(list(value)))}"
    return Problem("not_a_span", what, "write [start, end, label]")


def _ends(held: Mapping[str, object]) -> tuple[object, object]:
    """Give start and end of an annotation's object, `_MISSING` where it has none."""
    within = held.get("valueSpan")
    if isinstance(within, Mapping):
        indices = cast(Mapping[str, object], within)
        return indices.get("startIndex", 0), indices.get("endIndex", 0)
    for key in _PAIR_KEYS:
        pair = held.get(key)
        if isinstance(pair, list) and len(cast(list[object], pair)) == 2:
            return pair[0], pair[1]
    start = next((held[key] for key in START_KEYS if key in held), _MISSING)
    end = next((held[key] for key in END_KEYS if key in held), _MISSING)
    length = held.get("length")
    if end is _MISSING and type(start) is int and type(length) is int:
        end = start + length
    if start is _MISSING and "endIndex" in held:
        start = 0
    return start, end


def _lacking(lacking: list[str], held: Mapping[str, object], name: str) -> Problem:
    known = {"start": START_KEYS, "end": END_KEYS, "label": LABEL_KEYS}
    near = [(noun, found[0]) for noun in lacking if (found := _misspelt(known[noun], held))]
    what = f"{name} has no {' and no '.join(lacking)}; it has {', '.join(held) or 'no keys'}"
    remedy = f"write it as {_EXAMPLE}"
    if near:
        remedy = ", ".join(f"is {found!r} the {noun}? name it {noun!r}" for noun, found in near)
    return Problem("span_keys", what, remedy)


def _misspelt(known: Sequence[str], held: Mapping[str, object]) -> list[str]:
    keys = [key for key in held if key not in (*START_KEYS, *END_KEYS, *LABEL_KEYS)]
    return nearest(known[0], keys)


def _numbers(said: _Said, text: str, name: str) -> tuple[int, int] | Problem:
    for noun, number in (("start", said.start), ("end", said.end)):
        if type(number) is not int:
            what = f"the {noun} of {name} is {kind_of(number)}, {excerpt(str(number))}"
            remedy = "write a whole number of characters, without quotation marks or point"
            return Problem("span_not_integer", what, remedy)
    start, end = cast(int, said.start), cast(int, said.end)
    if end <= start:
        what = f"{name} ends at {end}, not after its start at {start}"
        return Problem("empty_span", what, "the end is exclusive: start + length; mend or remove")
    if start >= 0 and end <= len(text):
        return start, end
    if said.stated is not None and start >= 0:
        return _mismatch(start, end, said.stated, text, name)
    units = len(text.encode("utf-16-le")) // 2
    what = f"{name} reaches from {start} to {end}, outside the text of {len(text)} characters"
    remedy = "count characters (code points) from 0, the end exclusive"
    if start >= 0 and len(text) < units and end <= units:
        remedy += f"; in UTF-16 units, as JavaScript counts, the text has {units}"
    return Problem("span_outside", what, remedy)


def _label(label: object, name: str) -> str | Problem:
    if isinstance(label, (list, tuple)):
        listed = cast(Sequence[object], label)
        if len(listed) != 1:
            what = f"{name} has {len(listed)} labels: {excerpt(str(list(listed)))}"
            return Problem("span_label", what, "give a span one label")
        label = listed[0]
    if type(label) is int:
        return str(label)
    if not isinstance(label, str):
        what = f"the label of {name} is {kind_of(label)}, {excerpt(str(label))}"
        return Problem("span_label", what, "name its type, or remove the span")
    if not label.strip() or label != label.strip():
        what = f"the label of {name} is {label!r}"
        remedy = f"write {label.strip()!r}" if label.strip() else "name its type"
        return Problem("span_label", what, remedy)
    if flaw := flaw_of(label):
        return Problem("span_label", f"the label of {name} {flaw}", "mend it")
    return label


def _mismatch(start: int, end: int, stated: str, text: str, name: str) -> Problem:
    """Say that a span's stated text is not what its offsets give, and how it may come."""
    what = f"{name} states {excerpt(stated)}, but characters {start} to {end} of the text are "
    what += excerpt(text[start:end])
    return Problem("span_text", what, _explained(start, end, stated.strip(), text))


def _explained(start: int, end: int, stated: str, text: str) -> str:
    wide = text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le", "replace")
    narrow = text.encode()[start:end].decode(errors="replace")
    found = text.find(stated)
    if wide.strip() == stated:
        return "its offsets count UTF-16 units, as JavaScript and Java do; count code points"
    if narrow.strip() == stated:
        return "its offsets count bytes of UTF-8; count characters"
    if text[start : end + 1].strip() == stated:
        return "its end is that of the last character; write the place after it"
    if start and stated in (text[start - 1 : end].strip(), text[start - 1 : end - 1].strip()):
        return "its offsets count from 1; count from 0, the end exclusive"
    if found < 0:
        return "the text does not hold it; mend the text or the span"
    return f"it stands at {found} to {found + len(stated)}; mend the offsets"


def flaw_of(text: str) -> str:
    """Say what no text may hold, or nothing."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"holds half of a surrogate pair: {ascii(text)[:60]}"
    return ""
