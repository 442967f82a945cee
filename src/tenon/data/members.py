"""Members: the parts that a container of rows holds: train, dev, test and others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tenon.core.errors import DataError, Faults
from tenon.core.files import reading
from tenon.data.conll import looks_like_conll
from tenon.data.formats import SUFFIX_NAMES, SUFFIXES, format_of, stem, unpacked
from tenon.data.json_document import document_lists
from tenon.data.names import PART_NAMES, PARTS
from tenon.data.parallel import parallel_members, split_pair
from tenon.data.sources import Source, magic_of, zip_member, zip_names
from tenon.data.spec import HUB
from tenon.data.squad import looks_like_squad
from tenon.data.streams import HEAD_BYTES, PARQUET, ZIP, opened

_SHARD = re.compile(r"-00000-of-00001$")
_WORDS = re.compile(r"[-_.\s]+")
_CONLL_PARTS = {"testa": "dev", "testb": "test"}
"""What the parts of CoNLL-2003 are called."""
_PLAIN = ("txt", "text", *PART_NAMES, *_CONLL_PARTS)
"""Suffixes under which CoNLL files are kept, and others too, so that their content decides."""


def members(spec: str) -> dict[str, str]:
    """Give the parts found in a container, each with the spec that reads it.

    A container is a zip file, a JSON object of lists, a folder with files named train, dev and
    test, or with pairs of parallel files (`folder#en-de`), a folder that `datasets` saved, or a
    hub data set. The names dev, val, valid and validation mean dev; a part of any other name
    keeps it.

    Returns:
        Part to spec; empty where `spec` is itself one list of rows.

    Raises:
        FileError: nothing is there.
        DataError: two members claim one part, or the container is damaged.
    """
    source = Source.parse(spec)
    source.require()
    if source.hub:
        return _hub_parts(source)
    if split_pair(source.path):
        return {}
    if Path(source.path).is_dir():
        return _folder(source)
    magic = magic_of(source.path)
    if magic == ZIP:
        return _zip_parts(source)
    if magic == PARQUET or source.member:
        return {}
    return _json_parts(source.path, source.path, "")


def _json_parts(path: str, spec: str, member: str) -> dict[str, str]:
    """Give the lists of a JSON object, in the file `path` or its zip's `member`."""
    faults = Faults()
    with opened(path, spec, faults, member=member) as stream:
        head = stream.peek(HEAD_BYTES)
        if not head or format_of(member or path, head, spec) != "json" or looks_like_squad(head):
            return {}
        names = document_lists(stream, spec, faults)
    if faults.count:
        faults.raise_if_any(DataError)
    return _named(spec, {name: f"{spec}#{name}" for name in names if name})


def _zip_parts(source: Source) -> dict[str, str]:
    if source.member:
        member, _, inner = source.member.partition("#")
        name = zip_member(source.path, member)
        return {} if inner else _json_parts(source.path, f"{source.path}#{name}", name)
    names = [
        name
        for name in zip_names(source.path)
        if _may_hold_rows(name) or (_suffix(name) in _PLAIN and _is_conll(source.path, name))
    ]
    if len(names) == 1:
        inner_parts = _json_parts(source.path, f"{source.path}#{names[0]}", names[0])
        return inner_parts or {}
    return _named(source.path, {name: f"{source.path}#{name}" for name in names})


def _folder(source: Source) -> dict[str, str]:
    """Give the parts of a folder: its data files, else its pairs of parallel files."""
    found = {} if source.member else folder_parts(source.path)
    from tenon.data.columnar import is_dataset

    if found or is_dataset(Path(source.path)):
        return found
    return parallel_members(source.path, source.member)


def folder_parts(path: str) -> dict[str, str]:
    """Give the data files, or saved parts, of a folder."""
    from tenon.data.columnar import dataset_parts, is_dataset

    folder = Path(path)
    with reading(folder):
        if is_dataset(folder):
            return _named(path, {name: f"{path}#{name}" for name in dataset_parts(path)})
        files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    return _named(
        path,
        {
            file.name: str(file)
            for file in files
            if _may_hold_rows(file.name)
            or (_suffix(file.name) in _PLAIN and _is_conll(str(file), ""))
        },
    )


def require_file(path: str) -> None:
    """Check that `path` is no folder, unless `datasets` saved it.

    Raises:
        DataError: it is one; the data files in it are named.
    """
    if not Path(path).is_dir():
        return
    from tenon.data.columnar import is_dataset

    if is_dataset(Path(path)):
        return
    parts = sorted(folder_parts(path).values())
    known = f"it has {', '.join(parts)}" if parts else "it holds no data file"
    remedy = "name one of its files" if parts else "name a file of rows"
    raise DataError(f"{path}: is a folder, not a file of rows; {known}; {remedy}")


def _hub_parts(source: Source) -> dict[str, str]:
    if source.member:
        return {}
    from tenon.data.columnar import hub_parts

    return _named(
        str(source), {name: f"{HUB}{source.path}#{name}" for name in hub_parts(source.path)}
    )


def _may_hold_rows(name: str) -> bool:
    return _suffix(name) in (*SUFFIXES, *SUFFIX_NAMES)


def _suffix(name: str) -> str:
    return unpacked(name.lower()).rsplit(".", 1)[-1]


def _is_conll(path: str, member: str) -> bool:
    """Tell by its beginning whether a file, or a zip's member, has a token and its tag a line."""
    faults = Faults()
    with opened(path, path, faults, member=member) as stream:
        head = stream.peek(HEAD_BYTES)
    return looks_like_conll(head.decode("utf-8-sig", "replace"))


def _named(where: str, specs: dict[str, str]) -> dict[str, str]:
    """Key `specs` by part instead of by file name.

    Raises:
        DataError: two of them claim to be the same one of train, dev and test.
    """
    parts: dict[str, str] = {}
    exact = any(part_name(name) in PARTS for name in specs)
    for name, spec in specs.items():
        part = part_name(name) if exact else _part_within(name)
        if part in parts and part in PARTS:
            raise DataError(
                f"{where}: {parts[part]} and {spec} are both named {part}; "
                f'say which: data.{part} = "{spec}"'
            )
        parts[name if part in parts else part] = spec
    return parts


def part_name(name: str) -> str:
    """Give the part that a file or list is named after: dev for "val.jsonl"; else its own name."""
    bare = _SHARD.sub("", stem(name)) if "." in name or "/" in name else name
    return PART_NAMES.get(bare.casefold(), bare)


def _part_within(name: str) -> str:
    """Give the part of which one word of a name speaks: dev for "emerging.dev.conll"."""
    known = {**PART_NAMES, **_CONLL_PARTS}
    bare = name.rpartition("/")[2].casefold()
    found = {known[word] for word in _WORDS.split(bare) if word in known}
    return found.pop() if len(found) == 1 else part_name(name)


def others(parts: Iterable[str]) -> list[str]:
    """Give those of `parts` that are neither train, dev nor test, in their order."""
    known = set(PART_NAMES.values())
    return [part for part in parts if part not in known]
