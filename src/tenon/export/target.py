"""Target: what an adapter can be written as, for tools that know nothing of Tenon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenon.core.registry import Registry
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.merged import Proof
from tenon.model.base import Base
from tenon.text.tokens import Tokens


@dataclass(frozen=True)
class Order:
    """What is to be written.

    Args:
        adapter: its directory.
        base: where its base lies.
        answerer: the adapter on its base, proved. The writer may change it.
        shard_size: largest file of weights, as "5GB".
        rank: that a LoRA is cut to; 0 for the least that leaves nothing out.
        rows: labelled rows on which what is lost is measured; None where none are known.
    """

    adapter: Path
    base: Base
    answerer: Answerer
    shard_size: str
    rank: int = 0
    rows: Tokens | None = None


@dataclass(frozen=True)
class Written:
    """What a writer tells.

    Args:
        proof: how near the scores stayed.
        error: largest difference of the scores that the written files give / largest score.
        how: how other tools read the files, in a line.
        notes: what else was measured or left out, in sentences.
    """

    proof: Proof
    error: float
    how: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A form that adapters are written in.

    Args:
        name: as in `--to`.
        summary: what it is, in a line.
        keeps_format: whether the base is loaded in the number format of its own files.
        ranked: whether a rank can be wanted.
        measures: whether labelled rows are of use to it.
        write: order and an empty folder to what was written there, read again and compared.
    """

    name: str
    summary: str
    keeps_format: bool
    ranked: bool
    measures: bool
    write: Callable[[Order, Path], Written]


TARGETS: Registry[Target] = Registry(
    "target of an export",
    "tenon.exporters",
    ("tenon.export.merged", "tenon.export.lora", "tenon.export.onnx", "tenon.export.plain"),
)
"""By the name that `--to` takes."""
