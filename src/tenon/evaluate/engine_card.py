"""Engine card: the `README.md` of an adapter that was written for another server."""

from __future__ import annotations

from tenon.adapters.manifest import Manifest
from tenon.adapters.portable import Portable
from tenon.evaluate.card import from_scores, front, labels_of
from tenon.evaluate.lora_card import as_lora
from tenon.evaluate.merged import Proof


def engine_card(
    manifest: Manifest, made: Portable, proof: Proof, error: float, engine: str, line: str
) -> str:
    """Give the card: what was written, how near it stayed, how to serve it and to prove that.

    Args:
        manifest: of the adapter as it was trained.
        made: what was written.
        proof: what the adapter changes, and what may be lost.
        error: largest difference of the scores, as the files give them / largest score.
        engine: that it was written for.
        line: the command that serves it.
    """
    return "\n".join(
        [
            *front(manifest, "peft", "lora", "adapter"),
            f"# {manifest.name}, for {engine}",
            "",
            *as_lora(manifest, made, proof, error),
            "",
            "## Serve",
            "",
            "`sh launch.sh`, which is",
            "",
            "```sh",
            line,
            "```",
            "",
            "## Prove",
            "",
            "With the engine running: `python conformance.py --url http://127.0.0.1:8000`. It asks "
            "what `conformance.json` holds answers to, and says whether the engine answers as the "
            "adapter, as the base alone, or as neither.",
            "",
            *from_scores(manifest),
            *labels_of(manifest),
        ]
    )
