"""Plain: texts without labels, of a file of rows or of a text file with one on each line."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenon.core.errors import DataError, Faults
from tenon.core.files import digest_of, reading
from tenon.data.example import Row, content_id
from tenon.data.sources import Source, read

TEXT = "text"
SUFFIX = ".txt"


@dataclass(frozen=True)
class Plain:
    """Texts, each of which stands once.

    Args:
        ids: content ids.
        origins: `file:line`.
        texts: none is empty.
        found: how many different texts the source holds, of which these are a sample or all.
    """

    ids: Sequence[str]
    origins: Sequence[str]
    texts: Sequence[str]
    found: int

    def __len__(self) -> int:
        return len(self.ids)


def read_plain(spec: str, column: str = "", *, most: int, seed: int = 0) -> Plain:
    """Read texts; of many, a sample that depends on their content and the seed alone.

    Args:
        spec: `path[#member]` of rows, or a `.txt` file.
        column: of the text, tried first; else "text", else the only column that holds texts.
        most: how many are wanted.
        seed: of the sample.

    Raises:
        FileError: the source is not there.
        DataError: it is damaged, or which column holds the texts cannot be told.
    """
    faults = Faults()
    named: dict[str, tuple[str, str]] = {}
    for origin, text in _texts(spec, column, faults):
        if text.strip():
            named.setdefault(content_id(text), (origin, text))
    faults.raise_if_any(DataError)
    chosen = heapq.nsmallest(most, named, key=lambda id: digest_of([seed, id]))
    return Plain(
        chosen, [named[id][0] for id in chosen], [named[id][1] for id in chosen], len(named)
    )


def _texts(spec: str, column: str, faults: Faults) -> Iterator[tuple[str, str]]:
    path = Path(Source.parse(spec).path)
    if path.suffix == SUFFIX:
        yield from _lines(path)
        return
    name = ""
    for row in read(spec, faults):
        name = name or _column(row, column, spec)
        value = row.values.get(name)
        if isinstance(value, str):
            yield row.origin, value
        elif value is not None:
            faults.add(row.origin, f"{name} is {value!r:.40}, no text", "mend the row")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    Source.parse(str(path)).require()
    with reading(path), path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                yield f"{path}:{number}", line.rstrip("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8 ({error.reason}); save it as UTF-8") from error


def _column(row: Row, column: str, spec: str) -> str:
    """Tell which column holds the texts.

    Raises:
        DataError: several may, or none does.
    """
    held = [name for name, value in row.values.items() if isinstance(value, str)]
    for name in (column, TEXT):
        if name in held:
            return name
    if len(held) == 1:
        return held[0]
    what = f"its columns of texts are {', '.join(held)}" if held else "no column holds texts"
    raise DataError(f'{spec}: {what}; name the column of the texts "{TEXT}"')
