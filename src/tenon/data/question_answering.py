"""Question answering: questions whose answers stand word for word in a context, or nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import cast

from tenon.core.errors import DataError
from tenon.data.answers import AnswerColumns, Mend, Several, judge_answers, question_problems
from tenon.data.columns import known_names, profiles_of
from tenon.data.example import Example, Row, content_id, group_id
from tenon.data.fields import Problem, Refusal, missing_column
from tenon.data.gold import AnswerSpan, Gold
from tenon.data.settings import Columns
from tenon.data.task import TASKS, Guess, Tally, Task

NO_ANSWER = "no answer"
"""The one class that a gold may have: the context does not answer."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "query", "query_text", "问题", "問題"),
    "context": (
        "context", "passage", "paragraph", "context_text", "document", "article", "text",
        "上下文", "段落", "文章", "原文",
    ),
    "answer": ("answers", "answer", "answer_text", "答案", "回答"),
    "start": ("answer_start", "start", "start_position", "答案位置"),
    "impossible": ("is_impossible", "impossible"),
}  # fmt: skip
"""What the columns of question files are called, by field."""
NEEDED = ("question", "context", "answer")
LOOKED_AT = 50
"""Rows by which it is told whether the answers stand in the contexts."""
SAID: Mapping[Mend, tuple[str, str]] = {
    "blanks": ("answer", "have outer blanks, which are left out"),
    "moved": ("answer", "stand near the place that answer_start says instead of at it"),
    "found": ("answer", "have no answer_start but one place in the context"),
    "first": ("answer", "have no answer_start but several places, of which the first is taken"),
    "dropped": ("answer", "stand nowhere in the context: as if not given"),
    "silent": ("question", "have no text"),
}
CODES: Mapping[Mend, str] = {
    "blanks": "blanks-around-answers",
    "moved": "moved-answers",
    "found": "answers-without-start",
    "first": "answers-without-start",
    "dropped": "answers-not-found",
    "silent": "questions-without-text",
}
"""How a finding about each mend is called."""
KINDS = {
    "no_question_column": ("row", "lack the column of questions"),
    "no_context_column": ("row", "lack the column of contexts"),
    "no_answer_column": ("row", "lack the column of answers"),
    "null_question": ("row", "have null for question"),
    "null_context": ("row", "have null for context"),
    "null_answers": ("row", "have null for answers"),
    "empty_context": ("row", "have an empty or blank context"),
    "question_not_text": ("row", "hold something else than text as question"),
    "context_not_text": ("row", "hold something else than text as context"),
    "unsound_question": ("question", "hold characters that no UTF-8 can hold, or NUL"),
    "unsound_context": ("context", "hold characters that no UTF-8 can hold, or NUL"),
    "answer_not_found": ("answer", "stand nowhere in the context"),
    "answer_start_mismatch": ("answer", "do not stand where answer_start says"),
    "answer_several_times": ("answer", "stand several times in the context, without answer_start"),
    "empty_answer": ("answer", "are empty or blank"),
    "impossible_with_answers": ("question", "are said to have no answer, and have one"),
    "no_answer": ("question", "are said to have an answer, and have none"),
    "answers_unequal": ("row", "have more or fewer starts than answers"),
}
"""How a finding counts the commonest problems; of others it says that rows cannot be used."""


def judge(rows: Iterable[Row], columns: Columns, tally: Tally) -> Iterator[Example | Refusal]:
    """Give for each row its example, or all that is wrong with it.

    The id is that of question and context; the group is that of the context, or of what
    `columns.group` holds, so that no context stands in two parts.

    Args:
        rows: rows of one source.
        columns: which column holds what; without a column of answers, gold is None.
        tally: takes in answers that are mended or dropped, and questions without answer.
    """
    places = AnswerColumns(
        question=columns.question,
        context=columns.context,
        answers=columns.answer,
        start=columns.start,
        impossible=columns.impossible,
    )
    several: Several = "first" if columns.several == "first" else "refuse"
    for row in rows:
        gold, problems, mended = _gold(row, places, several)
        if problems:
            yield Refusal(row.origin, problems)
            continue
        for how, count in mended.items():
            tally.enter(*SAID[how], count, row.origin, CODES[how], grave=how == "dropped")
        no_answer = "have no answer in the context"
        tally.enter("question", no_answer, int(gold == ()), row.origin, "unanswerable")
        question, context = str(row.values[places.question]), str(row.values[places.context])
        group = group_id(row, columns.group) or content_id("", context)
        id = content_id(question, context)
        yield Example(id, row.origin, question, context, gold, group=group)


def _gold(
    row: Row, places: AnswerColumns, several: Several
) -> tuple[tuple[AnswerSpan, ...] | None, list[Problem], Counter[Mend]]:
    """Give a row's answers, or its problems, and what was mended."""
    mended: Counter[Mend] = Counter()
    if not places.answers:
        return None, question_problems(row.values, places), mended
    found = judge_answers(row.values, places, several=several, mended=mended)
    return (None, found, mended) if isinstance(found, list) else (found, [], mended)


def guess(rows: Sequence[Row], known: Mapping[str, str]) -> Guess:
    """Guess by their names which columns hold question, context and answers.

    Raises:
        DataError: there are no rows, or no such columns; or a named one is not there.
    """
    if not rows:
        raise DataError("there are no rows to guess the columns from; give a file with rows")
    named = {field: column for field, column in known.items() if column}
    profiles = profiles_of(rows)
    for field in named.keys() & set(Columns.fields()):
        if named[field] not in profiles:
            _, what, remedy = missing_column(rows[0], named[field], field)
            raise DataError(f"{rows[0].origin}: {what}; {remedy}")
    found, why = dict(named), list[str]()
    for field, names in NAMES.items():
        free = [name for name in profiles if name not in found.values()]
        if field not in found and (columns := known_names(free, names)):
            found[field] = columns[0]
            why += [f"{field} is column {columns[0]!r}, by its name"] if field in NEEDED else []
    if lacking := [field for field in NEEDED if field not in found]:
        _, what, _ = missing_column(rows[0], lacking[0], lacking[0])
        raise DataError(f"{rows[0].origin}: {what}; name it with data.columns.{lacking[0]}")
    _leave_idle(rows, found, named)
    return Guess(Columns(**found), why)  # type: ignore[arg-type] - names of columns


def _leave_idle(rows: Sequence[Row], found: dict[str, str], named: Mapping[str, str]) -> None:
    """Leave out columns found by name that say nothing beside the answers, or nothing at all."""
    texts = all(isinstance(row.values.get(found["answer"]), str | None) for row in rows)
    for field in ("start", "impossible"):
        column = found.get(field, "")
        silent = all(row.values.get(column) is None for row in rows)
        if column and field not in named and (silent or (field == "start" and not texts)):
            del found[field]


def adapt(rows: Sequence[Row], trained: Columns, notes: list[str], *, labelled: bool) -> Columns:
    """Give the columns of rows that an adapter shall answer: those it was trained on, or a guess.

    Args:
        labelled: whether the rows' own answers are wanted.

    Raises:
        DataError: no column holds the question or the context; or, if labelled, the answers.
    """
    wanted = NEEDED if labelled else NEEDED[:2]
    profiles = profiles_of(rows)
    more = {"several": trained.several} if labelled else {}
    own = trained.named()
    if all(own.get(field, "") in profiles for field in wanted):
        fields = (*wanted, "start", "impossible") if labelled else wanted
        kept = {field: own[field] for field in fields if own.get(field, "") in profiles}
        return Columns(**kept, **more)  # type: ignore[arg-type] - names of columns
    if labelled:
        found = guess(rows, {})
        notes += found.why
        return found.columns.model_copy(update=more)
    kept = {field: _named_so(rows, field, own, notes) for field in wanted}
    return Columns(**kept)  # type: ignore[arg-type] - names of columns


def _named_so(rows: Sequence[Row], field: str, own: Mapping[str, str], notes: list[str]) -> str:
    """Give the column of one field, by the name that it had in training, or a name of its sort."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    if (column := own.get(field, "")) in names:
        return column
    columns = known_names(names, NAMES[field])
    if not columns:
        _, what, _ = missing_column(rows[0], own.get(field) or field, field)
        remedy = f"name the column of the {field}s {own.get(field) or field!r}, as in training"
        raise DataError(f"{rows[0].origin}: {what}; {remedy}")
    notes.append(f"{field} is column {columns[0]!r}, by its name")
    return columns[0]


def recognise(rows: Sequence[Row]) -> str:
    """Tell questions about contexts whose answers have places, or stand there in half of a sample.

    Answers whose places are given are such even where they are wrong.
    """
    profiles = profiles_of(rows)
    if not all(known_names(profiles, NAMES[field]) for field in NEEDED):
        return ""
    columns = guess(rows, {}).columns
    if any(_has_places(row.values.get(columns.answer)) for row in rows):
        return "questions, contexts and answers with their places"
    lenient = columns.model_copy(update={"several": "first"})
    seen = list(islice(judge(rows, lenient, Tally()), LOOKED_AT))
    sound = sum(isinstance(item, Example) for item in seen)
    return "questions, contexts and answers that stand in them" if sound * 2 >= len(seen) else ""


def _has_places(answers: object) -> bool:
    """Whether answers have the form of SQuAD, as a list or as an object of lists."""
    listed = cast("list[object]", answers) if isinstance(answers, list) else [answers]
    return any(isinstance(answer, dict) and "answer_start" in answer for answer in listed)


def classes(gold: Gold) -> Iterable[str]:
    """Give "no answer" where there is none: of all answers, it alone is a class."""
    return () if gold else (NO_ANSWER,)


TASKS.add(
    "question-answering",
    Task(
        "question-answering",
        columns=("question", "context", "answer", "start", "impossible", "group"),
        inputs=(("question", "context"),),
        gold=("answer",),
        judge=judge,
        guess=guess,
        adapt=adapt,
        classes=classes,
        least=0,
        every=False,
        counts="question",
        windowed=True,
        kinds=KINDS,
        recognise=recognise,
    ),
)
