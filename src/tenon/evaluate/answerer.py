"""Answerer: an adapter on its base, proved to be what was evaluated, ready to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch

from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.manifest import Manifest, Probes
from tenon.adapters.pack import Adapter
from tenon.core.errors import AdapterError, DataError, RequestError
from tenon.core.progress import Progress
from tenon.data.example import Example, content_id
from tenon.evaluate.predict import inference, predict
from tenon.evaluate.prediction import Predictions
from tenon.model import trunk as trunks
from tenon.model.attach import restore, unchanged_random_state
from tenon.model.base import locate
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.settings import ModelSettings
from tenon.text.batch import of_ids
from tenon.text.render import ClassRenderer, Pieces
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
            RequestError: something that is no text, or is empty, or cannot be answered; single
                texts where the adapter was trained on pairs, or the other way.
        """
        examples = _examples(texts)
        self._refuse_other_sort(examples)
        try:
            tokens = collect(examples, self.renderer)
        except DataError as error:
            raise RequestError(str(error)) from error
        answers = self.answer(tokens)
        if answers.failed:
            raise RequestError("; ".join(f"{o}: {why}" for o, why in answers.failed.items()))
        return [self._answer(row) for row in answers.log_probs_RL]

    def answer(
        self, tokens: Tokens, *, batch_tokens: int = BATCH_TOKENS, progress: Progress | None = None
    ) -> Predictions:
        """Answer rows of token ids.

        Args:
            batch_tokens: real tokens computed at once.
            progress: told of the rows that are done.
        """
        labels = self.manifest.labels
        return predict(self.model, tokens, labels, batch_tokens=batch_tokens, progress=progress)

    def answer_examples(self, examples: Iterable[Example]) -> Predictions:
        """Answer examples, all of which are held in memory."""
        return self.answer(collect(examples, self.renderer))

    def _refuse_other_sort(self, examples: Sequence[Example]) -> None:
        columns = self.manifest.columns
        if not columns or not examples:
            return
        trained, asked = bool(columns.get("pair")), examples[0].pair is not None
        if trained != asked:
            sorts = {True: "pairs of texts", False: "single texts"}
            raise RequestError(
                f"{examples[0].origin}: these are {sorts[asked]}; the adapter was trained on "
                f"{sorts[trained]}"
            )

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
    # A base may have no token at all for a text in another script.
    texts = tuple(text for text in PROBE_TEXTS if renderer.encode([Pieces(text, None, -1)]).ids[0])
    dtype = str(model.trunk.model.dtype).removeprefix("torch.")
    logits = _logits(model, renderer, texts)
    return Probes(texts=texts, logits=logits, dtype=dtype)  # type: ignore[arg-type] - one of three


def _logits(
    model: Classifier,
    renderer: ClassRenderer,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
) -> tuple[tuple[float, ...], ...]:
    if not texts:
        return ()
    seconds = pairs or [None] * len(texts)
    both = zip(texts, seconds, strict=True)
    pieces = [renderer.prompt(Example("", "probe", text, pair)) for text, pair in both]
    encoded = renderer.encode(pieces)
    with inference(model):
        logits_BL = model.logits_BL(of_ids(encoded.ids, encoded.types))
    return tuple(tuple(row) for row in logits_BL.cpu().tolist())


def _model(trunk: trunks.Trunk, adapter: Adapter) -> Classifier:
    manifest = adapter.manifest
    peft = restore(trunk, adapter)
    labels = len(manifest.labels)
    with unchanged_random_state():
        head = Head(trunk.hidden_size, labels, normalize=manifest.pooling.normalize, bias=True)
    head.linear.load_state_dict(adapter.head)
    head.requires_grad_(requires_grad=False)
    return Classifier(trunk, peft, head, manifest.pooling.mode).eval()


def _prove(folder: Path, manifest: Manifest, model: Classifier, renderer: ClassRenderer) -> None:
    probes = manifest.probes
    if not probes.texts and not probes.logits:
        return
    pairs = probes.texts if probes.pairs is None else probes.pairs
    if not len(probes.texts) == len(probes.logits) == len(pairs) or any(
        len(row) != len(manifest.labels) for row in probes.logits
    ):
        raise AdapterError(
            f"{folder}: its probes do not have one logit a label for each text; write it again"
        )
    stored = torch.tensor(probes.logits)
    now = torch.tensor(_logits(model, renderer, probes.texts, probes.pairs))
    error = float((now - stored).abs().max() / stored.abs().max().clamp_min(1.0))
    if not error <= max(TOLERANCE[model.trunk.model.dtype], TOLERANCE[trunks.DTYPES[probes.dtype]]):
        raise AdapterError(
            f"{folder}: gives other logits here than when it was written (they differ by "
            f"{error:.1e} of their size); is another version of transformers or PEFT installed?"
        )


def _examples(texts: object) -> list[Example]:
    """Make examples of what was asked, all single texts or all pairs."""
    if isinstance(texts, str):
        raise RequestError(f"{texts[:40]!r}: is a single text; expected a list of texts")
    table = getattr(texts, "ndim", 1) != 1  # iterating over a data frame gives its columns' names
    if table or not isinstance(texts, Iterable) or isinstance(texts, bytes | Mapping | Set):
        what = type(texts).__name__
        raise RequestError(f"the texts are of type {what}; expected a list of texts, or of pairs")
    examples = [_example(text, place) for place, text in enumerate(texts)]
    for example in examples:
        if (example.pair is None) != (examples[0].pair is None):
            this, first = ("a pair", "is not") if example.pair is not None else ("not a pair", "is")
            raise RequestError(
                f"{example.origin}: is {this}, text 0 {first}; ask for texts and pairs apart"
            )
    return examples


def _example(text: object, place: int) -> Example:
    origin = f"text {place}"
    parts: tuple[object, ...] = text if isinstance(text, tuple) else (text,)
    if isinstance(text, tuple) and len(parts) != 2:  # noqa: PLR2004 - a pair
        raise RequestError(f"{origin}: is {text!r}; expected a text, or a tuple of two")
    texts = [_sound(part, origin) for part in parts]
    first, second = texts[0], texts[1] if len(texts) > 1 else None
    return Example(content_id(first, second), origin, first, second)


def _sound(part: object, origin: str) -> str:
    if not isinstance(part, str) or not part.strip():
        raise RequestError(f"{origin}: is {part!r}; expected a text that is not empty")
    try:
        part.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{origin}: is {ascii(part)[:60]}, which holds half of a surrogate pair; mend the text"
        ) from error
    return part
