"""Merge: an adapter folded into the weights of its base, and how near each module stays.

Every module that an adapter sits on is run on what it is given by some rows, with the adapter and
then with the changed weight alone. The sum is made in float32 whatever the base's format, so that
a weight is rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from tenon.adapters.wrapped import MARK
from tenon.adapters.wrapped import adapted as adapted
from tenon.core.errors import AdapterError
from tenon.model.quantized import QuantizedConv1D, QuantizedLinear, dequantize
from tenon.model.trunk import Trunk

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Largest difference that is taken for rounding, relative to the largest value.

One rounding of a weight is at most 6e-8, 4.9e-4 and 3.9e-3 of it. Measured over tiny models of
twelve architectures and MiniLM, with adapters that change the scores by 1 to 60 %, modules differ
by at most 8.6e-7, 9.5e-4 and 7.7e-3, scores by 7.4e-7, 8.4e-4 and 7.9e-3: the tolerances lie 4 to
13 times above.
"""
Rows = Callable[[], object]
"""Runs the model on some rows."""


@dataclass(frozen=True)
class Folded:
    """A module that took the adapter in.

    Args:
        module: its full name in the trunk.
        error: largest difference of its outputs before and after / largest output.
    """

    module: str
    error: float


@dataclass(frozen=True)
class Call:
    """What a module was given and what it gave.

    Args:
        args, kwargs: the arguments.
        output: with the adapter.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor


def merge_modules(name: str, trunk: Trunk, peft: PeftModel, rows: Rows) -> tuple[Folded, ...]:
    """Fold an adapter into the trunk's weights and take its layers off.

    A trunk that is quantised becomes one of the floats that its layers have stood for.

    Args:
        name: of the adapter, for messages.
        trunk: the base; afterwards it is a plain model of transformers.
        peft: the PEFT model around it.
        rows: reach every module that the adapter sits on.

    Returns:
        The modules, those that changed most first.

    Raises:
        AdapterError: there is nothing to merge, as it has been merged before; or PEFT cannot merge
            a module, or its weight would not be finite. Some weights may have been changed: the
            base must be loaded again.
    """
    layers = adapted(trunk.model)
    if not layers or any(layer.merged for layer in layers.values()):
        raise AdapterError(
            f"adapter {name}: has been merged into this base already, or sits on no module of it; "
            "load adapter and base again"
        )
    calls = _calls(layers, rows)
    dequantize(trunk.model if trunk.whole is None else trunk.whole)
    for layer in layers.values():
        vars(layer).pop("merge", None)
    _untie(trunk, layers)
    found = [_fold(name, path, layer, calls.get(path)) for path, layer in layers.items()]
    peft.unload()
    vars(trunk.model).pop(MARK, None)
    return tuple(sorted(found, key=lambda folded: -folded.error))


def merge_layer(name: str, path: str, layer: BaseTunerLayer, otherwise: str) -> None:
    """Let PEFT merge one module.

    Args:
        name: of the adapter.
        path: of the module.
        otherwise: what follows where it cannot be, for the message.

    Raises:
        AdapterError: PEFT cannot merge it.
    """
    try:
        layer.merge(safe_merge=True)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AdapterError(
            f"adapter {name}: {path} cannot be merged ({first}){otherwise}"
        ) from error


def guard(model: nn.Module) -> None:
    """Let PEFT refuse to merge into layers in few bits, as it would change a copy and lose all."""

    def refuse(*_: object, **__: object) -> None:
        raise AdapterError(
            "the base is quantised, PEFT cannot merge into it; tenon export --to merged writes it "
            "in floats"
        )

    for layer in adapted(model).values():
        if isinstance(layer.get_base_layer(), QuantizedLinear | QuantizedConv1D):
            cast(Any, layer).merge = refuse


def relative(before: Tensor, after: Tensor) -> float:
    """Give the largest difference of two tensors / the largest value of the first."""
    before, after = before.float(), after.float()
    return float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))


def _calls(layers: dict[str, BaseTunerLayer], rows: Rows) -> dict[str, Call]:
    """Run the rows, and give the first call of each layer."""
    calls: dict[str, Call] = {}

    def watch(path: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if path not in calls and isinstance(output, Tensor):
                # A copy, as some bases go on adding to what a module gave: Falcon its attention's.
                calls[path] = Call(args, kwargs, output.clone())

        return hook

    hooks = [
        cast(nn.Module, layer).register_forward_hook(watch(path), with_kwargs=True)
        for path, layer in layers.items()
    ]
    try:
        rows()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _untie(trunk: Trunk, layers: dict[str, BaseTunerLayer]) -> None:
    """Give a weight of its own to each module whose weight another one has too, as it changes.

    A head that shares the word embeddings must stay what it was under the adapter.
    """
    whole = trunk.model if trunk.whole is None else trunk.whole
    held = [(name, p) for name, p in whole.named_parameters(remove_duplicate=False)]
    for layer in layers.values():
        base = layer.get_base_layer()
        weight = getattr(base, "weight", None)
        if sum(parameter is weight for _, parameter in held) < 2:  # noqa: PLR2004
            continue
        base.weight = nn.Parameter(cast(Tensor, weight).detach().clone(), requires_grad=False)
        for model in (whole, trunk.model):
            model.config.tie_word_embeddings = False


def _fold(name: str, path: str, layer: BaseTunerLayer, call: Call | None) -> Folded:
    base = layer.get_base_layer()
    if call is None:
        raise AdapterError(
            f"adapter {name}: {path} is reached by none of the texts that a merge is proved by, so "
            "that it cannot be proved; keep it as an adapter"
        )
    dtype = next(base.parameters()).dtype
    base.float()
    merge_layer(name, path, layer, "; keep it as an adapter")
    base = layer.get_base_layer()  # some kinds put another module in its place
    base.to(dtype)
    if any(not torch.isfinite(parameter).all() for parameter in base.parameters()):
        raise AdapterError(
            f"adapter {name}: the merged weight of {path} does not fit into {dtype}; export with "
            "--dtype float32"
        )
    with torch.no_grad():
        after = base(*call.args, **call.kwargs)
    return Folded(path, relative(call.output, after))
