"""Journal: the portions that were answered, in a folder beside the file that they will be.

The folder holds `journal.json`, which says what the answers are made of, and a file for each
portion, named by its number and by the digest of its bytes. Each is whole or absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tenon.core import files
from tenon.core.errors import RunError

SUFFIX = ".parts"
FACTS = "journal.json"
LOCK = ".lock"
FORMAT = 1
DIGITS = 16
NAME = re.compile(r"(?P<number>\d{8})-(?P<digest>[0-9a-f]{16})\.jsonl")
WHOLE = "whole"
SHOWN = 12
"""Digits or characters of a value that are shown where it differs."""


@dataclass
class Journal:
    """What is answered already.

    Args:
        out: the file that the answers will be.
        notes: takes in what was found damaged.
    """

    out: Path
    notes: list[str] = field(default_factory=list[str])

    @property
    def folder(self) -> Path:
        """Where the portions lie until all are there."""
        return self.out.with_name(f"{self.out.name}{SUFFIX}")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the answers that are there are made of; empty where there are none.

        Raises:
            FileError: the journal is damaged.
        """
        path = self.folder / FACTS
        return files.read_json(path) if path.is_file() else {}

    @cached_property
    def portions(self) -> dict[int, Path]:
        """The portions that are there, by number; one that cannot be trusted is removed."""
        found: dict[int, Path] = {}
        for path in sorted(self.folder.iterdir()):
            named = NAME.fullmatch(path.name)
            if named is None:
                continue
            if self.facts and files.digest(path)[:DIGITS] == named["digest"]:
                found[int(named["number"])] = path
            else:
                files.remove(path)
                self.notes.append(f"{path.name}: had been changed; its rows were answered again")
        return found

    @cached_property
    def rows(self) -> int:
        """How many rows the portions have that were there at first."""
        return sum(lines_of(path.read_bytes()) for path in self.portions.values())

    def refuse_other(self, facts: Mapping[str, Any]) -> None:
        """Refuse to go on with answers that are made of something else.

        Args:
            facts: some of those that the answers shall be made of.

        Raises:
            RunError: what differs, all at once; nothing has changed.
        """
        if not self.facts or not self.portions:
            return
        differing = [
            f"{name} is {_shown(value)}, was {_shown(self.facts.get(name))}"
            for name, value in facts.items()
            if self.facts.get(name) != value
        ]
        if differing:
            raise RunError(
                f"{self.folder}: holds {self.rows:,} rows that were answered from something else: "
                f"{'; '.join(differing)}; give what was given then, choose another --out, or begin "
                "anew with --resume never"
            )

    def begin(self, facts: dict[str, Any]) -> None:
        """Say what the answers are made of; what is there of others is removed.

        Raises:
            FileError: the disk refused.
        """
        if facts == self.facts:
            return
        files.write_json(self.folder / FACTS, facts)
        self.__dict__["facts"] = facts

    def keep(self, number: int, lines: str) -> None:
        """Keep the lines of a portion, whole or not at all.

        Raises:
            FileError: the disk refused; what is there stays.
        """
        digest = hashlib.sha256(lines.encode()).hexdigest()[:DIGITS]
        path = self.folder / f"{number:08d}-{digest}.jsonl"
        files.write_text(path, lines)
        self.portions[number] = path

    def end(self, write: Callable[[Iterable[Path], Path], None]) -> None:
        """Make one file of all portions, which is at its place whole or not at all.

        Args:
            write: portions in order, and the file to write.

        Raises:
            FileError: the disk refused; what was there before is untouched, and the portions stay.
        """
        whole = self.folder / WHOLE
        with files.aside(whole) as beside:
            write([path for _, path in sorted(self.portions.items())], beside)
        with files.writing(self.out):
            whole.replace(self.out)
            files.flush(self.out.parent)
        files.remove(self.folder)


@contextlib.contextmanager
def opened(out: Path, *, anew: bool, lasting: bool = True) -> Iterator[Journal]:
    """Open the journal of a file for this process alone.

    Args:
        anew: remove what an earlier call left.
        lasting: whether what is answered outlives a call that is stopped.

    Raises:
        Occupied: another process answers rows to the same file.
        FileError: the disk refused.
    """
    journal = Journal(out)
    with files.locked(journal.folder / LOCK):
        files.sweep(journal.folder)
        if anew:
            _clear(journal.folder)
        try:
            yield journal
        finally:
            if journal.folder.is_dir() and not (lasting and journal.portions):
                files.remove(journal.folder)


def lines_of(data: bytes) -> int:
    """Count the lines of some bytes."""
    return data.count(b"\n")


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != LOCK:
            files.remove(path)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "nothing"
    text = str(value)
    return f"{text[:SHOWN]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text or "nothing"
