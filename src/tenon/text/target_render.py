"""TargetRenderer: texts, or pairs of texts, whose answer is several numbers, or one.

L labels. A row of several labels has L targets, 1 for each that it has, and -1 for all where its
labels are not known; a row with a number has that, and NaN without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedTokenizerBase

from tenon.core.files import digest_of
from tenon.data.example import Example
from tenon.data.gold import Gold
from tenon.text.render import UNLABELLED, ClassRenderer, Rendered

Targets = Callable[[Gold | None, Sequence[str]], list[float]]


def label_targets(gold: Gold | None, labels: Sequence[str]) -> list[float]:
    """Give 1 for each label that a row has and 0 for each other; -1 for all without gold."""
    if gold is None:
        return [float(UNLABELLED)] * len(labels)
    held = set(cast(tuple[str, ...], gold))
    return [float(label in held) for label in labels]


def number_target(gold: Gold | None, labels: Sequence[str]) -> list[float]:
    """Give the number of a row; NaN without one."""
    del labels
    return [math.nan if gold is None else cast(float, gold)]


@dataclass(frozen=True)
class TargetRenderer:
    """Rows as a classifier reads them, with targets of another form.

    Args:
        reader: texts to token ids.
        targets: gold and labels to the row's targets.
        form: name and version of the form of the targets.
    """

    reader: ClassRenderer
    targets: Targets
    form: str

    @property
    def limit(self) -> int:
        """Give the most tokens of a row."""
        return self.reader.limit

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base's."""
        return self.reader.tokenizer

    @property
    def digest(self) -> str:
        """Identify everything but the tokenizer that decides the token ids and targets."""
        return digest_of([self.form, self.reader.digest])

    def rows(self, examples: Sequence[Example]) -> Rendered:
        """Give one row an example."""
        encoded = self.reader.encode([self.reader.prompt(example) for example in examples])
        targets = [self.targets(example.gold, self.reader.labels) for example in examples]
        places = list(range(len(examples)))
        return Rendered(places, encoded.ids, encoded.types, encoded.cut, targets)
