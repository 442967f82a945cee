"""Answerer: an adapter on its base, proved to be what was evaluated, ready to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint, refuse_other
from tenon.adapters.manifest import Manifest
from tenon.core.errors import DataError, RequestError
from tenon.core.progress import Progress
from tenon.data.example import Example, content_id
from tenon.evaluate.exam import Exam, exam_of
from tenon.evaluate.ground import put_on, refuse_other_template
from tenon.evaluate.merged import Proof
from tenon.evaluate.merged import merge as fold
from tenon.evaluate.probes import prove
from tenon.evaluate.settings import EvaluateSettings
from tenon.model.base import locate
from tenon.model.halves import instructions
from tenon.model.model import Model
from tenon.model.settings import ModelSettings
from tenon.model.trunk import pick_device
from tenon.text.render import Renderer
from tenon.text.tokens import Tokens, collect

BATCH_TOKENS = 16_384
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Held = Literal["trained"] | Dtype


@dataclass(frozen=True)
class Answerer:
    """An adapter on its base.

    Args:
        manifest: the adapter's.
        model: base, adapter and head, in evaluation mode.
        renderer: as in training.
        proof: of an adapter that is merged, how near its scores stayed; else None.
    """

    manifest: Manifest
    model: Model
    renderer: Renderer
    proof: Proof | None = None

    def merge(self) -> Answerer:
        """Fold the adapter into the base's weights; what is given answers from these alone.

        Raises:
            AdapterError: its kind cannot be merged, it has been merged before, or the scores
                change by more than the number format allows. Once the weights have been changed,
                the message says so, and the adapter must be loaded again.
        """
        model, proof = fold(self.manifest, self.model, self.renderer)
        return replace(self, model=model, proof=proof)

    def predict(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[Any]:
        """Answer texts, or pairs of texts, in their order.

        Returns:
            For each an answer of the task: `tenon.evaluate.reply.Answer` or `Spans`.

        Raises:
            RequestError: something that is no text, or is empty, or cannot be answered; single
                texts where the adapter was trained on pairs, or the other way.
        """
        examples = _examples(texts)
        self.refuse_other_sort(examples)
        try:
            tokens = collect(examples, self.renderer)
        except DataError as error:
            raise RequestError(str(error)) from error
        answers = self.answer(tokens)
        if answers.failed:
            raise RequestError("; ".join(f"{o}: {why}" for o, why in answers.failed.items()))
        return self._exam.replies(answers)

    def answer(
        self, tokens: Tokens, *, batch_tokens: int = BATCH_TOKENS, progress: Progress | None = None
    ) -> Any:
        """Answer rows of token ids.

        Args:
            batch_tokens: real tokens computed at once.
            progress: told of the rows that are done.
        """
        labels = self.manifest.labels
        return self._exam.answer(
            self.model, tokens, labels, batch_tokens=batch_tokens, progress=progress
        )

    def answer_examples(self, examples: Iterable[Example]) -> Any:
        """Answer examples, all of which are held in memory."""
        return self.answer(collect(examples, self.renderer))

    @property
    def _exam(self) -> Exam:
        return self.exam(EvaluateSettings(written_rows=0))

    def exam(
        self, settings: EvaluateSettings, seed: int = 0, shots: tuple[Example, ...] = ()
    ) -> Exam:
        """Give the exam of the adapter's task; answers are as long as they were in training."""
        length = self.manifest.text.max_new_tokens
        settings = settings.model_copy(update={"max_new_tokens": length})
        return exam_of(self.manifest.task, self.renderer, settings, seed, shots)

    def refuse_other_sort(self, examples: Sequence[Example]) -> None:
        """Refuse single texts where pairs were trained on, or the other way.

        Raises:
            RequestError: these are of the other sort.
        """
        columns = self.manifest.columns
        if not columns or not examples:
            return
        trained = self._exam.paired or bool(columns.get("pair"))
        asked = examples[0].pair is not None
        if trained != asked:
            sorts = {True: "pairs of texts", False: "single texts"}
            raise RequestError(
                f"{examples[0].origin}: these are {sorts[asked]}; the adapter was trained on "
                f"{sorts[trained]}"
            )


def open_answerer(
    folder: Path,
    base: str = "",
    device: str = "auto",
    *,
    dtype: Held = "auto",
) -> Answerer:
    """Load an adapter directory with its base, and prove that it answers as when it was written.

    Args:
        folder: the adapter directory.
        base: the base's folder, package or hub id; by default the name the adapter was trained on.
        dtype: number format of the base in memory; "trained" is as "auto", but on a CPU with
            instructions for bfloat16 it is that for an adapter that was trained so, and reads.

    Raises:
        AdapterError: the directory is damaged, belongs to another base, or does not give the
            logits that it gave when it was written.
        FileError: the base is not there.
    """
    adapter = pack.read(folder)
    manifest = adapter.manifest
    located = locate(base or manifest.base.name, manifest.base.revision)
    held = manifest.base.quantize
    print_of_base = fingerprint(located.folder, located.name, located.revision, held)
    refuse_other(manifest.name, manifest.base, print_of_base)
    chosen = _as_trained(manifest, device) if dtype == "trained" else dtype
    settings = ModelSettings(device=device, dtype=chosen, quantize=held)
    model, renderer = put_on(adapter, located, settings)
    refuse_other_template(folder, manifest, renderer)
    prove(folder, manifest, model, renderer)
    return Answerer(manifest, model, renderer)


def _as_trained(manifest: Manifest, device: str) -> Dtype:
    """Give the number format in which an adapter answers where nothing else is asked for."""
    trained_so = manifest.probes.dtype == "bfloat16" and manifest.base.quantize == "none"
    if not trained_so or manifest.writes or pick_device(device).type != "cpu":
        return "auto"
    return "bfloat16" if instructions() else "auto"


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
