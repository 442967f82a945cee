"""Taught: the rows of a run as they teach, and the rows that will be asked for once it is served.

T tokens of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tenon.data.example import Example
from tenon.text.render import Rendered, Renderer
from tenon.text.renderers import ANSWERS
from tenon.text.text_generation_render import WritingRenderer, last_answer
from tenon.text.tokens import Tokens

TAGGED = ("words", "tokens")
LOOKED_AT = 10_000
"""Rows that are looked at, spread over train."""


@dataclass(frozen=True)
class Taught:
    """The rows of train, and what renders rows once the adapter is served.

    Args:
        tokens: of train.
        renderer: that made them.
        served: made anew from what the adapter will say of itself and from the base's files.
        examples: the first of train, of which the first rows are.
        units: what is learned: "rows", "words", "tokens", "answers", or, of a base that writes,
            "texts" or "turns".
        vocabulary: rows of the base's table of embeddings.
        longest: most tokens that are written in evaluation and serving; 0 where none are.
    """

    tokens: Tokens
    renderer: Renderer
    served: Renderer
    examples: tuple[Example, ...]
    units: str
    vocabulary: int
    longest: int = 0

    @property
    def writes(self) -> bool:
        """Whether the base writes its answers."""
        return isinstance(self.renderer, WritingRenderer)

    @cached_property
    def rows(self) -> list[int]:
        """The rows that are looked at: all, or some that are spread over train."""
        count = len(self.tokens)
        return np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int)).tolist()

    @cached_property
    def first(self) -> list[list[int]]:
        """The rows of each of the first examples."""
        found: list[list[int]] = [[] for _ in self.examples]
        places = self.tokens.table["example"][: 64 * len(found)].to_pylist()
        for row, example in enumerate(places):
            if example < len(found):
                found[example].append(row)
        return found

    def learned_T(self, row: int) -> npt.NDArray[np.bool_]:
        """Say of each token of a row whether it is what is learned.

        Of a row that has one answer as a whole, none is.
        """
        targets = self.tokens.targets(row)
        length = int(self.tokens.lengths_R[row])
        if self.writes:
            return targets != 0
        if self.units in TAGGED:
            return targets >= 0
        learned_T = np.zeros(length, bool)
        if self.units == ANSWERS and targets[0] > 0:
            learned_T[int(targets[0]) : int(targets[1]) + 1] = True
        return learned_T

    def targets(self, row: int) -> int:
        """Give how many things a row teaches."""
        if self.writes or self.units in TAGGED:
            return int(self.learned_T(row).sum())
        first = float(self.tokens.targets(row)[0])
        return int(np.isfinite(first) and (self.units == ANSWERS or first != -1))

    def asked(self, example: Example) -> list[list[int]]:
        """Give the ids that the served adapter reads where it is asked for an example's answer."""
        return self.served.rows([_unanswered(example)]).ids

    def again(self, example: Example) -> Rendered:
        """Give the rows of an example, its answer included, as the served adapter would make them.

        Raises:
            DataError: it cannot be rendered so.
        """
        return self.served.rows([example])

    def prompts(self, place: int) -> list[list[int]]:
        """Give the ids that train's rows of an example ask with, as `asked` gives them."""
        rows = self.first[place]
        if not self.writes:
            return [self.tokens.ids(row).tolist() for row in rows]
        last = rows[-1]
        border = last_answer(self.tokens.targets(last).tolist())
        return [self.tokens.ids(last)[:border].tolist()]

    def cut(self, place: int) -> bool:
        """Whether an example has lost tokens, and may be asked for otherwise than learned."""
        return any(self.tokens.table["cut"][row].as_py() for row in self.first[place])


def _unanswered(example: Example) -> Example:
    """Give an example that waits for its answer."""
    said = example.turns or ()
    if not said:
        return replace(example, gold=None)
    places = [place for place, turn in enumerate(said) if turn.trained]
    asked = said[: places[-1]] if places else said
    return replace(example, gold=None, turns=tuple(replace(turn, trained=False) for turn in asked))
