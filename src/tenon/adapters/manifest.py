"""Manifest: what `tenon.json` says about the adapter in whose directory it lies."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from tenon.adapters.fingerprint import Fingerprint
from tenon.adapters.settings import AdapterSettings
from tenon.core.settings import Settings

FORMAT = 1
TASK_TYPES = {"language": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}
"""What PEFT calls a model whose language-model head is its own, by `Manifest.head`."""
Layout = Literal["trunk", "transformers"]
HeadSort = Literal["classes", "language", "seq2seq"]
Dense = Literal["", "tanh", "relu", "gelu"]
Origin = Literal["", "peft", "adapterhub"]
PoolingMode = Literal["mean", "cls", "pooler", "last", "tokens"]


class Pooling(Settings):
    """How a row's hidden states become one vector.

    Args:
        mode: which hidden states.
        normalize: scale the vector to length 1 before the head.
        dense: activation of a layer [D, D] that the head begins with; empty for none.
    """

    mode: PoolingMode
    normalize: bool = False
    dense: Dense = ""


class Lengths(Settings):
    """How texts are written and how long they may be.

    Args:
        max_tokens: rows longer than this are cut.
        cut: the side that loses tokens.
        units: what gets class scores: rows, words or tokens; longer texts than `max_tokens` are
            read in windows where it is not rows.
        template: of answers that the base writes: "chat" for prompts in its chat template, "none"
            for prompts as they are; empty for other tasks.
        template_digest: of the chat template; empty where none is used.
        instruction: what is asked around each prompt, which stands where it has `{}`.
        source_language, target_language: codes for a tokenizer of several languages; else empty.
        max_new_tokens: most tokens of an answer that the base writes; 0 for other tasks.
        answer_tokens: most tokens of an answer that stands in a context; 0 for other tasks.
    """

    max_tokens: int
    cut: Literal["right", "left"] = "right"
    units: str = "rows"
    template: Literal["", "chat", "none"] = ""
    template_digest: str = ""
    instruction: str = ""
    source_language: str = ""
    target_language: str = ""
    max_new_tokens: int = 0
    answer_tokens: int = 0


class Probes(Settings):
    """Inputs of ours and the logits that the adapter gave for them when it was written.

    Args:
        texts: a few short texts; no user's rows.
        pairs: their second texts, or None for single texts.
        logits: float32, one list of L numbers a text.
        dtype: number format of the base that gave them.
    """

    texts: tuple[str, ...] = ()
    pairs: tuple[str, ...] | None = None
    logits: tuple[tuple[float, ...], ...] = ()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class Parent(Settings):
    """An adapter that another one was composed of.

    Args:
        name: its own, made different from those of other parents.
        kind: its kind.
        digest: sha256 of its manifest, which has those of all its files.
        weight: what its change of each module's weight is multiplied by.
    """

    name: str
    kind: str
    digest: str
    weight: float


class TensorSpec(Settings):
    """One tensor of the adapter.

    Args:
        dtype: as torch names it, `float32`.
        shape: its sizes.
    """

    dtype: str
    shape: tuple[int, ...]


class Manifest(Settings):
    """All that is known of an adapter besides its weights.

    Args:
        format: of the directory; this is 1.
        tenon: version that wrote it.
        name, kind: of the adapter.
        settings: the adapter's settings; `pack.write` fills it in.
        task: what it was trained for.
        head: what reads the hidden states: "classes" for a head of ours, "language" for the own
            language-model head of a decoder, "seq2seq" for that of an encoder-decoder; of these
            two, the adapter alone is trained.
        prefix: name of the trunk inside the model with its language-model head.
        labels: L label names; the index of one is its row in the head; none where it is the base's.
        base: the base it belongs to.
        pooling, text: how inputs reach the head.
        constants: what turns scores into answers, by name: `thresholds` of the labels, or `mean`
            and `spread` of the numbers that were learned.
        temperature: what the head's weights were divided by, as dev asked for it; 1 for nothing.
        columns: field of an example to the column that held it in the training rows.
        plan_digest, data_digest: of what it was trained by and on.
        probes: inputs with known logits, to prove an environment by.
        report: summary of its report.
        parents: the adapters that it was composed of; none where it was trained.
        composed: how: the `composition` over the names of the parents, `method`, and what it lost.
        layout: "transformers" where AutoModelForSequenceClassification has this very head, or
            AutoModelForCausalLM is the base, under whose names the tensors then lie; "trunk" where
            the head is a file of its own.
        tensors: file to its tensors; `pack.write` fills it in.
        files: every other file's sha256; `pack.write` fills it in.
        proven: whether `base` is known to be what it was trained on. Of an adapter that was
            imported, it is what the importer named.
        origin: the format it was imported from; empty for an adapter that was trained here.
        seal: sha256 of all else in the manifest; `pack.write` fills it in.
    """

    format: Literal[1] = FORMAT
    tenon: str
    name: str
    kind: str
    settings: AdapterSettings | None = None
    task: str = "text-classification"
    head: HeadSort = "classes"
    prefix: str = ""
    labels: tuple[str, ...]
    base: Fingerprint
    pooling: Pooling
    text: Lengths
    constants: dict[str, tuple[float, ...]] = {}
    temperature: float = Field(default=1.0, gt=0)
    columns: dict[str, str | tuple[str, ...]] = {}
    plan_digest: str = ""
    data_digest: str = ""
    probes: Probes = Probes()
    report: dict[str, Any] = {}
    parents: tuple[Parent, ...] = ()
    composed: dict[str, Any] = {}
    layout: Layout = "trunk"
    tensors: dict[str, dict[str, TensorSpec]] = {}
    files: dict[str, str] = {}
    proven: bool = True
    origin: Origin = ""
    seal: str = ""

    @property
    def writes(self) -> bool:
        """Whether the base writes its answers itself, with a head of its own."""
        return self.head != "classes"


class Head(NamedTuple):
    """A head of transformers.

    Args:
        prefix: name of the trunk inside the model with the head.
        name: name of the head's linear layer.
        has_bias: whether it has a bias.
    """

    prefix: str
    name: str
    has_bias: bool


HEADS: dict[tuple[str, PoolingMode], Head] = {
    ("bert", "pooler"): Head("bert", "classifier", has_bias=True),
    ("gpt2", "last"): Head("transformer", "score", has_bias=False),
    **{
        (decoder, "last"): Head("model", "score", has_bias=False)
        for decoder in ("llama", "mistral", "qwen2", "qwen3")
    },
}
"""Model type and pooling whose AutoModelForSequenceClassification is one linear layer, as ours."""


def layout_for(model_type: str, pooling: Pooling, *, has_bias: bool) -> Layout:
    """Choose the layout: "transformers" where its head class computes the same logits.

    Args:
        model_type: of the base.
        pooling: as in the manifest.
        has_bias: whether our head's bias is anything but 0.
    """
    head = HEADS.get((model_type, pooling.mode))
    plain = not pooling.normalize and not pooling.dense
    fits = head is not None and plain and (head.has_bias or not has_bias)
    return "transformers" if fits else "trunk"
