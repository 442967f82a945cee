"""Text generation: prompts and what shall be written after them, and conversations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from tenon.core.errors import DataError
from tenon.data.classification import guess_text
from tenon.data.columns import has
from tenon.data.example import Example, Row, content_id, group_id
from tenon.data.fields import Refusal, missing_column
from tenon.data.gold import Gold, Turn
from tenon.data.settings import Columns
from tenon.data.task import TASKS, Guess, Tally, Task
from tenon.data.turn_columns import PAIRS, AskedColumns, TurnColumns, guess_turns, held_turns
from tenon.data.turns import ROLES, judge_turns

KINDS = {
    "no_turns_column": ("row", "lack the column of turns"),
    "no_prompt_column": ("row", "lack the column of prompts"),
    "no_completion_column": ("row", "lack the column of completions"),
    "null_turns": ("row", "have null for the conversation"),
    "turns_not_list": ("row", "hold something else than a list of turns"),
    "no_turns": ("row", "hold no turn"),
    "null_prompt": ("row", "have null for the prompt"),
    "null_completion": ("row", "have null for the completion"),
    "empty_prompt": ("row", "have an empty or blank prompt"),
    "empty_completion": ("row", "have an empty or blank completion"),
    "prompt_not_text": ("row", "hold something else than text in the column of prompts"),
    "completion_not_text": ("row", "hold something else than text in the column of completions"),
    "unsound_prompt": ("prompt", "hold characters that no UTF-8 can hold, or NUL"),
    "unsound_completion": ("completion", "hold characters that no UTF-8 can hold, or NUL"),
    "no_role": ("turn", "have no role"),
    "unknown_role": ("turn", "have a role that is not known"),
    "no_content": ("turn", "have no content"),
    "empty_assistant_turn": ("answer", "are empty or blank"),
    "empty_user_turn": ("turn of the user", "are empty or blank"),
    "role_repeated": ("turn", "have the role of the turn before"),
    "roles_out_of_order": ("turn", "stand where their role cannot"),
    "assistant_first": ("conversation", "begin with a turn of the assistant"),
    "system_not_first": ("system turn", "are not the first turn"),
    "unanswered": ("conversation", "end without an answer"),
    "no_assistant_turn": ("conversation", "have no answer"),
    "no_trained_turn": ("conversation", "have no answer that is learned"),
    "tool_calls": ("turn", "hold calls, which are no text"),
}
"""How a finding counts the commonest problems; of others it says that rows cannot be used."""
SIDES = ("prompt", "completion")
"""Fields of the two sides of a turn that is asked and answered once."""


def judge(rows: Iterable[Row], columns: Columns, tally: Tally) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    Args:
        rows: rows of one source.
        columns: which column holds what; where none holds an answer, rows wait for one.
        tally: takes in keys of messages that are passed over, and answers that are not looked at.
    """
    places = _turn_columns(columns)
    asking = isinstance(columns, AskedColumns) or not (places.turns or places.completion)
    passed: Counter[str] = Counter()
    for row in rows:
        values = _without_answer(row, places.turns, tally) if asking else row.values
        trained = "none" if asking else columns.answers or "all"
        passed.clear()
        found = judge_turns(values, places, trained=trained, passed=passed)
        if isinstance(found, list):
            yield Refusal(row.origin, found)
            continue
        for key in passed:
            unknown = f"have {key!r} in a message, which is passed over"
            tally.enter("row", unknown, 1, row.origin, "unknown-keys")
        heard = tuple(replace(turn, trained=False) for turn in found)
        example = example_of(heard if asking else found, row.origin)
        yield replace(example, group=group_id(row, columns.group))


def example_of(turns: tuple[Turn, ...], origin: str) -> Example:
    """Give the example of a conversation: its last learned answer, and what is before it."""
    places = [place for place, turn in enumerate(turns) if turn.trained]
    asked = turns[: places[-1]] if places else turns
    alone = len(asked) == 1 and asked[0].role == "user"
    said = [[turn.role, turn.text] for turn in asked]
    key = asked[0].text if alone else json.dumps(said, ensure_ascii=False)
    text = key if alone else "\n".join(f"{role}: {text}" for role, text in said)
    gold = (turns[places[-1]].text,) if places else None
    return Example(content_id(key), origin, text, None, gold, turns=turns)


def _turn_columns(columns: Columns) -> TurnColumns:
    return TurnColumns(
        turns=columns.turns,
        prompt=columns.prompt or columns.text,
        input=columns.input,
        completion=columns.completion,
        system=columns.system,
    )


def _without_answer(row: Row, column: str, tally: Tally) -> Mapping[str, object]:
    """Leave out the answer with which a conversation ends that is to be answered."""
    values = row.values
    value = values.get(column) if column else None
    if not isinstance(value, list) or not value:
        return values
    turns = cast("list[object]", value)
    last = cast("dict[str, object]", turns[-1]) if isinstance(turns[-1], dict) else {}
    if ROLES.get(str(last.get("role", last.get("from")))) != "assistant":
        return values
    answered = "end with an answer, which is not looked at"
    tally.enter("conversation", answered, 1, row.origin, "answers-not-looked-at")
    return {**values, column: turns[:-1]}


def guess(rows: Sequence[Row], known: Mapping[str, str]) -> Guess:
    """Guess which columns hold the prompt and the completion, or the conversation.

    Raises:
        DataError: there are no rows, no such columns, or both kinds; or a named one is not there.
    """
    for field, column in known.items():
        if rows and not any(has(row, column) for row in rows):
            _, what, remedy = missing_column(rows[0], column, field)
            raise DataError(f"{rows[0].origin}: {what}; {remedy}")
    if "turns" in known or {*SIDES} <= known.keys():
        return Guess(Columns.model_validate(known), [])
    _, found, why = guess_turns(rows)
    named = {
        "turns": found.turns, "prompt": found.prompt, "input": found.input,
        "completion": found.completion, "system": found.system,
    }  # fmt: skip
    return Guess(Columns.model_validate({**named, **known}), why)


def adapt(
    rows: Sequence[Row],
    trained: Columns,
    notes: list[str],
    *,
    labelled: bool,
) -> Columns:
    """Give the columns of rows that an adapter shall answer: those it was trained on, or a guess.

    Args:
        labelled: whether the rows' own answers are wanted.

    Raises:
        DataError: no column holds a prompt or a conversation; or, if labelled, the answers.
    """
    made = Columns if labelled else AskedColumns
    named = {
        field: column
        for field, column in trained.named().items()
        if labelled or field != "completion"
    }
    needed = {field: named[field] for field in ("turns", *SIDES) if field in named}
    if needed and all(has(rows[0], column) for column in needed.values()):
        there = {f: c for f, c in named.items() if f in needed or any(has(row, c) for row in rows)}
        return made.model_validate({**there, "answers": trained.answers})
    if not labelled and (lone := _lone_prompt(rows[0])):
        notes.append(f"prompt is column {lone!r}, by its name")
        return AskedColumns(prompt=lone)
    try:
        found = guess(rows, {})
    except DataError:
        if labelled:
            raise
        found = guess_text(rows)
        found = Guess(Columns(prompt=found.columns.text), found.why)
    notes += found.why
    fields = found.columns.model_dump(exclude=None if labelled else {"completion"})
    return made.model_validate(
        {**fields, "answers": trained.answers if found.columns.turns else ""}
    )


def _lone_prompt(row: Row) -> str:
    """Give the column that is called after prompts, where no list of turns stands beside it."""
    if any(isinstance(value, list) for value in row.values.values()):
        return ""
    folded = {name.strip().casefold(): name for name in row.values}
    return next((folded[ask] for ask, _ in PAIRS if ask in folded), "")


def recognise(rows: Sequence[Row]) -> str:
    """Say which columns hold conversations, or prompts and completions; "" where none do."""
    return held_turns(rows)


def classes(gold: Gold) -> Iterable[str]:
    """Give nothing: an open answer is of no class."""
    del gold
    return ()


TASKS.add(
    "text-generation",
    Task(
        "text-generation",
        columns=("turns", "prompt", "input", "completion", "system", "group"),
        inputs=(("turns",), ("prompt",)),
        gold=("completion", "turns"),
        judge=judge,
        guess=guess,
        adapt=adapt,
        classes=classes,
        least=0,
        every=False,
        open=True,
        kinds=KINDS,
        recognise=recognise,
    ),
)
