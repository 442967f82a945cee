"""Text generation: rows of prompts, completions and conversations as examples."""

from __future__ import annotations

import pytest

from tenon.core.errors import DataError, Faults
from tenon.data.example import Row
from tenon.data.gold import Turn
from tenon.data.settings import Columns
from tenon.data.task import TASKS, Tally, to_examples
from tenon.data.text_generation import example_of

TASK = TASKS.get("text-generation")
TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yo"},
    {"role": "user", "content": "why?"},
    {"role": "assistant", "content": "so"},
]


def rows(*values: dict[str, object]) -> list[Row]:
    return [Row(value, f"t.jsonl:{place + 1}") for place, value in enumerate(values)]


def read(columns: Columns, *values: dict[str, object], tally: Tally | None = None):
    faults = Faults()
    found = list(to_examples(rows(*values), columns, faults, TASK.name, tally))
    return found, [str(fault) for fault in faults.kept]


def test_a_pair_is_a_prompt_and_its_reference():
    (found,), faults = read(Columns(prompt="q", completion="a"), {"q": "1+1", "a": "2"})
    assert not faults
    assert (found.text, found.gold, found.pair) == ("1+1", ("2",), None)
    assert found.turns == (Turn("user", "1+1"), Turn("assistant", "2", trained=True))


def test_a_conversation_is_answered_at_its_last_learned_turn():
    (found,), _ = read(Columns(turns="m"), {"m": TALK})
    assert found.gold == ("so",)
    assert found.text == "system: be brief\nuser: hi\nassistant: yo\nuser: why?"
    assert [turn.trained for turn in found.turns] == [False, False, True, False, True]
    (last,), _ = read(Columns(turns="m", answers="last"), {"m": TALK})
    assert [turn.trained for turn in last.turns] == [False, False, False, False, True]
    assert last.id == found.id


def test_the_id_is_that_of_what_is_asked():
    pair = Columns(prompt="q", completion="a")
    (one, other, third), _ = read(pair, *({"q": q, "a": a} for q, a in ["xy", "xz", "yy"]))
    assert one.id == other.id != third.id
    (turns,), _ = read(
        Columns(turns="m"),
        {"m": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "q"}]},
    )
    assert turns.id == one.id, "one turn of the user is a prompt"


def test_rows_without_answers_wait_for_one():
    (found,), faults = read(Columns(prompt="q"), {"q": "1+1"})
    assert not faults and found.gold is None and found.turns == (Turn("user", "1+1"),)
    (typed,), _ = read(Columns(text="text"), {"text": "1+1"})
    assert typed.turns == found.turns


@pytest.mark.parametrize("ending", [TALK, TALK[:-1]])
def test_a_conversation_that_is_asked_ends_with_the_user(ending):
    tally = Tally()
    columns = TASK.adapt(rows({"m": ending}), Columns(turns="m"), [], labelled=False)
    (found,), faults = read(columns, {"m": ending}, tally=tally)
    assert not faults and found.gold is None
    assert found.turns[-1] == Turn("user", "why?")
    assert sum(tally.values()) == (ending is TALK)


@pytest.mark.parametrize(
    ("values", "fields", "said"),
    [
        ({"question": "q", "answer": "a"}, {"prompt": "question", "completion": "answer"}, "prom"),
        ({"messages": TALK}, {"turns": "messages"}, "conversations"),
        ({"conversations": [{"from": "human", "value": "x"}]}, {"turns": "conversations"}, "con"),
        (
            {"instruction": "i", "input": "x", "output": "o"},
            {"prompt": "instruction", "input": "input", "completion": "output"},
            "prompts",
        ),
    ],
)  # fmt: skip
def test_columns_are_guessed_and_the_task_is_recognised(values, fields, said):
    found = TASK.guess(rows(values), {})
    assert found.columns == Columns(**fields) and found.why
    assert said in TASK.recognise(rows(values))


@pytest.mark.parametrize(
    "values", [{"text": "a", "label": "b"}, {"prompt": "a"}, {"prompt": 1, "completion": 2}]
)
def test_other_rows_are_not_recognised(values):
    assert TASK.recognise(rows(values)) == ""


def test_named_columns_are_believed():
    values = {"x": "a", "y": "b"}
    known = {"prompt": "x", "completion": "y"}
    assert TASK.guess(rows(values), known).columns == Columns(**known)
    with pytest.raises(DataError, match="no column 'z'"):
        TASK.guess(rows(values), {"prompt": "z"})
    with pytest.raises(DataError, match="no column holds a conversation"):
        TASK.guess(rows(values), {})


def test_other_rows_are_adapted_to():
    trained = Columns(prompt="q", completion="a")
    same = TASK.adapt(rows({"q": "x", "a": "y"}), trained, [], labelled=True)
    assert same == trained
    asked = TASK.adapt(rows({"q": "x"}), trained, [], labelled=False)
    assert (asked.prompt, asked.completion) == ("q", "")
    notes: list[str] = []
    other = TASK.adapt(rows({"question": "x"}), trained, notes, labelled=False)
    assert other.prompt == "question" and notes
    plain = TASK.adapt(rows({"sentence": "some words"}), trained, [], labelled=False)
    assert plain.prompt == "sentence"
    with pytest.raises(DataError):
        TASK.adapt(rows({"sentence": "some words"}), trained, [], labelled=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"q": "", "a": "b"}, "'q' is empty"),
        ({"q": "a", "a": None}, "'a' is null"),
        ({"q": "a"}, "no column 'a'"),
        ({"q": ["x"], "a": "b"}, "is a list of turns"),
        ({"q": 3, "a": "b"}, "is a number"),
        ({"q": "a\0", "a": "b"}, "NUL"),
        ({"q": "a", "a": "\ud800"}, "surrogate"),
    ],
)
def test_a_row_that_is_no_pair_is_refused_with_its_line(values, said):
    found, faults = read(Columns(prompt="q", completion="a"), {"q": "fine", "a": "ok"}, values)
    assert len(found) == 1
    assert len(faults) == 1 and faults[0].startswith("t.jsonl:2: ") and said in faults[0]


def test_keys_that_mean_nothing_are_counted():
    tally = Tally()
    talk = [{"role": "user", "content": "a", "mood": "x"}, {"role": "assistant", "content": "b"}]
    read(Columns(turns="m"), {"m": talk}, {"m": talk}, tally=tally)
    assert list(tally.values()) == [2]


def test_an_example_without_an_answer_has_no_gold():
    assert example_of((Turn("user", "a"),), "x:1").gold is None


def test_rows_of_a_group_stay_together():
    columns = Columns(prompt="q", completion="a", group="book")
    found, _ = read(
        columns, *({"q": q, "a": "x", "book": b} for q, b in [("m", 1), ("n", 1), ("o", 2)])
    )
    assert found[0].key == found[1].key != found[2].key
    alone, _ = read(columns, {"q": "m", "a": "x", "book": None})
    assert alone[0].key == alone[0].id
