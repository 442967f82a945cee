"""LoRA card: the `README.md` of an adapter that was written as the plainest LoRA there is."""

from __future__ import annotations

from tenon.adapters.manifest import Manifest
from tenon.adapters.portable import Portable
from tenon.evaluate.card import from_scores, front, labels_of, without_tenon
from tenon.evaluate.merged import Proof


def lora_card(manifest: Manifest, made: Portable, proof: Proof, error: float) -> str:
    """Give the card: what was written, how near it stayed, and how to load it.

    Args:
        manifest: of the adapter as it was trained.
        made: what was written.
        proof: what the adapter changes, and what may be lost.
        error: largest difference of the scores, as the files give them / largest score.
    """
    return "\n".join(
        [
            *front(manifest, "peft", "lora", "adapter"),
            f"# {manifest.name}, as a LoRA",
            "",
            *as_lora(manifest, made, proof, error),
            "",
            "## Use",
            "",
            *without_tenon(made.adapter.manifest),
            *from_scores(manifest),
            *labels_of(manifest),
        ]
    )


def as_lora(manifest: Manifest, made: Portable, proof: Proof, error: float) -> list[str]:
    """Say what was written as a plain LoRA, and how near its scores stayed."""
    return [
        f"The adapter `{manifest.name}` of kind `{manifest.kind}` for {manifest.task} over "
        f"`{manifest.base.name}` ({manifest.base.digest[:12]}), written by Tenon "
        f"{manifest.tenon} as a plain LoRA: rank {made.rank} in every module, nothing to "
        "multiply the two matrices by, no bias, no pattern.",
        "",
        f"On {proof.texts} texts, its scores differ from those of the adapter by "
        f"{error:.1e} of their size; the adapter changes the base's by {proof.change:.1e}."
        f"{_cut(made)}",
    ]


def _cut(made: Portable) -> str:
    if made.rank >= made.exact:
        return ""
    worst = max(made.lost.values())
    return (
        f" Rank {made.exact} would leave nothing out; at {made.rank}, up to "
        f"{100 * worst:.2g} % of a module's matrix is lost."
    )
