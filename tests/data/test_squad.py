"""Documents of SQuAD's form: every question is a row with its line, every fault is told."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import Faults
from tenon.data.answers import AnswerColumns, judge_answers
from tenon.data.gold import NOWHERE
from tenon.data.squad import looks_like_squad, squad_rows
from tenon.data.streams import opened


def read(path, *, member="", name=""):
    """Give rows, faults and notes of a document."""
    faults, notes = Faults(), []
    with opened(str(path), name or str(path), faults, member=member) as stream:
        rows = list(squad_rows(stream, name or str(path), faults, notes))
    return rows, faults, notes


def written(tmp_path, content: bytes | str, name="a.json"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path, name=name)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
answers = st.fixed_dictionaries({"text": texts, "answer_start": st.integers(-1, 50)})
question = st.fixed_dictionaries(
    {"question": texts, "answers": st.lists(answers, max_size=3)},
    optional={"is_impossible": st.booleans()},
)
paragraph = st.fixed_dictionaries({"context": texts, "qas": st.lists(question, max_size=3)})
article = st.fixed_dictionaries({"title": texts, "paragraphs": st.lists(paragraph, max_size=3)})


def documents():
    return st.lists(article, min_size=1, max_size=3).map(numbered)


def numbered(articles):
    number = 0
    for item in articles:
        for part in item["paragraphs"]:
            for asked in part["qas"]:
                number += 1
                asked["id"] = f"q{number}"
    return {"version": "1.1", "data": articles}


def flat(document):
    """What the rows should be, by the plain meaning of the nesting."""
    return [
        {
            "id": asked["id"],
            "title": item["title"],
            "question": asked["question"],
            "context": part["context"],
            "answers": {
                "text": [answer["text"] for answer in asked["answers"]],
                "answer_start": [answer["answer_start"] for answer in asked["answers"]],
            },
            "is_impossible": asked.get("is_impossible"),
        }
        for item in document["data"]
        for part in item["paragraphs"]
        for asked in part["qas"]
    ]


@given(
    documents(), st.sampled_from([None, 0, 1, "\t"]), st.booleans(), st.booleans(), st.booleans()
)
def test_any_layout_gives_the_same_rows(
    tmp_path_factory, document, indent, ascii_only, sorted_keys, marked
):
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only, sort_keys=sorted_keys)
    path = tmp_path_factory.mktemp("squad") / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" * marked + text.encode())
    rows, faults, notes = read(path)
    assert [row.values for row in rows] == flat(document)
    assert faults.count == (0 if rows else 1)
    assert len(notes) == marked


@given(documents(), st.sampled_from([0, 2]))
def test_the_origin_is_the_line_on_which_the_question_opens(tmp_path_factory, document, indent):
    lines = json.dumps(document, indent=indent).split("\n")
    path = tmp_path_factory.mktemp("squad") / "a.json"
    path.write_text("\n".join(lines), encoding="utf-8")
    rows, _, _ = read(path, name="a.json")
    for row in rows:
        line = int(row.origin.removeprefix("a.json:"))
        opened_there, _ = json.JSONDecoder().raw_decode("\n".join(lines[line - 1 :]).lstrip())
        assert opened_there["id"] == row.values["id"]


@given(documents(), st.data())
def test_a_document_cut_anywhere_is_told_once(tmp_path_factory, document, data):
    text = json.dumps(document, indent=1).encode()
    cut = data.draw(st.integers(1, len(text) - 1))
    path = tmp_path_factory.mktemp("squad") / "a.json"
    path.write_bytes(text[:cut])
    rows, faults, _ = read(path)
    assert faults.count == 1
    assert [row.values["id"] for row in rows] == [row["id"] for row in flat(document)[: len(rows)]]


class Case(NamedTuple):
    """A malformed document: its rows, and per fault its place behind the name and phrases."""

    title: str
    content: str | bytes
    rows: int
    faults: tuple[tuple[str, tuple[str, ...]], ...]


def nest(
    *questions: str, head: str = '"context": "It rained."', title: str = '"title": "t"'
) -> str:
    """A document of one article, each question on a line of its own, from line 2 on."""
    return (
        f'{{"data": [{{{title}, "paragraphs": [{{{head}, "qas": [\n'
        + ",\n".join(questions)
        + "\n]}]}]}"
    )


def asked(name="q1", rest='"answers": [{"text": "rained", "answer_start": 3}]', question='"What?"'):
    return f'{{"id": "{name}", "question": {question}, {rest}}}'


GOOD = asked("good")
LINE = nest(GOOD, asked("q2")).replace("\n", " ")
CASES = (
    Case(
        "data is missing",
        '{"version": "1", "dat": []}',
        0,
        ((":1", ('no "data"', "dat?", "add it")),),
    ),
    Case(
        "data is no list",
        '{"data": {"a": 1}}',
        0,
        ((":1", ('"data" is an object', "not a list", "as SQuAD")),),
    ),
    Case("an empty data", '{"data": []}', 0, ((":1", ("holds no question", "give a file")),)),
    Case(
        "an article is text",
        '{"data": [\n"a"]}',
        0,
        ((":2", ("an article is text", "not an object")),),
    ),
    Case(
        "paragraphs misspelt",
        '{"data": [\n{"title": "t", "pargraphs": []}]}',
        0,
        ((":2", ('no "paragraphs"', "pargraphs?")),),
    ),
    Case(
        "paragraphs is null",
        '{"data": [\n{"paragraphs": null}]}',
        0,
        ((":2", ('"paragraphs" is null',)),),
    ),
    Case(
        "a paragraph is a list",
        '{"data": [{"paragraphs": [\n[]]}]}',
        0,
        ((":2", ("a paragraph is a list",)),),
    ),
    Case(
        "no context",
        '{"data": [{"paragraphs": [\n{"contxt": "a", "qas": [' + GOOD + "]}]}]}",
        0,
        ((":2", ('no "context"', "contxt?", "mend its name")),),
    ),
    Case(
        "context is null",
        nest(GOOD, head='"context": null'),
        0,
        ((":1", ('"context" is null', "give the text")),),
    ),
    Case(
        "no qas",
        '{"data": [{"paragraphs": [\n{"context": "a", "qa": []}]}]}',
        0,
        ((":2", ('no "qas"', "qa?")),),
    ),
    Case(
        "qas is an object",
        '{"data": [{"paragraphs": [{"context": "a",\n"qas": {}}]}]}',
        0,
        ((":2", ('"qas" is an object',)),),
    ),
    Case(
        "a question is text",
        nest(GOOD, '"Who?"'),
        1,
        ((":3", ("text, 'Who?'", "a question is expected", '"id"')),),
    ),
    Case(
        "no question",
        nest(GOOD, '{"id": "b", "questoin": "W?", "answers": []}'),
        1,
        ((":3", ('no "question"', "questoin?")),),
    ),
    Case(
        "question is a number",
        nest(asked(question="5"), GOOD),
        1,
        ((":2", ("\"question\" is a number, '5'", "as a text")),),
    ),
    Case(
        "answers is text",
        nest(asked(rest='"answers": "rained"'), GOOD),
        1,
        ((":2", ('"answers" is text', '[{"text"')),),
    ),
    Case(
        "an answer is null",
        nest(asked(rest='"answers": [null]'), GOOD),
        1,
        ((":2", ("text of answer 1 is null", "quote the answer")),),
    ),
    Case(
        "an answer without text",
        nest(asked(rest='"answers": [{"answer_start": 1}]'), GOOD),
        1,
        ((":2", ("text of answer 1 is null",)),),
    ),
    Case(
        "a start in quotation marks",
        nest(asked(rest='"answers": [{"text": "It", "answer_start": "0"}]'), GOOD),
        1,
        ((":2", ("answer_start of answer 1 is text", "from 0")),),
    ),
    Case(
        "a start with a point",
        nest(asked(rest='"answers": [{"text": "It", "answer_start": 0.5}]'), GOOD),
        1,
        ((":2", ("answer_start of answer 1 is a number, '0.5'",)),),
    ),
    Case(
        "a start that is true",
        nest(asked(rest='"answers": [{"text": "t", "answer_start": true}]'), GOOD),
        1,
        ((":2", ("is a boolean",)),),
    ),
    Case(
        "an id twice",
        nest(GOOD, asked("b"), GOOD),
        2,
        ((":4", ("'good' is that of a.json:2 too", "of its own")),),
    ),
    Case(
        "a key twice in a question",
        nest('{"id": "a", "id": "b", "question": "W"}', GOOD),
        1,
        ((":2", ("'id' stands twice", "keep one")),),
    ),
    Case(
        "a key twice in a paragraph",
        nest(GOOD, head='"context": "a",\n"context": "b"'),
        1,
        ((":2", ("'context' stands twice", "keep one")),),
    ),
    Case(
        "NaN",
        nest(asked(rest='"answers": [{"text": "t", "answer_start": NaN}]'), GOOD),
        1,
        ((":2", ("NaN is not JSON", "null")), (":2", ("answer_start of answer 1",))),
    ),
    Case(
        "depth",
        nest(GOOD, asked(rest='"x": ' + "[" * 70 + "]" * 70)),
        1,
        ((":3", ("deeper than 64", "flat")),),
    ),
    Case(
        "depth beyond the interpreter's",
        nest(GOOD, asked(rest='"x": ' + "[" * 100_000)),
        1,
        ((":3", ("deeper than 64", "nothing after this place was read")),),
    ),
    Case(
        "broken syntax in a question",
        nest(GOOD, '{"id" "b"}', asked("c")),
        1,
        ((":3", ("column 7: not JSON", "nothing after this place")),),
    ),
    Case(
        "Python's quotation marks",
        nest(GOOD, "{'id': 'b'}"),
        1,
        ((":3", ("not JSON", "double marks")),),
    ),
    Case(
        "a missing comma between questions",
        nest(GOOD + "\n" + asked("b")),
        1,
        ((":3", ("',' is expected", "mend the document")),),
    ),
    Case(
        "a comma before the bracket",
        nest(GOOD, asked("b") + ","),
        2,
        ((":4", ("comma stands before the closing", "remove it")),),
    ),
    Case(
        "a name without quotation marks", '{"data": [\n{title: "t"}]}', 0, ((":2", ("not JSON",)),)
    ),
    Case(
        "a number for a name",
        '{"data": [\n{5: "t"}]}',
        0,
        ((":2", ("a number stands where a name", "quote the name")),),
    ),
    Case(
        "two documents",
        nest(GOOD) + "\n{}",
        1,
        ((":4", ("follows the end of the document", "one document a file")),),
    ),
    Case(
        "cut within a question",
        nest(GOOD, '{"id": "b", "quest')[:-9],
        1,
        ((":3", ("ends before its brackets", "cut short")),),
    ),
    Case("cut after a question", nest(GOOD)[:-7], 1, ((":2", ("ends before its brackets",)),)),
    Case(
        "Latin-1",
        nest(GOOD, asked("b", question='"\u00e9?"')).encode("latin-1"),
        0,
        ((":3", ("0xE9", "ISO-8859-1", "iconv -f")),),
    ),
    Case("UTF-16", nest(GOOD).encode("utf-16"), 0, ((":1", ("UTF-16", "iconv")),)),
    Case("no JSON", "what?", 0, ((":1", ("'{' is expected", "'what?'")),)),
    Case(
        "one line: two faults, each with its question",
        LINE.replace('"What?"', "null"),
        0,
        ((":1 question good", ("is null",)), (":1 question q2", ("is null",))),
    ),
    Case(
        "one line: a question without id",
        LINE.replace('"id": "q2", "question": "What?"', '"question": 1'),
        1,
        ((":1 question no. 2", ("is a number",)),),
    ),
    Case(
        "three faults in three questions",
        nest(asked("a", question="1"), asked("b", '"answers": 2'), asked("c", '"answers": [3]')),
        0,
        ((":2", ("question",)), (":3", ("answers",)), (":4", ("answer 1",))),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_a_malformed_document_is_told(case: Case, tmp_path):
    rows, faults, _ = written(tmp_path, case.content)
    told = [(fault.where, str(fault)) for fault in faults.kept]
    assert [where for where, _ in told] == [f"a.json{place}" for place, _ in case.faults], told
    for (_, message), (_, phrases) in zip(told, case.faults, strict=True):
        for phrase in phrases:
            assert phrase in message
    assert len(rows) == case.rows
    assert all(fault.remedy and not fault.remedy.endswith(".") for fault in faults.kept)


def test_a_packed_document_cut_short_is_told_once(tmp_path):
    lines = nest(*(asked(f"q{n}", question=f'"{n * 7919 % 1000}?"') for n in range(3_000)))
    rows, faults, _ = written(tmp_path, gzip.compress(lines.encode())[:-500], "a.json.gz")
    assert [str(fault) for fault in faults.kept] == [
        "a.json.gz: the compressed file is cut short; fetch or write it again; "
        "rows before the damage were read"
    ]
    assert 0 < len(rows) < 3_000


def test_titles_may_stand_after_what_they_name(tmp_path):
    inner = '{"qas": [' + GOOD + '], "context": "c", "title": "of the paragraph"}'
    outer = '{"qas": [' + asked("b") + '], "context": "d"}'
    text = f'{{"data": [{{"paragraphs": [{inner}, {outer}], "title": "of the article"}}]}}'
    rows, faults, _ = written(tmp_path, text)
    assert not faults.count
    titles = [(row.values["title"], row.values["context"]) for row in rows]
    assert titles == [("of the paragraph", "c"), ("of the article", "d")]


def test_what_is_passed_over_is_counted(tmp_path):
    more = '"answers": [], "is_impossible": true, "plausible_answers": [], "level": 3'
    rows, _, notes = written(tmp_path, nest(asked("a", more), asked("b", more), GOOD))
    assert len(rows) == 3
    assert notes == [
        "a.json: 'level' of 2 questions is passed over",
        "a.json: 'plausible_answers' of 2 questions is passed over",
    ]


def test_questions_without_id_are_numbered_and_told(tmp_path):
    rows, _, notes = written(tmp_path, nest('{"question": "a"}', asked("x"), '{"question": "b"}'))
    assert [row.values["id"] for row in rows] == ["1", "x", "3"]
    assert notes == ["a.json: 2 questions have no id and are numbered"]


def test_a_file_without_answers_is_read(tmp_path):
    rows, faults, _ = written(tmp_path, nest('{"id": "a", "question": "W?"}'))
    assert not faults.count
    assert (rows[0].values["answers"], rows[0].values["is_impossible"]) == (None, None)


def test_cmrc_in_its_first_form(tmp_path):
    text = json.dumps(
        [
            {
                "context_id": "TRIAL_0",
                "context_text": "北京在中国。",
                "title": "北京",
                "qas": [{"query_id": "T_0", "query_text": "在哪?", "answers": ["中国", "在中国"]}],
            }
        ],
        ensure_ascii=False,
        indent=1,
    )
    assert looks_like_squad(text.encode())
    rows, faults, _ = written(tmp_path, text)
    assert not faults.count
    assert rows[0].origin == "a.json:7"
    assert rows[0].values["answers"] == {"text": ["中国", "在中国"], "answer_start": [None, None]}
    placed = judge_answers(rows[0].values, AnswerColumns())
    assert [(span.text, span.start) for span in placed] == [("中国", 3), ("在中国", 2)]


@pytest.mark.parametrize(
    ("head", "is_squad"),
    [
        (nest(GOOD), True),
        ("\ufeff \n" + nest(GOOD), True),
        (LINE[:120], True),
        ('{"data": [{"question": "a", "context": "b"}]}', False),
        ('[{"question": "a", "context": "b"}]', False),
        ('{"train": [{"text": "the \\"data\\": [ and the \\"paragraphs\\": ["}]}', False),
        ('{"paragraphs": ["a"]}', False),
        ("", False),
        ("text,label", False),
    ],
)
def test_the_form_is_told_by_its_head(head, is_squad):
    assert looks_like_squad(head.encode()) is is_squad


@pytest.mark.public_data
class TestPublicData:
    def judged(self, rows):
        mended: Counter = Counter()
        found = [judge_answers(row.values, AnswerColumns(), mended=mended) for row in rows]
        assert not [item for item in found if isinstance(item, list)]
        return found, mended

    def test_squad(self, shared):
        path = shared / "data/squad_v11_dev/dev-v1.1.json.zip"
        rows, faults, notes = read(path, member="dev-v1.1.json", name="dev.json")
        assert (len(rows), faults.count, notes) == (10_570, 0, [])
        assert len({row.values["context"] for row in rows}) == 2_067
        assert len({row.values["title"] for row in rows}) == 48
        assert max(len(row.values["context"]) for row in rows) == 4_063
        assert rows[0].origin == "dev.json:1 question 56be4db0acb8001400a502ec"
        found, mended = self.judged(rows)
        assert not mended
        assert sum(len({span.text for span in spans}) > 1 for spans in found) == 5_625
        pairs = Counter((row.values["context"], row.values["question"]) for row in rows)
        assert sum(count - 1 for count in pairs.values()) == 29

    def test_xquad(self, shared):
        both = []
        for language, repeats in (("en", 3), ("zh", 9)):
            path = shared / f"data/xquad/xquad.{language}.json"
            rows, faults, _ = read(path, name="x.json")
            assert (len(rows), faults.count) == (1_190, 0)
            assert len({row.values["context"] for row in rows}) == 240
            assert rows[0].origin == "x.json:8"
            found, mended = self.judged(rows)
            assert not mended
            assert all(len(spans) == 1 for spans in found)
            pairs = {(row.values["context"], row.values["question"]) for row in rows}
            assert len(rows) - len(pairs) == repeats
            both.append([row.values["id"] for row in rows])
        assert both[0] == both[1]

    def test_cmrc_dev(self, shared):
        rows, faults, _ = read(shared / "data/cmrc2018/cmrc2018_dev.json")
        assert (len(rows), faults.count) == (3_219, 0)
        assert len({row.values["context"] for row in rows}) == 848
        given = [list(zip(*row.values["answers"].values(), strict=True)) for row in rows]
        assert sum(start == -1 for pairs in given for _, start in pairs) == 193
        right = [
            [start >= 0 and row.values["context"].startswith(text, start) for text, start in pairs]
            for row, pairs in zip(rows, given, strict=True)
        ]
        assert sum(not all(stands) for stands in right) == 176
        assert sum(not any(stands) for stands in right) == 3
        found, mended = self.judged(rows)
        assert mended == {"dropped": 193, "moved": 7, "blanks": 13}
        kept = [len(spans) for spans in found]
        assert min(kept) >= 1
        assert sum(kept) == 3 * 3_219
        assert sum(span.start == NOWHERE for spans in found for span in spans) == 193
        for row, spans in zip(rows, found, strict=True):
            for span in spans:
                stands = row.values["context"].startswith(span.text, span.start)
                assert span.start == NOWHERE or stands

    def test_cmrc_trial(self, shared):
        rows, faults, _ = read(shared / "data/cmrc2018/cmrc2018_trial.json")
        assert (len(rows), faults.count) == (1_002, 0)
        assert len({row.values["context"] for row in rows}) == 256
        _, mended = self.judged(rows)
        assert mended == {"moved": 5, "blanks": 3, "silent": 2}
