"""Reader card: the `README.md` of an adapter in the layout of another program."""

from __future__ import annotations

from collections.abc import Sequence

from tenon.adapters.manifest import Manifest
from tenon.adapters.portable import Portable
from tenon.evaluate.card import front
from tenon.evaluate.lora_card import as_lora
from tenon.evaluate.merged import Proof


def reader_card(
    manifest: Manifest,
    made: Portable,
    proof: Proof,
    error: float,
    reader: str,
    library: str,
    lines: Sequence[str],
) -> str:
    """Give the card: what was written, how near it stayed, and the commands that read it.

    Args:
        manifest: of the adapter as it was trained.
        made: the plain LoRA.
        proof: what the adapter changes, and what may be lost.
        error: largest difference of the scores, as the files give them / largest score.
        reader: the program that reads it.
        library: the same, as hubs name it.
        lines: commands.
    """
    return "\n".join(
        [
            *front(manifest, library, "lora", "adapter"),
            f"# {manifest.name}, for {reader}",
            "",
            *as_lora(manifest, made, proof, error),
            "",
            f"The files were read again, and what they hold was added to the base: {reader} itself "
            "was not run.",
            "",
            "## Use",
            "",
            "```sh",
            *lines,
            "```",
            "",
        ]
    )
