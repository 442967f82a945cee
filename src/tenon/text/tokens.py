"""Tokens: the rows of one part as token ids, in a memory-mapped Arrow file."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tenon.core.errors import FileError
from tenon.core.files import aside, reading
from tenon.core.progress import Progress
from tenon.data.example import Example
from tenon.data.gold import written
from tenon.text.render import Renderer
from tenon.text.tally import summed
from tenon.text.tokenizer import refuse_empty

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_ROWS = 8192
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("origin", pa.string()),
        ("text", pa.string()),
        ("pair", pa.string()),
        ("gold", pa.string()),
        ("example", pa.int64()),
        ("ids", pa.list_(pa.int32())),
        ("types", pa.list_(pa.int8())),
        ("cut", pa.int32()),
        ("targets", pa.list_(pa.float32())),
        ("starts", pa.list_(pa.int32())),
        ("ends", pa.list_(pa.int32())),
        ("tally", pa.string()),
    ]
)


class Stored(Protocol):
    """Hidden states of rows, kept from an earlier pass over the lower layers of a base.

    Args:
        layers: how many layers that is.
    """

    @property
    def layers(self) -> int:
        """As above."""
        ...

    def states_TD(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Give the states of some rows, one row after the other."""
        ...


@dataclass(frozen=True)
class Tokens:
    """Token ids, targets and texts of R rows, read from a memory-mapped file.

    Args:
        table: the Arrow table, columns as in `SCHEMA`.
        limit: most tokens of a row.
        below: what the lower layers of a base make of the rows; None where nothing is kept.
    """

    table: pa.Table
    limit: int
    below: Stored | None = None

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def lengths_R(self) -> npt.NDArray[np.int64]:
        """Tokens of each row."""
        offsets = [np.diff(chunk.offsets.to_numpy()) for chunk in self.table["ids"].chunks]
        return np.concatenate(offsets).astype(np.int64) if offsets else np.zeros(0, np.int64)

    @cached_property
    def labels_R(self) -> npt.NDArray[np.int32]:
        """Class index of each row, of which it is the one target; -1 without a known label."""
        targets = [chunk.values.to_numpy() for chunk in self.table["targets"].chunks]
        return (np.concatenate(targets) if targets else np.zeros(0)).astype(np.int32)

    @cached_property
    def rows_cut(self) -> int:
        """How many rows lost tokens."""
        return int((self.table["cut"].to_numpy() > 0).sum())

    @cached_property
    def tokens_cut(self) -> int:
        """How many tokens were cut in all."""
        return int(self.table["cut"].to_numpy().sum())

    @cached_property
    def tally(self) -> dict[str, int]:
        """What could not be done with the texts; see `tenon.text.tally`."""
        return summed(self.column("tally"))

    @cached_property
    def texts(self) -> int:
        """How many examples these are; one of several windows is one."""
        return len(set(self.column("example")))

    @cached_property
    def windowed(self) -> int:
        """How many examples are read in several windows."""
        if self.table["starts"].null_count == len(self):
            return 0  # several rows without places are several answers of one conversation
        return sum(rows > 1 for rows in Counter(self.column("example")).values())

    @cached_property
    def total(self) -> int:
        """Tokens of all rows."""
        return int(self.lengths_R.sum())

    @cached_property
    def digest(self) -> str:
        """Sha256 of what a base reads: the ids and types of each row, in hex."""
        whole = hashlib.sha256(np.ascontiguousarray(self.lengths_R).data)
        names = ("ids",) if self._untyped else ("ids", "types")
        for name in names:
            for values, offsets in self._chunks[name]:
                whole.update(name.encode())
                whole.update(np.ascontiguousarray(values[offsets[0] : offsets[-1]]).data)
        return whole.hexdigest()

    @cached_property
    def highest(self) -> int:
        """The highest token id of all rows; -1 without rows."""
        chunks = (chunk.values.to_numpy() for chunk in self.table["ids"].chunks)
        return max((int(ids.max()) for ids in chunks if len(ids)), default=-1)

    def ids(self, row: int) -> npt.NDArray[np.int32]:
        """Give the token ids of one row, without copying."""
        return self._cells("ids", row)

    def types(self, row: int) -> npt.NDArray[np.int8] | None:
        """Give the token types of one row, or None where all are 0."""
        if self._untyped:
            return None
        cells = self._cells("types", row)
        return cells if len(cells) else np.zeros(int(self.lengths_R[row]), np.int8)

    def targets(self, row: int) -> npt.NDArray[np.float32]:
        """Give the numbers that the answer of one row is made of."""
        return self._cells("targets", row)

    def places(self, row: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Give for each token of one row its first character and the one after its last, or -1."""
        return self._cells("starts", row), self._cells("ends", row)

    def column(self, name: str) -> list[Any]:
        """Give one of the columns id, origin, text, pair, gold, example, tally as a list."""
        return self.table[name].to_pylist()

    def take(self, rows: npt.NDArray[np.int64]) -> Tokens:
        """Give the named rows, in memory."""
        taken = self.table.take(rows).combine_chunks()
        batches = taken.to_batches(max_chunksize=CHUNK_ROWS)
        return Tokens(pa.Table.from_batches(batches, schema=SCHEMA), self.limit)

    @cached_property
    def _untyped(self) -> bool:
        return self.table["types"].null_count == len(self)

    @cached_property
    def _chunks(self) -> dict[str, list[tuple[Any, Any]]]:
        return {
            name: [
                (chunk.values.to_numpy(zero_copy_only=True), chunk.offsets.to_numpy())
                for chunk in self.table[name].chunks
            ]
            for name in ("ids", "types", "targets", "starts", "ends")
        }

    @cached_property
    def _firsts(self) -> list[int]:
        """The first row of each chunk; an example of several rows makes a chunk longer."""
        sizes = [len(chunk) for chunk in self.table["ids"].chunks]
        return [0, *accumulate(sizes)][: len(sizes)]

    def _cells(self, name: str, row: int) -> npt.NDArray[Any]:
        chunk = bisect_right(self._firsts, row) - 1
        values, offsets = self._chunks[name][chunk]
        start = row - self._firsts[chunk]
        return values[offsets[start] : offsets[start + 1]]


def tokenize(
    examples: Iterable[Example],
    renderer: Renderer,
    path: Path,
    progress: Progress | None = None,
) -> Tokens:
    """Write the tokens of `examples` to `path`, whole or not at all, and open them.

    Memory is that of one chunk of rows, whatever the number of examples.

    Args:
        renderer: says what is read, what is answered, and where rows are cut.

    Raises:
        DataError: a text has no tokens. Nothing is written.
        FileError: the disk refused. Nothing is written.
    """
    with (
        aside(path) as beside,
        pa.OSFile(str(beside), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as writer,
    ):
        for first, chunk in _chunked(examples):
            writer.write_batch(_batch(chunk, first, renderer))
            if progress:
                progress.advance(len(chunk))
    return open_tokens(path, renderer.limit)


def collect(examples: Iterable[Example], renderer: Renderer) -> Tokens:
    """Give the tokens of `examples` in memory.

    Raises:
        DataError: a text has no tokens.
    """
    batches = [_batch(chunk, first, renderer) for first, chunk in _chunked(examples)]
    return Tokens(pa.Table.from_batches(batches, schema=SCHEMA), renderer.limit)


def open_tokens(path: Path, limit: int) -> Tokens:
    """Open tokens that were written before.

    Raises:
        FileError: the file is absent or is not an Arrow file with the columns of `SCHEMA`.
    """
    with reading(path):
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise FileError(f"{path}: not a token file; remove it and run again") from error
    if table.schema != SCHEMA:
        raise FileError(f"{path}: a token file of another version; remove it and run again")
    return Tokens(table, limit)


def _chunked(examples: Iterable[Example]) -> Iterator[tuple[int, list[Example]]]:
    """Yield runs of examples, each with the number of its first."""
    source, first = iter(examples), 0
    while chunk := list(islice(source, CHUNK_ROWS)):
        yield first, chunk
        first += len(chunk)


def _batch(chunk: list[Example], first: int, renderer: Renderer) -> Any:
    """Give the rows of some examples, of which the one before them is number `first` - 1."""
    made = renderer.rows(chunk)
    of_rows = [chunk[place] for place in made.example]
    origins = [example.origin for example in of_rows]
    refuse_empty(made.ids, origins)
    nothing = [None] * len(of_rows)
    columns = [
        [example.id for example in of_rows],
        origins,
        [example.text for example in of_rows],
        [example.pair for example in of_rows],
        [written(example.gold) for example in of_rows],
        [first + place for place in made.example],
        made.ids,
        made.types or nothing,
        made.cut,
        made.targets,
        made.starts or nothing,
        made.ends or nothing,
        made.tally or nothing,
    ]
    arrays = [pa.array(cells, field.type) for cells, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
