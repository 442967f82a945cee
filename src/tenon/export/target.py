"""Target: what an adapter can be written as, for tools that know nothing of Tenon."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenon.adapters.blend import MOST_RANK
from tenon.core.errors import MissingExtra
from tenon.core.registry import Registry
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.merged import Proof
from tenon.export.case import Case
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
        out: the folder's name once it is whole.
    """

    adapter: Path
    base: Base
    answerer: Answerer
    shard_size: str
    rank: int = 0
    rows: Tokens | None = None
    out: Path = Path()


@dataclass(frozen=True)
class Written:
    """What a writer tells.

    Args:
        proof: how near the scores stayed.
        error: largest difference of the scores that the written files give / largest score.
        how: how other tools read the files, in a line.
        notes: what else was measured or left out, in sentences.
        commands: that read or serve the files, in their order.
    """

    proof: Proof
    error: float
    how: str
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A form that adapters are written in.

    Args:
        name: as in `--to`.
        summary: what it is, in a line.
        keeps_format: whether the base is loaded in the number format of its own files.
        ranked: whether a rank can be wanted.
        measures: whether labelled rows are of use to it.
        most: the largest rank that its reader takes, where a rank can be wanted.
        write: order and an empty folder to what was written there, read again and compared.
        refuses: says in a clause why an adapter cannot be written so, as far as its files and its
            base's config tell; empty where nothing speaks against it.
        needs: packages without which it cannot be written.
        extra: of Tenon's, that installs them.
    """

    name: str
    summary: str
    keeps_format: bool
    ranked: bool
    measures: bool
    write: Callable[[Order, Path], Written]
    refuses: Callable[[Case], str]
    most: int = MOST_RANK
    needs: tuple[str, ...] = ()
    extra: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages that it needs and that are not installed."""
        return tuple(name for name in self.needs if importlib.util.find_spec(name) is None)

    def refuse_without_packages(self) -> None:
        """Refuse to begin without the packages that it needs.

        Raises:
            MissingExtra: one is not installed.
        """
        if self.missing:
            raise MissingExtra(f"--to {self.name}", self.missing[0], self.extra)


TARGETS: Registry[Target] = Registry(
    "target of an export",
    "tenon.exporters",
    (
        "tenon.export.gguf",
        "tenon.export.lora",
        "tenon.export.merged",
        "tenon.export.mlx",
        "tenon.export.onnx",
        "tenon.export.plain",
        "tenon.export.sglang",
        "tenon.export.vllm",
    ),
)
"""By the name that `--to` takes."""
