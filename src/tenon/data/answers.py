"""Answers: where the answers to a question stand in its context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from tenon.core.errors import did_you_mean
from tenon.data.example import Row
from tenon.data.fields import Problem, missing_column
from tenon.data.gold import NOWHERE, AnswerSpan
from tenon.data.strict_json import kind_of
from tenon.data.tables import excerpt

UNREADABLE = ("null_answer", "answer_not_text", "empty_answer", "unsound_answer")
"""Problems of an answer that is no text at all, and counts nowhere."""
NEAR = 8
"""An answer that occurs more than once is moved at most so many characters to where it stands."""

Several = Literal["refuse", "first"]
Mend = Literal["blanks", "moved", "found", "first", "dropped", "silent"]
_SAID: dict[Mend, str] = {
    "blanks": "answers begin or end with blanks, which are left out of the answer",
    "moved": "answers stand in the context at another place than answer_start says, and are moved",
    "found": "answers have no answer_start, and stand once in the context",
    "first": "answers have no answer_start and stand several times; the first place is taken",
    "dropped": "answers do not stand in the context: they count where answers are compared, and "
    "are not learned; their questions have others",
    "silent": "questions are blank; their rows are kept, for official figures count them",
}
_FORM = 'write "answers": {"text": ["..."], "answer_start": [0]}'
_TRUTH = {"true": True, "false": False, "1": True, "0": False, "": None}


@dataclass(frozen=True, slots=True)
class AnswerColumns:
    """Which column of a row holds which field of a question.

    Args:
        question: column of the question.
        context: column of the text that holds the answer.
        answers: column of the answers: lists of texts and starts, a list of answers, or one text.
        start: column of the answer's start, where `answers` holds one text; empty for none.
        impossible: column that says whether the question has no answer; a row may lack it.
    """

    question: str = "question"
    context: str = "context"
    answers: str = "answers"
    start: str = ""
    impossible: str = "is_impossible"


class _Given(NamedTuple):
    """One answer as the row gives it; a start that is absent or negative is not known."""

    text: str
    start: int | None


class _Misfit(Exception):
    """A column whose value has the wrong form."""

    def __init__(self, kind: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.problem = Problem(kind, what, remedy)


def judge_answers(
    values: Mapping[str, object],
    columns: AnswerColumns,
    *,
    several: Several = "refuse",
    mended: Counter[Mend] | None = None,
) -> tuple[AnswerSpan, ...] | list[Problem]:
    """Give the answers of one row with their places, or all that is wrong with the row.

    An answer is kept where it stands. A wrong start is mended where the answer occurs once, or
    closest within `NEAR` characters; outer blanks are left out; an answer that is not in the
    context has no place where the question has another one that is; a blank question stays. Each
    is counted in `mended`.

    Args:
        values: the row's values.
        columns: which column holds what.
        several: what happens to an answer without a start that occurs more than once.
        mended: takes in how many answers were mended or dropped, by how.

    Returns:
        The answers in the row's order, the same one several times where annotators agree; none
        where the question has no answer; or the problems.
    """
    problems = question_problems(values, columns)
    try:
        impossible = _impossible(values, columns)
        given = _given(values, columns, needed=not impossible)
    except _Misfit as misfit:
        return [*problems, misfit.problem]
    if given is None or impossible:
        problems += _contradiction(columns, given or [])
        return problems or ()
    if not given and impossible is False:
        what = f"{columns.impossible!r} is false, but there is no answer"
        problems.append(Problem("no_answer", what, "give the answer, or write true"))
    if problems or not given:
        return problems or ()
    placed = _placed(given, cast(str, values[columns.context]), several)
    if isinstance(placed, list):
        return placed
    if mended is not None:
        mended.update(placed[1])
        mended.update(["silent"] if not str(values[columns.question]).strip() else [])
    return placed[0]


def mend_notes(mended: Mapping[Mend, int], where: str) -> list[str]:
    """Say what `judge_answers` mended, one sentence a sort.

    Args:
        mended: how many answers, by how.
        where: name of the source.
    """
    return [f"{where}: {mended[how]:,} {said}" for how, said in _SAID.items() if mended.get(how)]


def text_problems(name: str, value: object, field: str) -> list[Problem]:
    """Give what keeps `value` from being a text that can be learned from.

    Args:
        name: what the value is called in messages.
        value: what is there.
        field: what it was to be: "context".
    """
    if value is None:
        return [Problem(f"null_{field}", f"{name} is null", "give a text or remove the row")]
    if not isinstance(value, str):
        what = f"{name} is {kind_of(value)}, {excerpt(str(value))}, not text"
        return [Problem(f"{field}_not_text", what, "write it as a text within quotation marks")]
    if not value or value.isspace():
        what = f"{name} is {'blank' if value else 'empty'}"
        return [Problem(f"empty_{field}", what, "give a text or remove the row")]
    return unsound(name, value, field)


def unsound(name: str, text: str, field: str) -> list[Problem]:
    """Give the problems of a text with characters that no tokenizer takes."""
    if "\0" in text:
        return [Problem(f"unsound_{field}", f"{name} holds a NUL character", "remove it")]
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            around = ascii(text[max(0, error.start - 10) : error.start + 10])
            what = f"{name} holds half of a surrogate pair: {around}"
            remedy = "the text was cut within a character; mend it"
            return [Problem(f"unsound_{field}", what, remedy)]
    return []


def question_problems(values: Mapping[str, object], columns: AnswerColumns) -> list[Problem]:
    """Give what is wrong with the question and the context of one row; a question may be blank."""
    problems: list[Problem] = []
    for field, column in (("question", columns.question), ("context", columns.context)):
        if column in values:
            found = text_problems(repr(column), values[column], field)
            problems += [problem for problem in found if problem.kind != "empty_question"]
        else:
            problems.append(missing_column(Row(dict(values), ""), column, field))
    return problems


def _impossible(values: Mapping[str, object], columns: AnswerColumns) -> bool | None:
    """Tell what the row says of having no answer; None where it says nothing."""
    value = values.get(columns.impossible) if columns.impossible else None
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().casefold()
    if isinstance(value, (str, int)) and word in _TRUTH:
        return _TRUTH[word]
    what = f"{columns.impossible!r} is {excerpt(str(value))}, neither true nor false"
    raise _Misfit("impossible_not_boolean", what, "write true or false without quotation marks")


def _contradiction(columns: AnswerColumns, given: Iterable[_Given]) -> list[Problem]:
    for text, _ in given:
        if text.strip():
            what = f"{columns.impossible!r} is true, but the answer {excerpt(text)} is given"
            return [Problem("impossible_with_answers", what, "write false, or remove the answer")]
    return []


def _given(
    values: Mapping[str, object], columns: AnswerColumns, *, needed: bool
) -> list[_Given] | None:
    """Give the answers in whichever form the row has them; None for a row that has none to give."""
    column = columns.answers
    value = values.get(column)
    if value is None:
        if not needed:
            return None
        if column not in values:
            raise _Misfit(*missing_column(Row(dict(values), ""), column, "answer"))
        remedy = "give the answers; a question without answer has empty lists"
        raise _Misfit("null_answers", f"{column!r} is null", remedy)
    if isinstance(value, str):
        start = values.get(columns.start) if columns.start else None
        return [_Given(value, _start(start, columns.start, digits=True))]
    if isinstance(value, dict):
        return _from_object(cast("dict[str, object]", value), column)
    if isinstance(value, list):
        return [_one(item, f"{column}[{n}]") for n, item in enumerate(cast("list[object]", value))]
    what = f"{column!r} is {kind_of(value)}, {excerpt(str(value))}, not answers"
    raise _Misfit("answers_not_list", what, _FORM)


def _from_object(value: dict[str, object], name: str) -> list[_Given]:
    """Read one object of lists, as `datasets` has it, or of one answer."""
    if "text" not in value:
        near = did_you_mean("text", map(str, value))
        raise _Misfit("no_answer_text", f'{name!r} has no "text"; {near}', _FORM)
    texts, starts = value["text"], value.get("answer_start")
    if not isinstance(texts, list):
        return [_one(value, name)]
    listed = cast("list[object]", texts)
    if starts is None:
        starts = [None] * len(listed)
    if not isinstance(starts, list) or len(cast("list[object]", starts)) != len(listed):
        found = len(cast("list[object]", starts)) if isinstance(starts, list) else kind_of(starts)
        what = f"{name!r} has {len(listed)} texts, but as answer_start {found}"
        raise _Misfit("answers_unequal", what, "give each text its start")
    pairs = zip(listed, cast("list[object]", starts), strict=True)
    return [_checked(text, start, f"{name}.text[{n}]") for n, (text, start) in enumerate(pairs)]


def _one(item: object, name: str) -> _Given:
    if isinstance(item, str):
        return _Given(item, None)
    if not isinstance(item, dict):
        what = f"{name} is {kind_of(item)}, {excerpt(str(item))}, not an answer"
        raise _Misfit("answer_not_object", what, 'write {"text": "...", "answer_start": 0}')
    held = cast("dict[str, object]", item)
    if "text" not in held:
        near = did_you_mean("text", map(str, held))
        raise _Misfit("no_answer_text", f'{name} has no "text"; {near}', _FORM)
    return _checked(held["text"], held.get("answer_start"), f"{name}.text")


def _checked(text: object, start: object, name: str) -> _Given:
    if not isinstance(text, str):
        what = f"{name} is {kind_of(text)}, {excerpt(str(text))}, not text"
        raise _Misfit("answer_not_text", what, "quote it as it stands in the context")
    return _Given(text, _start(start, "answer_start"))


def _start(value: object, name: str, *, digits: bool = False) -> int | None:
    """Give a start as a number; one from a table may be written in digits."""
    if digits and isinstance(value, str):
        if not value.strip():
            return None
        value = int(value) if value.removeprefix("-").isdecimal() and len(value) < 16 else value
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    what = f"{name!r} is {kind_of(value)}, {excerpt(str(value))}, not a whole number"
    raise _Misfit("start_not_number", what, "count the characters before the answer, from 0")


def _placed(
    given: list[_Given], context: str, several: Several
) -> tuple[tuple[AnswerSpan, ...], Counter[Mend]] | list[Problem]:
    """Give the answers that stand in the context and what was mended, or why none stands."""
    spans, beside = list[AnswerSpan](), list[AnswerSpan]()
    how: Counter[Mend] = Counter()
    failed: dict[Problem, None] = {}
    for answer in given:
        place = _place(answer, context, several)
        if isinstance(place, Problem):
            failed[place] = None
            how["dropped"] += 1
            beside += [] if place.kind in UNREADABLE else [AnswerSpan(answer.text.strip(), NOWHERE)]
        else:
            spans.append(place[0])
            how.update(place[1])
    if not spans:
        return list(failed)
    return (*spans, *beside), how


def _place(
    answer: _Given, context: str, several: Several
) -> tuple[AnswerSpan, list[Mend]] | Problem:
    """Find where an answer stands, and say what had to be mended."""
    text, start = answer
    core = text.strip()
    wrong = text_problems("the answer", text, "answer")
    if wrong:
        return wrong[0]
    mends: list[Mend] = ["blanks"] if core != text else []
    lead = len(text) - len(text.lstrip())
    if start is not None and start >= 0:
        if context.startswith(text, start):
            return AnswerSpan(core, start + lead), mends
        if context.startswith(core, start):
            return AnswerSpan(core, start), mends
    places = _occurrences(core, context)
    if not places:
        return _not_found(core, start, context)
    if start is None or start < 0:
        return _searched(core, places, several, mends)
    nearest = min(places, key=lambda place: abs(place - start))
    far = abs(nearest - start)
    tied = sum(abs(place - start) == far for place in places) > 1
    if len(places) > 1 and (far > NEAR or tied):
        return _elsewhere(core, start, places, context)
    return AnswerSpan(core, nearest), [*mends, "moved"]


def _occurrences(text: str, context: str) -> list[int]:
    places: list[int] = []
    at = context.find(text)
    while at >= 0:
        places.append(at)
        at = context.find(text, at + 1)
    return places


def _searched(
    text: str, places: list[int], several: Several, mends: list[Mend]
) -> tuple[AnswerSpan, list[Mend]] | Problem:
    if len(places) == 1:
        return AnswerSpan(text, places[0]), [*mends, "found"]
    if several == "first":
        return AnswerSpan(text, places[0]), [*mends, "first"]
    what = f"the answer {excerpt(text)} has no answer_start and stands {_at(places)}"
    remedy = 'say which with answer_start, or set data.columns.several = "first"'
    return Problem("answer_several_times", what, remedy)


def _not_found(text: str, start: int | None, context: str) -> Problem:
    what = f"the answer {excerpt(text)} does not stand in the context, which begins"
    what += f" {excerpt(context)}"
    if start is not None and start >= 0:
        what = f"the answer {excerpt(text)} does not stand in the context;"
        what += f" {_there(text, start, context)}"
    elif start is not None:
        what += f" (answer_start is {start})"
    return Problem("answer_not_found", what, "quote the answer as the context has it")


def _elsewhere(text: str, start: int, places: list[int], context: str) -> Problem:
    what = f"the answer {excerpt(text)} does not stand at its start: "
    what += f"{_there(text, start, context)}; it stands {_at(places)}"
    return Problem("answer_start_mismatch", what, "mend answer_start; count characters from 0")


def _there(text: str, start: int, context: str) -> str:
    """Say what the context has at a place."""
    if start >= len(context):
        return f"answer_start is {start}, where the context of {len(context)} characters has ended"
    return f"at {start} stands {excerpt(context[start : start + len(text)])}"


def _at(places: list[int]) -> str:
    shown = ", ".join(map(str, places[:5])) + (" ..." if len(places) > 5 else "")
    return f"{len(places)} times in the context, at {shown}"
