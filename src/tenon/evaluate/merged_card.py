"""Merged card: the `README.md` of a model that an adapter was merged into."""

from __future__ import annotations

from tenon.adapters.manifest import Manifest
from tenon.evaluate.card import POOLED, changes, from_scores, front, labels_of
from tenon.evaluate.merged import Proof


def merged_card(manifest: Manifest, proof: Proof, factory: str) -> str:
    """Give the card: what was merged, how near it stayed, and how to load it.

    Args:
        factory: the class of transformers that reads the folder.
    """
    return "\n".join(
        [
            *front(manifest, "transformers", "merged"),
            f"# {manifest.name}, merged",
            "",
            f"`{manifest.base.name}` ({manifest.base.digest[:12]}) with the adapter "
            f"`{manifest.name}` of kind `{manifest.kind}` for {manifest.task} folded into its "
            f"weights by Tenon {manifest.tenon}.",
            "",
            f"On {proof.texts} texts, its scores differ from those of the adapter by "
            f"{proof.error:.1e} of their size ({proof.dtype}; {proof.tolerance:.0e} is allowed); "
            f"the adapter changes the base's by {proof.change:.1e}. The module that differs most "
            f"is `{proof.modules[0].module}`, by {proof.modules[0].error:.1e}.",
            "",
            *_dequantized(proof),
            "## Use",
            "",
            *_use(manifest, factory),
            *from_scores(manifest),
            *labels_of(manifest),
        ]
    )


def _dequantized(proof: Proof) -> list[str]:
    if not proof.dequantized:
        return []
    return [
        f"The adapter was trained on the base quantised ({proof.dequantized}). The weights here "
        f"are those of the quantised base in {proof.dtype} plus what the adapter adds; they are "
        "not quantised, and not those that the base was published with.",
        "",
    ]


def _use(manifest: Manifest, factory: str) -> list[str]:
    own = ["from safetensors.torch import load_file"] if manifest.layout == "trunk" else []
    own = ["import torch", *own] if manifest.pooling.dense else own
    load = [
        "```python",
        *own,
        f"from transformers import AutoTokenizer, {factory}",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")',
        f'model = {factory}.from_pretrained("path/of/this/folder").eval()',
    ]
    if manifest.layout == "transformers":
        return [*load, "```", ""]
    mode = manifest.pooling.mode
    pooled = POOLED.get(mode, "hidden_TD  # every token is read for itself")
    pooled = pooled.replace("model.base_model.model.", "model.")
    scaled = changes(manifest)
    logits = 'logits_L = head["weight"] @ vector_D + head["bias"]'
    if mode == "tokens":
        pooled, scaled = pooled.split("  #")[0], []
        logits = 'logits_TL = vector_D @ head["weight"].T + head["bias"]  # one row a token'
    return [
        "No head class of transformers reads the model as the adapter does, so the head is a file "
        "of its own:",
        "",
        *load,
        'head = load_file("path/of/this/folder/head.safetensors")',
        'hidden_TD = model(**tokenizer("a text", return_tensors="pt")).last_hidden_state[0]',
        f"vector_D = {pooled}",
        *scaled,
        logits,
        "```",
        "",
    ]
