"""ONNX card: the `README.md` of a graph that an adapter was written as."""

from __future__ import annotations

from collections.abc import Sequence

from tenon.adapters.manifest import Manifest
from tenon.evaluate.card import from_scores, front, labels_of
from tenon.evaluate.merged import Proof

VALUES = {
    "input_ids": "row.ids",
    "attention_mask": "row.attention_mask",
    "token_type_ids": "row.type_ids",
}
"""Of a row of the package `tokenizers`."""


def onnx_card(
    manifest: Manifest, inputs: Sequence[str], proof: Proof, error: float, notes: Sequence[str]
) -> str:
    """Give the card: what the graphs are, how near they stay, and how to run them.

    Args:
        inputs: of the graph, in order.
        proof: what the adapter changes.
        error: largest difference of the scores, as the graph gives them / largest score.
        notes: of its int8 variant.
    """
    return "\n".join(
        [
            *front(manifest, "onnx", "onnx"),
            f"# {manifest.name}, as a graph",
            "",
            f"`{manifest.base.name}` ({manifest.base.digest[:12]}) with the adapter "
            f"`{manifest.name}` of kind `{manifest.kind}` for {manifest.task} and its head, "
            f"written as ONNX by Tenon {manifest.tenon}.",
            "",
            f"On {proof.texts} texts, the scores of `model.onnx` on onnxruntime differ from those "
            f"of the adapter by {error:.1e} of their size; the adapter changes the base's by "
            f"{proof.change:.1e}.",
            "",
            *(f"* {note}" for note in notes),
            "",
            "## Use",
            "",
            *_use(manifest, inputs),
            *from_scores(manifest),
            *labels_of(manifest),
        ]
    )


def _use(manifest: Manifest, inputs: Sequence[str]) -> list[str]:
    feed = ", ".join(f'"{name}": numpy.array([{VALUES[name]}])' for name in inputs)
    tokens = manifest.pooling.mode == "tokens"
    scores = "logits_1TL" if tokens else "logits_1L"
    return [
        f"Rows are cut to {manifest.text.max_tokens} tokens; `{scores}` has one row of scores for "
        f"each {'token' if tokens else 'text'}. Rows of several texts are padded on the right, "
        "with 0 in their `attention_mask`.",
        "",
        "```python",
        "import numpy",
        "import onnxruntime",
        "from tokenizers import Tokenizer",
        "",
        'tokenizer = Tokenizer.from_file("path/of/this/folder/tokenizer.json")',
        "tokenizer.no_padding()",
        f"tokenizer.enable_truncation({manifest.text.max_tokens})",
        'session = onnxruntime.InferenceSession("path/of/this/folder/model.onnx")',
        'row = tokenizer.encode("a text")',
        f"{scores} = session.run(None, {{{feed}}})[0]",
        "```",
        "",
    ]
