"""Columnar files: Parquet, and data sets of the `datasets` library; origins count rows from 1."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tenon.core.errors import DataError, FileError, MissingExtra, did_you_mean
from tenon.data.example import Row

BATCH_ROWS = 1_024


def parquet_rows(path: str, notes: list[str]) -> Iterator[Row]:
    """Read the rows of a Parquet file; class numbers become class names where the file has them.

    Raises:
        DataError: the file is damaged.
    """
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = _class_names(file.schema_arrow.metadata or {})
            _tell(names, path, notes)
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(_named(values, names), f"{path}:{number}")
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}:{number + 1}: the Parquet file is damaged ({error}); write it again"
        ) from error


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Give the class names that `datasets` keeps in a file's metadata, by column."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: list(kind["names"])
            for name, kind in features.items()
            if kind.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _named(values: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, object]:
    """Replace class numbers by names; -1, the mark of a missing class, by None."""
    for column, classes in names.items():
        number = values.get(column)
        if isinstance(number, int) and number < len(classes):
            values[column] = classes[number] if number >= 0 else None
    return values


def _tell(names: Mapping[str, list[str]], where: str, notes: list[str]) -> None:
    for column, classes in names.items():
        notes.append(
            f"{where}: the numbers of {column!r} are read as their {len(classes)} class names"
        )


def dataset_rows(path: str, member: str, notes: list[str]) -> Iterator[Row]:
    """Read the rows of a folder that `datasets` wrote with `save_to_disk`.

    Raises:
        MissingExtra: `datasets` is not installed.
        DataError: the folder is damaged, or has no part `member`.
    """
    datasets = _library("reading a folder saved by datasets")
    try:
        found = datasets.load_from_disk(path)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: datasets cannot read it ({error}); save it again") from error
    where = f"{path}#{member}" if member else path
    yield from _dataset(_part(found, member, path), where, notes)


def hub_rows(name: str, member: str, notes: list[str]) -> Iterator[Row]:
    """Read the rows of a hub data set; `name` is owner/name or owner/name/configuration.

    Raises:
        MissingExtra: `datasets` is not installed.
        FileError: the data set cannot be reached.
    """
    where = f"hub:{name}#{member}" if member else f"hub:{name}"
    yield from _dataset(_part(_hub(name), member, f"hub:{name}"), where, notes)


def hub_parts(name: str) -> list[str]:
    """Give the splits of a hub data set.

    Raises:
        MissingExtra: `datasets` is not installed.
        FileError: the data set cannot be reached.
    """
    return [str(split) for split in _hub(name)]


def _hub(name: str) -> Any:
    datasets = _library("reading a data set of the hub")
    owner, _, rest = name.partition("/")
    short, _, configuration = rest.partition("/")
    try:
        return datasets.load_dataset(f"{owner}/{short}", configuration or None)
    except (OSError, ValueError, RuntimeError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(
            f"hub:{name}: cannot be loaded ({cause}); "
            "check the name and the network, or download its files"
        ) from error


def dataset_parts(path: str) -> list[str]:
    """Give the parts of a folder that `datasets` wrote; none where it holds a single table."""
    index = Path(path) / "dataset_dict.json"
    if not index.is_file():
        return []
    try:
        return [str(name) for name in json.loads(index.read_text(encoding="utf-8"))["splits"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{index}: does not list the parts ({error!r}); save the data set again"
        ) from error


def is_dataset(path: Path) -> bool:
    """Tell whether `datasets` wrote the folder `path` with `save_to_disk`."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _library(feature: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(feature, "datasets", "hub") from error
    return datasets


def _part(found: Any, member: str, where: str) -> Any:
    if not hasattr(found, "keys"):
        if member:
            raise DataError(
                f"{where}: holds one table, without a part {member!r}; leave #{member} out"
            )
        return found
    names = [str(name) for name in found]
    if member in names:
        return found[member]
    if not member and len(names) == 1:
        return found[names[0]]
    asked = (
        f"no part {member!r} in it; {did_you_mean(member, names)}"
        if member
        else "holds several parts"
    )
    raise DataError(f"{where}: {asked}; it has {', '.join(names)}; name one: {where}#{names[0]}")


def _dataset(table: Any, where: str, notes: list[str]) -> Iterator[Row]:
    names = {
        str(column): [str(name) for name in feature.names]
        for column, feature in table.features.items()
        if type(feature).__name__ == "ClassLabel"
    }
    _tell(names, where, notes)
    for number, values in enumerate(table, 1):
        yield Row(_named(cast("dict[str, Any]", values), names), f"{where}:{number}")
