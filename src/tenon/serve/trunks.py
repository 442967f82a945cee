"""Trunks: the forms in which a base is held, for adapters that read and for those that write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from tenon.adapters.manifest import Manifest
from tenon.adapters.pack import Adapter
from tenon.core.errors import FileError, PlanError, RequestError
from tenon.core.files import read_json
from tenon.model import trunk as trunks
from tenon.model.base import Base
from tenon.model.loading import POOLERS, writes_answers
from tenon.model.rack import Rack
from tenon.serve.handle import Handle
from tenon.serve.settings import EngineSettings
from tenon.serve.stage import Stage
from tenon.text.seq2seq import lead, speak
from tenon.text.tokenizer import load_tokenizer

Sort = Literal["reads", "writes"]


@dataclass
class Trunks:
    """A base, loaded in each form when it is first needed.

    A decoder is loaded with its language-model head, and adapters of all tasks sit on it; of an
    encoder-decoder, adapters with a head of their own sit on the encoder alone.

    Args:
        base: where its files lie.
        settings: how it is loaded, and what may be held where.
        reload: reads an adapter's files again.
    """

    base: Base
    settings: EngineSettings
    reload: Callable[[Handle], Adapter]
    held: dict[tuple[Sort, str, str], Stage] = field(
        default_factory=dict[tuple[Sort, str, str], Stage]
    )

    def stage(self, manifest: Manifest) -> Stage:
        """Give the stage that an adapter sits on.

        Raises:
            PlanError: the base cannot be held as the adapter needs it.
            FileError: the base's files are not whole.
        """
        return self._stage(*self._at(manifest))

    def here(self, manifest: Manifest) -> Stage | None:
        """Give the stage that an adapter sits on, if it is there already; from any thread."""
        return self.held.get(self._at(manifest))

    def _at(self, manifest: Manifest) -> tuple[Sort, str, str]:
        text = manifest.text
        sort: Sort = "writes" if manifest.writes or self.decoder else "reads"
        return sort, text.source_language, text.target_language

    def own(self, sort: Sort) -> Stage:
        """Give the stage on which the base itself reads or writes.

        Raises:
            RequestError: it does not write.
        """
        if sort == "writes" and not writes_answers(self.base):
            raise RequestError(f"base {self.base.name}: is an encoder, which writes no texts")
        return self._stage("writes" if self.decoder else sort, "", "")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The base's config."""
        return read_json(self.base.folder / "config.json")

    @cached_property
    def decoder(self) -> bool:
        """Whether it is a decoder with a language-model head."""
        return not self.config.get("is_encoder_decoder") and writes_answers(self.base)

    def _stage(self, sort: Sort, source: str, target: str) -> Stage:
        at = (sort, source, target)
        if at not in self.held:
            tokenizer = load_tokenizer(self.base.folder)
            if sort == "writes":
                speak(tokenizer, source, target)
            rack = Rack(self._trunk(sort, tokenizer))
            self.held[at] = Stage(rack, tokenizer, self.settings, self.reload)
        return self.held[at]

    def _trunk(self, sort: Sort, tokenizer: PreTrainedTokenizerBase) -> trunks.Trunk:
        held = self.settings.model
        if sort == "writes":
            return trunks.load(self.base, held, writes=True, lead=lead(tokenizer))
        if self.config.get("model_type") not in POOLERS:
            return trunks.load(self.base, held)
        try:
            return trunks.load(self.base, held, pooler=True)
        except (PlanError, FileError):  # it has no trained pooler; no adapter can have read it
            return trunks.load(self.base, held)
