"""A row's tokens and tags, or its text and annotations, become a text with spans, or a reason."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults
from tenon.data.example import Row
from tenon.data.fields import Problem
from tenon.data.gold import Span
from tenon.data.sources import read
from tenon.data.span_values import flat
from tenon.data.tagging import TagColumns, Tagged, joined, judge_tagged, listed
from tenon.data.tagging_columns import guess_tagging
from tenon.data.tags import spans_of

WORDS = TagColumns(tokens="tokens", tags="tags")
SPANS = TagColumns(text="text", spans="spans")
TEXT = "Ann met Bo in Oslo 😀 with Zoë."


def tagged(tokens, tags, scheme="bio"):
    return judge_tagged({"tokens": tokens, "tags": tags}, WORDS, scheme)


def annotated(*spans, text=TEXT):
    return judge_tagged({"text": text, "spans": list(spans)}, SPANS)


class TestTokens:
    def test_words_and_spans(self):
        found = tagged(["Ann", "met", "Bo", "Li", "."], ["B-PER", "O", "B-PER", "I-PER", "O"])
        assert found == Tagged(
            "Ann met Bo Li .",
            ((0, 3), (4, 7), (8, 10), (11, 13), (14, 15)),
            (Span(0, 3, "PER"), Span(8, 13, "PER")),
        )

    def test_without_tags(self):
        found = judge_tagged({"tokens": ["Ann", "left"]}, TagColumns(tokens="tokens"))
        assert found == Tagged("Ann left", ((0, 3), (4, 8)), ())

    def test_words_in_a_text(self):
        assert tagged("Ann left", "B-PER O") == tagged(["Ann", "left"], ["B-PER", "O"])
        assert tagged('["Ann", "left"]', '["B-PER", "O"]') == tagged("Ann left", "B-PER O")

    def test_breaches_are_counted(self):
        found = tagged(["a", "b"], ["I-X", "I-Y"])
        assert found.breaches == 2
        assert len(found.spans) == 2

    def test_outer_blanks_are_counted(self):
        found = tagged([" Ann", "left\u00a0", "New York"], ["B-PER", "O", "O"])
        assert (found.text, found.trimmed) == ("Ann left New York", 2)

    def test_numbers_are_classes_of_tokens(self):
        found = tagged(["a", "b"], [0, 7], "plain")
        assert [span.label for span in found.spans] == ["0", "7"]

    @pytest.mark.parametrize(
        ("tokens", "text"),
        [
            ("中 国 人", "中国人"),
            ("中国 人民 银行 。", "中国人民银行。"),
            ("用 Python 3 写", "用 Python 3 写"),
            ("在 1 9 9 8 年", "在 1 9 9 8 年"),
            ("公 元 二 千 零 1 9 年", "公元二千零19年"),
            ("I B M", "I B M"),
            ("東京 タワー へ", "東京タワーへ"),
            ("서울 시 청", "서울 시 청"),
            ("𠮷 野 家", "𠮷野家"),
        ],
    )
    def test_joining(self, tokens, text):
        assert joined(tokens.split())[0] == text

    @given(
        st.lists(
            st.text(st.sampled_from("ab中国。Ａ😀é 한"), min_size=1).filter(lambda t: t.strip()),
            min_size=1,
        ),
        st.data(),
    )
    def test_each_word_stands_where_it_is_said_to(self, tokens, data):
        letters = st.sampled_from(["O", "B-X", "I-X", "I-Y"])
        tags = data.draw(st.lists(letters, min_size=len(tokens), max_size=len(tokens)))
        found = tagged(tokens, tags)
        assert [found.text[a:b] for a, b in found.words] == [token.strip() for token in tokens]
        assert all(b <= c for (_, b), (c, _) in zip(found.words, found.words[1:], strict=False))
        starts = [start for start, _ in found.words]
        ends = [end for _, end in found.words]
        said = [
            (starts.index(span.start), ends.index(span.end) + 1, span.label) for span in found.spans
        ]
        assert said == spans_of(tags, "bio")


FORMS = [
    {"start": 8, "end": 10, "label": "PER"},
    {"start_offset": 8, "end_offset": 10, "type": "PER"},
    {"offset": 8, "length": 2, "entity": "PER"},
    {"begin": 8, "end": 10, "tag": "PER", "id": 3, "score": 0.7},
    {"start": 8, "end": 10, "entity": "a name", "type": "PER"},
    {"start": 8, "end": 10, "labels": ["PER"], "text": "Bo"},
    {"span": [8, 10], "label": "PER"},
    [8, 10, "PER"],
    ["PER", 8, 10],
    (8, 10, "PER"),
    {"value": {"start": 8, "end": 10, "text": "Bo", "labels": ["PER"]}, "type": "labels"},
    {"value": "Bo", "start": 8, "end": 10, "entity": "PER"},
    {"slot": "PER", "valueSpan": {"startIndex": 8, "endIndex": 10}},
]


class TestAnnotations:
    @pytest.mark.parametrize("form", FORMS, ids=str)
    def test_forms(self, form):
        assert annotated(form) == Tagged(TEXT, (), (Span(8, 10, "PER"),))

    def test_an_index_that_is_left_out_is_0(self):
        found = annotated({"slot": "PER", "valueSpan": {"endIndex": 3}})
        assert found.spans == (Span(0, 3, "PER"),)

    def test_numbers_may_be_labels(self):
        assert annotated([0, 3, 7]).spans == (Span(0, 3, "7"),)

    def test_json_in_a_cell(self):
        values = {"text": TEXT, "spans": json.dumps([[0, 3, "PER"]])}
        assert judge_tagged(values, SPANS).spans == (Span(0, 3, "PER"),)

    def test_a_column_within_a_column(self):
        columns = TagColumns(text="0", spans="1.entities")
        values = {"0": TEXT, "1": {"entities": [[0, 3, "PER"]]}}
        assert judge_tagged(values, columns).spans == (Span(0, 3, "PER"),)

    def test_rows_without_spans(self):
        assert annotated() == Tagged(TEXT, (), ())
        assert judge_tagged({"text": TEXT}, TagColumns(text="text")) == Tagged(TEXT, (), ())
        optional = TagColumns(text="text", spans="spans", optional=True)
        assert judge_tagged({"text": TEXT}, optional) == Tagged(TEXT, (), ())

    def test_trimming_repeating_and_overlapping_are_counted(self):
        found = annotated([0, 4, "PER"], [0, 3, "PER"], [8, 18, "X"], [14, 18, "Y"], [14, 18, "Z"])
        assert found.spans == (Span(0, 3, "PER"), Span(8, 18, "X"))
        assert (found.trimmed, found.repeated, found.dropped) == (1, 1, 2)

    def test_of_equally_long_spans_the_first_given_stays(self):
        assert annotated([0, 3, "A"], [0, 3, "B"]).spans == (Span(0, 3, "A"),)
        assert annotated([1, 3, "B"], [0, 2, "A"]).spans == (Span(1, 3, "B"),)


SPAN = st.builds(
    lambda start, size, label: Span(start, start + size, label),
    st.integers(0, 30),
    st.integers(1, 8),
    st.sampled_from("ABC"),
)


@given(st.lists(SPAN, max_size=15))
def test_flat_spans(spans):
    """None overlaps; none that was left out could stay; all are accounted for."""
    found = flat(spans)
    kept = found.spans
    assert all(a.end <= b.start for a, b in zip(kept, kept[1:], strict=False))
    assert len(kept) + found.dropped + found.repeated == len(spans)
    for span in set(spans) - set(kept):
        longer = [o for o in kept if o.start < span.end and span.start < o.end]
        assert max(o.end - o.start for o in longer) >= span.end - span.start


HIGH = "\ud83d"
BAD_WORDS = [
    ("tags too few", ["a", "b"], ["O"], "bio", ("2 tokens", "1 tags", "one tag")),
    ("no tokens", [], [], "bio", ("empty list", "give tokens")),
    ("an empty token", ["a", ""], ["O", "O"], "bio", ("tokens[1] is empty", "leave out")),
    ("a blank token", ["a", "\u3000"], ["O", "O"], "bio", ("tokens[1] is blank",)),
    ("a null token", ["a", None], ["O", "O"], "bio", ("tokens[1] is null", "as a text")),
    ("a number for a token", ["a", 7], ["O", "O"], "bio", ("tokens[1] is a number, '7'",)),
    ("NaN for a token", ["a", math.nan], ["O", "O"], "bio", ("tokens[1] is a number, 'nan'",)),
    ("half a pair in a token", ["a", HIGH], ["O", "O"], "bio", ("surrogate pair", "\\ud83d")),
    ("a NUL in a token", ["a", "b\0"], ["O", "O"], "bio", ("NUL", "remove it")),
    ("a null tag", ["a", "b"], ["O", None], "bio", ("tags[1] is null",)),
    ("an empty tag", ["a", "b"], ["O", ""], "bio", ("tags[1] is empty",)),
    ("NaN for a tag", ["a", "b"], ["O", math.nan], "bio", ("tags[1] is a number, 'nan'",)),
    ("a tag with blanks", ["a"], [" O"], "bio", ("blanks around it", "write 'O'")),
    ("half a pair in a tag", ["a"], ["B-" + HIGH], "bio", ("surrogate pair",)),
    ("numbers and names", ["a", "b"], ["O", 3], "bio", ("tags[1] is a number, '3'",)),
    ("numbers without names", ["a", "b"], [0, 3], "bio", ("numbers", "int2str")),
    ("booleans", ["a"], [True], "plain", ("tags[0] is a boolean",)),
    ("a tag of no scheme", ["a"], ["X-PER"], "bio", ("tags[0] is 'X-PER', none of BIO", "B-PER")),
    (
        "a tag of another scheme",
        ["a"],
        ["E-PER"],
        "bio",
        ("'E-PER', none of BIO", "B, I with a label"),
    ),
    ("a label without letter", ["a"], ["PER"], "bioes", ("'PER', none of BIOES", "B, I, E, S")),
    ("null for tokens", None, ["O"], "bio", ("'tokens' is null", "json.dumps")),
    ("an object for tokens", {"a": 1}, ["O"], "bio", ("'tokens' is an object",)),
    ("a list of Python", "['a', 'b']", ["O", "O"], "bio", ("list of Python", "json.dumps")),
    ("NaN in a cell", "[NaN]", ["O"], "bio", ("NaN",)),
]
BAD_SPANS = [
    ("beyond the text", [20, 99, "X"], ("20 to 99", "text of 30 characters", "code points")),
    ("beyond it by UTF-16", [26, 31, "X"], ("outside the text", "UTF-16 units", "31")),
    ("before the text", [-1, 3, "X"], ("from -1 to 3, outside",)),
    ("an end before its start", [5, 3, "X"], ("ends at 3, not after its start at 5", "exclusive")),
    ("nothing", [3, 3, "X"], ("ends at 3", "exclusive")),
    ("a start of text", ["0", 3, "X"], ("the start of spans[0] is text", "whole number")),
    ("a start with a point", [0.0, 3, "X"], ("the start", "'0.0'", "without")),
    ("NaN", {"start": math.nan, "end": 3, "label": "X"}, ("'nan'", "whole number")),
    ("a boolean", {"start": True, "end": 3, "label": "X"}, ("a boolean",)),
    ("a null end", {"start": 0, "end": None, "label": "X"}, ("the end of spans[0] is null",)),
    ("a null label", [0, 3, None], ("label of spans[0] is null", "name its type")),
    ("an empty label", [0, 3, ""], ("label of spans[0] is ''", "name its type")),
    ("a label with blanks", [0, 3, " X"], ("is ' X'", "write 'X'")),
    ("a label with a point", [0, 3, 1.5], ("is a number, '1.5'",)),
    ("half a pair in a label", [0, 3, HIGH], ("surrogate pair", "mend")),
    ("two labels", {"start": 0, "end": 3, "labels": ["X", "Y"]}, ("2 labels", "one label")),
    ("only blanks", [3, 4, "X"], ("only blanks", "mend its offsets")),
    ("no span", "Ann", ("spans[0] is text", "write an object")),
    ("null", None, ("spans[0] is null",)),
    ("two numbers", [0, 3], ("a list of 2", "[start, end, label]")),
    ("no keys", {}, ("no start and no end and no label", "no keys", '"start"')),
    ("no label", {"start": 0, "end": 3}, ("has no label; it has start, end",)),
    ("a misspelt key", {"strat": 0, "end": 3, "label": "X"}, ("no start", "is 'strat' the start?")),
    (
        "UTF-16 offsets",
        {"start": 27, "end": 30, "label": "X", "text": "Zoë"},
        ("states 'Zoë'", "count UTF-16 units"),
    ),
    (
        "bytes",
        {"start": 29, "end": 33, "label": "X", "text": "Zoë"},
        ("states 'Zoë'", "count bytes of UTF-8"),
    ),
    (
        "an inclusive end",
        {"start": 0, "end": 2, "label": "X", "text": "Ann"},
        ("states 'Ann'", "are 'An'", "the place after it"),
    ),
    ("offsets from 1", {"start": 9, "end": 11, "label": "X", "text": "Bo"}, ("count from 1",)),
    ("another place", {"start": 1, "end": 5, "label": "X", "text": "Oslo"}, ("at 14 to 18",)),
    ("another text", {"start": 0, "end": 3, "label": "X", "text": "Eve"}, ("does not hold it",)),
]
BAD_ROWS = [
    ("no text column", {"spans": []}, ("no column 'text'", "data.columns.text")),
    ("a null text", {"text": None, "spans": []}, ("'text' is null", "remove the row")),
    ("a number for a text", {"text": 3, "spans": []}, ("'text' is a number", "quote it")),
    ("a blank text", {"text": " ", "spans": []}, ("'text' is blank", "remove the row")),
    ("half a pair", {"text": "a" + HIGH, "spans": []}, ("surrogate pair", "damaged")),
    ("a NUL", {"text": "a\0", "spans": []}, ("NUL",)),
    ("no spans column", {"text": "a", "span": []}, ("no column 'spans'", '"span"', "write []")),
    ("null spans", {"text": "a", "spans": None}, ("'spans' is null", "write []")),
    ("text for spans", {"text": "a", "spans": "PER"}, ("'spans' is text, 'PER'", "json.dumps")),
    ("Python for spans", {"text": "a", "spans": "[{'start': 0}]"}, ("list of Python",)),
    ("an object", {"text": "a", "spans": {"entities": []}}, ('"spans.entities"',)),
]
CASES = [
    *((title, {"tokens": a, "tags": b}, WORDS, c, said) for title, a, b, c, said in BAD_WORDS),
    *((title, {"text": TEXT, "spans": [a]}, SPANS, "bio", said) for title, a, said in BAD_SPANS),
    *((title, values, SPANS, "bio", said) for title, values, said in BAD_ROWS),
]


@pytest.mark.parametrize(
    ("values", "columns", "scheme", "phrases"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_a_malformed_row_is_told(values, columns, scheme, phrases):
    row = Row(values, "a.jsonl:7")
    problems = judge_tagged(row.values, columns, scheme)
    assert isinstance(problems, list)
    assert len(problems) == 1, problems
    faults = Faults()
    for problem in problems:
        assert isinstance(problem, Problem)
        assert problem.kind
        assert problem.remedy
        assert not problem.remedy.endswith(".")
        faults.add(row.origin, problem.what, problem.remedy)
    message = str(faults.kept[0])
    assert message.startswith("a.jsonl:7: ")
    message.encode()
    for phrase in phrases:
        assert phrase in message


def test_the_table_is_as_long_as_it_claims():
    assert len(CASES) >= 60
    assert len({title for title, *_ in BAD_SPANS}) == len(BAD_SPANS)


def test_all_problems_of_a_row_come_at_once():
    both = judge_tagged({"text": " ", "spans": 3}, SPANS)
    assert [problem.kind for problem in both] == ["empty_text", "spans_not_list"]
    spans = annotated([0, 99, "X"], [0, 3, "X"], [5, 3, "X"])
    assert [problem.what[:8] for problem in spans] == ["spans[0]", "spans[2]"]
    words = tagged(["", "b", None], ["O", 3, "O"])
    assert [problem.kind for problem in words] == ["empty_token", "token_not_text", "tag_not_text"]
    strange = tagged(["a", "b", "c"], ["X", "O", "E-X"])
    assert [problem.what for problem in strange] == [
        "tags[0] is 'X', none of BIO",
        "tags[2] is 'E-X', none of BIO",
    ]
    lacking = judge_tagged({"words": []}, WORDS)
    assert [problem.kind for problem in lacking] == ["no_tokens_column", "no_tags_column"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["start", "end", "label", "text", "value"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_value_is_judged(first, second):
    """Whatever a row holds, it is tagged or told; a span is always within the text."""
    for values, columns in (
        ({"tokens": first, "tags": second}, WORDS),
        ({"text": first, "spans": second}, SPANS),
        ({"text": TEXT, "spans": second}, SPANS),
        ({"text": TEXT, "spans": [second]}, SPANS),
    ):
        found = judge_tagged(values, columns)
        if isinstance(found, Tagged):
            assert all(0 <= span.start < span.end <= len(found.text) for span in found.spans)
        else:
            assert found
            assert all(problem.what and problem.remedy for problem in found)


class TestGuess:
    @pytest.mark.parametrize(
        ("values", "columns", "why"),
        [
            ({"tokens": ["a"], "tags": ["O"]}, TagColumns("tokens", "tags"), "by their names"),
            (
                {"words": ["a"], "pos_tags": ["N"], "ner_tags": ["O"], "id": "0"},
                TagColumns("words", "ner_tags"),
                "not used: 'pos_tags', 'id'",
            ),
            ({"tokens": ["a"], "labels": ["O"]}, TagColumns("tokens", "labels"), "by their names"),
            (
                {"tokens": ["a"], "ner_tags": [3]},
                TagColumns("tokens", "ner_tags"),
                "numbers without names",
            ),
            (
                {"tokens": ["a"], "ner_tags": [[0, 1, "X"]], "tags": ["O"]},
                TagColumns("tokens", "tags"),
                "by their names",
            ),
            (
                {"Words": "Ann left", "Tags": "B-PER O"},
                TagColumns("Words", "Tags"),
                "by their names",
            ),
            (
                {"text": "a b", "entities": [{"start": 0}]},
                TagColumns(text="text", spans="entities"),
                "by their names",
            ),
            (
                {"sentence": "a b", "labels": []},
                TagColumns(text="sentence", spans="labels"),
                "by their names",
            ),
            (
                {"text": "a", "label": [[0, 1, "X"]], "id": 3},
                TagColumns(text="text", spans="label"),
                "not used: 'id'",
            ),
            (
                {"0": "a b", "1": {"entities": [[0, 1, "X"]]}},
                TagColumns(text="0", spans="1.entities"),
                "by their names",
            ),
            (
                {"text": "a b", "spans": '[{"start": 0}]'},
                TagColumns(text="text", spans="spans"),
                "by their names",
            ),
        ],
    )
    def test_usual_names(self, values, columns, why):
        guess = guess_tagging([Row(values, "a:1")])
        assert guess.columns == columns
        assert why in " ".join(guess.why)

    def test_label_studio(self):
        result = {"value": {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}, "id": "x"}
        values = {"id": 1, "data": {"text": TEXT}, "annotations": [{"id": 2, "result": [result]}]}
        guess = guess_tagging([Row(values, "a:1")])
        assert guess.columns == TagColumns(text="data.text", spans="annotations.0.result")
        assert "the first counts" in " ".join(guess.why)
        assert judge_tagged(values, guess.columns).spans == (Span(0, 3, "PER"),)
        told = judge_tagged({**values, "annotations": []}, guess.columns)
        assert [problem.kind for problem in told] == ["no_spans_column"]

    @pytest.mark.parametrize(
        ("values", "phrases"),
        [
            ({"text": "a", "label": "x"}, ("a:1: no columns of tokens", "text, label")),
            ({"tokens": ["a"]}, ("no columns of tokens and tags", "data.columns.tags")),
            ({}, ("no columns",)),
            (
                {"tokens": ["a"], "tags": ["O"], "text": "a", "entities": [[0, 1, "X"]]},
                ("as well as a text and spans", "'entities'", "data.columns.spans"),
            ),
        ],
    )
    def test_refused(self, values, phrases):
        with pytest.raises(DataError) as caught:
            guess_tagging([Row(values, "a:1")])
        for phrase in phrases:
            assert phrase in str(caught.value)

    def test_no_rows(self):
        with pytest.raises(DataError, match="no rows"):
            guess_tagging([])


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (["a"], ["a"]),
        ("a b\u3000c", ["a", "b", "c"]),
        ('["a b"]', ["a b"]),
        ("[ a ]", ["[", "a", "]"]),
        ("", []),
    ],
)
def test_listed(value, items):
    assert listed(value) == items


@pytest.mark.public_data
class TestRestaurants8k:
    @pytest.mark.parametrize(
        ("name", "rows", "given", "dropped", "trimmed"),
        [("train_0", 8_198, 7_635, 59, 4), ("test", 3_731, 3_477, 18, 1)],
    )
    def test_spans(self, shared, name, rows, given, dropped, trimmed):
        faults = Faults()
        source = list(read(f"{shared}/data/restaurant8k/{name}.json", faults))
        guess = guess_tagging(source[:1_000])
        assert guess.columns == TagColumns(text="userInput.text", spans="labels", optional=True)
        found = [judge_tagged(row.values, guess.columns) for row in source]
        assert not faults.count
        assert len(found) == rows
        assert all(isinstance(item, Tagged) for item in found)
        assert sum(len(item.spans) for item in found) == given - dropped
        assert sum(item.dropped for item in found) == dropped
        assert sum(item.trimmed for item in found) == trimmed
        assert {span.label for item in found for span in item.spans} == {
            "people", "date", "time", "first_name", "last_name",
        }  # fmt: skip

    def test_the_pairs_that_overlap(self, shared):
        """Counted from the file itself: the 59 pairs that its notes tell of, and one loser each."""
        path = shared / "data" / "restaurant8k" / "train_0.json"
        pairs = 0
        for row in json.loads(path.read_text(encoding="utf-8")):
            ends = [
                (span["valueSpan"].get("startIndex", 0), span["valueSpan"]["endIndex"])
                for span in row.get("labels", [])
            ]
            pairs += sum(
                a[0] < b[1] and b[0] < a[1] for i, a in enumerate(ends) for b in ends[i + 1 :]
            )
        assert pairs == 59
