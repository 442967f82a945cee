"""Kept: what the scores of a report are made of, kept beside it, so that reports can be compared.

A score is a function of sums over rows. The terms of every row are all that an interval or a
paired test of any task needs; they are small where scores of labels, tags or tokens are not.

R labelled rows, K terms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy import sparse

from tenon.core.errors import DataError, FileError
from tenon.core.files import aside, reading
from tenon.evaluate.clusters import Grouping
from tenon.evaluate.prediction import Answers, Bools, Index, picked
from tenon.evaluate.scorers import SCORERS, Scorer, labelled

NAME = "scores.safetensors"
FORMAT = "1"
CLUSTERS = "clusters"
PARTS = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Block:
    """The terms of some scorers.

    Args:
        terms_RK: sparse, [R, K]; 0 in rows that are not scored.
        scored_R: which rows are scored.
    """

    terms_RK: Any
    scored_R: Bools


@dataclass(frozen=True)
class Kept:
    """What was kept of one system's answers to the labelled rows of one part.

    Args:
        ids: content ids of the R rows.
        origins: `file:line` of the R rows.
        gold: of each row, as `predictions.jsonl` has it.
        labels: the names that the system tells apart; none where it has none.
        blocks: name of a scorer to the terms of all that share them.
        grouping: which rows belong together; None where each stands for itself.
        failed: none; rows that could not be answered are in nothing.
    """

    ids: Sequence[str]
    origins: Sequence[str]
    gold: Sequence[str]
    labels: tuple[str, ...]
    blocks: Mapping[str, Block]
    grouping: Grouping | None
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_R(self) -> Bools:
        """All rows have a gold."""
        return np.ones(len(self), np.bool_)

    def finite(self) -> bool:
        """Whether every term is a finite number."""
        return all(np.isfinite(block.terms_RK.data).all() for block in self.blocks.values())

    def take(self, rows: Index) -> Kept:
        """Give the rows at `rows`, in that order."""
        return replace(
            self,
            **picked(self, rows, "gold"),
            blocks={
                name: Block(block.terms_RK[rows], block.scored_R[rows])
                for name, block in self.blocks.items()
            },
        )

    def same_gold(self, other: Kept) -> bool:
        """Whether the rows of both have the same gold."""
        return list(self.gold) == list(other.gold)


def write(
    path: Path, answers: Answers, scorers: Sequence[str], grouping: Grouping | None = None
) -> None:
    """Keep what the scores of some answers are made of.

    Args:
        path: the file; written whole or not at all.
        answers: to one part, some of them labelled.
        scorers: by name; those without a row are left out.
        grouping: which rows belong together.

    Raises:
        FileError: the disk refused. What was at `path` is as it was.
    """
    known = labelled(answers)
    homes = sorted({home(name) for name in scorers})
    blocks = {name: _block(SCORERS.get(name), known) for name in homes}
    held = {name: block for name, block in blocks.items() if block.scored_R.any()}
    told = {
        "format": FORMAT,
        "columns": json.dumps({name: block.terms_RK.shape[1] for name, block in held.items()}),
        "labels": json.dumps(list(getattr(answers, "labels", ()))),
        "scorers": json.dumps([name for name in scorers if home(name) in held]),
    }
    arrays = _arrays(held)
    if grouping and (clusters := grouping.clusters(known.origins)):
        told["clusters"] = grouping.noun
        arrays[CLUSTERS] = clusters.of_R.astype(np.int32)
    with aside(path) as beside:
        # safetensors' own writer gives mode 0600 and, on a full disk, no OSError
        beside.write_bytes(save(arrays, metadata=told))


def home(name: str) -> str:
    """Give the scorer under whose name terms are kept: of those that share them, the first."""
    scorer = SCORERS.get(name)
    same = (
        other for other, each in SCORERS if (each.terms, each.rows) == (scorer.terms, scorer.rows)
    )
    return min(same)


def _block(scorer: Scorer, known: Answers) -> Block:
    """Give the terms of a scorer for every row."""
    rows = len(known)
    if scorer.rows is None:
        return Block(sparse.csr_array(scorer.terms(known)), np.ones(rows, np.bool_))
    mine = scorer.rows(known)
    place = {origin: row for row, origin in enumerate(known.origins)}
    places_N = np.array([place[origin] for origin in mine.origins], np.int64)
    scored_R = np.zeros(rows, np.bool_)
    scored_R[places_N] = True
    if not len(mine):
        return Block(sparse.csr_array((rows, 1)), scored_R)
    terms_NK = sparse.csr_array(scorer.terms(mine))
    chosen_RN = sparse.csr_array(
        (np.ones(len(mine)), (places_N, np.arange(len(mine)))), shape=(rows, len(mine))
    )
    return Block(sparse.csr_array(chosen_RN @ terms_NK), scored_R)


def _arrays(blocks: Mapping[str, Block]) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    for name, block in blocks.items():
        terms_RK = block.terms_RK
        terms_RK.sort_indices()
        small = terms_RK.data.astype(np.float32)
        exact = np.array_equal(small.astype(np.float64), terms_RK.data)
        found[f"{name}.data"] = small if exact else terms_RK.data.astype(np.float64)
        found[f"{name}.indices"] = terms_RK.indices.astype(np.int32)
        found[f"{name}.indptr"] = terms_RK.indptr.astype(np.int32)
        found[f"{name}.scored"] = block.scored_R.astype(np.uint8)
    return found


def read(folder: Path) -> tuple[Kept, list[str], list[dict[str, Any]]]:
    """Read what a report's folder keeps.

    Returns:
        What was kept; the names of its scorers; and the entries of its labelled rows.

    Raises:
        FileError: the folder lacks a file, or one is damaged.
    """
    entries = _entries(folder / "predictions.jsonl")
    path = folder / NAME
    if not path.is_file():
        raise FileError(
            f"{path}: no such file; the report is of an older Tenon: write it anew with "
            "`tenon eval RUN --out FOLDER`, and compare that folder"
        )
    try:
        with reading(path), safe_open(path, "numpy") as file:
            told: dict[str, str] = file.metadata()
            columns: dict[str, int] = json.loads(told["columns"])
            blocks = {name: _read(file, name, width) for name, width in columns.items()}
            noun = told.get("clusters", "")
            of_R = file.get_tensor(CLUSTERS).tolist() if noun else []
            labels, scorers = json.loads(told["labels"]), json.loads(told["scorers"])
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise FileError(f"{path}: is damaged ({error}); write the report anew") from error
    if any(block.terms_RK.shape[0] != len(entries) for block in blocks.values()):
        raise FileError(f"{path}: is of other rows than predictions.jsonl; write the report anew")
    kept = Kept(
        ids=[str(entry["id"]) for entry in entries],
        origins=[str(entry["origin"]) for entry in entries],
        gold=[json.dumps(entry["gold"], sort_keys=True) for entry in entries],
        labels=tuple(labels),
        blocks=blocks,
        grouping=_grouping(noun, of_R, [str(entry["origin"]) for entry in entries]),
        failed={},
    )
    return kept, scorers, entries


def _grouping(noun: str, of_R: Sequence[int], origins: Sequence[str]) -> Grouping | None:
    return Grouping(noun, dict(zip(origins, map(str, of_R), strict=True))) if noun else None


def _read(file: Any, name: str, width: int) -> Block:
    data, indices, indptr = (file.get_tensor(f"{name}.{part}") for part in PARTS)
    scored_R = file.get_tensor(f"{name}.scored").astype(np.bool_)
    shape = (len(scored_R), width)
    terms_RK = sparse.csr_array((data.astype(np.float64), indices, indptr), shape=shape)
    return Block(terms_RK, scored_R)


def _entries(path: Path) -> list[dict[str, Any]]:
    """Read the answers to the labelled rows."""
    with reading(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    try:
        entries = [json.loads(line) for line in lines]
    except ValueError as error:
        raise FileError(f"{path}: is damaged ({error}); write the report anew") from error
    return [entry for entry in entries if "failed" not in entry and entry["gold"] is not None]


def scorers_of(names: Sequence[str]) -> list[Scorer]:
    """Give scorers that score what was kept; those that share terms or rows still do."""
    terms: dict[str, Any] = {}
    rows: dict[Any, Any] = {}
    found: list[Scorer] = []
    for name in names:
        scorer, key = SCORERS.get(name), home(name)
        terms.setdefault(key, _terms(key))
        if scorer.rows is not None:
            rows.setdefault(scorer.rows, _rows(key))
        kept = None if scorer.rows is None else rows[scorer.rows]
        found.append(replace(scorer, terms=terms[key], rows=kept))
    return found


def _terms(key: str) -> Any:
    return lambda kept: kept.blocks[key].terms_RK


def _rows(key: str) -> Any:
    return lambda kept: kept.take(np.flatnonzero(kept.blocks[key].scored_R))


def matched(kept: Sequence[Kept], names: Sequence[str]) -> list[Kept]:
    """Give all systems' rows in the first one's order.

    Rows are the same where they stand at the same place and say the same; where files were
    renamed, where they say the same.

    Args:
        kept: of each system.
        names: what the systems are called, for the error.

    Raises:
        DataError: systems answered other rows, or were scored against another gold or by other
            labels; all that is wrong is told at once.
    """
    first = kept[0]
    found, faults = [first], list[str]()
    for other, name in zip(kept[1:], names[1:], strict=True):
        order = _order(first, other)
        if order is None:
            shared = len(set(first.ids) & set(other.ids))
            faults.append(
                f"{name}: was judged on {len(other):,} rows, {names[0]} on {len(first):,}; "
                f"{shared:,} of them are the same"
            )
            continue
        same = other.take(order)
        if set(first.labels) != set(other.labels):
            odd = sorted(set(first.labels) ^ set(other.labels))
            faults.append(
                f"{name}: tells other labels apart than {names[0]}: "
                f"{', '.join(odd[:5])}{', …' if len(odd) > 5 else ''}"
            )
        elif differing := sum(a != b for a, b in zip(first.gold, same.gold, strict=True)):
            faults.append(
                f"{name}: was scored against another gold than {names[0]} on {differing:,} of "
                f"{len(first):,} rows"
            )
        found.append(same)
    if faults:
        remedy = "evaluate all of them on the same rows: tenon eval ADAPTER DATA --out FOLDER"
        raise DataError("\n".join([*faults, remedy]))
    return found


def _order(first: Kept, other: Kept) -> Index | None:
    """Give the rows of `other` in the order of `first`; None where they are not the same rows."""
    for keys, others in (
        (list(zip(first.origins, first.ids, strict=True)),
         list(zip(other.origins, other.ids, strict=True))),
        (list(first.ids), list(other.ids)),
    ):  # fmt: skip
        place = {key: row for row, key in enumerate(others)}
        if len(place) == len(others) == len(keys) and all(key in place for key in keys):
            return np.array([place[key] for key in keys], np.int64)
    return None
