"""Layout: where the texts of a conversation stand in what a base's template writes.

What a template writes is found by writing the conversation a second time with signs in place of
its texts, and is proved: what stands between the signs, with the texts put back, must be the
conversation as written, character for character. Nothing is guessed from what templates
commonly look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import TemplateError

from tenon.data.gold import Turn
from tenon.text.template import SIGN_BEGIN, SIGN_END, ChatTemplate, refuse, sign


@dataclass(frozen=True, slots=True)
class Placed:
    """A turn's text within the conversation as written.

    Args:
        turn: which turn.
        start: of its first character.
        end: after its last character.
        change: what the template did to it: nothing, it took outer blanks off, or it wrote
            something else.
    """

    turn: int
    start: int
    end: int
    change: Literal["", "trimmed", "altered"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A conversation as written.

    Args:
        text: all of it.
        places: where the turns' texts stand, in the order of the text.
        dropped: turns whose text the template leaves out.
        borders: for each answer the place where the base begins to write when it is asked.
        trained: what the base learns to write: from the border, or where the template's own
            marks begin, through the token that ends the turn.
    """

    text: str
    places: tuple[Placed, ...]
    dropped: tuple[int, ...]
    borders: dict[int, int]
    trained: tuple[tuple[int, int], ...]


def lay_out(
    template: ChatTemplate, turns: Sequence[Turn], origin: str, *, ask: bool = False
) -> Layout:
    """Write a conversation and find where its texts stand.

    Args:
        template: of the base.
        turns: the conversation.
        origin: `file:line`, for errors.
        ask: whether the conversation ends where the base shall answer.

    Raises:
        Refused: the template refuses the conversation, its texts cannot be found for certain, or
            an answer that is to be trained is changed by it, or would not be asked for so.
    """
    text = _written(template, turns, origin, ask=ask)
    borders = dict(_borders(template, turns, text))
    places = tuple(_Finder(template, turns, origin, text, borders, ask=ask).places())
    found = {place.turn for place in places}
    dropped = tuple(turn for turn in range(len(turns)) if turn not in found and turns[turn].text)
    marks = template.marked(turns) if any(turn.trained for turn in turns) else []
    answers = [turn for turn, each in enumerate(turns) if each.role == "assistant"]
    begins = dict(zip(answers, (start for start, _ in marks), strict=False))
    if len(marks) != len(answers):
        begins = {}
    trained: list[tuple[int, int]] = []
    for turn, each in enumerate(turns):
        if each.trained:
            where = [place for place in places if place.turn == turn]
            start, end = _learned(template, turns, origin, text, borders.get(turn), turn, where)
            trained.append((max(start, begins.get(turn, start)), end))
    return Layout(text, places, dropped, borders, tuple(trained))


def _written(template: ChatTemplate, turns: Sequence[Turn], origin: str, *, ask: bool) -> str:
    if not turns:
        raise refuse(origin, "a conversation without turns", "give at least one turn")
    joined = "".join(turn.text for turn in turns)
    if SIGN_BEGIN in joined or SIGN_END in joined:
        raise refuse(
            origin,
            "a turn holds U+FDD0 or U+FDD1, which Unicode reserves and which mark texts here",
            "remove them",
        )
    try:
        return template.write(turns, ask=ask)
    except TemplateError as error:
        roles = {turn.role for turn in turns}
        remedy = "put the roles into an order that it accepts"
        if "system" in roles and _accepts(template, turns, ask=ask):
            remedy = "it takes no system turn here: put its text at the head of the user's turn"
        raise refuse(
            origin, f"the base's chat template refuses this conversation: {error}", remedy
        ) from error


def _accepts(template: ChatTemplate, turns: Sequence[Turn], *, ask: bool) -> bool:
    """Tell whether the template takes the conversation without its system turns."""
    try:
        return bool(template.write([turn for turn in turns if turn.role != "system"], ask=ask))
    except (TemplateError, ValueError):
        return False


def _borders(template: ChatTemplate, turns: Sequence[Turn], text: str) -> Iterator[tuple[int, int]]:
    """Give for each answer where the base begins to write, if it would be asked for it so."""
    for turn, each in enumerate(turns):
        if each.role != "assistant" or not turn:
            continue
        try:
            asked = template.write(turns[:turn], ask=True)
        except TemplateError:
            continue
        if text.startswith(asked):
            yield turn, len(asked)


def _learned(
    template: ChatTemplate,
    turns: Sequence[Turn],
    origin: str,
    text: str,
    border: int | None,
    turn: int,
    where: list[Placed],
) -> tuple[int, int]:
    """Give what the base learns to write for one turn, from its border through its end.

    Raises:
        Refused: it cannot be proved that this is what the base would write when asked.
    """
    who = f"turn {turn + 1}"
    if turns[turn].role != "assistant":
        raise refuse(origin, f"{who} is trained, and is the {turns[turn].role}'s", "train answers")
    if len(where) != 1 or where[0].change == "altered":
        raise refuse(
            origin,
            f"the base's chat template does not write the text of {who} as it is "
            "(it may drop earlier thinking)",
            "train the last answer alone, or take from the text what the template drops",
        )
    one_by_one = "train one answer at a time, each at the end of its own conversation"
    if border is None or border > where[0].start:
        raise refuse(
            origin,
            f"{who}: what the base is asked with is not what stands before it",
            f"{one_by_one}; a system turn that the template moves belongs into the user's turn",
        )
    alone = text if turn == len(turns) - 1 else template.write(turns[: turn + 1], ask=False)
    end = template.end_in(alone[where[0].end :])
    if end is None:
        raise refuse(
            origin, f"{who}: the base's chat template ends it with no token", "use another base"
        )
    stop = where[0].end + end[1]
    if alone[:stop] != text[:stop]:
        raise refuse(
            origin,
            f"{who}: the base's chat template writes it differently once the conversation goes on",
            one_by_one,
        )
    return border, stop


class _Finder:
    """The texts of one conversation within what is written, from left to right."""

    def __init__(
        self,
        template: ChatTemplate,
        turns: Sequence[Turn],
        origin: str,
        text: str,
        borders: dict[int, int],
        *,
        ask: bool,
    ) -> None:
        self.template, self.turns, self.origin = template, turns, origin
        self.text, self.borders, self.ask = text, borders, ask
        signed = [Turn(turn.role, sign(place)) for place, turn in enumerate(turns)]
        parts = re.split(f"{SIGN_BEGIN}(\\d+){SIGN_END}", template.write(signed, ask=ask))
        self.literals, self.order = parts[::2], [int(part) for part in parts[1::2]]

    def places(self) -> Iterator[Placed]:
        """Give the places.

        Raises:
            Refused: the texts and what stands between them are not what is written.
        """
        place = 0
        for number, turn in enumerate(self.order):
            start = self.begin(number, place)
            for end, change in () if start is None else self.ends(turn, start):
                if self.begin(number + 1, end) is not None:
                    assert start is not None
                    yield Placed(turn, start, end, change)
                    place = end
                    break
            else:
                self.give_up(turn)
        if not self.order and self.begin(0, 0) is None:
            self.give_up(0)

    def begin(self, number: int, place: int) -> int | None:
        """Give where the literal that stands at `place` ends; None if it does not stand there.

        Of what stands before an answer only that which the base is asked with is certain: a
        template may write an empty thought before an answer that has none of its own.
        """
        literal = self.literals[number]
        if number == len(self.order):
            return len(self.text) if self.text[place:] == literal else None
        if self.text.startswith(literal, place):
            return place + len(literal)
        border = self.borders.get(self.order[number], -1)
        asked = self.text[place:border] if border >= place else None
        return border if asked is not None and literal.startswith(asked) else None

    def ends(
        self, turn: int, start: int
    ) -> Iterator[tuple[int, Literal["", "trimmed", "altered"]]]:
        """Give where the text of a turn may end, the likeliest first."""
        whole = self.turns[turn].text
        if self.text.startswith(whole, start):
            yield start + len(whole), ""
        for less in (whole.strip(), whole.lstrip(), whole.rstrip()):
            if less != whole and self.text.startswith(less, start):
                yield start + len(less), "trimmed"
        changed = self.altered(turn, start)
        if changed is not None:
            yield start + len(changed), "altered"

    def altered(self, turn: int, start: int) -> str | None:
        """Give what the template makes of a turn's text, if that stands at `start`."""
        turns = list(self.turns)
        turns[turn] = Turn(turns[turn].role, sign(turn, turns[turn].text))
        written = self.template.write(turns, ask=self.ask)
        end = written.find(sign(turn))
        if end < start or written[:start] != self.text[:start]:
            return None
        made = written[start:end]
        likely = (made, made.rstrip())
        return next((each for each in likely if self.text.startswith(each, start)), None)

    def give_up(self, turn: int) -> None:
        raise refuse(
            self.origin,
            f"the text of turn {turn + 1} cannot be found for certain in what the base's chat "
            "template writes (it may drop earlier thinking, or change texts)",
            "train the last answer alone, take from the text what the template drops, "
            "or use another base",
        )
