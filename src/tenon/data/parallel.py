"""Parallel files: two texts, of which line i of the one is line i of the other."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations, zip_longest
from pathlib import Path

from tenon.core.errors import DataError, Faults, FileError, nearest
from tenon.core.files import reading
from tenon.data.encoding import wide_encoding
from tenon.data.example import Row
from tenon.data.formats import PACKED, SUFFIXES, unpacked
from tenon.data.lines import REFUSED, Lines
from tenon.data.names import PART_NAMES
from tenon.data.spec import JOINT
from tenon.data.streams import PARQUET, ZIP, opened
from tenon.data.tables import excerpt

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][A-Za-z]{2,4}){0,2}")
_SIDES = (("src", "tgt"), ("src", "trg"), ("source", "target"))
_FORMATS = {
    *SUFFIXES, *(packed[1:] for packed in PACKED), "tab", "zip", "tar", "txt", "md", "py", "sh",
    "log", "pdf", "yml", "xml", "bin", "vec", "bpe", "idx", "cfg", "ini", "rst",
}  # fmt: skip
_WORD = re.compile(r"[^0-9A-Za-z]+")


def split_pair(spec: str, folder: Path = Path()) -> tuple[str, str] | None:
    """Give the two files that `spec` joins with "+"; None where it names one file.

    A second file that is named without a folder lies beside the first:
    `data/train.en+train.de`. A file whose own name holds "+" is one file where it is there.

    Args:
        spec: one path, or two.
        folder: against which they are meant.
    """
    if JOINT not in spec or (folder / spec).exists():
        return None
    places = [place for place, letter in enumerate(spec) if letter == JOINT]
    pairs = [_beside(spec[:place], spec[place + 1 :]) for place in places]
    there = [pair for pair in pairs if all(side and (folder / side).is_file() for side in pair)]
    return (there or pairs)[0]


def each_path(spec: str, change: Callable[[str], str], folder: Path = Path()) -> str:
    """Give a spec with its path, or both paths of a pair, changed."""
    pair = split_pair(spec, folder)
    return JOINT.join(map(change, pair)) if pair else change(spec)


def _beside(first: str, second: str) -> tuple[str, str]:
    bare = second and "/" not in second and "/" in first
    return first, f"{first.rpartition('/')[0]}/{second}" if bare else second


def parallel_rows(spec: str, faults: Faults, notes: list[str]) -> Iterator[Row]:
    """Read two line-aligned files side by side, in bounded memory.

    Args:
        spec: `train.en+train.de`, plain or packed by gzip, xz, zstd or bzip2; the first is the
            source. A line ends in a line feed and in nothing else.
        faults: where faults go: lines that are blank on one side, are not UTF-8, or have no
            partner.
        notes: where what was met and accepted is told.

    Yields:
        A row a line: "source" and "target"; its origin is the line of the source's file.

    Raises:
        FileError: a file is not there or cannot be opened.
        DataError: `spec` does not join two files, or a file is of a kind that holds no lines.
    """
    pair = split_pair(spec)
    if pair is None:
        raise DataError(f"{spec}: is no pair of files; write train.en+train.de")
    require_pair(pair)
    with _side(pair[0], faults, notes) as source, _side(pair[1], faults, notes) as target:
        yield from _aligned(source, target, faults, notes)


@dataclass(slots=True)
class _Side:
    """One of the two files.

    Args:
        path: the file, as the user wrote it.
        lines: its lines.
        unreadable: whether nothing of it can be read; the fault is recorded.
    """

    path: str
    lines: Lines
    unreadable: bool
    count: int = field(default=0, init=False)
    padded: int = field(default=0, init=False)

    def texts(self) -> Iterator[str]:
        """Give each line without its end, and count."""
        for line in self.lines:
            self.count += 1
            if line == REFUSED:
                yield line
                continue
            text = line.removesuffix("\n").removesuffix("\r")
            self.padded += bool(text) and (text[0].isspace() or text[-1].isspace())
            yield text


@contextlib.contextmanager
def _side(path: str, faults: Faults, notes: list[str]) -> Generator[_Side]:
    with opened(path, path, faults) as stream:
        head = stream.peek(4096)
        if head.startswith((PARQUET, ZIP)):
            raise DataError(f"{path}: is packed or Parquet, not lines of text; unpack it first")
        lines = Lines(stream, path, faults, notes)
        yield _Side(path, lines, unreadable=bool(wide_encoding(head)))


def require_pair(pair: tuple[str, str]) -> None:
    """Check that two files are there, and are two.

    Raises:
        FileError: one is not there.
        DataError: they are one file, a name is missing, or one is of a kind that holds no lines.
    """
    if not all(pair):
        raise DataError(f"{JOINT.join(pair)}: is no pair of files; write train.en+train.de")
    if Path(pair[0]).resolve() == Path(pair[1]).resolve():
        raise DataError(f"{pair[0]}: is named twice; name the other language's file")
    for path in pair:
        _require(path)


def _require(path: str) -> None:
    suffix = unpacked(path).lower().rpartition(".")[2]
    if suffix in SUFFIXES:
        raise DataError(
            f"{path}: is a .{suffix} file; a parallel file holds one sentence a line; give the "
            "two columns as one source, or write each to a file of its own"
        )
    file = Path(path)
    with reading(file):
        if file.is_file():
            return
        if file.is_dir():
            raise DataError(f"{path}: is a folder; name two files: train.en+train.de")
        beside = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
    near = nearest(file.name, beside)
    remedy = f"did you mean {file.parent / near[0]}?" if near else "check the path"
    raise FileError(f"{path}: no such file; {remedy}")


def _aligned(source: _Side, target: _Side, faults: Faults, notes: list[str]) -> Iterator[Row]:
    """Give the pairs; what follows the shorter file's end is counted and not given."""
    both_blank = 0
    extra_text = False
    for number, (first, second) in enumerate(zip_longest(source.texts(), target.texts()), 1):
        if first is None or second is None:
            extra_text = extra_text or bool((first or second or "").strip())
        elif first == REFUSED or second == REFUSED:
            continue
        elif not first.strip() and not second.strip():
            both_blank += 1
        elif not first.strip() or not second.strip():
            _one_blank(source.path, target.path, number, (first, second), faults)
        else:
            yield Row({"source": first, "target": second}, f"{source.path}:{number}")
    _ends(source, target, faults, extra_text=extra_text)
    notes += _notes(source, target, both_blank)


def _one_blank(
    source: str, target: str, number: int, texts: tuple[str, str], faults: Faults
) -> None:
    empty, full = (source, target) if not texts[0].strip() else (target, source)
    what = f"the line is blank, but {full}:{number} is {excerpt(''.join(texts).strip())}"
    faults.add(f"{empty}:{number}", what, "fill it, or remove the line from both files")


def _ends(source: _Side, target: _Side, faults: Faults, *, extra_text: bool) -> None:
    """Record that the files do not end together, unless another fault is the reason."""
    damaged = any(side.lines.stream.damaged or side.unreadable for side in (source, target))
    if damaged:
        return
    if not source.count and not target.count:
        for side in (source, target):
            faults.add(f"{side.path}:1", "the file is empty", "give a file with lines")
    if source.count == target.count:
        return
    short, long = sorted((source, target), key=lambda side: side.count)
    what = (
        f"the file ends after {short.count:,} lines, but {long.path} has {long.count:,}; "
        f"line {short.count + 1:,} is the first without a partner"
    )
    remedy = "find where the two part, above the end as well, and give each line its partner"
    if not extra_text:
        remedy = f"the further lines are blank: remove them from the end of {long.path}"
    elif short.lines.stray_returns:
        remedy = f"end the lines of {short.path} in line feeds: it has carriage returns (CR)"
    faults.add(f"{short.path}:{short.count + 1}", what, remedy)


def _notes(source: _Side, target: _Side, both_blank: int) -> list[str]:
    notes: list[str] = []
    if both_blank:
        notes.append(
            f"{source.path}: {both_blank:,} lines are blank on both sides and are passed over"
        )
    for side in (source, target):
        if side.padded:
            notes.append(f"{side.path}: {side.padded:,} lines begin or end with a blank, kept")
        if side.lines.unended:
            notes.append(f"{side.path}: the last line has no line end, which is accepted")
    return notes


def parallel_members(path: str, direction: str = "") -> dict[str, str]:
    """Find the pairs of line-aligned files in a folder, by part.

    Files of a pair differ in the language at the end of their names: `train.en.gz` and
    `train.de.gz`. A name that holds a part's name means it where no other does:
    `test_2016_flickr` is the test part.

    Args:
        path: a folder, or the beginning of the names in one: `corpus/train`.
        direction: `en-de` for English to German; it may be left out where the names say it:
            `train.src` and `train.tgt`.

    Returns:
        Part to spec, `train.en+train.de`; empty where no two files make a pair.

    Raises:
        DataError: several directions are possible, `direction` is none of them, or a file lacks
            its partner.
    """
    found = _by_stem(path)
    texts = {stem: files for stem, files in found.items() if len(files) > 1}
    if not texts:
        return {}
    source, target = _direction(path, texts, direction)
    pairs: dict[str, str] = {}
    for stem, files in found.items():
        if source in files and target in files:
            pairs[stem] = f"{files[source]}{JOINT}{files[target]}"
        elif files.keys() & {source, target} and _part(stem) in PART_NAMES.values():
            has, lacks = (source, target) if source in files else (target, source)
            raise DataError(
                f"{files[has]}: has no partner {stem}.{lacks}; add the file, or move this one away"
            )
    return _by_part(pairs)


def _by_stem(path: str) -> dict[str, dict[str, str]]:
    """Give the files whose names end in a language: stem to language to path."""
    place = Path(path)
    folder, prefix = (place, "") if place.is_dir() else (place.parent, place.name)
    with reading(folder):
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        names = [entry for entry in entries if entry.name.startswith(prefix) and entry.is_file()]
    found: dict[str, dict[str, str]] = {}
    for entry in names:
        stem, _, language = unpacked(entry.name).rpartition(".")
        if not stem or not _is_language(language):
            continue
        files = found.setdefault(stem, {})
        if language in files:
            raise DataError(f"{files[language]} and {entry}: are the same file twice; keep one")
        files[language] = str(entry)
    return found


def _is_language(suffix: str) -> bool:
    sides = {side for pair in _SIDES for side in pair}
    return suffix in sides or (bool(_LANGUAGE.fullmatch(suffix)) and suffix not in _FORMATS)


def _direction(
    path: str, texts: Mapping[str, Mapping[str, str]], direction: str
) -> tuple[str, str]:
    """Give the source's and the target's language."""
    possible = {
        f"{source}-{target}": (source, target)
        for files in texts.values()
        for source, target in permutations(sorted(files), 2)
    }
    named = [pair for pair in possible.values() if pair in _SIDES]
    if direction in possible:
        return possible[direction]
    if not direction and len(named) == 1:
        return named[0]
    example = nearest(direction, possible)[:1] or sorted(possible)[:1]
    what = f"has no direction {direction!r}" if direction else "holds files in several languages"
    raise DataError(
        f"{path}: {what}; possible are {', '.join(sorted(possible))}, source first; "
        f"say which: {path}#{example[0]}"
    )


def _by_part(pairs: Mapping[str, str]) -> dict[str, str]:
    """Key pairs by part; a name that merely holds a part's stays where others do too."""
    exact = {PART_NAMES[stem.casefold()] for stem in pairs if stem.casefold() in PART_NAMES}
    meant = [_part(stem) for stem in pairs]
    named: dict[str, str] = {}
    for stem, spec in pairs.items():
        part = _part(stem)
        is_exact = stem.casefold() in PART_NAMES
        alone = part not in exact and meant.count(part) == 1
        key = part if is_exact or alone else stem
        if key in named:
            raise DataError(f"{named[key]} and {spec}: both are the {key} part; keep one")
        named[key] = spec
    return named


def _part(stem: str) -> str:
    """Give the part that a word of the name means, or the name."""
    words = [word for word in _WORD.split(stem.casefold()) if word]
    return next((PART_NAMES[word] for word in words if word in PART_NAMES), stem)
