"""Rack: many adapters of one trunk, each of which fits into it and comes out again.

An adapter is put on a trunk by PEFT, which wraps modules in place; the rack takes the wrapped
modules out and keeps them. One adapter can then be put in alone, and the trunk is as PEFT left it;
or all at once, behind switches, so that each row of a batch has its own. Kinds may differ from
adapter to adapter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from peft import PeftModel
from torch import nn

from tenon.adapters.bottleneck import UncoupledHead
from tenon.adapters.bottleneck_layer import BottleneckLayer
from tenon.adapters.composition import Composition, names
from tenon.adapters.kind import KINDS
from tenon.adapters.wrapped import MARK, adapted, bare, base_of, place
from tenon.core.errors import PlanError, RunError
from tenon.model.composed import composed
from tenon.model.route import Route, Router, Segment, Switch
from tenon.model.slots import Slots
from tenon.model.slotted import Slotted, parts_of
from tenon.model.trunk import Trunk


@dataclass(frozen=True)
class Fitting:
    """An adapter that was taken out of its trunk.

    Args:
        peft: the PEFT model; whole only while the adapter is in.
        layers: full name of a wrapped module to the layer around it.
        bases: the same to the base's own module.
        apart: whether it shares no pass over the trunk with others.
        output: what it puts before the base's language-model head; None where that stays.
    """

    peft: PeftModel
    layers: Mapping[str, nn.Module]
    bases: Mapping[str, nn.Module]
    apart: bool = False
    output: UncoupledHead | None = None


@dataclass
class Rack:
    """The adapters of a trunk.

    Args:
        trunk: the base, which carries no adapter but those that are put in here.
        fittings: adapter to what was taken out.
        router: tells switches whose the rows are.
        parts: what a row can have now, where that is not one of the adapters.
        slots: further adapters, which are in no layers of PEFT.
    """

    trunk: Trunk
    fittings: dict[str, Fitting] = field(default_factory=dict[str, Fitting])
    router: Router = field(default_factory=Router)
    parts: Mapping[str, Composition] | None = None
    slots: Slots = field(init=False)
    _inside: bool = False

    def __post_init__(self) -> None:
        self.slots = Slots(self.trunk.device)
        self.router.device = self.trunk.device

    @property
    def own(self) -> dict[str, Composition]:
        """Each adapter that a row can have for itself, as a composition of its own name."""
        return {name: name for name, fit in self.fittings.items() if not fit.apart}

    @property
    def bases(self) -> dict[str, nn.Module]:
        """The base's own modules that any adapter wraps, by their full names."""
        return {path: base for fit in self.fittings.values() for path, base in fit.bases.items()}

    def keep(self, name: str, kind: str, peft: PeftModel) -> None:
        """Take the adapter that was just put on the trunk out of it, and keep it.

        Args:
            name: the adapter's.
            kind: its registered kind.
            peft: the PEFT model around the trunk.

        Raises:
            PlanError: the kind is none that a row can have for itself, or the name is taken. The
                adapter stays on the trunk.
        """
        refuse_unroutable(name, kind)
        if name in self.fittings:
            raise PlanError(f"adapter {name}: there is one of this name already; choose another")
        if self.trunk.whole is not None and isinstance(self.trunk.output, UncoupledHead):
            raise PlanError(
                f"adapter {name}: changes the base's language-model head, which all rows of a "
                "batch share; train and serve it alone, or take a preset without a coupling"
            )
        layers = {p: cast(nn.Module, layer) for p, layer in adapted(self.trunk.model).items()}
        _refuse_beside(name, layers)
        self._take(name, peft, layers)

    def keep_apart(self, name: str, peft: PeftModel) -> None:
        """Take an adapter out as `keep` does, which `only` puts in and `all` does not.

        So can be kept what `keep` refuses, as long as the name is free.
        """
        layers = {p: cast(nn.Module, layer) for p, layer in adapted(self.trunk.model).items()}
        output = None if self.trunk.whole is None else self.trunk.output
        self._take(name, peft, layers)
        coupled = output if isinstance(output, UncoupledHead) else None
        self.fittings[name] = replace(self.fittings[name], output=coupled)
        self.set_apart(name)
        if coupled is not None:
            self._put_output(base_of(coupled))

    def set_apart(self, name: str) -> None:
        """Let an adapter that is kept share no pass with others."""
        self.fittings[name] = replace(self.fittings[name], apart=True)

    def _take(self, name: str, peft: PeftModel, layers: Mapping[str, nn.Module]) -> None:
        bases = {path: base_of(layer) for path, layer in layers.items()}
        self.fittings[name] = Fitting(peft, layers, bases)
        place(self.trunk.model, bases)
        vars(self.trunk.model).pop(MARK, None)

    def strip(self) -> None:
        """Take out an adapter that was put on the trunk, whole or in part, and forget it."""
        layers = {p: cast(nn.Module, layer) for p, layer in adapted(self.trunk.model).items()}
        place(self.trunk.model, {path: base_of(layer) for path, layer in layers.items()})
        vars(self.trunk.model).pop(MARK, None)
        if self.trunk.whole is not None and isinstance(self.trunk.output, UncoupledHead):
            self._put_output(base_of(self.trunk.output))

    def _put_output(self, output: nn.Module) -> None:
        """Put another module in the place of the base's language-model head."""
        whole = self.trunk.whole
        assert whole is not None  # noqa: S101 - the adapter was put on a base with its head
        now = self.trunk.output
        name = next(name for name, module in whole.named_modules() if module is now)
        parent, _, last = name.rpartition(".")
        setattr(whole.get_submodule(parent), last, output)

    @contextlib.contextmanager
    def only(self, name: str) -> Iterator[PeftModel]:
        """Put one adapter in, alone, and take it out again, whatever happened."""
        fitting = self.fittings[name]
        with self._holding(fitting.layers, fitting.bases):
            vars(self.trunk.model)[MARK] = fitting.peft.peft_config
            if fitting.output is not None:
                self._put_output(fitting.output)
            try:
                yield fitting.peft
            finally:
                if fitting.output is not None:
                    self._put_output(base_of(fitting.output))
                del vars(self.trunk.model)[MARK]

    @contextlib.contextmanager
    def mixed(self, composition: Composition) -> Iterator[None]:
        """Put a composition that gives one answer in, and take it out again, whatever happened.

        Raises:
            PlanError: it gives several, or adapters of it cannot share a pass over the trunk.
        """
        with self._holding(self._composed(composition), self.bases):
            yield

    @contextlib.contextmanager
    def all(self, parts: Mapping[str, Composition] | None = None) -> Iterator[Router]:
        """Put all adapters in, behind switches, and take them out again, whatever happened.

        Args:
            parts: what a row can have instead of one of the adapters, by name.
        """
        made = {name: self._composed(part) for name, part in (parts or self.own).items()}
        known, wrapped = self.bases, {path for held in made.values() for path in held}
        bases = {path: known[path] for path in sorted(wrapped)}
        bases |= {path: self._bare(path) for path in self.slots.paths - wrapped}
        routed = {path: self._routed(path, base, made) for path, base in bases.items()}
        with self._holding(routed, bases):
            before, self.parts = self.parts, parts
            try:
                yield self.router
            finally:
                self.parts = before

    @contextlib.contextmanager
    def holding(self, layers: Mapping[str, nn.Module]) -> Iterator[None]:
        """Put other layers around modules that adapters wrap, and take them out again.

        Args:
            layers: full name of a wrapped module to what is put in its place.
        """
        known = self.bases
        with self._holding(layers, {path: known[path] for path in layers}):
            yield

    def _routed(
        self, path: str, base: nn.Module, made: Mapping[str, Mapping[str, nn.Module]]
    ) -> nn.Module:
        """Give what stands in the place of a module where every row has its own adapter."""
        if path in self.slots.paths:
            base = Slotted(base, path, self.router.slotted)
        layers = {name: held[path] for name, held in made.items() if path in held}
        return Switch(base, layers, self.router) if layers else base

    def _bare(self, path: str) -> nn.Module:
        return bare(self.trunk.model.get_submodule(path))

    def paths(self, name: str) -> Collection[str]:
        """Give the names of all modules that an adapter changes."""
        held = self.slots.held.get(name)
        return self.fittings[name].layers if held is None else held.places

    def route(self, owners: Sequence[str | None], lengths: Sequence[int]) -> Route:
        """Give the route of a batch.

        Args:
            owners: of each row its adapter; None for the base as it is. Where there are slots,
                rows must be sorted by `order`.
            lengths: tokens of each row.

        Raises:
            RunError: an adapter is not in the rack, or rows are not sorted.
        """
        parts = self.parts or self.own
        named = [None if owner in self.slots.held else owner for owner in owners]
        self._refuse_strange(parts, owners, named)
        # Answers of an encoder-decoder are written from padded rows.
        packed = self.trunk.packed and not self.trunk.seq2seq
        sizes = lengths if packed else [1] * len(owners)
        segments: list[Segment] = []
        for name, size in zip(named, sizes, strict=True):
            if segments and segments[-1].name == name:
                segments[-1] = Segment(name, segments[-1].size + size)
            else:
                segments.append(Segment(name, size))
        slotted = parts_of(self.slots, owners, lengths, packed=packed) if self.slots.held else ()
        return Route(tuple(segments), dim=1 if packed else 0, parts=slotted)

    def order(self, owner: str | None) -> tuple[int, str]:
        """Give what the rows of a batch are sorted by: base, slots by pool, then all others."""
        if owner is None:
            return 0, ""
        return (1 + self.slots.order(owner), "") if owner in self.slots.held else (1 << 30, owner)

    def _refuse_strange(
        self,
        parts: Mapping[str, Composition],
        owners: Sequence[str | None],
        named: Sequence[str | None],
    ) -> None:
        strange = sorted({name for name in named if name is not None} - parts.keys())
        if strange:
            known = ", ".join([*parts, *self.slots.held]) or "none"
            raise RunError(f"adapter {strange[0]}: is not in this rack, which has {known}")
        sorted_ = [self.order(owner)[0] for owner in owners] if self.slots.held else []
        if sorted_ != sorted(sorted_):
            raise RunError("rows of adapters in slots do not lie before all others; sort them")

    def drop(self, name: str) -> None:
        """Forget an adapter; the others stay as they are."""
        for layer in self.fittings.pop(name).layers.values():
            if isinstance(layer, BottleneckLayer):
                layer.release()

    def _composed(self, composition: Composition) -> dict[str, nn.Module]:
        """Give what a composition puts in the place of each module."""
        absent = [name for name in names(composition) if name not in self.fittings]
        if absent:
            known = ", ".join(self.fittings) or "none"
            raise PlanError(f"adapter {absent[0]}: is not in this rack, which has {known}")
        layers = {name: fitting.layers for name, fitting in self.fittings.items()}
        made = {
            path: composed(composition, path, base, layers) for path, base in self.bases.items()
        }
        return {path: module for path, module in made.items() if module is not None}

    @contextlib.contextmanager
    def _holding(
        self, inside: Mapping[str, nn.Module], bases: Mapping[str, nn.Module]
    ) -> Iterator[None]:
        if self._inside:
            raise RunError("adapters are in the trunk already; take them out first")
        self._inside = True
        place(self.trunk.model, inside)
        try:
            yield
        finally:
            place(self.trunk.model, bases)
            self._inside = False


def refuse_unroutable(name: str, kind: str) -> None:
    """Refuse a kind that is none a row can have for itself.

    Raises:
        PlanError: it is such a kind.
    """
    if not KINDS.get(kind).rowwise:
        known = ", ".join(each for each, made in KINDS if made.rowwise)
        raise PlanError(
            f"adapter {name}: {kind} cannot be given to single rows of a batch; train and serve it "
            f"alone, or take one of {known}"
        )


def _refuse_beside(name: str, layers: Mapping[str, nn.Module]) -> None:
    """Refuse layers that read what another module was given, which is of all rows of a batch.

    Raises:
        PlanError: there is one.
    """
    for path, layer in layers.items():
        if getattr(layer, "place", "") == "across":
            raise PlanError(
                f"adapter {name}: at {path} it reads the input of another module, so that it "
                "cannot be given to single rows of a batch; train and serve it alone, or take "
                "another preset"
            )
