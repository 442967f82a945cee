"""Ensemble: the adapters of a composition on one base, each proved, ready to answer together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tenon.adapters import pack
from tenon.adapters.alike import FUSED, answer_of, answering, longest, refuse_unlike
from tenon.adapters.compose import Parents
from tenon.adapters.composition import (
    Composition,
    Fuse,
    Parallel,
    Route,
    names,
    text,
)
from tenon.adapters.fingerprint import fingerprint, refuse_other
from tenon.adapters.kind import KINDS
from tenon.adapters.manifest import Manifest
from tenon.core.errors import AdapterError, RequestError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.ground import (
    headed,
    refuse_other_template,
    renderer_for,
    tokenizer_for,
    trunk_for,
)
from tenon.evaluate.probes import prove
from tenon.model.attach import restore
from tenon.model.base import locate
from tenon.model.rack import Rack
from tenon.model.settings import ModelSettings


@dataclass(frozen=True)
class Ensemble:
    """The adapters of a composition on their base.

    Args:
        composition: over the names of the adapters.
        parents: the adapters.
        rack: the base, with the adapters out of it.
        tokenizer: of the base.
        head: the adapter whose head is taken; empty for the mean of those that answer.
    """

    composition: Composition
    parents: Parents
    rack: Rack
    tokenizer: PreTrainedTokenizerBase
    head: str = ""

    def predict(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> list[Any]:
        """Answer texts, or pairs of texts, in their order.

        Returns:
            For each an answer of the task. Of a parallel composition, a dict of them by part.

        Raises:
            RequestError: as by `Answerer.predict`; or a route leaves a text out, or has a row that
                is none of the texts.
        """
        match self.composition:
            case Parallel(parts=parts):
                columns = [self._by(part, texts) for part in parts]
                said = [text(part) for part in parts]
                return [dict(zip(said, row, strict=True)) for row in zip(*columns, strict=True)]
            case Route(routed=routed):
                return self._routed(routed, texts)
            case _:
                return self._by(self.composition, texts)

    def _by(self, part: Composition, texts: Sequence[Any]) -> list[Any]:
        with self.answering(part) as answerer:
            return answerer.predict(texts)

    def _routed(
        self, routed: Sequence[tuple[Composition, tuple[int, ...]]], texts: Sequence[Any]
    ) -> list[Any]:
        owned = [row for _, rows in routed for row in rows]
        strange = [row for row in owned if row >= len(texts)]
        left = sorted({*range(len(texts))} - {*owned})
        if strange or left:
            what = f"has row {strange[0]}" if strange else f"gives text {left[0]} to no part"
            raise RequestError(
                f"{text(self.composition)}: {what}; {len(texts)} texts were asked, from 0"
            )
        found: dict[int, Any] = {}
        for part, rows in routed:
            answers = self._by(part, [texts[row] for row in rows])
            found.update(zip(rows, answers, strict=True))
        return [found[row] for row in range(len(texts))]

    @contextlib.contextmanager
    def answering(self, part: Composition) -> Iterator[Answerer]:
        """Put a part that gives one answer on the base, and take it out again when done.

        Args:
            part: the composition itself, an adapter of it, or anything over its adapters.

        Raises:
            AdapterError: the heads of those that answer cannot be averaged.
        """
        manifest, head = self.manifest(part), self._head(part)
        weights = answer_of(part, self.parents.adapters, head).head
        renderer = renderer_for(manifest, self.tokenizer, seq2seq=self.rack.trunk.seq2seq)
        with self.rack.mixed(part):
            model = headed(manifest, self.rack.trunk, None, weights)
            yield Answerer(manifest, model, renderer)

    def manifest(self, part: Composition) -> Manifest:
        """Give the manifest by which a part reads and answers: that of the one whose head leads.

        Every part reads texts as long as the longest that any adapter of the ensemble reads.
        """
        known = self.parents.manifests
        lead = known[self._head(part) or answering(part)[0]]
        return lead.model_copy(update={"text": longest(lead, known.values())})

    def _head(self, part: Composition) -> str:
        """Give the adapter whose head is taken for a part; an adapter alone has its own."""
        return self.head if self.head in names(part) else ""


def open_ensemble(
    composition: Composition,
    folders: Mapping[str, Path],
    *,
    base: str = "",
    device: str = "auto",
    head: str = "",
) -> Ensemble:
    """Load a base with the adapters of a composition, and prove each of them.

    Args:
        composition: over adapters.
        folders: of the adapters, by the names that the composition has for them.
        base: the base's folder, package or hub id; by default as the first adapter names it.
        device: where answers are computed.
        head: the adapter whose head is taken; the mean of those that answer unless given.

    Raises:
        AdapterError: an adapter cannot be trusted, or they do not belong together.
        FileError: the base is not there.
    """
    held = {name: pack.read(folder) for name, folder in folders.items()}
    digests = {name: pack.digest(folder) for name, folder in folders.items()}
    parents = Parents(held, digests)
    refuse_unlike(composition, parents.manifests, head)
    _refuse_unmixable(composition, parents)
    lead = answering(composition)[0]
    known = held[lead].manifest
    located = locate(base or known.base.name, known.base.revision)
    quantize = known.base.quantize
    print_of_base = fingerprint(located.folder, located.name, quantize=quantize)
    refuse_other(held[lead].name, known.base, print_of_base)
    answerers = [held[name].manifest for name in answering(composition)]
    tokenizer = tokenizer_for(answerers[0], located)
    settings = ModelSettings(device=device, quantize=quantize)
    trunk = trunk_for(answerers, located, settings, tokenizer)
    ensemble = Ensemble(composition, parents, Rack(trunk), tokenizer, head)
    for name, folder in folders.items():
        _put_in(ensemble, name, folder, proved=held[name].manifest.task == known.task)
    return ensemble


def _put_in(ensemble: Ensemble, name: str, folder: Path, *, proved: bool) -> None:
    """Put an adapter into the rack, once it gives what it gave when it was written.

    Args:
        proved: whether it can be asked here; of another task, this base may lack the head for it.
    """
    trunk, adapter = ensemble.rack.trunk, ensemble.parents.adapters[name]
    peft = restore(trunk, adapter)
    if proved:
        model = headed(adapter.manifest, trunk, peft, adapter.head)
        renderer = renderer_for(adapter.manifest, ensemble.tokenizer, seq2seq=trunk.seq2seq)
        refuse_other_template(folder, adapter.manifest, renderer)
        prove(folder, adapter.manifest, model, renderer)
    ensemble.rack.keep(name, adapter.kind, peft.eval())


def _refuse_unmixable(composition: Composition, parents: Parents) -> None:
    """Refuse what cannot run beside others.

    Raises:
        AdapterError: a kind does more than to change what modules give, or nothing has been
            learned yet that would mix the parts.
    """
    if isinstance(composition, Fuse):
        raise AdapterError(
            f"{text(composition)}: its attention is learned first: "
            f"{FUSED}; or take average(…), whose weights you choose"
        )
    for name, adapter in parents.adapters.items():
        if not KINDS.get(adapter.kind).rowwise:
            known = ", ".join(each for each, made in KINDS if made.rowwise)
            raise AdapterError(
                f"{text(name)}: is of kind {adapter.kind}, which does more than to change what "
                f"single modules give, so it cannot be composed; these can: {known}"
            )
