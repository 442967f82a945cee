"""Errors: what a user did or met, said as *where: what is; what to do*.

Every leaf is also the builtin that a caller would expect to catch. `Faults`
collects what is wrong with one file so that all of it is told at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN_FAULTS = 20
SHORTEST_BEGINNING = 3


class TenonError(Exception):
    """An error that the user can mend; shown without traceback, exit code 2."""


class PlanError(TenonError, ValueError):
    """A setting, or a combination of settings, that cannot be carried out."""


class DataError(TenonError, ValueError):
    """Rows, columns, labels or encodings that cannot be used."""


class AdapterError(TenonError, ValueError):
    """An adapter directory that is damaged, foreign, or made for another base."""


class RunError(TenonError, RuntimeError):
    """A run that cannot start, go on, or be resumed."""


class Occupied(RunError):
    """A folder that another run, process or person holds; nothing was written there."""


class FileError(TenonError, OSError):
    """A file or folder that cannot be read or written."""


class RequestError(TenonError, ValueError):
    """A request for an answer that cannot be fulfilled."""


class Busy(RequestError):
    """More requests wait than may; nothing of this one has been done.

    Args:
        told: the message.
        retry_seconds: after which there may be room.
    """

    def __init__(self, told: str, retry_seconds: float) -> None:
        super().__init__(told)
        self.retry_seconds = retry_seconds


class Gone(RequestError):
    """The adapter of a handle has been replaced or taken out; its name may stand for another."""


class Late(RequestError):
    """The time that a request had is over; it has no answer."""


class MissingExtra(TenonError, ImportError):
    """An optional package that this feature needs is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs {package}, which is not installed; "
            f'run: pip install "tenonlm[{extra}]"'
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong at one place.

    Args:
        where: `file:line`, a setting's dotted name, or a tensor's name.
        what: what is there, with its value.
        remedy: what was expected or is near, and what to do.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        return f"{text}; {self.remedy}" if self.remedy else text


@dataclass(slots=True)
class Faults:
    """Collect faults up to `keep`; count all of them.

    Args:
        keep: how many faults are kept with their text; further ones are only counted.
    """

    keep: int = 1_000
    kept: list[Fault] = field(default_factory=list[Fault])
    count: int = 0

    def add(self, where: str, what: str, remedy: str = "") -> None:
        """Record one fault."""
        self.count += 1
        if len(self.kept) < self.keep:
            self.kept.append(Fault(where, what, remedy))

    def raise_if_any(self, error: type[TenonError]) -> None:
        """Raise `error` with every kept fault, one a line.

        Raises:
            TenonError: of the given type, if at least one fault was added.
        """
        if not self.count:
            return
        lines = [str(fault) for fault in self.kept[:SHOWN_FAULTS]]
        if self.count > len(lines):
            lines.append(f"... and {self.count - len(lines):,} more faults of this kind or others")
        raise error("\n".join(lines))


def nearest(word: str, choices: Iterable[str], count: int = 1) -> list[str]:
    """Give the `count` choices spelled most like `word`, best first; empty if none is near.

    A choice of which `word` is the beginning comes before those that are spelled like it.
    """
    folded = {choice.casefold(): choice for choice in choices}
    begun = word.casefold()
    longer = [
        name for name in folded if len(begun) >= SHORTEST_BEGINNING and name.startswith(begun)
    ]
    close = difflib.get_close_matches(begun, folded, n=count, cutoff=0.5)
    whole = [begun] if begun in folded else []
    return [folded[match] for match in dict.fromkeys([*whole, *longer, *close])][:count]


def did_you_mean(word: str, choices: Iterable[str], *, before: str = "") -> str:
    """Give "did you mean X?" for the nearest choice, or a list of what there is.

    Args:
        before: what stands before the choice in its full name, `train.`.
    """
    known = sorted(choices)
    close = nearest(word, known)
    if close:
        return f"did you mean {before}{close[0]}?"
    return f"known here: {', '.join(known)}" if known else "nothing is known here"
