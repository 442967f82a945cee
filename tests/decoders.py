"""Racks of tiny decoders with an adapter of each kind, and rows that are written over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from attached import TABLES, shake
from racks import adapter_in
from tenon.adapters.kind import settle
from tenon.core.errors import RunError
from tenon.evaluate.decoding import Decoding
from tenon.evaluate.generate import generate
from tenon.evaluate.running import Piece, Running
from tenon.evaluate.sampling import Sampling
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.rack import Rack
from tenon.model.settings import ModelSettings
from tenon.model.stacked import stacked
from tenon.model.writer import Writer
from tenon.serve.asked import Prompt
from writers import causal_folder

KINDS = {
    "lora": TABLES["lora"],
    "houlsby": TABLES["houlsby"],
    "pfeiffer": TABLES["pfeiffer"],
    "ia3": {"kind": "ia3.v1"},
    "prefix": TABLES["prefix"],
    "open-prefix": {**TABLES["prefix"], "length": 3, "start": "published"},
}
OWNERS = (None, *KINDS)
BASES = {"llama": {}, "qwen3": {}, "gpt2": {}, "mistral": {"sliding_window": 6}}
STOP = (2,)
MOST = 12


def decoder(cache: Path, arch: str, **model: str) -> Rack:
    """Give a tiny decoder with an adapter of each kind, away from its first weights.

    Args:
        model: settings of the model.
    """
    folder = causal_folder(cache, arch, **BASES[arch])
    rack = Rack(trunks.load(locate(str(folder)), ModelSettings(**model), writes=True))
    for place, (name, table) in enumerate(KINDS.items()):
        held = attach(rack.trunk, settle(name, table), seed=place)
        shake(held.peft, seed=place, size=0.3)
        rack.keep(name, table["kind"], held.peft.eval())
    return rack


def slotted(rack: Rack) -> Rack:
    """Put those adapters into slots that can be; alone they are in layers as before."""
    for name, table in KINDS.items():
        made = stacked(rack.trunk.model, adapter_in(rack, name, table))
        if made is not None:
            pool = rack.slots.pool(made.form)
            pool.resize(pool.capacity + 1)
            rack.slots.put(name, made)
    return rack


def spelled(ids: Sequence[int]) -> str:
    """Say each token as a word."""
    return "".join(f"<{token}>" for token in ids)


def row(owner: str | None, ids: Sequence[int], **how: object) -> Running:
    """Give a row that is to be written."""
    sampling = Sampling(**{"max_new_tokens": MOST, **how})
    return Running(owner, Prompt(None, tuple(ids), sampling), spelled, STOP)


def prompts(lengths: Sequence[int], seed: int = 0) -> list[tuple[int, ...]]:
    """Give random prompts of such lengths."""
    random = np.random.default_rng([seed, *lengths])
    return [tuple(random.integers(5, 100, length).tolist()) for length in lengths]


def alone(rack: Rack, owner: str | None, ids: Sequence[int], most: int = MOST) -> list[int]:
    """Write one row as evaluation does."""

    def said(peft) -> list[int]:
        model = Writer(rack.trunk, peft).eval()
        asked = {"stop_ids": STOP, "max_new_tokens": most, "batch_tokens": 1}
        return generate(model, [ids], **asked)[0].ids

    if owner is None:
        return said(None)
    with rack.only(owner) as peft:
        return said(peft)


def written(
    decoding: Decoding, rows: Iterable[Running], at_once: int = 3
) -> dict[Running, list[Piece | RunError]]:
    """Write rows, some of which begin later than others."""
    waiting = list(rows)
    told: dict[Running, list[Piece | RunError]] = {each: [] for each in waiting}
    while waiting or decoding.rows:
        for _ in range(min(at_once, len(waiting))):
            if decoding.room(waiting[0].prompt):
                decoding.begin(waiting.pop(0))
        for who, piece in decoding.step():
            told[who].append(piece)
    return told
