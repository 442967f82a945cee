"""Answers stand in their context, or the row says why not."""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tenon.core.errors import Faults
from tenon.data.answers import NEAR, AnswerColumns, judge_answers, mend_notes
from tenon.data.gold import NOWHERE, AnswerSpan
from tenon.data.sources import read

COLUMNS = AnswerColumns()
CONTEXT = "Rain fell in Oslo, and rain fell in Rome."

sound = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
contexts = st.text(sound, min_size=1, max_size=40).filter(str.strip)


def row(answers, *, context=CONTEXT, question="Where?", **more):
    return {"question": question, "context": context, "answers": answers, **more}


def lists(*pairs):
    return {"text": [text for text, _ in pairs], "answer_start": [start for _, start in pairs]}


@given(contexts, st.data())
def test_an_answer_that_stands_is_taken_where_it_stands(context, data):
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    assume(text.strip())
    mended = Counter()
    (span,) = judge_answers(row(lists((text, start)), context=context), COLUMNS, mended=mended)
    assert span.text == text.strip()
    assert span.start == start + len(text) - len(text.lstrip())
    assert mended == ({"blanks": 1} if text != text.strip() else {})


@given(contexts, st.lists(st.tuples(st.text(sound, max_size=3), st.integers(-2, 60)), max_size=4))
def test_each_answer_given_back_is_part_of_the_context_or_has_no_place(context, pairs):
    mended = Counter()
    found = judge_answers(row(lists(*pairs), context=context), COLUMNS, mended=mended)
    if isinstance(found, list):
        assert found
        assert not mended
        assert all(problem.kind and problem.what and problem.remedy for problem in found)
        return
    placed = [span for span in found if span.start != NOWHERE]
    assert placed or not found
    assert all(context.startswith(span.text, span.start) for span in placed)
    assert all(span.text == span.text.strip() != "" for span in found)
    assert len(placed) + mended["dropped"] == len(pairs)


@given(contexts, st.data())
def test_the_three_forms_mean_the_same(context, data):
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start:]
    assume(text.strip())
    forms = (
        lists((text, start)),
        [{"text": text, "answer_start": start}],
        {"text": text, "answer_start": start},
    )
    first, *others = [judge_answers(row(form, context=context), COLUMNS) for form in forms]
    assert all(other == first for other in others)
    flat = AnswerColumns(answers="answer", start="at")
    table = {"question": "?", "context": context, "answer": text, "at": str(start)}
    assert judge_answers(table, flat) == first


@given(st.integers(-NEAR, NEAR))
def test_a_start_that_is_off_a_little_is_moved_and_counted(off):
    context = "a" * 40 + "Rome" + "b" * 40 + "Rome"
    mended = Counter()
    found = judge_answers(row(lists(("Rome", 40 + off)), context=context), COLUMNS, mended=mended)
    assert found == (AnswerSpan("Rome", 40),)
    assert mended == ({"moved": 1} if off else {})


@pytest.mark.parametrize(
    ("answers", "spans", "mends"),
    [
        (lists(("Oslo", 13)), [("Oslo", 13)], {}),
        (lists(("Oslo", 0)), [("Oslo", 13)], {"moved": 1}),
        (lists(("Oslo", -1)), [("Oslo", 13)], {"found": 1}),
        (lists(("Oslo", None)), [("Oslo", 13)], {"found": 1}),
        (lists((" Oslo ", 3)), [("Oslo", 13)], {"blanks": 1, "moved": 1}),
        (lists((" Oslo,", 12)), [("Oslo,", 13)], {"blanks": 1}),
        (lists(("Oslo\n", 13)), [("Oslo", 13)], {"blanks": 1}),
        (lists(("fell in", 5)), [("fell in", 5)], {}),
        (lists(("fell in", 27)), [("fell in", 28)], {"moved": 1}),
        ("Rome", [("Rome", 36)], {"found": 1}),
        (["Rome", "Paris"], [("Rome", 36), ("Paris", NOWHERE)], {"found": 1, "dropped": 1}),
        ({"text": ["Rome"]}, [("Rome", 36)], {"found": 1}),
        (lists(("Oslo", 13), ("Oslo", 13)), [("Oslo", 13)] * 2, {}),
        (
            lists(("Bergen", -1), ("Oslo", 13), ("", 0)),
            [("Oslo", 13), ("Bergen", NOWHERE)],
            {"dropped": 2},
        ),
        (lists(), [], {}),
        ([], [], {}),
    ],
)
def test_what_is_mended_is_counted(answers, spans, mends):
    mended = Counter()
    found = judge_answers(row(answers), COLUMNS, mended=mended)
    assert found == tuple(AnswerSpan(*span) for span in spans)
    assert mended == mends


def test_the_first_of_several_places_is_taken_only_where_that_is_said():
    mended = Counter()
    found = judge_answers(row("fell in"), COLUMNS, several="first", mended=mended)
    assert found == (AnswerSpan("fell in", 5),)
    assert mended == {"first": 1}
    assert isinstance(judge_answers(row("fell in"), COLUMNS), list)


@pytest.mark.parametrize("flag", [True, 1, "true", "True", "1"])
@pytest.mark.parametrize("answers", [lists(), [], None, "", lists(("", 0)), lists((" ", -1))])
def test_a_question_without_answer_has_none(flag, answers):
    assert judge_answers(row(answers, is_impossible=flag), COLUMNS) == ()


@pytest.mark.parametrize("flag", [False, 0, "false", "0", None, ""])
def test_a_question_that_says_it_has_an_answer_has_it(flag):
    given_back = judge_answers(row(lists(("Oslo", 13)), is_impossible=flag), COLUMNS)
    assert given_back == (AnswerSpan("Oslo", 13),)


def test_an_impossible_question_may_lack_the_column_of_answers():
    values = {"question": "Who?", "context": CONTEXT, "is_impossible": True}
    assert judge_answers(values, COLUMNS) == ()


def test_a_blank_question_stays_and_is_counted():
    mended = Counter()
    assert judge_answers(row(lists(("Oslo", 13)), question=" "), COLUMNS, mended=mended)
    assert mended == {"silent": 1}


def test_the_notes_name_the_counts():
    assert mend_notes({"moved": 1_200, "dropped": 3}, "a.json") == [
        "a.json: 1,200 answers stand in the context at another place than answer_start says, "
        "and are moved",
        "a.json: 3 answers do not stand in the context: they count where answers are compared, "
        "and are not learned; their questions have others",
    ]
    assert mend_notes({}, "a.json") == []


class Case(NamedTuple):
    """One malformed row, the kind of each problem, and phrases of the message."""

    title: str
    values: dict[str, object]
    kinds: tuple[str, ...]
    phrases: tuple[str, ...]


def without(column, **more):
    values = row(lists(("Oslo", 13)))
    del values[column]
    return values | more


CASES = (
    Case(
        "another text at the start",
        row(lists(("fell in", 17))),
        ("answer_start_mismatch",),
        ("'fell in'", "at 17 stands ', and r'", "2 times", "at 5, 28", "mend answer_start"),
    ),
    Case(
        "a start in the middle of two places",
        row(lists(("x", 3)), context="ax___xa"),
        ("answer_start_mismatch",),
        ("2 times in the context, at 1, 5",),
    ),
    Case(
        "a start behind the context",
        row(lists(("fell", 99))),
        ("answer_start_mismatch",),
        ("answer_start is 99, where the context of 41 characters has ended",),
    ),
    Case(
        "an answer that is not there",
        row(lists(("Paris", 36))),
        ("answer_not_found",),
        ("'Paris' does not stand in the context; at 36 stands 'Rome.'", "quote the answer"),
    ),
    Case(
        "an answer that is not there, as CMRC marks it",
        row(lists(("Paris", -1))),
        ("answer_not_found",),
        ("'Paris'", "begins 'Rain fell", "(answer_start is -1)"),
    ),
    Case(
        "another case of letters",
        row(lists(("oslo", 13))),
        ("answer_not_found",),
        ("at 13 stands 'Oslo'",),
    ),
    Case(
        "several answers, none there, each told once",
        row(lists(("A1", -1), ("B2", -1), ("A1", -1))),
        ("answer_not_found", "answer_not_found"),
        ("'A1'", "'B2'"),
    ),
    Case(
        "a plain answer that stands several times",
        row("fell in"),
        ("answer_several_times",),
        ("no answer_start and stands 2 times in the context, at 5, 28", "say which"),
    ),
    Case(
        "start -1 where several places are possible",
        row(lists(("fell", -1))),
        ("answer_several_times",),
        ("2 times",),
    ),
    Case("an empty answer", row(lists(("", 0))), ("empty_answer",), ("the answer is empty",)),
    Case("a blank answer", row(lists((" \n", 4))), ("empty_answer",), ("the answer is blank",)),
    Case(
        "half a surrogate pair in an answer",
        row(lists(("Os\ud83d", 13))),
        ("unsound_answer",),
        ("surrogate", "\\ud83d", "cut within a character"),
    ),
    Case(
        "half a surrogate pair in the context",
        row(lists(("Oslo", 0)), context="Oslo \udc00"),
        ("unsound_context",),
        ("'context' holds half of a surrogate pair", "mend it"),
    ),
    Case(
        "half a surrogate pair in the question",
        row(lists(("Oslo", 13)), question="\ud800?"),
        ("unsound_question",),
        ("'question' holds half",),
    ),
    Case(
        "a NUL in the context",
        row(lists(("Oslo", 0)), context="Oslo\0"),
        ("unsound_context",),
        ("NUL", "remove it"),
    ),
    Case("an empty context", row(lists(("a", 0)), context=""), ("empty_context",), ("is empty",)),
    Case("a blank context", row([], context=" \t"), ("empty_context",), ("'context' is blank",)),
    Case("a null context", row([], context=None), ("null_context",), ("is null", "give a text")),
    Case("a context in a list", row([], context=["a"]), ("context_not_text",), ("is a list",)),
    Case("a null question", row([], question=None), ("null_question",), ("'question' is null",)),
    Case(
        "no context",
        without("context", contxt=CONTEXT),
        ("no_context_column",),
        ('data.columns.context = "contxt"',),
    ),
    Case(
        "no question",
        without("question", quesion="?"),
        ("no_question_column",),
        ('data.columns.question = "quesion"',),
    ),
    Case(
        "no answers",
        without("answers", answer="Oslo"),
        ("no_answer_column",),
        ("this row has question, context, answer", 'data.columns.answer = "answer"'),
    ),
    Case("null answers", row(None), ("null_answers",), ("is null", "has empty lists")),
    Case("a number for answers", row(13), ("answers_not_list",), ("is a number, '13'", "write")),
    Case("a list of numbers", row([13]), ("answer_not_object",), ("answers[0] is a number",)),
    Case("a null answer", row([None]), ("answer_not_object",), ("answers[0] is null", "write {")),
    Case(
        "an answer without text",
        row([{"txt": "Oslo", "answer_start": 13}]),
        ("no_answer_text",),
        ('answers[0] has no "text"', "did you mean txt?"),
    ),
    Case(
        "lists without texts",
        row({"texts": ["Oslo"], "answer_start": [13]}),
        ("no_answer_text",),
        ('no "text"', "texts?", 'write "answers"'),
    ),
    Case(
        "a text that is a number",
        row({"text": [13], "answer_start": [0]}),
        ("answer_not_text",),
        ("answers.text[0] is a number", "quote it"),
    ),
    Case(
        "lists of unequal length",
        row({"text": ["Oslo", "Rome"], "answer_start": [13]}),
        ("answers_unequal",),
        ("2 texts, but as answer_start 1", "each text its start"),
    ),
    Case(
        "a start for a list",
        row({"text": ["Oslo"], "answer_start": 13}),
        ("answers_unequal",),
        ("1 texts, but as answer_start a number",),
    ),
    Case(
        "a start in quotation marks",
        row(lists(("Oslo", "13"))),
        ("start_not_number",),
        ("'answer_start' is text, '13'", "from 0"),
    ),
    Case("a start with a point", row(lists(("Oslo", 13.0))), ("start_not_number",), ("a number",)),
    Case("a start that is true", row(lists(("R", True))), ("start_not_number",), ("a boolean",)),
    Case(
        "impossible, with an answer",
        row(lists(("Oslo", 13)), is_impossible=True),
        ("impossible_with_answers",),
        ("'is_impossible' is true, but the answer 'Oslo' is given", "write false, or remove"),
    ),
    Case(
        "possible, without an answer",
        row(lists(), is_impossible=False),
        ("no_answer",),
        ("'is_impossible' is false, but there is no answer", "or write true"),
    ),
    Case(
        "impossible is neither",
        row([], is_impossible="perhaps"),
        ("impossible_not_boolean",),
        ("'perhaps', neither true nor false", "write true or false"),
    ),
    Case("impossible is a list", row([], is_impossible=[]), ("impossible_not_boolean",), ("'[]'",)),
    Case(
        "several problems at once",
        row(7, context="", question=None),
        ("null_question", "empty_context", "answers_not_list"),
        (),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_a_malformed_row_is_told_with_its_line(case: Case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fine = json.dumps(row(lists(("Oslo", 13))))
    content = "\n".join((fine, json.dumps(case.values), fine, ""))
    (tmp_path / "qa.jsonl").write_text(content, encoding="utf-8")
    faults, kinds, good = Faults(), [], 0
    for item in read("qa.jsonl", faults):
        found = judge_answers(item.values, COLUMNS)
        good += isinstance(found, tuple)
        for problem in found if isinstance(found, list) else ():
            kinds.append(problem.kind)
            faults.add(item.origin, problem.what, problem.remedy)
    assert (good, tuple(kinds)) == (2, case.kinds)
    message = "\n".join(map(str, faults.kept))
    for phrase in case.phrases:
        assert phrase in message
    assert {fault.where for fault in faults.kept} == {"qa.jsonl:2"}
    assert all(fault.remedy and not fault.remedy.endswith(".") for fault in faults.kept)
    message.encode()


@pytest.mark.parametrize("digits", ["x", "1.5", "²", "9" * 30])
def test_a_start_of_a_table_that_is_no_number_is_told(digits):
    columns = AnswerColumns(answers="answer", start="at")
    values = {"question": "?", "context": CONTEXT, "answer": "Oslo", "at": digits}
    (problem,) = judge_answers(values, columns)
    assert problem.kind == "start_not_number"
    assert "'at' is text" in problem.what


def test_a_table_may_leave_the_start_out():
    columns = AnswerColumns(answers="answer", start="at")
    values = {"question": "?", "context": CONTEXT, "answer": "Oslo", "at": " "}
    assert judge_answers(values, columns) == (AnswerSpan("Oslo", 13),)
