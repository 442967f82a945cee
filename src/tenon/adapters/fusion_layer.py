"""FusionLayer: one module of the base with the frozen layers of several adapters, mixed.

The parts are the layers that PEFT made for the adapters. They hold the base's module by reference
alone, so that its weights are not taken for theirs.

Legend: D channels of the module's output, N parts; dimensions before them are free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from tenon.adapters.fusion_config import FusionConfig
from tenon.adapters.mixture import Mixture
from tenon.adapters.once import Once
from tenon.adapters.transparent import Transparent, uncompiled
from tenon.core.errors import AdapterError, PlanError

PARTS = "fusion_parts"
INNER = "part"
"""The name that PEFT has for a part inside of its own layer."""
UNMERGEABLE = (
    "a fusion weighs its adapters for each token by itself, so no weight of the base can stand for "
    "it; keep it as an adapter, or compose the adapters by weights of your own: average(…)"
)
UNSHARED = {
    "across": "reads the input of another module (preset parallel on an MLP of several inputs)",
    "coupled": "changes the embeddings, which all parts read (invertible)",
}
"""Places of bottlenecks that several adapters cannot have at once."""


def key_of(part: str) -> str:
    """Give a part's key among modules, where some names mean something else."""
    return f"part_{part}"


class FusionLayer(Transparent, BaseTunerLayer):
    """One wrapped module with the parts that sit on it, and the attention that mixes them.

    Args:
        base_layer: the module to wrap; frozen elsewhere.
        name: of the fusion, as PEFT has it.
        parts: of each adapter of the fusion its layer here, or None where it has none.
    """

    adapter_layer_names = ("fusion_mixture",)
    other_param_names = (PARTS,)

    def __init__(
        self, base_layer: nn.Module, name: str, parts: Mapping[str, nn.Module | None]
    ) -> None:
        super().__init__(base_layer)
        held = {name: layer for name, layer in parts.items() if layer is not None}
        for part, layer in held.items():
            place = getattr(layer, "place", "")
            if place in UNSHARED:
                raise PlanError(f"parts: {part}: {UNSHARED[place]}; leave it out")
        self.count = len(parts)
        self.places = [place for place, part in enumerate(parts) if part in held]
        inside = nn.ModuleDict({key_of(part): layer for part, layer in held.items()})
        self.fusion_parts = nn.ModuleDict({name: inside})
        self.fusion_mixture = nn.ModuleDict()
        vars(self)["once"] = Once(base_layer)
        for layer in held.values():
            layer._modules.pop("base_layer")  # noqa: SLF001 - no other way to let go of a module
            vars(layer)["base_layer"] = self.once
        self.fusion_parts.eval()
        self._disable_adapters = False
        self.merged_adapters = []

    @property
    def still(self) -> nn.ModuleDict:
        """What stays as it is while the adapter is trained, without dropout of its own."""
        return self.fusion_parts

    def update_layer(self, name: str, config: FusionConfig, channels: int) -> None:
        """Add the attention of adapter `name`.

        Args:
            channels: D.
        """
        mixture = Mixture(channels, config.size, value=config.value, dropout=config.dropout)
        self.fusion_mixture[name] = mixture.to(next(self.fusion_parts.parameters()).device)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)
        self.fusion_parts.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> FusionLayer:  # noqa: FBT001, FBT002 - torch's signature
        """Set the mode; the parts are as they answer, whatever it is."""
        super().train(mode)
        self.fusion_parts.eval()
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the wrapped module and the parts on the same inputs; mix what they change."""
        name = self._name()
        if name is None:
            return self.base_layer(*args, **kwargs)
        return uncompiled(self._mixed)(name, args, kwargs)

    def _name(self) -> str | None:
        """Give the active adapter, if any."""
        names = [name for name in self.active_adapters if name in self.fusion_mixture]
        return None if self.disable_adapters or not names else names[0]

    def _mixed(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        once = cast(Once, self.once)
        if once.base_layer is not self.base_layer:
            once.base_layer = self.base_layer
        with once.remembering():
            output = once(*args, **kwargs)
            return self._of(name, output, [part(*args, **kwargs) for part in self._layers()])

    @property
    def follows(self) -> bool:
        """Whether all that the parts do is to change the module's output."""
        return all(getattr(part, "follows", False) for part in self._layers())

    def changed(self, output: Any) -> Any:
        """Give what the module gave as the parts change it, mixed; see `follows`."""
        name = self._name()
        if name is None:
            return output
        return self._of(name, output, [part.changed(output) for part in self._layers()])

    def _layers(self) -> list[Any]:
        return [layer for held in self.fusion_parts.values() for layer in cast(Any, held).values()]

    def _of(self, name: str, output: Any, changed: list[Any]) -> Any:
        """Give the mixture of outputs; of a tuple, its first is changed."""
        if isinstance(output, tuple):
            firsts = [part[0] for part in changed]
            return (self._of(name, output[0], firsts), *cast("tuple[Any, ...]", output[1:]))
        output_D = cast(Tensor, output).float()
        absent_D = torch.zeros_like(output_D)
        changes = [absent_D] * self.count
        for place, part in zip(self.places, changed, strict=True):
            changes[place] = part.float() - output_D
        mixed_D = self.fusion_mixture[name](output_D, torch.stack(changes, -2))
        return (output_D + mixed_D).to(output.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:  # noqa: ARG002, FBT001, FBT002 - PEFT's signature
        """Refuse: see `UNMERGEABLE`.

        Raises:
            AdapterError: always; nothing has been changed.
        """
        raise AdapterError(UNMERGEABLE)

    def unmerge(self) -> None:
        """Refuse, as nothing can have been merged.

        Raises:
            AdapterError: always; nothing has been changed.
        """
        raise AdapterError(UNMERGEABLE)


def numbers_of_parts(model: nn.Module) -> int:
    """Give how many numbers the parts of a fusion hold, which are in its files and stay."""
    layers = [module for module in model.modules() if isinstance(module, FusionLayer)]
    return sum(p.numel() for layer in layers for p in layer.still.parameters())
