"""Turn columns: which columns of a row hold a conversation, and in which of the known forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from tenon.core.errors import DataError, nearest
from tenon.data.example import Row
from tenon.data.settings import Columns

Format = Literal["messages", "conversations", "alpaca", "pair"]

PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("question", "answer"),
    ("instruction", "output"), ("instruction", "response"), ("input", "output"),
    ("query", "response"), ("meaning_representation", "human_reference"), ("mr", "ref"),
    ("问题", "答案"), ("问题", "回答"),
)  # fmt: skip
"""What the two sides of a one-turn conversation are called."""

_NAMES = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
_INPUTS = ("input", "context")


@dataclass(frozen=True, slots=True)
class TurnColumns:
    """Which column of a row holds which turns.

    Args:
        turns: column of a list of turns; empty where each turn has a column of its own.
        prompt: column of what the user says.
        input: column of what is said on below the prompt, after a blank line; empty for none.
        completion: column of what the assistant says.
        system: column of the system's turn, with either form; empty for none.
    """

    turns: str = ""
    prompt: str = ""
    input: str = ""
    completion: str = ""
    system: str = ""


class AskedColumns(Columns):
    """Columns of rows that wait for an answer; one that a conversation ends with is not read."""


class TurnGuess(NamedTuple):
    """A form of conversation that was guessed.

    Args:
        format: its name.
        columns: which columns hold the turns.
        why: one sentence a decision, for the user.
    """

    format: Format
    columns: TurnColumns
    why: list[str]


def guess_turns(rows: Sequence[Row]) -> TurnGuess:
    """Guess how rows hold conversations: by what they hold, and by the names of their columns.

    Args:
        rows: a sample of one source.

    Raises:
        DataError: there are no rows, no column holds turns, or two readings are possible.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    system = "system" if "system" in names else ""
    found = _list_guess(rows, names, system) or _side_guess(rows, names, system)
    if found is None:
        raise DataError(_none_found(rows[0], names))
    used = (*(getattr(found.columns, field) for field in TurnColumns.__slots__), "id")
    unused = [name for name in names if name not in used]
    return TurnGuess(*found[:2], [*found.why, *_unused(unused)])


def held_turns(rows: Sequence[Row]) -> str:
    """Say which columns hold conversations, or prompts and completions; "" where none do."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    styles = [name for name in names if _style(rows, name) != "pair"]
    if styles:
        return f"conversations ({styles[0]!r})"
    try:
        found = _side_guess(rows, names, "")
    except DataError:
        found = None
    if found is None:
        return ""
    places = found.columns
    sides = (places.prompt, places.completion)
    held = [all(isinstance(row.values.get(side), str) for side in sides) for row in rows]
    texts = 2 * sum(held) > len(held)
    return f"prompts and what follows them ({sides[0]!r}, {sides[1]!r})" if texts else ""


def _none_found(first: Row, names: list[str]) -> str:
    known = [*_NAMES, *(side for pair in PAIRS for side in pair)]
    close = {name: near[0] for name in names if (near := nearest(name, known))}
    said = "; ".join(f"{name} is nearly {near}" for name, near in close.items())
    return (
        f"{first.origin}: no column holds a conversation; this row has "
        f"{', '.join(names) or 'no columns'}{f' ({said})' if said else ''}; name them with "
        "data.columns.turns, or with data.columns.prompt and data.columns.completion"
    )


def _unused(names: list[str]) -> list[str]:
    return [f"not used: {', '.join(map(repr, names))}"] if names else []


def _list_guess(rows: Sequence[Row], names: list[str], system: str) -> TurnGuess | None:
    """Find the column that holds lists of turns."""
    styles: dict[str, Format] = {
        name: style for name in names if (style := _style(rows, name)) != "pair"
    }
    # Of columns that hold no lists of turns, only names that mean nothing else are believed.
    by_name = [name for name in _NAMES if name in (styles or _NAMES[:2]) and name in names]
    if not styles and not by_name:
        return None
    if len(styles) > 1 and len(by_name) != 1:
        raise DataError(
            f"{rows[0].origin}: the columns {', '.join(styles)} all hold conversations; "
            f'say which: data.columns.turns = "{next(iter(styles))}"'
        )
    column = by_name[0] if by_name else next(iter(styles))
    by_default: Format = "messages" if column == "messages" else "conversations"
    style = styles.get(column, by_default)
    keys = "role and content" if style == "messages" else "from and value"
    why = f"turns are in column {column!r}: " + (
        f"lists of objects with {keys}" if column in styles else "by its name"
    )
    return TurnGuess(style, TurnColumns(turns=column, system=system), [why])


def _style(rows: Iterable[Row], column: str) -> Format:
    """Tell in which style most rows of a sample hold turns in a column; "pair" for no list."""
    styles: Counter[Format] = Counter()
    for row in rows:
        value = row.values.get(column)
        first = cast("list[object]", value)[0] if isinstance(value, list) and value else None
        held = cast("dict[str, object]", first) if isinstance(first, dict) else {}
        listed: Format = "conversations" if "from" in held else "pair"
        styles["messages" if "role" in held else listed] += 1
    return styles.most_common(1)[0][0]


def _side_guess(rows: Sequence[Row], names: list[str], system: str) -> TurnGuess | None:
    """Find the columns that hold a turn each."""
    folded = {name.strip().casefold(): name for name in reversed(names)}
    found = [pair for pair in PAIRS if pair[0] in folded and pair[1] in folded]
    alpaca = [pair for pair in found if pair[0] == "instruction"]
    # Beside an instruction, "input" is its continuation and no prompt of its own.
    found = [pair for pair in found if not (alpaca and pair[0] == "input")]
    if not found:
        return None
    if len(found) > 1:
        shown = " or ".join(f"{folded[prompt]} and {folded[answer]}" for prompt, answer in found)
        raise DataError(
            f"{rows[0].origin}: two readings are possible: {shown}; say which: "
            f'data.columns.prompt = "{folded[found[0][0]]}" and '
            f'data.columns.completion = "{folded[found[0][1]]}"'
        )
    prompt, completion = (folded[name] for name in found[0])
    why = [f"prompt is column {prompt!r} and completion is {completion!r}, by their names"]
    more = next((folded[name] for name in _INPUTS if alpaca and name in folded), "")
    if more:
        why.append(f"column {more!r} follows the prompt after a blank line, where it is not empty")
    format: Format = "alpaca" if alpaca else "pair"
    return TurnGuess(format, TurnColumns("", prompt, more, completion, system), why)
