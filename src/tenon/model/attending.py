"""Attending: the attention function that a model calls, another one for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast
from weakref import WeakKeyDictionary

from transformers import PreTrainedModel

Named = list[tuple[Any, Any]]
"""Configs, each with the function that it names."""
_KNOWN: WeakKeyDictionary[PreTrainedModel, dict[str, Named]] = WeakKeyDictionary()
"""What transformers sets in a model, by the function's name. To set it, transformers goes through
all modules, those of adapters among them, which may take longer than a pass does."""


@contextlib.contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Let the model attend by `name`, and as before when done."""
    before = cast(Any, model.config)._attn_implementation  # noqa: SLF001
    if before == name:
        yield
        return
    _set(model, name)
    try:
        yield
    finally:
        _set(model, before)


def _set(model: PreTrainedModel, name: str) -> None:
    known = _KNOWN.setdefault(model, {}).get(name)
    if known is None or known[0][0] is not model.config:
        model.set_attn_implementation(name)
        _KNOWN[model][name] = [
            (config, config._attn_implementation_internal)  # noqa: SLF001
            for config in _configs(model)
        ]
        return
    for config, function in known:
        config._attn_implementation_internal = function  # noqa: SLF001


def _configs(model: PreTrainedModel) -> list[Any]:
    """Give the configs of a model and of all models inside of it, and the parts of each."""
    found: dict[int, Any] = {}
    left: list[Any] = [m.config for m in model.modules() if isinstance(m, PreTrainedModel)]
    while left:
        config = left.pop(0)
        if config is None or id(config) in found:
            continue
        found[id(config)] = config
        left += [getattr(config, part, None) for part in config.sub_configs]
    return list(found.values())
