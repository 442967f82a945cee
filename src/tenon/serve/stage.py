"""Stage: a base in memory with the adapters on it. One thread alone may use it.

Legend: T real tokens, D hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenon.adapters.pack import Adapter, target_modules
from tenon.adapters.weights import refuse_unlike
from tenon.core.files import digest_of
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.ground import headed
from tenon.model.attach import restore
from tenon.model.levels import Levels
from tenon.model.lower import lower_TD
from tenon.model.rack import Rack
from tenon.model.relay import Relay
from tenon.serve.handle import Handle
from tenon.serve.residence import Residence
from tenon.serve.seat import Seat
from tenon.serve.settings import EngineSettings
from tenon.text.batch import Batch
from tenon.text.render import Renderer

PROVED = 65_536
"""Digests of adapters that were proved, as many as are remembered."""


@dataclass
class Tally:
    """What layers were given, over all passes of rows that were read.

    Args:
        computed: tokens, once for each layer that was computed for them.
        spared: tokens, once for each layer that was not, as an equal text had gone through it.
    """

    computed: int = 0
    spared: int = 0


class Stage:
    """A base with adapters.

    Args:
        rack: the base, and what of the adapters sits in it.
        tokenizer: of the base.
        settings: what may be held where.
        reload: reads an adapter's files again.
    """

    def __init__(
        self,
        rack: Rack,
        tokenizer: PreTrainedTokenizerBase,
        settings: EngineSettings,
        reload: Callable[[Handle], Adapter],
    ) -> None:
        self.rack = rack
        self.tokenizer = tokenizer
        self.residence = Residence(rack, settings, reload, self.close)
        self.levels = Levels(rack.trunk)
        self.tally = Tally()
        self._open: contextlib.ExitStack | None = None
        self._numbers = count()
        self._known: dict[str, dict[str, torch.Size]] = {}
        self._proved: dict[str, None] = {}

    def seat(self, handle: Handle, adapter: Adapter, renderer: Renderer) -> Seat:
        """Put an adapter beside the others; it may not answer before it is proved.

        Raises:
            AdapterError: it does not fit. The others are as they were.
        """
        trunk = self.rack.trunk
        self.refuse_other_tensors(adapter)
        key = f"{handle.name}-{next(self._numbers)}"
        relay = Relay(trunk, lambda batch: self.hidden_TD(batch, [key] * len(batch)))
        model = headed(handle.manifest, relay.as_trunk, None, adapter.head)
        seat = Seat(handle, key, Answerer(handle.manifest, model, renderer), relay, adapter.head)
        seat.apart = "an encoder-decoder writes with one adapter" if trunk.seq2seq else ""
        try:
            self.residence.put(seat, adapter)
            seat.lowest = 0 if seat.apart else self.lowest(key)
        except BaseException:
            self.unseat(seat)
            raise
        return seat

    def proved(self, digest: str) -> bool:
        """Whether the adapter of a digest has answered here as when it was written.

        A digest stands for every byte of an adapter, and all are read and digested again whenever
        it is admitted; base, device and number format stay: it would answer again as it did.
        """
        return digest in self._proved

    def remember(self, digest: str) -> None:
        """Take note that the adapter of a digest was proved."""
        self._proved.pop(digest, None)
        self._proved[digest] = None
        if len(self._proved) > PROVED:
            del self._proved[next(iter(self._proved))]

    def refuse_other_tensors(self, adapter: Adapter) -> None:
        """Refuse an adapter whose tensors are not exactly those of its kind on this base.

        What they are is known from PEFT, which is asked once for all adapters of equal settings.

        Raises:
            AdapterError: a tensor is missing, too many, or of another shape.
        """
        settings = adapter.settings.model_dump(mode="json", exclude={"name"})
        key = digest_of([settings, target_modules(adapter)])
        if key in self._known:
            refuse_unlike(self._known[key], adapter.weights)
            return
        self.close()
        try:
            restore(self.rack.trunk, adapter)
        finally:
            self.rack.strip()
        self._known[key] = {name: tensor.shape for name, tensor in adapter.weights.items()}

    def lowest(self, key: str) -> int:
        """Give the level below which an adapter changes nothing; 0 where rows cannot part there."""
        level = self.levels.lowest(self.rack.paths(key))
        if level not in self.levels.known:
            self.close()  # it is proved on the base alone
        return 0 if self.levels.fault(level) else level

    def unseat(self, seat: Seat) -> None:
        """Forget an adapter."""
        self.residence.drop(seat)

    @contextlib.contextmanager
    def answering(self, seat: Seat) -> Iterator[Answerer]:
        """Give what answers as an adapter; if it answers apart, it alone is in the base."""
        self.residence.bring([seat])
        if not seat.apart:
            yield seat.answerer
            return
        with self.apart(seat) as peft:
            manifest, renderer = seat.handle.manifest, seat.answerer.renderer
            yield Answerer(manifest, headed(manifest, self.rack.trunk, peft, seat.head), renderer)

    def hidden_TD(self, batch: Batch, owners: Sequence[str | None], layers: int = 0) -> Tensor:
        """Give the last hidden state of every token, or the one that leaves so many layers.

        Args:
            owners: of each row the key of its adapter, or None for the base; sorted by
                `Rack.order`.
            layers: how many; 0 for all, and what is behind them.
        """
        self.open()
        route = self.rack.route(owners, batch.lengths)
        with torch.inference_mode(), self.rack.router.on(route):
            if layers:
                return lower_TD(self.rack.trunk, batch, layers)
            return self.rack.trunk.hidden_TD(batch.to(self.rack.trunk.device))

    def open(self) -> None:
        """Put all adapters into the base, each row of a pass to have its own."""
        if self._open is None:
            self._open = contextlib.ExitStack()
            self._open.enter_context(self.rack.all())

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Put all adapters in for a pass; they stay in."""
        self.open()
        yield

    @contextlib.contextmanager
    def apart(self, seat: Seat) -> Iterator[PeftModel]:
        """Put one adapter in, alone."""
        self.close()
        with self.rack.only(seat.key) as peft:
            yield peft

    def close(self) -> None:
        """Take all adapters out of the base."""
        if self._open is not None:
            self._open.close()
            self._open = None
