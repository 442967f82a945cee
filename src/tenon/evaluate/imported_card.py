"""Imported card: the `README.md` of an adapter that another library trained."""

from __future__ import annotations

from collections.abc import Sequence

from tenon.adapters.manifest import Manifest
from tenon.evaluate.card import from_scores, front, labels_of, use_of

LIBRARIES = {"peft": "PEFT", "adapterhub": "AdapterHub's `adapters`"}


def imported_card(manifest: Manifest, notes: Sequence[str]) -> str:
    """Give the card: what was imported, what is not known of it, and how to load it."""
    return "\n".join(
        [
            *front(manifest, "peft", manifest.kind.split(".")[0], "adapter", "imported"),
            f"# {manifest.name}",
            "",
            f"An adapter of kind `{manifest.kind}` for {manifest.task} over `{manifest.base.name}`"
            f" ({manifest.base.digest[:12]}), imported by Tenon {manifest.tenon} from "
            f"{LIBRARIES[manifest.origin]}.",
            "",
            "**The base is not proven.** That the adapter was trained on these very weights is "
            "what its files, or whoever imported it, say. No report of its quality came with it: "
            "`tenon eval` makes one from labelled rows.",
            "",
            *(f"* {note}" for note in notes),
            *([""] if notes else []),
            "## Use",
            "",
            *use_of(manifest),
            *from_scores(manifest),
            *labels_of(manifest),
        ]
    )
