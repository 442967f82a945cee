"""Stage: a base in memory with the adapters on it. One thread alone may use it.

Legend: T real tokens, D hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenon.adapters.pack import Adapter
from tenon.core.errors import PlanError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.ground import headed, refuse_other_template, renderer_for
from tenon.evaluate.probes import prove
from tenon.model.attach import restore
from tenon.model.rack import Rack
from tenon.model.relay import Relay
from tenon.serve.handle import Handle
from tenon.serve.seat import Seat
from tenon.text.batch import Batch
from tenon.text.render import Renderer


@dataclass
class Stage:
    """A base with adapters.

    Args:
        rack: the base, and what of the adapters sits in it.
        tokenizer: of the base.
    """

    rack: Rack
    tokenizer: PreTrainedTokenizerBase
    _open: contextlib.ExitStack | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def seat(self, handle: Handle, adapter: Adapter) -> Seat:
        """Put an adapter beside the others, and prove that it answers as when it was written.

        Raises:
            AdapterError: it does not fit, or does not. The others are as they were.
        """
        self.close()
        trunk = self.rack.trunk
        renderer = renderer_for(handle.manifest, self.tokenizer, seq2seq=trunk.seq2seq)
        refuse_other_template(handle.folder, handle.manifest, renderer)
        key = f"{handle.name}-{next(self._numbers)}"
        apart = self._kept(key, adapter)
        try:
            return self._proved(handle, key, adapter, renderer, apart)
        except BaseException:
            self.close()
            self.rack.drop(key)
            raise

    def _kept(self, key: str, adapter: Adapter) -> str:
        """Take an adapter into the rack; give why it must answer apart, empty if it need not."""
        try:
            peft = restore(self.rack.trunk, adapter).eval()
        except BaseException:
            self.rack.strip()
            raise
        if self.rack.trunk.seq2seq:
            self.rack.keep_apart(key, peft)
            return "an encoder-decoder writes with one adapter at a time"
        try:
            self.rack.keep(key, adapter.kind, peft)
        except PlanError as error:
            self.rack.keep_apart(key, peft)
            return str(error)
        return ""

    def _proved(
        self, handle: Handle, key: str, adapter: Adapter, renderer: Renderer, apart: str
    ) -> Seat:
        manifest = handle.manifest
        relay = Relay(self.rack.trunk, lambda batch: self.hidden_TD(batch, [key] * len(batch)))
        if apart:
            with self.apart(key) as peft:
                model = headed(manifest, self.rack.trunk, peft, adapter.head)
                prove(handle.folder, manifest, model, renderer)
        else:
            model = headed(manifest, relay.as_trunk, None, adapter.head)
            prove(handle.folder, manifest, model, renderer)
        return Seat(handle, key, apart, Answerer(manifest, model, renderer), relay)

    def unseat(self, seat: Seat) -> None:
        """Forget an adapter."""
        self.close()
        self.rack.drop(seat.key)

    def hidden_TD(self, batch: Batch, owners: Sequence[str | None]) -> Tensor:
        """Give the last hidden state of every token.

        Args:
            owners: of each row the key of its adapter, or None for the base; rows of one lie
                side by side.
        """
        if self._open is None:
            self._open = contextlib.ExitStack()
            self._open.enter_context(self.rack.all())
        route = self.rack.route(owners, batch.lengths)
        with torch.inference_mode(), self.rack.router.on(route):
            return self.rack.trunk.hidden_TD(batch.to(self.rack.trunk.device))

    @contextlib.contextmanager
    def apart(self, key: str) -> Iterator[PeftModel]:
        """Put one adapter in, alone."""
        self.close()
        with self.rack.only(key) as peft:
            yield peft

    def close(self) -> None:
        """Take all adapters out of the base."""
        if self._open is not None:
            self._open.close()
            self._open = None
