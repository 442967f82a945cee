"""Conversations in every form that people have are the same turns, or are told with their line."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults
from tenon.data.example import Row
from tenon.data.gold import Turn
from tenon.data.sources import read
from tenon.data.turn_columns import PAIRS, TurnColumns, guess_turns
from tenon.data.turns import ROLES, judge_turns, passed_notes

MESSAGES = TurnColumns(turns="messages")
SHAREGPT = TurnColumns(turns="conversations")
ALPACA = TurnColumns(prompt="instruction", input="input", completion="output")

said = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
said = said.filter(str.strip)


@st.composite
def conversations(draw):
    """Roles and texts in a right order."""
    turns = [("system", draw(said))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        turns += [("user", draw(said))]
        for _ in range(draw(st.integers(0, 2))):
            turns += [("assistant", draw(said)), ("tool", draw(said))]
        turns += [("assistant", draw(said))]
    return turns


def openai(turns):
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def say(*turns, **last):
    """Messages of (role, content); `last` is added to the last one."""
    messages = [{"role": role, "content": text} for role, text in turns]
    messages[-1] |= last
    return {"messages": messages}


@given(conversations())
def test_every_form_of_a_conversation_gives_the_same_turns(turns):
    expected = tuple(Turn(role, text, role == "assistant") for role, text in turns)
    parts = [
        {
            "role": role,
            "content": [{"type": "text", "text": piece} for piece in (text[:1], text[1:])],
        }
        for role, text in turns
    ]
    spoken = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}
    sharegpt = [{"from": spoken[role], "value": text} for role, text in turns]
    assert judge_turns(openai(turns), MESSAGES) == expected
    assert judge_turns({"messages": parts}, MESSAGES) == expected
    assert judge_turns({"conversations": sharegpt}, SHAREGPT) == expected
    assert judge_turns({"conversations": openai(turns)["messages"]}, SHAREGPT) == expected


@given(conversations())
def test_the_last_turn_alone_is_trained_where_that_is_said(turns):
    found = judge_turns(openai(turns), MESSAGES, trained="last")
    assert [turn.trained for turn in found] == [False] * (len(turns) - 1) + [True]
    assert [(turn.role, turn.text) for turn in found] == turns


@given(conversations(), st.data())
def test_a_weight_of_0_takes_a_turn_out_of_training(turns, data):
    row = openai(turns)
    weights = {
        place: data.draw(st.sampled_from([0, 1, None]))
        for place, (role, _) in enumerate(turns)
        if role == "assistant"
    }
    for place, weight in weights.items():
        row["messages"][place]["weight"] = weight
    found = judge_turns(row, MESSAGES)
    if all(weight == 0 for weight in weights.values()):
        assert [problem.kind for problem in found] == ["no_trained_turn"]
    else:
        trained = [place for place, turn in enumerate(found) if turn.trained]
        assert trained == [place for place, weight in weights.items() if weight != 0]


@given(conversations())
def test_a_prompt_is_a_conversation_that_waits(turns):
    found = judge_turns(openai(turns[:-1]), MESSAGES, trained="none")
    assert [(turn.role, turn.text) for turn in found] == turns[:-1]
    (problem,) = judge_turns(openai(turns), MESSAGES, trained="none")
    assert problem.kind == "nothing_asked"


@given(said, said, st.one_of(st.none(), st.just(""), st.just(" \n"), said))
def test_alpaca_joins_instruction_and_input(instruction, output, more):
    row = {"instruction": instruction, "input": more, "output": output}
    prompt = f"{instruction}\n\n{more}" if more and more.strip() else instruction
    expected = (Turn("user", prompt), Turn("assistant", output, trained=True))
    assert judge_turns(row, ALPACA) == expected


@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=6))
def test_orders_are_accepted_exactly_where_they_are_right(roles):
    """The grammar: system? (user (assistant tool+)* assistant)+, as a regular expression."""
    word = "".join(role[0] for role in roles)
    right = re.fullmatch(r"s?(u(at+)*a)+", word)
    found = judge_turns(openai([(role, "x") for role in roles]), MESSAGES)
    assert isinstance(found, tuple) == bool(right)


@pytest.mark.parametrize("name", ROLES)
def test_every_name_of_a_role_is_known(name):
    turns = {"system": "sua", "user": "ua", "assistant": "ua", "tool": "uata"}[ROLES[name]]
    plain = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    roles = [plain[letter] for letter in turns]
    spoken = [name if role == ROLES[name] else role for role in roles]
    found = judge_turns(openai([(role, "x") for role in spoken]), MESSAGES)
    assert [turn.role for turn in found] == roles


class TestSystem:
    def test_a_column_of_its_own(self):
        columns = TurnColumns(prompt="q", completion="a", system="system")
        row = {"q": "Hi", "a": "Yes", "system": "Be brief."}
        assert judge_turns(row, columns)[0] == Turn("system", "Be brief.")
        for empty in (None, "", " "):
            assert len(judge_turns(row | {"system": empty}, columns)) == 2
        (problem,) = judge_turns(row | {"system": 3}, columns)
        assert problem.kind == "system_not_text"

    def test_beside_a_list_of_turns(self):
        columns = TurnColumns(turns="messages", system="system")
        row = openai([("user", "Hi"), ("assistant", "Yes")]) | {"system": "Be brief."}
        assert [turn.role for turn in judge_turns(row, columns)] == ["system", "user", "assistant"]
        row["messages"].insert(0, {"role": "system", "content": "Be long."})
        (problem,) = judge_turns(row, columns)
        assert problem.kind == "system_twice"
        assert "messages[0]" in problem.what

    def test_an_empty_system_turn_stays_an_empty_one(self):
        """Templates write a system turn of their own where there is none at all."""
        found = judge_turns(openai([("system", ""), ("user", "a"), ("assistant", "b")]), MESSAGES)
        assert found[0] == Turn("system", "")


def test_what_means_nothing_is_counted():
    row = say(("user", "Hi"), ("assistant", "Yes"), name="Bo", refusal=None, tool_calls=[])
    passed = Counter()
    assert len(judge_turns(row, MESSAGES, passed=passed)) == 2
    assert passed == {"name": 1}
    assert passed_notes(passed, "a.jsonl") == ["a.jsonl: 'name' of 1 messages is passed over"]


class Case(NamedTuple):
    """One malformed row, the kind of each problem, and phrases of the message."""

    title: str
    values: dict[str, object]
    kinds: tuple[str, ...]
    phrases: tuple[str, ...]
    columns: TurnColumns = MESSAGES


U, A = ("user", "Hi"), ("assistant", "Yes")
CASES = (
    Case(
        "two users in a row",
        say(U, U, A),
        ("role_repeated",),
        ("messages[1] is a turn of the user, like the one before", "join the two"),
    ),
    Case(
        "two assistants in a row",
        say(U, A, A),
        ("role_repeated",),
        ("messages[2] is a turn of the assistant",),
    ),
    Case(
        "the assistant first",
        say(A, U, A),
        ("assistant_first",),
        ("messages[0] is the first to speak", "begin with a turn of the user"),
    ),
    Case(
        "the assistant first, after the system",
        say(("system", "s"), A, U, A),
        ("assistant_first",),
        ("messages[1]",),
    ),
    Case(
        "a tool first",
        say(("tool", "42"), A),
        ("roles_out_of_order",),
        ("messages[0] is the first", "the tool's"),
    ),
    Case(
        "a tool after the user",
        say(U, ("tool", "42"), A),
        ("roles_out_of_order",),
        (
            "messages[1] is a turn of the tool after one of the user",
            "after the user comes the assistant",
        ),
    ),
    Case(
        "the user after a tool",
        say(U, A, ("tool", "42"), U, A),
        ("roles_out_of_order",),
        ("messages[3]", "assistant or the tool"),
    ),
    Case(
        "two faults of order",
        say(U, U, A, A),
        ("role_repeated", "role_repeated"),
        ("messages[1]", "messages[3]"),
    ),
    Case(
        "the system not first",
        say(U, ("system", "s"), A),
        ("system_not_first",),
        ("messages[1] is a system turn that is not the first", "move it to the beginning"),
    ),
    Case(
        "two system turns",
        say(("system", "s"), ("system", "t"), U, A),
        ("system_not_first",),
        ("messages[1]", "join the two"),
    ),
    Case(
        "no assistant",
        say(U),
        ("no_assistant_turn",),
        ("messages[0] is the last turn, and none is the assistant's", "add the answer"),
    ),
    Case(
        "a system alone", say(("system", "s")), ("no_assistant_turn",), ("none is the assistant's",)
    ),
    Case(
        "nothing answers the last turn",
        say(U, A, U),
        ("unanswered",),
        ("messages[2], the last turn, is the user's", "remove the turn"),
    ),
    Case(
        "an empty assistant turn",
        say(U, ("assistant", "")),
        ("empty_assistant_turn",),
        ("messages[1].content is empty", "fill or remove"),
    ),
    Case(
        "a blank assistant turn",
        say(U, ("assistant", " \n")),
        ("empty_assistant_turn",),
        ("is blank: the assistant's turn",),
    ),
    Case(
        "an empty user turn",
        say(("user", ""), A),
        ("empty_user_turn",),
        ("messages[0].content is empty",),
    ),
    Case(
        "an unknown role",
        say(("usr", "Hi"), A),
        ("unknown_role",),
        ("messages[0].role is 'usr'", "did you mean user?"),
    ),
    Case(
        "a role in capitals",
        say(("User", "Hi"), A),
        ("unknown_role",),
        ("'User'", "did you mean user?"),
    ),
    Case(
        "a role far from all",
        say(("xyzzy", "Hi"), A),
        ("unknown_role",),
        ("write one of system, user, assistant, tool",),
    ),
    Case(
        "a role that is a number",
        say((1, "Hi"), A),
        ("unknown_role",),
        ("messages[0].role is a number, '1'",),
    ),
    Case(
        "a role that is null",
        say((None, "Hi"), A),
        ("unknown_role",),
        ("messages[0].role is null",),
    ),
    Case(
        "no role",
        {"messages": [{"rol": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]},
        ("no_role",),
        ("messages[0] has no role; it has rol, content", "did you mean rol?"),
    ),
    Case(
        "no content",
        {"messages": [{"role": "user", "contents": "Hi"}, {"role": "assistant", "content": "Yes"}]},
        ("no_content",),
        ("messages[0] has no content", 'rename "contents" to "content"'),
    ),
    Case(
        "nothing but a role",
        {"messages": [{"role": "user"}, {"role": "assistant", "content": "Yes"}]},
        ("no_content",),
        ('add "content"',),
    ),
    Case(
        "null content",
        say(U, ("assistant", None)),
        ("null_content",),
        ("messages[1].content is null", "give a text"),
    ),
    Case(
        "a number for content",
        say(U, ("assistant", 4)),
        ("content_not_text",),
        ("messages[1].content is a number, '4'", "quotation marks"),
    ),
    Case(
        "an image",
        say(
            ("user", [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {}}]), A
        ),
        ("part_not_text",),
        ("messages[0].content[1] is no text part but 'image_url'", "remove the part"),
    ),
    Case(
        "a part that is text",
        say(("user", ["What?"]), A),
        ("part_not_text",),
        ("content[0]", "'What?'", '"type": "text"'),
    ),
    Case("no parts", say(("user", []), A), ("empty_user_turn",), ("messages[0].content is empty",)),
    Case(
        "tool calls",
        say(U, ("assistant", None), tool_calls=[{"id": "1"}]),
        ("tool_calls",),
        (
            "messages[1] has tool_calls, a call that is no text",
            "templates differ",
            "write it into content",
        ),
    ),
    Case(
        "a function call",
        say(U, ("assistant", None), function_call={"name": "f"}),
        ("tool_calls",),
        ("has function_call",),
    ),
    Case(
        "a call as a role",
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "function_call", "value": "{}"},
            ]
        },
        ("unknown_role",),
        ("conversations[1].from is 'function_call'", "calls are not trained"),
        SHAREGPT,
    ),
    Case(
        "half a surrogate pair",
        say(U, ("assistant", "ok \ud83d")),
        ("unsound_content",),
        ("messages[1].content holds half of a surrogate pair", "\\ud83d", "mend it"),
    ),
    Case(
        "half a surrogate pair of the system",
        say(("system", "\udc00"), U, A),
        ("unsound_content",),
        ("messages[0]",),
    ),
    Case(
        "a NUL",
        say(("user", "a\0b"), A),
        ("unsound_content",),
        ("messages[0].content holds a NUL", "remove it"),
    ),
    Case(
        "a weight between",
        say(U, A, weight=0.5),
        ("unknown_weight",),
        ("messages[1].weight is '0.5'", "write 0 or 1"),
    ),
    Case("a weight that is true", say(U, A, weight=True), ("unknown_weight",), ("'True'",)),
    Case(
        "a weight in quotation marks", say(U, A, weight="1"), ("unknown_weight",), ("write 0 or 1",)
    ),
    Case(
        "a weight of the user",
        {
            "messages": [
                {"role": "user", "content": "a", "weight": 1},
                {"role": "assistant", "content": "b"},
            ]
        },
        ("weight_without_effect",),
        ("messages[0].weight is 1 on a turn of the user", "only what the assistant says"),
    ),
    Case(
        "every weight 0",
        say(U, A, weight=0),
        ("no_trained_turn",),
        ("no turn of the assistant is trained", "give one turn the weight 1"),
    ),
    Case(
        "turns are null",
        {"messages": None},
        ("null_turns",),
        ("'messages' is null", "give the turns"),
    ),
    Case("no turns", {"messages": []}, ("no_turns",), ("empty list", "remove the row")),
    Case(
        "turns in a text",
        {"messages": '[{"role": "user"}]'},
        ("turns_not_list",),
        ("'messages' is text", "not as a text"),
    ),
    Case(
        "turns in an object",
        {"messages": {"role": "user"}},
        ("turns_not_list",),
        ("is an object", "write [{"),
    ),
    Case(
        "a turn is text",
        {"messages": ["Hi", {"role": "assistant", "content": "b"}]},
        ("turn_not_object",),
        ("messages[0] is text, 'Hi', not a turn",),
    ),
    Case(
        "a turn is null",
        {"messages": [{"role": "user", "content": "b"}, None]},
        ("turn_not_object",),
        ("messages[1] is null",),
    ),
    Case(
        "no column of turns",
        {"mesages": []},
        ("no_turns_column",),
        ("no column 'messages'", 'data.columns.turns = "mesages"'),
    ),
    Case(
        "several problems at once",
        say(("usr", "Hi"), ("assistant", "")),
        ("unknown_role", "empty_assistant_turn"),
        ("messages[0]", "messages[1]"),
    ),
    Case(
        "an empty output",
        {"instruction": "Add", "input": "1", "output": ""},
        ("empty_completion",),
        ("'output' is empty",),
        ALPACA,
    ),
    Case(
        "a null instruction",
        {"instruction": None, "output": "2"},
        ("null_prompt",),
        ("'instruction' is null",),
        ALPACA,
    ),
    Case(
        "no output",
        {"instruction": "Add", "ouput": "2"},
        ("no_completion_column",),
        ('data.columns.completion = "ouput"',),
        ALPACA,
    ),
    Case(
        "an input that is a list",
        {"instruction": "Add", "input": [1], "output": "2"},
        ("input_not_text",),
        ("'input' is a list",),
        ALPACA,
    ),
    Case(
        "an unsound output",
        {"instruction": "Add", "input": "", "output": "\ud800"},
        ("unsound_completion",),
        ("surrogate",),
        ALPACA,
    ),
    Case(
        "turns for a prompt",
        {"instruction": [{"role": "user"}], "output": "2"},
        ("prompt_not_text",),
        ("is a list of turns", "a column messages"),
        ALPACA,
    ),
    Case(
        "both sides bad",
        {"instruction": 5, "output": None},
        ("prompt_not_text", "null_completion"),
        ("'5'",),
        ALPACA,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_a_malformed_row_is_told_with_its_line(case: Case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = "\n".join(("", json.dumps(case.values), ""))
    (tmp_path / "chat.jsonl").write_text(content, encoding="utf-8")
    faults, kinds = Faults(), []
    for row in read("chat.jsonl", faults):
        found = judge_turns(row.values, case.columns)
        assert isinstance(found, list), found
        for problem in found:
            kinds.append(problem.kind)
            faults.add(row.origin, problem.what, problem.remedy)
    assert tuple(kinds) == case.kinds, faults.kept
    message = "\n".join(map(str, faults.kept))
    for phrase in case.phrases:
        assert phrase in message
    assert {fault.where for fault in faults.kept} == {"chat.jsonl:2"}
    assert all(fault.remedy and not fault.remedy.endswith(".") for fault in faults.kept)
    message.encode()


def rows(*values):
    return [Row(value, f"a.jsonl:{line}") for line, value in enumerate(values, 1)]


class TestGuess:
    @pytest.mark.parametrize(
        ("values", "format", "columns"),
        [
            (say(U, A), "messages", MESSAGES),
            ({"conversations": [{"from": "human", "value": "a"}]}, "conversations", SHAREGPT),
            ({"conversations": say(U, A)["messages"]}, "messages", SHAREGPT),
            ({"dialog": say(U, A)["messages"]}, "messages", TurnColumns(turns="dialog")),
            ({"odd": say(U, A)["messages"]}, "messages", TurnColumns(turns="odd")),
            ({"messages": "[]"}, "messages", MESSAGES),
            (say(U, A) | {"prompt": "a", "completion": "b"}, "messages", MESSAGES),
            (
                say(U, A) | {"system": "s"},
                "messages",
                TurnColumns(turns="messages", system="system"),
            ),
            ({"instruction": "a", "input": "", "output": "b"}, "alpaca", ALPACA),
            (
                {"instruction": "a", "context": "", "response": "b", "category": "c"},
                "alpaca",
                TurnColumns(prompt="instruction", input="context", completion="response"),
            ),
            (
                {"Question": "a", "Answer": "b"},
                "pair",
                TurnColumns(prompt="Question", completion="Answer"),
            ),
        ],
    )
    def test_what_rows_hold_decides(self, values, format, columns):
        found = guess_turns(rows(values, values))
        assert (found.format, found.columns) == (format, columns)
        assert found.why

    @pytest.mark.parametrize("pair", PAIRS)
    def test_every_pair_of_names_is_known(self, pair):
        found = guess_turns(rows(dict.fromkeys(pair, "x")))
        assert (found.columns.prompt, found.columns.completion) == pair

    def test_what_is_not_used_is_told(self):
        found = guess_turns(rows(say(U, A) | {"topic": "x", "id": 1}))
        assert found.why[-1] == "not used: 'topic'"

    @pytest.mark.parametrize(
        ("values", "phrases"),
        [
            (
                {"prompt": "a", "completion": "b", "question": "c", "answer": "d"},
                ("two readings", "prompt and completion or question and answer", "say which"),
            ),
            (
                {"chosen": say(U, A)["messages"], "rejected": say(U, A)["messages"]},
                ("chosen, rejected all hold conversations", 'data.columns.turns = "chosen"'),
            ),
            ({"promt": "a", "completion": "b"}, ("promt is nearly prompt", "data.columns.turns")),
            ({"x": 1}, ("this row has x", "data.columns.prompt")),
            ({}, ("no columns",)),
        ],
    )
    def test_what_cannot_be_told_is_an_error(self, values, phrases):
        with pytest.raises(DataError) as caught:
            guess_turns(rows(values))
        assert str(caught.value).startswith("a.jsonl:1: ")
        for phrase in phrases:
            assert phrase in str(caught.value)

    def test_no_rows(self):
        with pytest.raises(DataError, match="no rows"):
            guess_turns([])


@pytest.mark.public_data
def test_gsm8k(shared):
    for part, count in (("train", 7_473), ("test", 1_319)):
        faults = Faults()
        found = list(read(str(shared / f"data/gsm8k/{part}.jsonl"), faults))
        guess = guess_turns(found[:100])
        assert guess.format == "pair"
        assert guess.columns == TurnColumns(prompt="question", completion="answer")
        turns = [judge_turns(row.values, guess.columns) for row in found]
        assert (len(turns), faults.count) == (count, 0)
        assert all(isinstance(item, tuple) for item in turns)
        assert all("\n#### " in item[-1].text for item in turns)
        separated = sum("\u2028" in turn.text for item in turns for turn in item)
        assert separated == (1 if part == "train" else 0)
