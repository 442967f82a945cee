"""Text to text: rows of a text and of what shall be written of it: translations and summaries.

The text is asked, and its first reference is what the base learns to write. Further references
count where an answer is compared with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import cast

from tenon.core.errors import DataError
from tenon.data.columns import has, profiles_of
from tenon.data.example import Example, Row, content_id, group_id
from tenon.data.fields import Problem, Refusal, missing_column, text_problems
from tenon.data.gold import Gold, Turn
from tenon.data.settings import Columns
from tenon.data.task import TASKS, Guess, Tally, Task
from tenon.data.turn_columns import AskedColumns

FEW = 2
LANGUAGES = frozenset({
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi",
    "hr", "hu", "it", "ja", "ko", "lt", "lv", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl",
    "sr", "sv", "ta", "th", "tr", "uk", "ur", "vi", "zh",
})  # fmt: skip
"""ISO 639-1 codes by which columns of parallel texts are called; "id" is no language there."""
CODE = re.compile(r"(?:.*\.)?([a-z]{2})(?:[-_][a-z]{2,4})?")
NESTED = "translation"
"""The column in which `datasets` keeps a text in several languages as one object."""


@dataclass(frozen=True)
class Sides:
    """What a task calls the two texts of a row.

    Args:
        ask: field of `Columns` with the text that is asked.
        answer: field with what is written.
        names: pairs of names that columns have.
        spoken: what the two columns hold together, for messages.
    """

    ask: str
    answer: str
    names: tuple[tuple[str, str], ...]
    spoken: str

    @property
    def kinds(self) -> dict[str, tuple[str, str]]:
        """How a finding counts the problems of a row."""
        told: dict[str, tuple[str, str]] = {}
        for field in (self.ask, self.answer):
            told[f"no_{field}_column"] = ("row", f"lack the column of the {field}")
            told[f"null_{field}"] = ("row", f"have null for the {field}")
            told[f"empty_{field}"] = ("row", f"have an empty or blank {field}")
            told[f"{field}_not_text"] = ("row", f"hold something else than text for the {field}")
            told[f"unsound_{field}"] = (field, "hold characters that no UTF-8 can hold, or NUL")
        told[f"no_{self.answer}"] = ("row", f"have an empty list for the {self.answer}")
        return told


TRANSLATION = Sides(
    "source",
    "target",
    (
        ("source", "target"), ("src", "tgt"), ("src", "trg"), ("source_text", "target_text"),
        ("source_sentence", "target_sentence"), ("原文", "译文"), ("源文", "译文"),
    ),
    "texts and their translations",
)  # fmt: skip
SUMMARIZATION = Sides(
    "text",
    "summary",
    (
        ("document", "summary"), ("article", "summary"), ("article", "highlights"),
        ("dialogue", "summary"), ("text", "summary"), ("content", "summary"),
        ("body", "summary"), ("source", "summary"), ("正文", "摘要"), ("内容", "摘要"),
        ("文章", "摘要"), ("文本", "摘要"),
    ),
    "texts and their summaries",
)  # fmt: skip


def judge(
    rows: Iterable[Row], columns: Columns, tally: Tally, *, sides: Sides
) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    Args:
        rows: rows of one source.
        columns: which column holds what; where none holds an answer, rows wait for one.
        tally: takes in rows of several references, of which the first is learned.
        sides: fields of the two texts.
    """
    asked, answered = _fields(columns, sides)
    for given in rows:
        row = unfolded(given, (getattr(columns, asked), columns.named().get(answered, "")))
        problems = text_problems(row, columns, asked)
        texts = _references(row, columns, answered, problems) if answered else ()
        if problems:
            yield Refusal(row.origin, problems)
            continue
        if len(texts) > 1:
            several = "have several references; the first is learned"
            tally.enter("row", several, 1, row.origin, "several-references")
        text = cast(str, row.values[getattr(columns, asked)])
        yield replace(example_of(text, texts, row.origin), group=group_id(row, columns.group))


def _fields(columns: Columns, sides: Sides) -> tuple[str, str]:
    """Give the fields of the text and of its answer; "" for none that is wanted."""
    asked = sides.ask if getattr(columns, sides.ask) else "text"
    waits = isinstance(columns, AskedColumns) or not getattr(columns, sides.answer)
    return asked, "" if waits else sides.answer


def example_of(text: str, references: Sequence[str], origin: str) -> Example:
    """Give the example of a text; without references, it waits for an answer."""
    said = [Turn("assistant", references[0], trained=True)] if references else []
    turns = (Turn("user", text), *said)
    return Example(content_id(text), origin, text, None, tuple(references) or None, turns=turns)


def unfolded(row: Row, columns: Iterable[str]) -> Row:
    """Give the row with what columns such as `translation.de` mean: a key of an object."""
    found: dict[str, object] = {}
    for column in columns:
        outer, dot, key = column.partition(".")
        held = row.values.get(outer) if dot and column not in row.values else None
        if isinstance(held, Mapping) and key in held:
            found[column] = cast("Mapping[str, object]", held)[key]
    return Row({**row.values, **found}, row.origin) if found else row


def _references(row: Row, columns: Columns, field: str, problems: list[Problem]) -> tuple[str, ...]:
    """Give what may be written: a text, or the texts of a list."""
    column: str = getattr(columns, field)
    if column not in row.values:
        problems.append(missing_column(row, column, field, columns))
        return ()
    value = row.values[column]
    if not isinstance(value, list):
        problems += text_problems(row, columns, field)
        return (str(value),)
    if not value:
        what = f"{column!r} is an empty list"
        problems.append(Problem(f"no_{field}", what, "give a text, or remove the row"))
    texts = cast("list[object]", value)
    for place, text in enumerate(texts):
        named = columns.model_copy(update={field: f"{column}[{place}]"})
        problems += text_problems(Row({f"{column}[{place}]": text}, row.origin), named, field)
    return tuple(map(str, texts))


def guess(rows: Sequence[Row], known: Mapping[str, str], *, sides: Sides) -> Guess:
    """Guess which columns hold the text and what shall be written of it.

    Raises:
        DataError: there are no rows, no such columns, or two readings; or a named one is absent.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    for field, column in known.items():
        if not any(has(row, column) for row in rows):
            _, what, remedy = missing_column(rows[0], column, field)
            raise DataError(f"{rows[0].origin}: {what}; {remedy}")
    if {sides.ask, sides.answer} <= known.keys():
        return Guess(Columns.model_validate(known), [])
    found = named_pairs(rows, sides)
    if len(found) > 1:
        shown = " or ".join(f"{ask} and {answer}" for ask, answer in found)
        raise DataError(
            f"{rows[0].origin}: two readings are possible: {shown}; say which: "
            f'data.columns.{sides.ask} = "{found[0][0]}" and '
            f'data.columns.{sides.answer} = "{found[0][1]}"'
        )
    ask, answer = found[0] if found else _only_texts(rows, sides)
    reason = "by their names" if found else "the only columns of texts, in their order"
    why = f"{sides.ask} is column {ask!r} and {sides.answer} is {answer!r}: {reason}"
    return Guess(Columns.model_validate({sides.ask: ask, sides.answer: answer, **known}), [why])


def named_pairs(rows: Sequence[Row], sides: Sides) -> list[tuple[str, str]]:
    """Give the pairs of columns that are called after the two sides, or after two languages."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    folded = {name.strip().casefold(): name for name in reversed(names)}
    found = [(folded[a], folded[b]) for a, b in sides.names if a in folded and b in folded]
    if found or sides is not TRANSLATION:
        return found
    held = [row.values[NESTED] for row in rows if isinstance(row.values.get(NESTED), dict)]
    inner = list(
        dict.fromkeys(str(key) for each in held for key in cast("dict[str, object]", each))
    )
    if inner:
        return list(pairwise(f"{NESTED}.{key}" for key in inner)) if len(inner) == FEW else []
    spoken = [name for name in names if language(name)]
    return [(spoken[0], spoken[1])] if len(spoken) == FEW else []


def language(column: str) -> str:
    """Give the language that a column is called after: "zh" for "zh-CN"; "" for none."""
    found = CODE.fullmatch(column.strip().lower())
    return found[1] if found and found[1] in LANGUAGES else ""


def _only_texts(rows: Sequence[Row], sides: Sides) -> tuple[str, str]:
    texts = [name for name, profile in profiles_of(rows).items() if profile.texts]
    if len(texts) == FEW:
        return texts[0], texts[1]
    known = ", ".join(rows[0].values) or "no columns"
    raise DataError(
        f"{rows[0].origin}: cannot tell which columns hold {sides.spoken}; this row has {known}; "
        f"name them with data.columns.{sides.ask} and data.columns.{sides.answer}"
    )


def adapt(
    rows: Sequence[Row], trained: Columns, notes: list[str], *, labelled: bool, sides: Sides
) -> Columns:
    """Give the columns of rows that an adapter shall answer: those it was trained on, or a guess.

    Args:
        labelled: whether the rows' own answers are wanted.
        sides: fields of the two texts.

    Raises:
        DataError: no column can be the text; or, if labelled, none the answers.
    """
    made = Columns if labelled else AskedColumns
    wanted = (sides.ask, sides.answer) if labelled else (sides.ask,)
    named = {field: column for field, column in trained.named().items() if field in wanted}
    if len(named) == len(wanted) and all(has(rows[0], column) for column in named.values()):
        return made.model_validate(named)
    if not labelled and (lone := _lone(rows, sides)):
        notes.append(f"{sides.ask} is column {lone!r}")
        return AskedColumns.model_validate({sides.ask: lone})
    found = guess(rows, {}, sides=sides)
    notes += found.why
    return made.model_validate(found.columns.model_dump(include={*wanted}))


def _lone(rows: Sequence[Row], sides: Sides) -> str:
    """Give the column called after the text, or the only one that holds texts; "" for none."""
    folded = {name.strip().casefold(): name for name in rows[0].values}
    by_name = [folded[ask] for ask, _ in sides.names if ask in folded]
    texts = [name for name, profile in profiles_of(rows).items() if profile.texts]
    return by_name[0] if by_name else texts[0] if len(texts) == 1 else ""


def recognise(rows: Sequence[Row], *, sides: Sides) -> str:
    """Say which columns hold the two sides, by their names and texts; "" where none do."""
    found = named_pairs(rows, sides)
    if not found:
        return ""
    flat = [unfolded(row, found[0]) for row in rows]
    profiles = profiles_of([Row({c: r.values.get(c) for c in found[0]}, r.origin) for r in flat])
    texts = all(profile.texts for profile in profiles.values())
    texts = texts and not profiles[found[0][1]].repeats
    lists = any(isinstance(row.values.get(found[0][1]), list) for row in flat)
    return f"{sides.spoken} ({found[0][0]!r}, {found[0][1]!r})" if texts or lists else ""


def classes(gold: Gold) -> Iterable[str]:
    """Give nothing: an open answer is of no class."""
    del gold
    return ()


def _task(name: str, sides: Sides) -> Task:
    return Task(
        name,
        columns=(sides.ask, sides.answer, "group"),
        inputs=((sides.ask,),),
        gold=(sides.answer,),
        judge=partial(judge, sides=sides),
        guess=partial(guess, sides=sides),
        adapt=partial(adapt, sides=sides),
        classes=classes,
        least=0,
        every=False,
        open=True,
        kinds=sides.kinds,
        recognise=partial(recognise, sides=sides),
    )


TASKS.add("translation", _task("translation", TRANSLATION))
TASKS.add("summarization", _task("summarization", SUMMARIZATION))
