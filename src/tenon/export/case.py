"""Case: what an adapter's files and its base's config tell of it, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenon.adapters import pack
from tenon.adapters.delta import PAIRS, why_not
from tenon.adapters.kind import KINDS
from tenon.adapters.manifest import Manifest
from tenon.adapters.pack import Adapter
from tenon.core.files import read_json
from tenon.model.base import Base, locate

EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class Case:
    """An adapter that is to be written, and the base that it belongs to.

    Args:
        adapter: as it lies on the disk.
        base: where its base lies.
        config: of the base.
    """

    adapter: Adapter
    base: Base
    config: dict[str, Any]

    @property
    def manifest(self) -> Manifest:
        """What is known of the adapter."""
        return self.adapter.manifest

    @property
    def model_type(self) -> str:
        """The base's, as transformers names it."""
        return self.manifest.base.model_type

    @property
    def modules(self) -> list[str]:
        """The trunk's names of the modules that the adapter sits on."""
        return pack.target_modules(self.adapter)

    @property
    def rank(self) -> int:
        """The largest rank of a plain LoRA; 0 where only its matrices can tell."""
        if why_not(self.adapter):
            return 0
        firsts = tuple(f".{pair[0]}" for pair in PAIRS)
        return max(
            len(tensor) for name, tensor in self.adapter.weights.items() if name.endswith(firsts)
        )

    @property
    def on_embeddings(self) -> bool:
        """Whether the adapter changes the vectors of tokens."""
        return EMBEDDINGS in self.adapter.settings.sites or any(
            f".{PAIRS[1][0]}" in name for name in self.adapter.weights
        )


def case_of(folder: Path, base: str = "") -> Case:
    """Read an adapter's files and its base's config.

    Args:
        folder: the adapter's directory.
        base: where its base is now, if not under the name that it was trained on.

    Raises:
        AdapterError: the directory is damaged.
        FileError: it, or the base, is not there.
    """
    adapter = pack.read(folder)
    named = adapter.manifest.base
    located = locate(base or named.name, named.revision)
    return Case(adapter, located, read_json(located.folder / "config.json"))


def never(case: Case) -> str:
    """Refuse nothing."""
    del case
    return ""


def no_merge(case: Case) -> str:
    """Say why an adapter cannot be folded into its base; empty where it can."""
    kind = KINDS.get(case.adapter.kind)
    if kind.mergeable:
        return ""
    return (
        f"{kind.name} cannot be merged: {kind.mergeable_why}; keep it as an adapter "
        "(tenon export --to peft)"
    )


def no_lora(case: Case) -> str:
    """Say why an adapter is no LoRA and cannot be made one; empty where nothing speaks against."""
    kind = KINDS.get(case.adapter.kind)
    if kind.mergeable:
        return ""
    return (
        f"{kind.name} is no LoRA and cannot be made one: {kind.mergeable_why}; export it with "
        "--to peft, or serve it with Tenon"
    )


def no_writer(case: Case, engine: str) -> str:
    """Say why an engine that writes cannot take an adapter; empty where nothing speaks against.

    Args:
        engine: its name in prose.
    """
    why = no_lora(case)
    if why:
        return why
    if case.manifest.head == "seq2seq":
        return f"{engine} takes LoRA on decoders alone, and its base is an encoder-decoder{MERGE}"
    if not case.manifest.writes:
        return (
            f"{engine} has no place for the head of {case.manifest.task}; export it with --to onnx "
            "or --to merged, or serve it with Tenon"
        )
    if case.on_embeddings:
        return (
            f"it changes the vectors of tokens, and {engine} does not read such matrices as PEFT "
            f"does{MERGE}"
        )
    return ""


MERGE = "; export it with --to merged"
