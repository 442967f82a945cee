"""Route: which adapter each row of a batch takes, and the modules that follow it.

Rows of one adapter lie side by side, a segment. A `Switch` stands in the place of a module that
adapters wrap: it gives each segment to its adapter's layer, which is PEFT's own, and all else to
the base's module. Where all that layers do is to change the module's output, the module is run
once for all rows; so it may be a whole block, whose attention sees where rows begin. So it is where
layers let attention see prefixes, which each row can have of its own. Every kind
whose layers see one row at a time is routed, in training as well, and needs no routing of its own.

The route is a field of one object that all switches hold, not a context variable: activation
checkpointing runs forward passes again in autograd's own thread, which sees no context.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenon.adapters.prefix_attention import Run, beside
from tenon.adapters.transparent import Transparent, uncompiled
from tenon.core.errors import RunError
from tenon.model.several import beside_of, computed, others_NR
from tenon.model.slotted import Rows


@dataclass(frozen=True)
class Segment:
    """Neighbouring rows of one adapter.

    Args:
        name: the adapter; None for the base as it is.
        size: tokens of the rows where they are packed, else how many rows.
    """

    name: str | None
    size: int


@dataclass(frozen=True)
class Route:
    """The segments of a batch, in order.

    Args:
        segments: sizes sum to the batch's.
        dim: the dimension of a module's tensors along which they lie: 1 where rows are packed
            into one, 0 where they are padded.
        parts: the rows of adapters in slots, which lie in the first segment, without its name.
    """

    segments: tuple[Segment, ...]
    dim: int
    parts: tuple[Rows, ...] = ()

    @property
    def size(self) -> int:
        """Tokens, or rows, of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def names(self) -> set[str]:
        """The adapters that are asked."""
        return {segment.name for segment in self.segments if segment.name is not None}


@dataclass
class Router:
    """What all switches of a trunk hold.

    Args:
        route: of the batch that is being computed; None between batches.
        device: whose generator dropout draws from.
        random: adapter to the state of that generator, so that its dropout draws what it would
            draw alone; empty where nothing is drawn.
        beside: compute the LoRA layers of adapters that are trained in products of all; None
            decides by the device: it is faster on CUDA.
        masks: of the batch that is being computed, which columns are another adapter's, by rank.
    """

    route: Route | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    random: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    beside: bool | None = None
    masks: dict[Any, Tensor] = field(default_factory=dict[Any, Tensor])

    @contextlib.contextmanager
    def on(self, route: Route, random: dict[str, Tensor] | None = None) -> Iterator[None]:
        """Follow a route, and none when done, whatever happened.

        A batch that is learned from is routed until its gradients are computed.

        Args:
            route: of the batch.
            random: adapter to the state of its generator, which is moved on.

        Raises:
            RunError: another batch is being routed.
        """
        if self.route is not None:
            raise RunError("a batch is routed already; routes of two batches cannot be mixed")
        self.route, self.random = route, {} if random is None else random
        try:
            yield
        finally:
            self.route, self.random, self.masks = None, {}, {}

    def slotted(self) -> tuple[tuple[Rows, ...], int]:
        """Give the rows of adapters in slots that are computed now, and the size of the route.

        Raises:
            RunError: no route is set.
        """
        if self.route is None:
            raise RunError("adapters are in slots and no route says whose the rows are")
        return self.route.parts, self.route.size

    @contextlib.contextmanager
    def within(self, segments: Sequence[Segment]) -> Iterator[None]:
        """Follow a part of the route, as modules inside of a wrapped one see a part of the rows."""
        whole = self.route
        assert whole is not None  # noqa: S101 - a switch has asked for the route
        parts = whole.parts if segments[0].name is None else ()
        self.route = Route(tuple(segments), whole.dim, parts)
        try:
            yield
        finally:
            self.route = whole

    @contextlib.contextmanager
    def drawing(self, name: str) -> Iterator[None]:
        """Let the device's generator be the adapter's own."""
        if name not in self.random:
            yield
            return
        outside = random_state(self.device)
        set_random_state(self.random[name], self.device)
        try:
            yield
        finally:
            self.random[name] = random_state(self.device)
            set_random_state(outside, self.device)


class Switch(Transparent):
    """A module of the base with the layers that adapters have put around it.

    Args:
        base_layer: the module; frozen.
        layers: adapter to its layer, which holds `base_layer` as well.
        router: tells the route.
    """

    def __init__(
        self, base_layer: nn.Module, layers: Mapping[str, nn.Module], router: Router
    ) -> None:
        super().__init__(base_layer)
        self.layers = nn.ModuleDict({key_of(name): layer for name, layer in layers.items()})
        self.router = router

    def forward(self, *given: Any, **named: Any) -> Any:
        """Compute each segment by its adapter's layer, or by the base's module.

        Raises:
            RunError: no route is set, or it is of a batch of another size.
        """
        return uncompiled(self._routed)(given, named)

    def _routed(self, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        route = self.router.route
        if route is None:
            raise RunError("several adapters are on this base and no route says whose the rows are")
        if all(getattr(layer, "follows", False) for layer in self.layers.values()):
            return self._followed(self.base_layer(*given, **named), route)
        if all(hasattr(layer, "prefixes") for layer in self.layers.values()):
            return beside(
                self.base_layer, [self._seen(each) for each in route.segments], given, named
            )
        runs = [
            (owner, tuple(run))
            for owner, run in groupby(route.segments, key=lambda s: self._owner(s.name))
        ]
        if len(runs) == 1:
            return self._part(*runs[0], given, named)
        if (made := self._beside(route, given, named)) is not None:
            return made
        sizes = [sum(segment.size for segment in run) for _, run in runs]
        parts = [_split(value, sizes, route) for value in given]
        others = {name: _split(value, sizes, route) for name, value in named.items()}
        outputs = [
            self._part(
                owner, run, [part[n] for part in parts], {k: v[n] for k, v in others.items()}
            )
            for n, (owner, run) in enumerate(runs)
        ]
        return _joined(outputs, route.dim)

    def _beside(self, route: Route, given: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
        """Compute LoRA layers that are trained in the products of all; None for any others."""
        router = self.router
        wanted = router.device.type == "cuda" if router.beside is None else router.beside
        if not wanted or not torch.is_grad_enabled() or named or route.dim != 1 or len(given) != 1:
            return None
        segments = [(self._owner(segment.name), segment.size) for segment in route.segments]
        layers = {name: self.layers[key_of(name)] for name, _ in segments if name is not None}
        found = beside_of(layers, given[0], segments)
        if found is None or any(x.base_layer is not self.base_layer for x in found[0].values()):
            return None
        held, inner = found
        pairs = zip(held.items(), inner, strict=True)
        ranks = {name: int(layer.r[within]) for (name, layer), within in pairs}
        key = tuple(segments), tuple(ranks.items())
        if key not in router.masks:
            router.masks[key] = others_NR(ranks, segments, given[0].device)
        return computed(held, inner, given[0], router.masks[key])

    def _followed(self, output: Any, route: Route) -> Any:
        """Let each adapter change its rows of what the base's module gave for all of them."""
        whole: Tensor = output[0] if isinstance(output, tuple) else output
        sizes = [segment.size for segment in route.segments]
        parts = list(_split(whole, sizes, route))
        for n, segment in enumerate(route.segments):
            owner = self._owner(segment.name)
            if owner is not None:
                layer = cast(Any, self.layers[key_of(owner)])
                with self.router.drawing(owner):
                    parts[n] = layer.changed(parts[n])
        joint = torch.cat(parts, route.dim)
        return (joint, *output[1:]) if isinstance(output, tuple) else joint

    def _seen(self, segment: Segment) -> Run:
        """Give the prefixes that the rows of a segment see."""
        owner = self._owner(segment.name)
        if owner is None:
            return Run(segment.size, ())
        layer = cast(Any, self.layers[key_of(owner)])
        with self.router.drawing(owner):
            return Run(segment.size, layer.prefixes())

    def _owner(self, name: str | None) -> str | None:
        """Give the adapter that has a layer here; None for the base."""
        return name if name is not None and key_of(name) in self.layers else None

    def _part(
        self,
        owner: str | None,
        run: tuple[Segment, ...],
        given: Sequence[Any],
        named: Mapping[str, Any],
    ) -> Any:
        if owner is None:
            with self.router.within(run):
                return self.base_layer(*given, **named)
        with self.router.within(run), self.router.drawing(owner):
            return self.layers[key_of(owner)](*given, **named)


def random_state(device: torch.device) -> Tensor:
    """Give the state of the generator of a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Set the state of the generator of a device."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def key_of(name: str) -> str:
    """Give an adapter's key among modules, where some names mean something else."""
    return f"adapter_{name}"


def _split(value: Any, sizes: Sequence[int], route: Route) -> Sequence[Any]:
    """Give the part of each run of a tensor that has all rows; anything else as it is."""
    if not isinstance(value, Tensor) or value.dim() <= route.dim:
        return [value] * len(sizes)
    if value.shape[route.dim] != route.size:
        if value.dim() > 1:
            raise RunError(
                f"a tensor of {tuple(value.shape)} does not have the {route.size} rows of the route"
                ": it is of another batch, or the base lays no rows out there, as for positions of "
                "deberta-v2 and heads of gemma3; let one adapter alone answer a batch, or take "
                "adapters on other sites"
            )
        return [value] * len(sizes)
    return value.split(list(sizes), route.dim)


def _joined(outputs: Sequence[Any], dim: int) -> Any:
    if isinstance(outputs[0], Tensor):
        return torch.cat(list(outputs), dim)
    return type(outputs[0])(_joined(each, dim) for each in zip(*outputs, strict=True))
