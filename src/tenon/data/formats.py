"""Formats: what a file holds, told from its name and its first bytes."""

from __future__ import annotations

from pathlib import PurePosixPath

from tenon.core.errors import DataError
from tenon.data.conll import looks_like_conll
from tenon.data.streams import PARQUET
from tenon.data.strict_json import BLANKS, Decoder, Unreadable

PACKED = (".gz", ".xz", ".zst", ".bz2")
SUFFIXES = ("csv", "tsv", "jsonl", "json", "parquet", "conll")
SUFFIX_NAMES = {
    "ndjson": "jsonl", "tab": "tsv", "bio": "conll", "iob": "conll", "iob2": "conll",
    "bioes": "conll", "bmes": "conll", "conllu": "conll", "conll2003": "conll",
}  # fmt: skip
"""Other suffixes, and the format that each means."""


def stem(name: str) -> str:
    """Give a file's name without folder, suffix of packing, and suffix of format."""
    return unpacked(PurePosixPath(name).name).rsplit(".", 1)[0]


def unpacked(name: str) -> str:
    """Give a file's name without the suffix of packing."""
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name


def format_of(name: str, head: bytes, where: str) -> str:
    """Tell a file's format from its name, and from its content where the name says nothing.

    JSON is told by its content alone: `.json` may hold one row a line, `.jsonl` one document.

    Args:
        name: the file's name.
        head: its first bytes, decompressed.
        where: name of the source, for messages.

    Returns:
        One of `SUFFIXES`.

    Raises:
        DataError: neither name nor content tells a format.
    """
    if head.startswith(PARQUET):
        return "parquet"
    suffix = unpacked(name.lower()).rsplit(".", 1)[-1]
    suffix = SUFFIX_NAMES.get(suffix, suffix)
    whole = head.decode("utf-8-sig", "replace")
    if suffix in ("csv", "conll"):
        return suffix
    if suffix not in ("json", "jsonl") and looks_like_conll(whole):
        return "conll"
    if suffix == "tsv":
        return suffix
    text = whole.lstrip(BLANKS)
    if suffix in ("json", "jsonl") or text[:1] in ("{", "["):
        return _json_format(text, suffix)
    if "\t" in text.split("\n", 1)[0]:
        return "tsv"
    known = ", ".join(f".{known}" for known in SUFFIXES)
    raise DataError(
        f"{where}: the format cannot be told from the name; rename it to one of {known}"
    )


def _json_format(text: str, suffix: str) -> str:
    """Tell one document from one row a line."""
    first, _, rest = text.partition("\n")
    try:
        value, end = Decoder().decode(first.strip(BLANKS))
    except (ValueError, Unreadable):
        opening = first.strip(BLANKS) in ("[", "{") or first.startswith(("[{", "[["))
        return "json" if suffix != "jsonl" or opening else "jsonl"
    listed = isinstance(value, list) and bool(value) and isinstance(value[0], (dict, list))
    if suffix == "jsonl":
        return "json" if listed and not rest.strip(BLANKS) else "jsonl"
    whole = end == len(first.strip(BLANKS))
    return "jsonl" if whole and not listed and rest.lstrip(BLANKS)[:1] in ("{", "[") else "json"
