"""Answerer: an adapter on its base, proved to be what was evaluated, ready to answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.manifest import Manifest, Probes
from tenon.adapters.pack import Adapter
from tenon.core.errors import AdapterError, RequestError
from tenon.data.example import Example, content_id
from tenon.evaluate.predict import inference, predict
from tenon.evaluate.prediction import Predictions
from tenon.model import trunk as trunks
from tenon.model.attach import restore
from tenon.model.base import locate
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.settings import ModelSettings
from tenon.text.batch import of_ids
from tenon.text.render import ClassRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import Tokens, collect

BATCH_TOKENS = 16_384
PROBE_TEXTS = (
    "The parcel came a day early and everything in it was whole.",
    "Nobody answers; I have been waiting for my money since March!",
    "这家店的服务很好，下次还会再来。",
    "1 + 1 = 2",
)
TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}


@dataclass(frozen=True)
class Answer:
    """One answer.

    Args:
        label: the likeliest.
        probability: of it.
        probabilities: of every label.
    """

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Answerer:
    """An adapter on its base.

    Args:
        manifest: the adapter's.
        model: base, adapter and head, in evaluation mode.
        renderer: as in training.
    """

    manifest: Manifest
    model: Classifier
    renderer: ClassRenderer

    def predict(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[Answer]:
        """Answer texts, or pairs of texts, in their order.

        Raises:
            RequestError: something that is no text, or is empty.
        """
        examples = [_example(text, place) for place, text in enumerate(texts)]
        answers = self.answer(collect(examples, self.renderer))
        if answers.failed:
            raise RequestError("; ".join(f"{o}: {why}" for o, why in answers.failed.items()))
        return [self._answer(row) for row in answers.log_probs_RL]

    def answer(self, tokens: Tokens) -> Predictions:
        """Answer rows of token ids."""
        return predict(self.model, tokens, self.manifest.labels, batch_tokens=BATCH_TOKENS)

    def answer_examples(self, examples: Iterable[Example]) -> Predictions:
        """Answer examples, all of which are held in memory."""
        return self.answer(collect(examples, self.renderer))

    def _answer(self, log_probs_L: object) -> Answer:
        probabilities = torch.as_tensor(log_probs_L).exp().tolist()
        named = dict(zip(self.manifest.labels, probabilities, strict=True))
        label = max(named, key=named.__getitem__)
        return Answer(label, named[label], named)


def open_answerer(folder: Path, base: str = "", device: str = "auto") -> Answerer:
    """Load an adapter directory with its base, and prove that it answers as when it was written.

    Args:
        folder: the adapter directory.
        base: the base's folder, package or hub id; by default the name the adapter was trained on.

    Raises:
        AdapterError: the directory is damaged, belongs to another base, or does not give the
            logits that it gave when it was written.
        FileError: the base is not there.
    """
    manifest = pack.read(folder).manifest
    located = locate(base or manifest.base.name, manifest.base.revision)
    print_of_base = fingerprint(located.folder, located.name, located.revision)
    adapter = pack.read(folder, print_of_base)
    settings = ModelSettings(device=device)
    pooler = manifest.pooling.mode == "pooler"
    trunk = trunks.load(located, settings, pooler=pooler)
    model = _model(trunk, adapter)
    renderer = ClassRenderer(
        load_tokenizer(located.folder),
        manifest.labels,
        manifest.text.max_tokens,
        manifest.text.cut,
    )
    _prove(folder, manifest, model, renderer)
    return Answerer(manifest, model, renderer)


def probe(model: Classifier, renderer: ClassRenderer) -> Probes:
    """Give fixed inputs and the logits that the model gives for them."""
    return Probes(texts=PROBE_TEXTS, logits=_logits(model, renderer, PROBE_TEXTS))


def _logits(
    model: Classifier, renderer: ClassRenderer, texts: Sequence[str]
) -> tuple[tuple[float, ...], ...]:
    examples = [Example(content_id(text), "probe", text) for text in texts]
    pieces = [renderer.prompt(example) for example in examples]
    with inference(model):
        logits_BL = model.logits_BL(of_ids(renderer.encode(pieces).ids))
    return tuple(tuple(row) for row in logits_BL.cpu().tolist())


def _model(trunk: trunks.Trunk, adapter: Adapter) -> Classifier:
    manifest = adapter.manifest
    peft = restore(trunk, adapter)
    labels = len(manifest.labels)
    head = Head(trunk.hidden_size, labels, normalize=manifest.pooling.normalize, bias=True)
    head.linear.load_state_dict(adapter.head)
    head.requires_grad_(requires_grad=False)
    return Classifier(trunk, peft, head, manifest.pooling.mode).eval()


def _prove(folder: Path, manifest: Manifest, model: Classifier, renderer: ClassRenderer) -> None:
    stored = torch.tensor(manifest.probes.logits)
    if not len(stored):
        return
    now = torch.tensor(_logits(model, renderer, manifest.probes.texts))
    error = float((now - stored).abs().max() / stored.abs().max().clamp_min(1.0))
    if not error <= TOLERANCE[model.trunk.model.dtype]:
        raise AdapterError(
            f"{folder}: gives other logits here than when it was written (they differ by "
            f"{error:.1e} of their size); is another version of transformers or PEFT installed?"
        )


def _example(text: object, place: int) -> Example:
    first, second = text if isinstance(text, tuple) else (text, None)  # type: ignore[misc]
    for part in (first, "-" if second is None else second):
        if not isinstance(part, str) or not part.strip():
            raise RequestError(f"text {place}: is {part!r}; expected a text that is not empty")
    return Example(content_id(first, second), f"text {place}", first, second)  # type: ignore[arg-type]
