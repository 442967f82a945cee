"""States: hidden states of the rows of one part, in files that are read where they lie.

The rows of a part lie one after the other in some files, `000.states` and so on, each written aside
and renamed: whoever is killed on the way leaves whole files, and the next one goes on behind them.
Every token has D numbers, in the number format of the base, in bfloat16, or as whole numbers from
-127 to 127 with a factor for each token, the factors behind all numbers of a file.

A file is read by position and not mapped into memory, so that what has been read does not count
as memory of the process; the system keeps it as long as there is room.

Legend: R rows, T tokens, D channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tenon.core.errors import FileError
from tenon.core.files import aside, reading
from tenon.text.order import Rows, micro_batches

Form = Literal["float32", "float16", "bfloat16", "int8"]
FORMS: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
}
MOST_FILES = 64
LEAST_BYTES = 64 << 20
"""Of a file, where there are several: none is so large that much is lost with it, and there are not
so many that a process may not hold all of them open."""
FILL_TOKENS = 4096
"""Tokens that are computed at once. It is the same for every run, so that states depend on nothing
but the base and the rows."""
LARGEST = 127
FACTOR_BYTES = 4

Compute = Callable[[Rows], Tensor]
"""Rows to their states, [T, D], one row after the other."""


@dataclass(frozen=True)
class Layout:
    """How the states of a part lie in a folder.

    Args:
        folder: of the files.
        lengths_R: tokens of each row.
        channels: D.
        form: of a number.
        file_bytes: of a file at least, where there are several.
    """

    folder: Path
    lengths_R: npt.NDArray[np.int64]
    channels: int
    form: Form
    file_bytes: int = LEAST_BYTES

    @property
    def token_bytes(self) -> int:
        """Bytes of a token."""
        factor = FACTOR_BYTES if self.form == "int8" else 0
        return self.channels * FORMS[self.form].itemsize + factor

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return int(self.lengths_R.sum()) * self.token_bytes

    @cached_property
    def starts_R(self) -> npt.NDArray[np.int64]:
        """Tokens before each row, and of all rows at the end."""
        return np.concatenate([[0], np.cumsum(self.lengths_R)])

    @cached_property
    def firsts(self) -> npt.NDArray[np.int64]:
        """The first row of each file, and the number of rows at the end."""
        most = max(self.file_bytes, -(-self.total_bytes // MOST_FILES))
        file_R = (self.starts_R[1:] * self.token_bytes - 1) // most
        borders = np.flatnonzero(np.diff(file_R)) + 1
        return np.concatenate([[0], borders, [len(self.lengths_R)]])

    @property
    def paths(self) -> list[Path]:
        """Of the files."""
        return [self.folder / f"{number:03}.states" for number in range(len(self.firsts) - 1)]

    def bytes_of(self, number: int) -> int:
        """Give the bytes of one file."""
        return self.tokens_of(number) * self.token_bytes

    def tokens_of(self, number: int) -> int:
        """Give the tokens of one file."""
        first, last = self.firsts[number : number + 2]
        return int(self.starts_R[last] - self.starts_R[first])

    def missing(self) -> list[int]:
        """Give the files that are not there, or are not of the size that they must have."""
        return [
            number
            for number, path in enumerate(self.paths)
            if not path.is_file() or path.stat().st_size != self.bytes_of(number)
        ]

    def write(self, number: int, compute: Compute, told: Callable[[int], None]) -> None:
        """Compute the states of one file and write it, whole or not at all.

        Args:
            number: of the file.
            compute: gives states of rows of like length.
            told: of the rows that are done.

        Raises:
            FileError: the disk refused.
        """
        first, last = self.firsts[number : number + 2]
        rows_R = first + np.argsort(self.lengths_R[first:last], kind="stable")
        with aside(self.paths[number]) as beside, beside.open("wb", buffering=0) as file:
            for rows in micro_batches(rows_R, self.lengths_R, FILL_TOKENS):
                self._put(file, number, rows, compute(rows))
                told(len(rows))

    def _put(self, file: FileIO, number: int, rows: Rows, states_TD: Tensor) -> None:
        numbers_TD, factors_T = _packed(states_TD, self.form)
        place, wide = 0, numbers_TD.shape[1]
        lengths = self.lengths_R[rows].tolist()
        for at, length in zip(self.places(rows)[1], lengths, strict=True):
            _write(file, numbers_TD[place : place + length], at * wide)
            if factors_T is not None:
                behind = self.tokens_of(number) * wide
                _write(file, factors_T[place : place + length], behind + at * FACTOR_BYTES)
            place += length

    def places(self, rows: Rows) -> tuple[list[int], list[int]]:
        """Give the file of each of some rows, and how many tokens lie before it there."""
        numbers = np.searchsorted(self.firsts, rows, "right") - 1
        before = self.starts_R[rows] - self.starts_R[self.firsts[numbers]]
        return numbers.tolist(), before.tolist()


class States:
    """The states of a part, read from its files.

    Args:
        layout: of the files, all of which are there.
        layers: of the base whose work they spare.
    """

    def __init__(self, layout: Layout, layers: int) -> None:
        self.layout, self.layers = layout, layers
        self._files: dict[int, FileIO] = {}

    def __del__(self) -> None:
        for file in self._files.values():
            file.close()

    def states_TD(self, rows: Rows) -> Tensor:
        """Give the states of some rows, one row after the other; int8 comes back as float32.

        Raises:
            FileError: a file has been removed or cut since.
        """
        layout = self.layout
        lengths = layout.lengths_R[rows].tolist()
        form = FORMS[layout.form]
        states_TD = torch.empty(sum(lengths), layout.channels, dtype=form)
        factors_T = torch.empty(len(states_TD)) if layout.form == "int8" else None
        inside, place = states_TD.view(torch.uint8).numpy(), 0
        wide = inside.shape[1]
        for number, at, length in zip(*layout.places(rows), lengths, strict=True):
            self._fill(number, inside[place : place + length], at * wide)
            if factors_T is not None:
                some = factors_T[place : place + length].numpy().view(np.uint8)
                self._fill(number, some, layout.tokens_of(number) * wide + at * FACTOR_BYTES)
            place += length
        return states_TD if factors_T is None else states_TD * factors_T[:, None]

    def _fill(self, number: int, into: npt.NDArray[np.uint8], at: int) -> None:
        if number not in self._files:
            path = self.layout.paths[number]
            with reading(path):
                self._files[number] = path.open("rb", buffering=0)
        file, held, done = self._files[number], into.reshape(-1).data, 0
        file.seek(at)
        while done < len(held):
            got = file.readinto(held[done:])
            if not got:
                where = self.layout.paths[number]
                raise FileError(f"{where}: is shorter than it was; remove it and run again")
            done += got


def _packed(
    states_TD: Tensor, form: Form
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """Give numbers as bytes, [T, bytes of D], and the factor of each token where there are some."""
    if form != "int8":
        held = states_TD.detach().to("cpu", FORMS[form]).contiguous()
        return held.view(torch.uint8).numpy(), None
    wide_TD = states_TD.detach().float().cpu()
    factors_T = wide_TD.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
    whole_TD = (wide_TD / factors_T[:, None]).round().to(torch.int8)
    return whole_TD.view(torch.uint8).numpy(), factors_T.numpy()


def _write(file: FileIO, values: npt.NDArray[Any], at: int) -> None:
    held, done = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data, 0
    file.seek(at)
    while done < len(held):
        done += file.write(held[done:])


def rows_missing(layout: Layout, numbers: Sequence[int]) -> int:
    """Give how many rows some files hold."""
    return sum(int(layout.firsts[n + 1] - layout.firsts[n]) for n in numbers)
