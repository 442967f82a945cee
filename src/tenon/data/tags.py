"""Tags: what a sequence of B-, I-, O ... says about spans, and the tags that say it.

All schemes are read by one rule, that of `conlleval`, so that data with slips are read as the
field's scorers read them: a span begins at B and S, and at any other tag of a type that follows
`O`, another type, or the end of a span; it ends at E and S, and before what does not continue it.
So an I without B begins a span, an E without one is a span of one token, and a B without its E
ends where the type does. `breaches_of` says where tags need this leniency.

Source: Tjong Kim Sang and Buchholz 2000 (conlleval); seqeval 1.2.2, `get_entities`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

from tenon.core.errors import DataError

SchemeName = Literal["bio", "iob1", "bioes", "bilou", "bmes", "io", "plain"]
SCHEMES: tuple[SchemeName, ...] = get_args(SchemeName)
NAMELESS = "_"
"""The label of spans whose tags are bare letters, `B` and `I`, as in word segmentation."""
OUTSIDE = "O"
TokenSpan = tuple[int, int, str]
"""First token, last token + 1, label."""
_TAG = re.compile(r"([BIESMLU])(?:[-_](.+))?", re.DOTALL)
_LATER = re.compile(r".+[-_][BIESMLU]")
_MEANING = {"L": "E", "U": "S", "M": "I"}
# begin, inside, end and single of each scheme
_LETTERS: Mapping[SchemeName, str] = {
    "bio": "BIIB",
    "iob1": "IIII",
    "bioes": "BIES",
    "bilou": "BILU",
    "bmes": "BMES",
}
_ALLOWED: Mapping[SchemeName, frozenset[str]] = {
    "bio": frozenset("BI"),
    "iob1": frozenset("BI"),
    "bioes": frozenset("BIES"),
    "bilou": frozenset("BILU"),
    "bmes": frozenset("BMES"),
}
_SHOWN = 8


class Scheme(NamedTuple):
    """How tags are to be read.

    Args:
        name: the scheme.
        why: the evidence, one sentence for the user.
        breaches: places where the tags break the scheme; see `breaches_of`.
    """

    name: SchemeName
    why: str
    breaches: int = 0


class _Mark(NamedTuple):
    """A tag taken apart: one of "BIESO", and the label."""

    kind: str
    label: str


_OUT = _Mark(OUTSIDE, "")


def is_chunk_tag(tag: str) -> bool:
    """Tell whether a tag has the form of `B-PER`, or is a bare letter of a scheme; `O` is not."""
    return _TAG.fullmatch(tag) is not None


def spans_of(tags: Sequence[str], scheme: SchemeName) -> list[TokenSpan]:
    """Read the spans of a sequence of tags, by the lenient rule of this module.

    Args:
        tags: one a token.
        scheme: "io" has a span for each run of one tag; "plain" (parts of speech) one for each
            token.

    Raises:
        DataError: a tag is none of the scheme's.
    """
    if scheme == "plain":
        return [(place, place + 1, tag) for place, tag in enumerate(tags)]
    spans: list[TokenSpan] = []
    first, previous = -1, _OUT
    for place, tag in enumerate(tags):
        mark = _mark(tag, scheme)
        begins = _begins(previous, mark)
        if first >= 0 and (begins or mark.kind == OUTSIDE):
            spans.append((first, place, previous.label))
            first = -1
        if begins:
            first = place
        if mark.kind in "ES":
            spans.append((first, place + 1, mark.label))
            first = -1
        previous = mark
    if first >= 0:
        spans.append((first, len(tags), previous.label))
    return spans


def strange_tags(tags: Sequence[str], scheme: SchemeName) -> list[int]:
    """Give the places of tags that are none of the scheme's; `spans_of` refuses these."""
    return [place for place, tag in enumerate(tags) if _taken_apart(tag, scheme) is None]


def remedy_of(scheme: SchemeName) -> str:
    """Say what to do about a tag that is none of the scheme's."""
    letters = ", ".join(sorted(_ALLOWED.get(scheme, ()), key="BIMELSU".index))
    return (
        f"its tags are O, and {letters} with a label: B-PER; "
        "mend it, or name the scheme that the file has"
    )


def tags_of(spans: Iterable[TokenSpan], count: int, scheme: SchemeName) -> list[str]:
    """Write spans as tags.

    Args:
        spans: of tokens, none overlapping another, in any order.
        count: how many tokens there are.
        scheme: how they are written.

    Raises:
        DataError: a span is empty, outside the tokens, or overlaps another; or the scheme cannot
            hold the spans: "io" none that touches one of its label, "plain" none but one for each
            token.
    """
    tags = [OUTSIDE] * count
    before: TokenSpan = (0, 0, "")
    covered = 0
    for span in sorted(spans):
        first, end, label = span
        if not 0 <= first < end <= count or not label or first < before[1]:
            raise DataError(
                f"span {span} is empty, without label, outside the {count} tokens, or overlaps "
                f"{before}; flat tags cannot hold it"
            )
        touches = first == before[1] and label == before[2]
        if scheme == "plain" and end - first > 1 or (scheme == "io" and touches):
            raise DataError(f"tags of the scheme {scheme!r} cannot hold {span} after {before}")
        tags[first:end] = _written(end - first, label, scheme, touches=touches)
        covered += end - first
        before = span
    if scheme == "plain" and covered < count:
        raise DataError(f"{count - covered} of {count} tokens have no tag; plain tags need all")
    return tags


def breaches_of(tags: Sequence[str], scheme: SchemeName) -> list[int]:
    """Give the places of tags that do not follow from the one before as the scheme has it.

    In BIO an I that begins a span; in IOB1 a B that divides nothing; in BIOES, BILOU and BMES an
    I or E that begins a span, and the tag after a span that did not end. The end of the tags is
    the place `len(tags)`.

    Raises:
        DataError: a tag is none of the scheme's.
    """
    if scheme in ("plain", "io"):
        return []
    marks = [_OUT, *(_mark(tag, scheme) for tag in tags), _OUT]
    breaks = {"bio": _breaks_bio, "iob1": _breaks_iob1}.get(scheme, _breaks_ended)
    return [place for place, (a, b) in enumerate(pairwise(marks)) if breaks(a, b)]


def scheme_of(sequences: Iterable[Sequence[str]], where: str = "") -> Scheme:
    """Find out the scheme of a source's tags, from as many sequences as one likes.

    IOB1 and BIO share their tags, and the lenient rule gives both the same spans, so that the
    choice between them is of the name alone: it is IOB1 where an I begins a span and no B is
    idle. Bare letters are a scheme where they have `O`, or B with another. Tags that are numbers
    are names without meaning, so that they can only be read as plain.

    Args:
        sequences: tags of some sentences.
        where: name of the source, for messages.

    Raises:
        DataError: the tags can be read in two ways whose spans differ, or in none.
    """
    held = [tuple(tags) for tags in sequences]
    counts = Counter(tag for tags in held for tag in tags)
    chunks = {tag: match for tag in counts if (match := _TAG.fullmatch(tag))}
    others = [tag for tag in counts if tag not in chunks and tag != OUTSIDE]
    place = f"{where}: " if where else ""
    if not counts:
        raise DataError(f"{place}there are no tags to tell a scheme from; give rows with tokens")
    if others:
        return _unlettered(others, list(chunks), counts, place)
    letters = frozenset(match[1] for match in chunks.values())
    bare = all(match[2] is None for match in chunks.values())
    if bare and chunks and OUTSIDE not in counts and not ("B" in letters and len(letters) > 1):
        _refuse_two(place, counts, "a class for each token", "spans", "plain", "bioes")
    name = _by_letters(letters, place)
    if name == "bio":
        return _bio_or_iob1(held, counts)
    breaches = sum(len(breaches_of(tags, name)) for tags in held)
    return Scheme(name, f"{_listed(sorted(letters))} are the letters of {name.upper()}", breaches)


def _mark(tag: str, scheme: SchemeName) -> _Mark:
    mark = _taken_apart(tag, scheme)
    if mark is None:
        raise DataError(f"tag {tag!r} is none of {scheme.upper()}; {remedy_of(scheme)}")
    return mark


@lru_cache(maxsize=1 << 12)
def _taken_apart(tag: str, scheme: SchemeName) -> _Mark | None:
    """Take a tag apart; None for one that is none of the scheme's."""
    if tag == OUTSIDE:
        return _OUT
    if scheme in ("io", "plain"):
        return _Mark("I", tag)
    match = _TAG.fullmatch(tag)
    if match is None or match[1] not in _ALLOWED[scheme]:
        return None
    return _Mark(_MEANING.get(match[1], match[1]), match[2] or NAMELESS)


def _begins(previous: _Mark, mark: _Mark) -> bool:
    """Tell whether a span begins at `mark`."""
    if mark.kind == OUTSIDE:
        return False
    return mark.kind in "BS" or previous.kind in "ESO" or previous.label != mark.label


def _written(size: int, label: str, scheme: SchemeName, *, touches: bool) -> list[str]:
    """Write the tags of one span; `touches` where one of its label ends right before it."""
    if scheme in ("plain", "io"):
        return [label] * size
    begin, inside, end, single = _LETTERS[scheme]
    if scheme == "iob1" and touches:
        begin = single = "B"
    letters = single if size == 1 else begin + inside * (size - 2) + end
    return [letter if label == NAMELESS else f"{letter}-{label}" for letter in letters]


def _breaks_bio(previous: _Mark, mark: _Mark) -> bool:
    return mark.kind == "I" and _begins(previous, mark)


def _breaks_iob1(previous: _Mark, mark: _Mark) -> bool:
    return mark.kind == "B" and (previous.kind == OUTSIDE or previous.label != mark.label)


def _breaks_ended(previous: _Mark, mark: _Mark) -> bool:
    open_before = previous.kind in "BI"
    continues = mark.kind in "IE" and mark.label == previous.label
    return not continues if open_before else mark.kind in "IE"


def _by_letters(letters: frozenset[str], place: str) -> SchemeName:
    """Give the scheme that has these letters.

    Raises:
        DataError: none has all of them.
    """
    for name in ("bio", "bioes", "bilou", "bmes"):
        if letters <= _ALLOWED[name]:
            return name
    raise DataError(
        f"{place}tags begin with {_listed(sorted(letters))}, which no one scheme has: BIO has B I, "
        "BIOES B I E S, BILOU B I L U, BMES B M E S; write all tags in one"
    )


def _bio_or_iob1(held: Sequence[Sequence[str]], counts: Mapping[str, int]) -> Scheme:
    stray = sum(len(breaches_of(tags, "bio")) for tags in held)
    idle = sum(len(breaches_of(tags, "iob1")) for tags in held)
    if set(counts) == {OUTSIDE}:
        return Scheme("bio", "all tags are O, which begin no span in any scheme")
    if stray and not idle:
        spans = f"{stray:,} span{'s' if stray > 1 else ''}"
        return Scheme("iob1", f"I begins {spans}, and B only divides spans of one label")
    why = "each span begins with B"
    if stray:
        spans = f"{stray:,} span{'s' if stray > 1 else ''}"
        why = f"B begins spans after O; I without B begins {spans}, and is read as B"
    return Scheme("bio", why, stray)


def _unlettered(
    others: list[str], chunks: list[str], counts: Mapping[str, int], place: str
) -> Scheme:
    """Judge tags of which some, `others`, are neither O nor begin with a letter of a scheme."""
    shown = _listed(others)
    if all(tag.isdecimal() for tag in counts):
        why = "tags are numbers without names, so each token has a class of its own: if they "
        return Scheme("plain", f"{why}stand for B-, I- and O, write these in their place")
    if any(tag[0] in "BI" and len(tag) > 1 for tag in chunks):
        raise DataError(
            f"{place}some tags are of spans ({_listed(chunks)}) and some are not ({shown}); "
            "write each as O, or as B- or I- and a label"
        )
    small = {tag.upper() for tag in others if is_chunk_tag(tag[:1].upper() + tag[1:])}
    if small and all(tag.upper() in small or tag.upper() == OUTSIDE for tag in counts):
        raise DataError(f"{place}tags are in small letters ({shown}); write B-, I- and O")
    if OUTSIDE in counts:
        if all(_LATER.fullmatch(tag) for tag in others):
            raise DataError(f"{place}the letter of {shown} comes last; write B-PER for PER-B")
        _refuse_two(place, counts, "a class for each token", "a span for each run", "plain", "io")
    return Scheme("plain", f"{shown} begin with no letter of a scheme: a class for each token")


def _refuse_two(
    place: str, counts: Iterable[str], one: str, other: str, first: str, second: str
) -> None:
    raise DataError(
        f"{place}tags {_listed(sorted(counts))} can be read as {one} or as {other}; "
        f'say which: data.columns.scheme = "{first}" or "{second}"'
    )


def _listed(tags: Sequence[str]) -> str:
    more = ", …" if len(tags) > _SHOWN else ""
    return ", ".join(map(repr, tags[:_SHOWN])) + more
