"""Once: a module that is run once for all adapters that read the same inputs of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from torch import Tensor, nn

from tenon.adapters.transparent import Transparent


class Once(Transparent):
    """A module that is run once for all parts of an average that give it the same inputs.

    Args:
        base_layer: the module.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self._known: tuple[tuple[Any, ...], dict[str, Any], Any] | None = None
        self._remembers = False

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """Keep what is computed first, and forget it when done."""
        before = self._remembers, self._known
        self._remembers, self._known = True, None
        try:
            yield
        finally:
            self._remembers, self._known = before

    def forward(self, *given: Any, **named: Any) -> Any:
        """Give what the module gives; computed once where the inputs are the very same.

        Some of PEFT's layers add to it in place, so each but the first is given a copy.
        """
        if self._known is not None and _same(self._known, given, named):
            return _copied(self._known[2])
        output = self.base_layer(*given, **named)
        if self._remembers and self._known is None:
            self._known = given, named, output
        return output


def _same(
    known: tuple[tuple[Any, ...], dict[str, Any], Any],
    given: tuple[Any, ...],
    named: dict[str, Any],
) -> bool:
    """Whether inputs are the very objects that were given before."""
    if len(known[0]) != len(given) or known[1].keys() != named.keys():
        return False
    both = zip(
        (*known[0], *known[1].values()), (*given, *(named[k] for k in known[1])), strict=True
    )
    return all(one is other for one, other in both)


def _copied(output: Any) -> Any:
    """Give an output that can be written over; of a tuple, its first is."""
    if isinstance(output, tuple):
        return (_copied(output[0]), *cast("tuple[Any, ...]", output[1:]))
    return cast(Tensor, output).clone()
