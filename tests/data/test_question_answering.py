"""Question answering: from rows to examples; contexts stay in one part."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError
from tenon.data.check import check
from tenon.data.example import Example, Row, content_id
from tenon.data.gold import AnswerSpan
from tenon.data.load import load, sniff
from tenon.data.question_answering import NO_ANSWER, adapt, classes, guess, judge, recognise
from tenon.data.settings import Columns, DataSettings
from tenon.data.task import Tally

COLUMNS = Columns(question="question", context="context", answer="answers")
CONTEXT = "Ann wrote it in May. Ben read it in June."


def row(number=1, **values):
    given = {
        "question": "Who wrote it?",
        "context": CONTEXT,
        "answers": {"text": ["Ann"], "answer_start": [0]},
    }
    return Row({**given, **values}, f"a.jsonl:{number}")


def squad(*contexts, titles=None, **more):
    """A document of one paragraph a context, with three questions each."""
    data = []
    for place, context in enumerate(contexts):
        qas = [
            {
                "id": f"{place}-{number}",
                "question": f"What is word {number}?",
                "answers": [{"text": word, "answer_start": context.index(word)}],
                **more,
            }
            for number, word in enumerate(context.split()[:3])
        ]
        title = titles[place] if titles else "t"
        data.append({"title": title, "paragraphs": [{"context": context, "qas": qas}]})
    return json.dumps({"version": "1", "data": data}, indent=0)


def words(number, count=4):
    return " ".join(f"w{number}x{place}" for place in range(count))


def test_an_example_has_question_context_and_answers():
    (found,) = judge([row()], COLUMNS, Tally())
    gold = (AnswerSpan("Ann", 0),)
    assert found == Example(
        content_id("Who wrote it?", CONTEXT),
        "a.jsonl:1",
        "Who wrote it?",
        CONTEXT,
        gold,
        group=content_id("", CONTEXT),
    )


def test_questions_of_one_context_share_their_group_and_not_their_id():
    first, second = judge([row(), row(2, question="When?")], COLUMNS, Tally())
    assert first.group == second.group == second.key
    assert first.id != second.id


def test_a_column_of_groups_decides_where_it_has_a_text():
    columns = COLUMNS.model_copy(update={"group": "title"})
    rows = [row(title="A"), row(context="Ann.", title="A"), row(title=""), row(title=None), row()]
    groups = [found.group for found in judge(rows, columns, Tally())]
    assert groups[0] == groups[1]
    assert groups[2:] == [content_id("", CONTEXT)] * 3


@pytest.mark.parametrize("answers", [[], {"text": [], "answer_start": []}])
def test_no_answer_is_an_empty_gold_and_is_counted(answers):
    tally = Tally()
    (found,) = judge([row(answers=answers)], COLUMNS, tally)
    assert found.gold == ()
    assert tally == {("question", "have no answer in the context"): 1}
    assert list(classes(())) == [NO_ANSWER]
    assert list(classes((AnswerSpan("Ann", 0),))) == []


def test_what_is_mended_is_counted_with_its_place():
    tally = Tally()
    rows = [
        row(1, answers={"text": [" Ann"], "answer_start": [-1]}),
        row(2, answers={"text": ["Ann", "Eve"], "answer_start": [0, 5]}),
        row(3, answers={"text": ["Ann"], "answer_start": [2]}),
    ]
    assert all(isinstance(item, Example) for item in judge(rows, COLUMNS, tally))
    assert sum(tally.values()) == 4
    assert [key[1] for key in tally.grave] == ["stand nowhere in the context: as if not given"]


def test_several_places_are_refused_unless_the_first_is_meant():
    twice = row(answers=["it"])
    (refused,) = judge([twice], COLUMNS, Tally())
    assert [problem.kind for problem in refused.problems] == ["answer_several_times"]
    assert 'data.columns.several = "first"' in refused.problems[0].remedy
    (found,) = judge([twice], COLUMNS.model_copy(update={"several": "first"}), Tally())
    assert found.gold == (AnswerSpan("it", CONTEXT.index("it")),)


def test_without_a_column_of_answers_gold_is_not_known():
    (found,) = judge([row(answers=7)], Columns(question="question", context="context"), Tally())
    assert found.gold is None


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({"question": None}, ["null_question"]),
        ({"question": 3}, ["question_not_text"]),
        ({"context": " "}, ["empty_context"]),
        ({"context": "a\0b"}, ["unsound_context"]),
        ({"context": "a\ud800"}, ["unsound_context"]),
        ({"question": None, "context": None}, ["null_question", "null_context"]),
        ({"answers": None}, ["null_answers"]),
        ({"answers": 3}, ["answers_not_list"]),
        ({"answers": {"text": ["Ann"], "answer_start": []}}, ["answers_unequal"]),
        ({"answers": {"text": ["Eve"], "answer_start": [0]}}, ["answer_not_found"]),
        ({"answers": {"text": ["it"], "answer_start": [20]}}, ["answer_start_mismatch"]),
        ({"answers": {"text": [" "], "answer_start": [0]}}, ["empty_answer"]),
    ],
)
def test_a_row_that_is_none_is_refused_with_its_reasons(values, kinds):
    (found,) = judge([row(**values)], COLUMNS, Tally())
    assert [problem.kind for problem in found.problems] == kinds


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"query": "q", "passage": "it is a p", "answer": "p", "answer_start": 8},
            {"question": "query", "context": "passage", "answer": "answer"}
            | {"start": "answer_start"},
        ),
        (
            {"问题": "问", "文章": "是文", "答案": "文"},
            {"question": "问题", "context": "文章", "answer": "答案"},
        ),
        (
            {"question": "q", "context": "p", "answers": [], "is_impossible": True, "id": "1"},
            {"question": "question", "context": "context", "answer": "answers"}
            | {"impossible": "is_impossible"},
        ),
        (
            {"question": "q", "context": "p", "answers": ["p"], "is_impossible": None, "start": 1},
            {"question": "question", "context": "context", "answer": "answers"},
        ),
    ],
)
def test_columns_are_guessed_by_their_names(values, expected):
    assert guess([Row(values, "a:1")], {}).columns.named() == expected


def test_a_name_that_was_given_goes_before_one_that_is_usual():
    values = {"question": "q", "text": "t", "context": "c", "answers": ["c"]}
    found = guess([Row(values, "a:1")], {"context": "text", "several": "first"})
    assert found.columns.context == "text"
    assert found.columns.several == "first"


@pytest.mark.parametrize(
    ("values", "known", "phrases"),
    [
        ({"question": "q", "answers": ["a"]}, {}, ("no column 'context'", "data.columns.context")),
        ({"a": 1}, {"question": "b"}, ("no column 'b'",)),
    ],
)
def test_what_cannot_be_guessed_is_told(values, known, phrases):
    with pytest.raises(DataError) as caught:
        guess([Row(values, "a:1")], known)
    assert all(phrase in str(caught.value) for phrase in phrases)


def test_extractive_rows_are_recognised_and_others_are_not():
    assert recognise([row()])
    assert recognise([row(answers=["it"])])
    assert recognise([row(answers={"text": ["Eve"], "answer_start": [0]})] * 3)
    assert recognise([row(answers=[{"text": "Eve", "answer_start": 0}])])
    assert not recognise([row(answers=["a tale in other words"])])
    assert not recognise([Row({"question": "1 + 1?", "answer": "2"}, "a:1")])
    assert not recognise([])


def test_columns_of_other_rows_are_those_of_training_or_a_guess():
    notes = []
    assert adapt([row()], COLUMNS, notes, labelled=False) == Columns(
        question="question", context="context"
    )
    other = [Row({"query": "q", "passage": "p", "answers": ["p"]}, "b:1")]
    assert adapt(other, COLUMNS, notes, labelled=True).named() == {
        "question": "query",
        "context": "passage",
        "answer": "answers",
    }
    with pytest.raises(DataError, match="no column 'context'.*as in training"):
        adapt([Row({"question": "q"}, "b:1")], COLUMNS, notes, labelled=False)


@given(st.integers(0, 50), st.floats(0.05, 0.5))
def test_no_context_is_in_two_parts(tmp_path_factory, seed, share):
    path = tmp_path_factory.mktemp("squad") / "a.json"
    path.write_text(squad(*map(words, range(40))))
    settings = DataSettings(task="question-answering", train=str(path), dev=share)
    try:
        parts = load(settings, seed)
    except DataError as error:
        assert "holds out none" in str(error)
        return
    contexts = {part: {e.pair for e in parts.examples(part)} for part in parts.counts}
    assert not contexts["train"] & contexts["dev"]
    assert sum(parts.counts.values()) == 120


def test_no_title_is_in_two_parts_where_titles_are_the_groups(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(squad(*map(words, range(40)), titles=[f"t{n % 8}" for n in range(40)]))
    columns = COLUMNS.model_copy(update={"group": "title"})
    settings = DataSettings(task="question-answering", train=str(path), dev=0.4, columns=columns)
    parts = load(settings, 1)
    seen = {part: {e.group for e in parts.examples(part)} for part in parts.counts}
    assert not seen["train"] & seen["dev"]
    assert len(seen["train"] | seen["dev"]) == 8


def overlapping(tmp_path):
    (tmp_path / "train.json").write_text(squad(*map(words, range(10))))
    document = json.loads(squad(*map(words, range(8, 12))))
    for article in document["data"]:
        for asked in article["paragraphs"][0]["qas"]:
            asked["question"] += " Please."  # another question about the same context
    (tmp_path / "test.json").write_text(json.dumps(document, indent=0))
    task, paths = "question-answering", (str(tmp_path / "train.json"), str(tmp_path / "test.json"))
    return DataSettings(task=task, train=paths[0], dev="", test=paths[1])


def test_train_gives_up_the_contexts_of_test(tmp_path):
    parts = load(overlapping(tmp_path), 0)
    assert (parts.counts, parts.dropped) == ({"train": 24, "test": 12}, 6)
    assert any("6 rows of train are left out: their contexts also" in n for n in parts.notes)


def test_contexts_that_are_kept_are_named_by_the_questions_of_test(tmp_path):
    settings = overlapping(tmp_path).model_copy(update={"overlap": "keep"})
    parts = load(settings, 0)
    seen = {e.id for e in parts.examples("test") if e.pair in (words(8), words(9))}
    assert parts.shared_ids == seen
    assert parts.shared == {"train & test": 6}


def test_a_check_finds_the_contexts_that_parts_share(tmp_path):
    found = check(overlapping(tmp_path), 0)
    (leak,) = found.of("leak")
    assert leak.count == 6
    assert not found.of("duplicates")
    assert not found.of("no-labels")


def test_a_document_is_told_by_its_content_and_has_no_parts(tmp_path):
    path = tmp_path / "questions.json"
    path.write_text(squad(*map(words, range(3))))
    settings = sniff(str(path))
    assert (settings.task, settings.train) == ("question-answering", str(path))
    with pytest.raises(DataError, match="has no part 'data'"):
        load(settings.model_copy(update={"train": f"{path}#data"}), 0)


@pytest.mark.public_data
@pytest.mark.parametrize(
    ("name", "counts", "mended"),
    [
        ("squad_v11_dev/dev-v1.1.json.zip", 10_570, ()),
        ("xquad/xquad.en.json", 1_190, ()),
        ("xquad/xquad.zh.json", 1_190, ()),
        ("cmrc2018/cmrc2018_trial.json", 1_002, ("5 answers stand near",)),
        ("cmrc2018/cmrc2018_dev.json", 3_219, ("193 answers stand nowhere",)),
    ],
)
def test_public_files_are_read_whole(shared, name, counts, mended):
    settings = sniff(str(shared / "data" / name))
    parts = load(settings, 0)
    assert settings.task == "question-answering"
    assert sum(parts.counts.values()) == counts
    assert parts.labels == ()
    assert all(any(phrase in note for note in parts.notes) for phrase in mended)
    contexts = {part: {e.group for e in parts.examples(part)} for part in parts.counts}
    assert not contexts["train"] & contexts["dev"]
