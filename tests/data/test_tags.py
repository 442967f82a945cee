"""Tags and spans say the same, in every scheme, as the field's scorers have it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Tokens

from tenon.core.errors import DataError
from tenon.data.tags import (
    NAMELESS,
    SCHEMES,
    breaches_of,
    is_chunk_tag,
    scheme_of,
    spans_of,
    strange_tags,
    tags_of,
)

CHUNKED = ("bio", "iob1", "bioes", "bilou", "bmes")
LABELS = st.sampled_from(["PER", "LOC", "creative-work", "地名"])
LETTERS = {"bio": "BI", "iob1": "BI", "bioes": "BIES", "bilou": "BILU", "bmes": "BMES"}
TO_SEQEVAL = str.maketrans("LUM", "ESI")


@st.composite
def flat_spans(draw, *, apart=False):
    """Spans of which none overlaps another, and the number of tokens."""
    spans, place = [], 0
    for _ in range(draw(st.integers(0, 6))):
        gap = draw(st.integers(0, 2))
        first = place + (max(gap, 1) if apart else gap)
        place = first + draw(st.integers(1, 4))
        spans.append((first, place, draw(LABELS)))
    return spans, place + draw(st.integers(0, 2))


@st.composite
def any_tags(draw, scheme):
    letter = st.sampled_from(LETTERS[scheme])
    tag = st.one_of(st.just("O"), st.builds("{}-{}".format, letter, LABELS))
    return draw(st.lists(tag, max_size=12))


def seqeval_spans(tags):
    """The spans of conlleval as seqeval has it, L, U and M said as E, S and I."""
    said = [tag[0].translate(TO_SEQEVAL) + tag[1:] for tag in tags]
    return [(first, last + 1, label) for label, first, last in get_entities(said)]


class TestRoundTrips:
    @pytest.mark.parametrize("scheme", CHUNKED)
    @given(data=st.data())
    def test_spans_to_tags_and_back(self, scheme, data):
        spans, count = data.draw(flat_spans())
        tags = tags_of(spans, count, scheme)
        assert len(tags) == count
        assert spans_of(tags, scheme) == spans
        assert breaches_of(tags, scheme) == []

    @given(flat_spans(apart=True))
    def test_runs(self, drawn):
        spans, count = drawn
        assert spans_of(tags_of(spans, count, "io"), "io") == spans

    @given(st.lists(st.sampled_from(["NN", "VB", "O", "B-X"])))
    def test_plain_tags(self, tags):
        spans = spans_of(tags, "plain")
        assert spans == [(place, place + 1, tag) for place, tag in enumerate(tags)]
        assert tags_of(spans, len(tags), "plain") == tags

    @pytest.mark.parametrize("scheme", CHUNKED)
    @given(data=st.data())
    def test_any_tags_are_mended_once(self, scheme, data):
        """Writing what was read gives tags without breach that say the same."""
        tags = data.draw(any_tags(scheme))
        spans = spans_of(tags, scheme)
        mended = tags_of(spans, len(tags), scheme)
        assert spans_of(mended, scheme) == spans
        assert breaches_of(mended, scheme) == []
        assert (mended == tags) == (not breaches_of(tags, scheme))

    @pytest.mark.parametrize("scheme", CHUNKED)
    @given(data=st.data())
    def test_the_scheme_is_found(self, scheme, data):
        spans, count = data.draw(flat_spans())
        assume(spans)
        tags = tags_of(spans, count, scheme)
        found = scheme_of([tags])
        assert spans_of(tags, found.name) == spans
        assert found.why

    def test_bare_letters(self):
        assert spans_of(list("BMESB"), "bmes") == [(0, 3, NAMELESS), (3, 4, NAMELESS), (4, 5, "_")]
        assert tags_of([(0, 2, NAMELESS), (2, 3, NAMELESS)], 4, "bmes") == ["B", "E", "S", "O"]


class TestEqualToSeqeval:
    @pytest.mark.parametrize("scheme", CHUNKED)
    @given(data=st.data())
    def test_lenient(self, scheme, data):
        tags = data.draw(any_tags(scheme))
        assert spans_of(tags, scheme) == seqeval_spans(tags)

    @pytest.mark.parametrize(
        ("scheme", "oracle"), [("bio", IOB2), ("iob1", IOB1), ("bioes", IOBES), ("bilou", BILOU)]
    )
    @given(data=st.data())
    def test_strict_where_nothing_is_breached(self, scheme, oracle, data):
        spans, count = data.draw(flat_spans())
        tags = tags_of(spans, count, scheme)
        entities = Tokens(tags, oracle).entities
        assert [(e.start, e.end, e.tag) for e in entities] == spans


@given(st.lists(st.sampled_from(["O", "X", "B-X", "E", "U-Y", "I_", "M-Z", "b-x"]), max_size=6))
def test_tags_are_read_unless_strange(tags):
    for scheme in SCHEMES:
        if strange_tags(tags, scheme):
            with pytest.raises(DataError):
                spans_of(tags, scheme)
            continue
        spans = spans_of(tags, scheme)
        assert spans == sorted(spans)
        assert all(0 <= first < end <= len(tags) for first, end, _ in spans)


class TestLeniency:
    @pytest.mark.parametrize(
        ("tags", "scheme", "spans", "breaches"),
        [
            ("O I-X I-X", "bio", [(1, 3, "X")], [1]),
            ("B-X I-Y", "bio", [(0, 1, "X"), (1, 2, "Y")], [1]),
            ("I-X I-X B-X", "iob1", [(0, 2, "X"), (2, 3, "X")], []),
            ("O B-X", "iob1", [(1, 2, "X")], [1]),
            ("E-X O", "bioes", [(0, 1, "X")], [0]),
            ("O I-X E-X", "bioes", [(1, 3, "X")], [1]),
            ("B-X O", "bioes", [(0, 1, "X")], [1]),
            ("B-X", "bioes", [(0, 1, "X")], [1]),
            ("B-X S-X", "bioes", [(0, 1, "X"), (1, 2, "X")], [1]),
            ("S-X I-X", "bioes", [(0, 1, "X"), (1, 2, "X")], [1, 2]),
            ("B-X E-Y", "bioes", [(0, 1, "X"), (1, 2, "Y")], [1]),
            ("U-X L-X", "bilou", [(0, 1, "X"), (1, 2, "X")], [1]),
            ("M-X E-X", "bmes", [(0, 2, "X")], [0]),
        ],
    )
    def test_policy(self, tags, scheme, spans, breaches):
        assert spans_of(tags.split(), scheme) == spans
        assert breaches_of(tags.split(), scheme) == breaches

    def test_underscore_and_hyphens_in_labels(self):
        assert spans_of(["B_PER", "I_PER"], "bio") == [(0, 2, "PER")]
        assert spans_of(["B-a-b", "I-a-b"], "bio") == [(0, 2, "a-b")]


class TestSchemes:
    @pytest.mark.parametrize(
        ("tags", "name", "why", "breaches"),
        [
            ("B-X I-X O B-Y", "bio", "begins with B", 0),
            ("B-X I-X O I-Y", "bio", "I without B begins 1 span,", 1),
            ("I-X I-X O I-Y", "iob1", "I begins 2 spans", 0),
            ("I-X B-X O", "iob1", "divides", 0),
            ("B-X E-X O S-Y", "bioes", "letters of BIOES", 0),
            ("I-X E-X O", "bioes", "letters of BIOES", 1),
            ("B-X L-X O U-Y", "bilou", "BILOU", 0),
            ("B-X M-X E-X O", "bmes", "BMES", 0),
            ("B E S B M E", "bmes", "BMES", 0),
            ("B I O", "bio", "begins with B", 0),
            ("O O", "bio", "no span", 0),
            ("NN VB IN", "plain", "no letter of a scheme", 0),
            ("n v u b s", "plain", "no letter of a scheme", 0),
            ("NN S-BAR", "plain", "no letter of a scheme", 0),
            ("0 3 4", "plain", "numbers without names", 0),
        ],
    )
    def test_found(self, tags, name, why, breaches):
        found = scheme_of([tags.split()])
        assert (found.name, found.breaches) == (name, breaches)
        assert why in found.why

    @pytest.mark.parametrize(
        ("tags", "phrases"),
        [
            ("", ("no tags",)),
            ("PER LOC O", ("a class for each token", "a span for each run", '"plain"', '"io"')),
            ("S E", ("can be read as", '"plain"', '"bioes"')),
            ("B B", ("can be read as",)),
            ("B-X I-X PER O", ("some are not ('PER')", "B- or I-")),
            ("B-X E-X L-X", ("no one scheme has", "BILOU")),
            ("B-X M-X I-X", ("no one scheme has",)),
            ("PER-B PER-I O", ("comes last", "B-PER for PER-B")),
            ("b-per i-per o", ("small letters",)),
            ("B-X [CLS] O", ("'[CLS]'",)),
        ],
    )
    def test_refused(self, tags, phrases):
        with pytest.raises(DataError) as caught:
            scheme_of([tags.split()], "a.conll")
        assert str(caught.value).startswith("a.conll: ")
        for phrase in phrases:
            assert phrase in str(caught.value)

    def test_the_two_readings_of_unprefixed_tags_differ(self):
        tags = ["PER", "PER", "O"]
        assert spans_of(tags, "io") == [(0, 2, "PER")]
        assert len(spans_of(tags, "plain")) == 3


class TestRefused:
    @pytest.mark.parametrize("scheme", CHUNKED)
    def test_a_tag_of_no_scheme(self, scheme):
        with pytest.raises(DataError, match=r"'X-PER' is none of .*; mend it"):
            spans_of(["O", "X-PER"], scheme)
        assert strange_tags(["O", "X-PER", "B-PER"], scheme) == [1]

    def test_a_letter_of_another_scheme(self):
        with pytest.raises(DataError, match="'E-X' is none of BIO; its tags are O, and B, I"):
            spans_of(["B-X", "E-X"], "bio")

    @pytest.mark.parametrize(
        "spans", [[(0, 2, "X"), (1, 3, "Y")], [(0, 0, "X")], [(-1, 1, "X")], [(2, 4, "X")]]
    )
    def test_spans_that_flat_tags_cannot_hold(self, spans):
        with pytest.raises(DataError, match="flat tags cannot hold it"):
            tags_of(spans, 3, "bio")

    def test_spans_without_label(self):
        with pytest.raises(DataError, match="without label"):
            tags_of([(0, 1, "")], 3, "bio")

    def test_spans_that_touch_in_io(self):
        with pytest.raises(DataError, match="'io' cannot hold"):
            tags_of([(0, 1, "X"), (1, 2, "X")], 2, "io")

    def test_plain_tags_need_every_token(self):
        with pytest.raises(DataError, match="1 of 2 tokens have no tag"):
            tags_of([(0, 1, "NN")], 2, "plain")
        with pytest.raises(DataError, match="'plain' cannot hold"):
            tags_of([(0, 2, "NN")], 2, "plain")


@pytest.mark.parametrize("tag", ["B-PER", "I_x", "S", "E-a-b"])
def test_a_chunk_tag(tag):
    assert is_chunk_tag(tag)


@pytest.mark.parametrize("tag", ["O", "b-per", "B-", "NN", "BPER", "", "PER-B"])
def test_no_chunk_tag(tag):
    assert not is_chunk_tag(tag)


def test_the_names_are_distinct():
    assert len(set(SCHEMES)) == len(SCHEMES) == 7
