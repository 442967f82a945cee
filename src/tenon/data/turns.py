"""Turns: conversations as people write them down, read as one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal, cast

from tenon.core.errors import did_you_mean, nearest
from tenon.data.answers import text_problems, unsound
from tenon.data.example import Row
from tenon.data.fields import Problem, missing_column
from tenon.data.gold import Role, Turn
from tenon.data.strict_json import kind_of
from tenon.data.tables import excerpt
from tenon.data.turn_columns import TurnColumns

Trained = Literal["all", "last", "none"]

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "tool": "tool", "observation": "tool",
}  # fmt: skip
"""What speakers are called by OpenAI, ShareGPT, LLaMA-Factory and Gemini."""

_CALLS = {"tool_calls", "function_call"}
_FOLLOWS: dict[Role, tuple[Role, ...]] = {
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}
_ROLELESS = {"turn_not_object", "unknown_role", "no_role"}
_FORM = 'write [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'


def judge_turns(
    values: Mapping[str, object],
    columns: TurnColumns,
    *,
    trained: Trained = "all",
    passed: Counter[str] | None = None,
) -> tuple[Turn, ...] | list[Problem]:
    """Give the conversation of one row, or all that is wrong with it.

    After at most one system turn, user and assistant alternate; tools answer the assistant. The
    last turn is the assistant's. A turn of weight 0 is not trained.

    Args:
        values: the row's values.
        columns: which column holds what.
        trained: which of the assistant's turns are trained; "none" for rows that wait for an
            answer: they end with the user, and their completion is not looked at.
        passed: takes in the keys of messages that have no meaning here, by how many have them.
    """
    problems: list[Problem] = []
    answered = trained != "none"
    head = _system(values, columns, problems)
    if columns.turns:
        turns = _listed(values, columns.turns, problems, Counter() if passed is None else passed)
    else:
        turns = _sides(values, columns, problems, answered=answered)
    if turns and not any(problem.kind in _ROLELESS for problem in problems):
        name = columns.turns or "turns"
        problems += _order(turns, name, headed=bool(head), answered=answered)
    if not problems and answered:
        turns = _chosen(turns, trained)
        if not any(turn.trained for turn in turns):
            what = "no turn of the assistant is trained: the weight is 0"
            remedy = "give one turn the weight 1, or remove the row"
            problems.append(Problem("no_trained_turn", what, remedy))
    return problems or (*head, *turns)


def passed_notes(passed: Mapping[str, int], where: str) -> list[str]:
    """Say which keys of messages were passed over, one sentence a key.

    Args:
        passed: how many messages have each key.
        where: name of the source.
    """
    return [
        f"{where}: {name!r} of {count:,} messages is passed over"
        for name, count in sorted(passed.items())
    ]


def _chosen(turns: list[Turn], trained: Trained) -> list[Turn]:
    if trained == "all":
        return turns
    last = max(n for n, turn in enumerate(turns) if turn.role == "assistant")
    return [Turn(turn.role, turn.text, turn.trained and n == last) for n, turn in enumerate(turns)]


def _system(
    values: Mapping[str, object], columns: TurnColumns, problems: list[Problem]
) -> list[Turn]:
    """Give the turn of the system's own column; an empty one is none."""
    value = values.get(columns.system) if columns.system else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    problems += text_problems(repr(columns.system), value, "system")
    return [Turn("system", value)] if isinstance(value, str) else []


def _sides(
    values: Mapping[str, object], columns: TurnColumns, problems: list[Problem], *, answered: bool
) -> list[Turn]:
    """Give the turns of rows with a column a side."""
    prompt = _side(values, columns.prompt, "prompt", problems)
    more = values.get(columns.input) if columns.input else None
    if more is not None and more != "":
        found = text_problems(repr(columns.input), more, "input")
        blank = bool(found) and found[0].kind == "empty_input"
        problems += [] if blank else found
        prompt += "" if blank else f"\n\n{more}"
    turns = [Turn("user", prompt)]
    if answered:
        said = _side(values, columns.completion, "completion", problems)
        turns.append(Turn("assistant", said, trained=True))
    return turns


def _side(values: Mapping[str, object], column: str, field: str, problems: list[Problem]) -> str:
    value = values.get(column)
    if column not in values:
        problems.append(missing_column(Row(dict(values), ""), column, field))
    elif isinstance(value, list):
        what = f"{column!r} is a list of turns, not text"
        remedy = "put the turns of prompt and completion into one list, in a column messages"
        problems.append(Problem(f"{field}_not_text", what, remedy))
    else:
        problems += text_problems(repr(column), value, field)
    return str(value)


def _listed(
    values: Mapping[str, object], column: str, problems: list[Problem], passed: Counter[str]
) -> list[Turn]:
    """Give the turns of rows with one list of them."""
    value = values.get(column)
    if column not in values:
        problems.append(missing_column(Row(dict(values), ""), column, "turns"))
    elif value is None:
        what = f"{column!r} is null"
        problems.append(Problem("null_turns", what, "give the turns or remove the row"))
    elif not isinstance(value, list):
        what = f"{column!r} is {kind_of(value)}, {excerpt(str(value))}, not a list of turns"
        written = isinstance(value, str) and value.lstrip().startswith("[")
        remedy = "write the list itself into JSON lines, not as a text" if written else _FORM
        problems.append(Problem("turns_not_list", what, remedy))
    elif not value:
        problems.append(Problem("no_turns", f"{column!r} is an empty list", "remove the row"))
    else:
        return _messages(cast("list[object]", value), column, problems, passed)
    return []


def _messages(
    items: list[object], column: str, problems: list[Problem], passed: Counter[str]
) -> list[Turn]:
    turns: list[Turn] = []
    for number, item in enumerate(items):
        name = f"{column}[{number}]"
        if not isinstance(item, dict):
            what = f"{name} is {kind_of(item)}, {excerpt(str(item))}, not a turn"
            problems.append(Problem("turn_not_object", what, _FORM))
            continue
        message = cast("dict[str, object]", item)
        role = _role(message, name, problems)
        text = _content(message, name, role, problems)
        weighed = _weight(message, name, role, problems)
        passed.update(_unknown(message))
        turns.append(Turn(role or "user", text, weighed and role == "assistant"))
    return turns


def _unknown(message: Mapping[str, object]) -> list[str]:
    """Give the keys of a message that say something and have no meaning here."""
    known = {_key(message, "role", "from"), _key(message, "content", "value"), "weight", *_CALLS}
    return [str(key) for key, value in message.items() if key not in known and value is not None]


def _key(message: Mapping[str, object], *names: str) -> str:
    """Give the first of `names` that is a key, or the first of all."""
    return next((name for name in names if name in message), names[0])


def _role(message: Mapping[str, object], name: str, problems: list[Problem]) -> Role | None:
    key = _key(message, "role", "from")
    value = message.get(key)
    known = ", ".join(("system", "user", "assistant", "tool"))
    if key not in message:
        what = f"{name} has no role; it has {', '.join(map(str, message)) or 'nothing'}"
        remedy = f'{did_you_mean("role", map(str, message))} add "role": {known}'
        problems.append(Problem("no_role", what, remedy))
    elif not isinstance(value, str):
        what = f"{name}.{key} is {kind_of(value)}, {excerpt(str(value))}, not a role"
        problems.append(Problem("unknown_role", what, f"write one of {known}"))
    elif value not in ROLES:
        near = nearest(value, ROLES)
        remedy = f"did you mean {near[0]}?" if near else f"write one of {known}"
        if value in ("function_call", "tool_call", "function"):
            remedy = "calls are not trained; write them into the assistant's text, or remove it"
        what = f"{name}.{key} is {excerpt(value)}, which is no role"
        problems.append(Problem("unknown_role", what, remedy))
    return ROLES.get(value) if isinstance(value, str) else None


def _content(
    message: Mapping[str, object], name: str, role: Role | None, problems: list[Problem]
) -> str:
    """Give what a message says; texts in parts are joined as they stand."""
    calls = sorted(key for key in _CALLS if message.get(key))
    if calls:
        what = f"{name} has {calls[0]}, a call that is no text"
        remedy = "templates differ in how they write calls: write it into content, or remove it"
        problems.append(Problem("tool_calls", what, remedy))
        return ""
    key = _key(message, "content", "value")
    place = f"{name}.{key}"
    value = message.get(key)
    if key not in message:
        what = f"{name} has no content; it has {', '.join(map(str, message)) or 'nothing'}"
        near = nearest("content", map(str, message)) or nearest("value", map(str, message))
        remedy = f'rename "{near[0]}" to "content"' if near else 'add "content"'
        problems.append(Problem("no_content", what, remedy))
        return ""
    if isinstance(value, list):
        value = _joined(cast("list[object]", value), place, problems)
    found = text_problems(place, value, "content")
    if isinstance(value, str) and not value.strip() and role in ("system", "tool"):
        found = unsound(place, value, "content")
    elif found and found[0].kind == "empty_content":
        kind = f"empty_{role or 'user'}_turn"
        found = [Problem(kind, f"{found[0].what}: the {role}'s turn", "fill or remove the row")]
    problems += found
    return value if isinstance(value, str) else ""


def _joined(parts: list[object], name: str, problems: list[Problem]) -> str | None:
    texts: list[str] = []
    for number, part in enumerate(parts):
        held = cast("dict[str, object]", part) if isinstance(part, dict) else {}
        text = held.get("text")
        if held.get("type") == "text" and isinstance(text, str):
            texts.append(text)
        else:
            sort = held.get("type") if held else part
            what = f"{name}[{number}] is no text part but {excerpt(str(sort))}"
            remedy = 'only {"type": "text", "text": "..."} is learned from; remove the part'
            problems.append(Problem("part_not_text", what, remedy))
    # Content that was refused is not refused again for what is left of it.
    return "".join(texts) if len(texts) == len(parts) else " ".join(["-", *texts])


def _weight(
    message: Mapping[str, object], name: str, role: Role | None, problems: list[Problem]
) -> bool:
    value = message.get("weight")
    if value is None:
        return True
    if isinstance(value, bool) or value not in (0, 1):
        what = f"{name}.weight is {excerpt(str(value))}"
        problems.append(Problem("unknown_weight", what, "write 0 or 1"))
    elif value == 1 and role not in ("assistant", None):
        what = f"{name}.weight is 1 on a turn of the {role}"
        remedy = "only what the assistant says is trained: write 0, or remove the weight"
        problems.append(Problem("weight_without_effect", what, remedy))
    return value == 1


def _order(turns: list[Turn], name: str, *, headed: bool, answered: bool) -> list[Problem]:
    """Give what is wrong with the order of the turns.

    Args:
        name: the column, for messages.
        headed: whether a column of its own gives the system's turn.
        answered: whether the last turn is to be the assistant's.
    """
    problems: list[Problem] = []
    before: Role = "system"
    for number, turn in enumerate(turns):
        place = f"{name}[{number}]"
        if turn.role == "system":
            problems += _late(place, first=number == 0, headed=headed)
            continue
        if turn.role not in _FOLLOWS[before]:
            problems.append(_misplaced(turn.role, before, place, first=before == "system"))
        before = turn.role
    return problems or _ending(before, turns, f"{name}[{len(turns) - 1}]", answered=answered)


def _late(place: str, *, first: bool, headed: bool) -> list[Problem]:
    if first and headed:
        what = f"{place} is a system turn, and a column of its own gives one too"
        return [Problem("system_twice", what, 'keep one, or set data.columns.system = ""')]
    if first:
        return []
    what = f"{place} is a system turn that is not the first"
    return [Problem("system_not_first", what, "move it to the beginning, or join the two")]


def _misplaced(role: Role, before: Role, place: str, *, first: bool) -> Problem:
    if first:
        what = f"{place} is the first to speak, and is the {role}'s"
        remedy = "begin with a turn of the user; a greeting goes into the system's turn"
        kind = "assistant_first" if role == "assistant" else "roles_out_of_order"
        return Problem(kind, what, remedy)
    if role == before:
        what = f"{place} is a turn of the {role}, like the one before it"
        remedy = "join the two, or add the turn that is missing between them"
        return Problem("role_repeated", what, remedy)
    what = f"{place} is a turn of the {role} after one of the {before}"
    remedy = f"after the {before} comes the {' or the '.join(_FOLLOWS[before])}"
    return Problem("roles_out_of_order", what, remedy)


def _ending(before: Role, turns: list[Turn], place: str, *, answered: bool) -> list[Problem]:
    if not answered:
        if before in ("user", "tool"):
            return []
        what = f"{place}, the last turn, is the {before}'s: nothing waits for an answer"
        return [Problem("nothing_asked", what, "end with a turn of the user")]
    if not any(turn.role == "assistant" for turn in turns):
        what = f"{place} is the last turn, and none is the assistant's"
        return [Problem("no_assistant_turn", what, "add the answer, or remove the row")]
    if before != "assistant":
        what = f"{place}, the last turn, is the {before}'s: nothing answers it"
        return [Problem("unanswered", what, "add the answer, or remove the turn")]
    return []
