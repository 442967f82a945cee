"""Composed: a module of the base with the layers of several adapters, as a composition has them.

What is averaged is what each part changes in the output of each module: of a module's input x,
base(x) + the sum of w (part(x) - base(x)). So with adapters that add to an output (LoRA and its
kin) an average is exact, the average of their weights; a bottleneck's part reads what the base
gives, not what the other parts have changed. In a stack, each part's layer stands around the one
before it, and reads what that has changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from tenon.adapters.alike import coefficients
from tenon.adapters.composition import Average, Composition, Stack, form_of, names, text
from tenon.adapters.once import Once
from tenon.adapters.prefix_attention import Prefix, Run, beside
from tenon.adapters.prefix_layer import PrefixLayer
from tenon.adapters.transparent import Transparent, uncompiled
from tenon.core.errors import PlanError

Layers = Mapping[str, Mapping[str, nn.Module]]
"""Adapter to its layers, by the full names of the modules that they wrap."""


class Way(Protocol):
    """How a composition computes at one module."""

    def run(self, base: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Compute from the module's inputs."""
        ...

    def changed(self, base: nn.Module, output: Any) -> Any:
        """Compute from the module's output, where that is all that the layers read."""
        ...


class Composed(Transparent):
    """A module with a composition around it.

    Args:
        base_layer: the module of the base, or what a stack has put around it.
        way: how inputs become outputs.
        layers: all that take part; registered, so that they follow modes and devices.
    """

    def __init__(self, base_layer: nn.Module, way: Way, layers: Sequence[nn.Module]) -> None:
        super().__init__(base_layer)
        self.layers = nn.ModuleList(layers)
        self.way = way

    @property
    def follows(self) -> bool:
        """Whether all that the layers do is to change the module's output."""
        return all(_follows(module) for module in (self.base_layer, *self.layers))

    def forward(self, *given: Any, **named: Any) -> Any:
        """Compute what the composition makes of the module."""
        # Layers change their base while they run, which a compiled graph would not see.
        return uncompiled(self.way.run)(self.base_layer, given, named)

    def changed(self, output: Any) -> Any:
        """Give what the module gave, as the composition changes it; see `follows`."""
        return self.way.changed(self.base_layer, output)


class Around:
    """A layer around something else than the module that it was made for.

    Args:
        layer: PEFT's, whose `base_layer` is another one while it runs.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def run(self, base: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Let the layer run with `base` in the place of its own."""
        with _holding(self.layer, base):
            return self.layer(*given, **named)

    def changed(self, base: nn.Module, output: Any) -> Any:
        """Let the layer change what `base` makes of the output."""
        return cast(Any, self.layer).changed(changed(base, output))


class Averaged:
    """Parts around one module, whose changes are weighted and added.

    Args:
        once: the module as the parts hold it.
        parts: with their weights.
    """

    def __init__(self, once: Once, parts: Sequence[tuple[nn.Module, float]]) -> None:
        self.once = once
        self.parts = parts

    def run(self, base: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Run the module once, and each part on it."""
        del base  # the parts' own way to it computes what they share once
        with self.once.remembering():
            output = self.once(*given, **named)
            return _mixed(output, [(part(*given, **named), weight) for part, weight in self.parts])

    def changed(self, base: nn.Module, output: Any) -> Any:
        """Let each part change what `base` makes of the output."""
        output = changed(base, output)
        return _mixed(output, [(changed(part, output), weight) for part, weight in self.parts])


class Prefixed(Transparent):
    """An attention module that sees the prefixes of several adapters.

    Each changes what attention gives without it, and the changes are weighted and added; what comes
    behind, in the module, is computed from the sum.

    Args:
        base_layer: the module.
        weighted: layers of the adapters, with their weights.
    """

    def __init__(
        self, base_layer: nn.Module, weighted: Sequence[tuple[PrefixLayer, float]]
    ) -> None:
        super().__init__(base_layer)
        self.layers = nn.ModuleList([layer for layer, _ in weighted])
        self.weighted = weighted

    def prefixes(self) -> tuple[Prefix, ...]:
        """Give the prefixes, each with its weight."""
        return tuple(
            prefix.scaled(weight) for layer, weight in self.weighted for prefix in layer.prefixes()
        )

    def forward(self, *given: Any, **named: Any) -> Any:
        """Run the module with the prefixes beside its rows."""
        return beside(self.base_layer, [Run(None, self.prefixes())], given, named)


def composed(
    composition: Composition, path: str, base: nn.Module, layers: Layers
) -> nn.Module | None:
    """Give what stands in the place of a module; None where no adapter wraps it.

    Args:
        composition: of stacks and averages.
        path: the module's full name.
        base: the module, or what is to be in its place.
        layers: of the adapters that the composition names.

    Raises:
        PlanError: a part is of another form, or changes what cannot be shared.
    """
    match composition:
        case str():
            return _layer(composition, path, base, layers)
        case Stack() | Average() if _prefixes(composition, path, layers):
            return _prefixed(composition, path, base, layers)
        case Stack(parts=parts):
            inner = base
            for part in parts:
                inner = composed(part, path, inner, layers) or inner
            return None if inner is base else inner
        case Average(weighted=((part, 1.0),)):
            return composed(part, path, base, layers)
        case Average(weighted=weighted):
            return _averaged(weighted, path, base, layers)
        case _:
            raise PlanError(
                f"{text(composition)}: a {form_of(composition)} is no one module; run its parts"
            )


def changed(module: nn.Module, output: Any) -> Any:
    """Give what the base gave, as the layers that `module` stands for change it.

    What stands inside of `Once` has changed it before the parts of the average read it.
    """
    held = isinstance(module, Composed | BaseTunerLayer)
    return cast(Any, module).changed(output) if held else output


def _prefixes(composition: Composition, path: str, layers: Layers) -> dict[str, PrefixLayer]:
    """Give the prefixes on a module, by the adapters of a composition that have one there."""
    found = {name: layers[name].get(path) for name in names(composition)}
    return {name: layer for name, layer in found.items() if isinstance(layer, PrefixLayer)}


def _prefixed(composition: Composition, path: str, base: nn.Module, layers: Layers) -> Prefixed:
    held = _prefixes(composition, path, layers)
    others = [name for name in names(composition) if path in layers[name] and name not in held]
    if others:
        raise PlanError(
            f"{text(composition)}: {others[0]} wraps {path} as well, on which {next(iter(held))} "
            "has a prefix; run its parts"
        )
    weights = coefficients(composition)
    return Prefixed(base, [(layer, weights[name]) for name, layer in held.items()])


def _follows(module: nn.Module) -> bool:
    if isinstance(module, Once):
        return _follows(module.base_layer)
    if isinstance(module, Composed | BaseTunerLayer):
        return bool(getattr(module, "follows", False))
    return True


def _layer(name: str, path: str, base: nn.Module, layers: Layers) -> nn.Module | None:
    layer = layers[name].get(path)
    if layer is None or layer.base_layer is base:
        return layer
    return Composed(base, Around(layer), [layer])


def _averaged(
    weighted: Sequence[tuple[Composition, float]], path: str, base: nn.Module, layers: Layers
) -> nn.Module | None:
    once = Once(base)
    made = [(composed(part, path, once, layers), weight) for part, weight in weighted]
    parts = [(part, weight) for part, weight in made if part is not None]
    if not parts:
        return None
    return Composed(base, Averaged(once, parts), [part for part, _ in parts])


@contextlib.contextmanager
def _holding(layer: nn.Module, base: nn.Module) -> Iterator[None]:
    before = layer.base_layer
    layer.base_layer = base
    try:
        yield
    finally:
        layer.base_layer = before


def _mixed(output: Any, parts: Sequence[tuple[Any, float]]) -> Any:
    """Give the output with the weighted changes of parts; of a tuple, its first is changed."""
    if isinstance(output, tuple):
        firsts = [(held[0], weight) for held, weight in parts]
        return (_mixed(output[0], firsts), *cast("tuple[Any, ...]", output[1:]))
    base_D = cast(Tensor, output).float()
    sum_D = base_D
    for held, weight in parts:
        sum_D = sum_D + weight * (held.float() - base_D)
    return sum_D.to(output.dtype)
