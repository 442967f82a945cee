"""The law matrix: its rows (kinds), its columns (architectures), its laws, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from families import NAMES
from kinds import INITS, SMALL
from lawbook import PARTS
from tenon.adapters.kind import KINDS, Kind, settle
from tenon.adapters.names import members, split

LAWS: dict[str, str] = {
    "put on": "the adapter goes onto its default sites and has something to train",
    "L1": "fresh it changes nothing, bit for bit, packed and padded, or as little as its kind says",
    "gradient": "a gradient reaches each tensor that is trained, moves it, and reaches none of the "
    "base",
    "L2": "trained, it left every byte of the base as it was: switched off and taken off",
    "L5": "rows laid end to end are answered as padded ones, and give the same gradients",
    "L7": "written and read again it answers the same bit for bit, here and in PEFT",
    "alone": "a row is answered beside others as alone, within rounding",
    "L9": "the rows of one batch can have this adapter, another of its kind, a LoRA, and none",
    "cache": "each token of an answer that is written with a cache is the likeliest without one",
    "L8": "merged into the weights of the base it answers the same, within rounding",
}
"""Each law of a cell, in the order in which it is asked."""

HELD, REFUSED, NONE, BROKEN = "held", "refused", "none", "broken"
STARTS: dict[str, dict[str, Any]] = {"adapterplus": {"init": "identity"}}
"""Presets that start near the identity, made to start as it."""
HEADLESS = (
    "bert", "roberta", "xlm-roberta", "distilbert", "electra", "modernbert", "deberta-v2",
    "albert", "mpnet",
)  # fmt: skip
"""Encoders; every other family is loaded with its language-model head."""


def tables() -> dict[str, dict[str, Any]]:
    """Give of each row the adapter's table: every kind, of one with presets each, LoRA's starts.

    A fusion is made of adapters; its laws are in tests/laws/test_fusion.py.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, kind in KINDS:
        table = {"kind": name, **SMALL.get(name, {})}
        for preset in kind.presets:
            found[f"{name} {preset}"] = {**table, "preset": preset, **STARTS.get(preset, {})}
        if not kind.presets and kind.compound is None:
            found[name] = table
    starts = {f"lora.v1 {init}": {"kind": "lora.v1", "init": init} for init in INITS}
    return {**found, **starts}


TABLES = tables()


class Cell(NamedTuple):
    """A kind on an architecture.

    Args:
        row: name of the kind, and of a preset.
        family: model type of the column.
    """

    row: str
    family: str

    def __str__(self) -> str:
        return f"{self.row}-{self.family}".replace(" ", "-")

    @property
    def kind(self) -> Kind:
        return KINDS.get(TABLES[self.row]["kind"])

    @property
    def preset(self) -> str:
        return TABLES[self.row].get("preset", "")

    @property
    def sites(self) -> set[str]:
        """The single sites that it takes by default."""
        taken = settle("mood", TABLES[self.row]).sites
        return {split(each)[1] for site in taken for each in members(site)}


def cells(part: int | None = None) -> list[Cell]:
    """Give the cells of the matrix, all or one part of them; each part meets all rows and columns.

    Args:
        part: from 0 to PARTS - 1; None for all.
    """
    return [
        Cell(kind, family)
        for row, kind in enumerate(TABLES)
        for column, family in enumerate(NAMES)
        if part is None or (row + column) % PARTS == part
    ]


class Refusal(NamedTuple):
    """Something that is refused in cells, and the reason that is given.

    Args:
        law: of which it is refused; "put on" refuses the whole cell.
        where: in which cells.
        why: pattern of the reason.
    """

    law: str
    where: Callable[[Cell], bool]
    why: Callable[[Cell], str]


def _said(text: str) -> Callable[[Cell], str]:
    return lambda _: re.escape(text)


SHARING = Refusal("L9", lambda c: not c.kind.rowwise, _said("cannot be given to single rows"))
BEHIND = ("pfeiffer", "adapterplus", "compacter++", "mad-x")
QUERIES = {"attention.query", "attention.key"}
NO_CORES = {
    "deberta-v2": "DisentangledSelfAttention",
    "mpnet": "MPNetSelfAttention",
    "falcon": "FalconAttention",
}
"""Families that attend by themselves, with the class that does."""

REFUSALS = (
    Refusal(
        "put on",
        lambda c: c.family == "qwen3_moe" and "mlp.out" in c.sites and "mlp.in" not in c.sites,
        _said("its experts lie together in layers.0.mlp.experts"),
    ),
    Refusal(
        "put on",
        lambda c: c.family == "gpt2" and "linear" in c.kind.wraps
        and "transposed" not in c.kind.wraps,
        _said("is a transposed linear layer (Conv1D)"),
    ),
    Refusal(
        "put on",
        lambda c: c.family == "falcon" and c.preset in BEHIND,
        _said("where a block of model type falcon ends is not known"),
    ),
    Refusal(
        "put on",
        lambda c: c.family == "falcon" and c.kind.name == "glora.v1",
        _said("GLoRA does not support this layer type"),
    ),
    Refusal(
        "put on",
        lambda c: c.kind.name == "prefix.v1" and c.family in NO_CORES,
        lambda c: re.escape(f"is a {NO_CORES[c.family]} ("),
    ),
    Refusal("L8", lambda c: not c.kind.mergeable, lambda c: re.escape(c.kind.mergeable_why)),
    SHARING,
    Refusal(
        "L9",
        lambda c: c.preset == "mad-x" and c.family not in HEADLESS,
        _said("changes the base's language-model head"),
    ),
    Refusal(
        "L9",
        lambda c: c.preset in ("parallel", "scaled-parallel") and c.family in ("bart", "albert"),
        _said("it reads the input of another module"),
    ),
    Refusal(
        "L9",
        lambda c: c.family == "deberta-v2" and bool(c.sites & {*QUERIES, "norms"}),
        _said("does not have the 4 rows of the route: it is of another batch, or the base lays no"),
    ),
    Refusal(
        "L9",
        lambda c: c.family == "gemma3_text" and "norms" in c.sites,
        _said("does not have the 22 rows of the route: it is of another batch, or the base lays"),
    ),
)  # fmt: skip
"""All that may be refused; what else is refused is a fault until it is written down here."""


def expected(cell: Cell) -> dict[str, Refusal]:
    """Give what a cell is to refuse, by law; nothing else is asked of one that is refused whole."""
    found = {each.law: each for each in reversed(REFUSALS) if each.where(cell)}
    return {"put on": found["put on"]} if "put on" in found else found
