"""Tenon: from a labelled file to a proven adapter of a frozen language model.

Every verb is a function here and a command of the same name. Nothing heavy is
imported until a verb is called.

`train`, `plan`, `export` and `serve` are at once verbs and floors: the packages `tenon.train`,
`tenon.plan`, `tenon.export` and `tenon.serve` hold the code, and calling one of them is the verb.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenon.verbs.adopt import import_adapter as import_adapter
    from tenon.verbs.chat import chat as chat
    from tenon.verbs.check import check as check
    from tenon.verbs.compare import compare as compare
    from tenon.verbs.compose import compose as compose
    from tenon.verbs.compose import load_composition as load_composition
    from tenon.verbs.demo import demo as demo
    from tenon.verbs.eval import evaluate as eval  # noqa: F401 # pyright: ignore[reportUnusedImport]
    from tenon.verbs.export import export as export
    from tenon.verbs.exportable import exportable as exportable
    from tenon.verbs.init import init as init
    from tenon.verbs.plan import plan as plan
    from tenon.verbs.predict import load_adapter as load_adapter
    from tenon.verbs.predict import predict as predict
    from tenon.verbs.publish import publish as publish
    from tenon.verbs.serve import serve as serve
    from tenon.verbs.show import show as show
    from tenon.verbs.sweep import sweep as sweep
    from tenon.verbs.together import train_together as train_together
    from tenon.verbs.train import train as train

__version__ = "0.1.0"

HOMES = {
    "chat": "tenon.verbs.chat:chat",
    "check": "tenon.verbs.check:check",
    "compare": "tenon.verbs.compare:compare",
    "compose": "tenon.verbs.compose:compose",
    "demo": "tenon.verbs.demo:demo",
    "eval": "tenon.verbs.eval:evaluate",
    "export": "tenon.verbs.export:export",
    "exportable": "tenon.verbs.exportable:exportable",
    "import_adapter": "tenon.verbs.adopt:import_adapter",
    "init": "tenon.verbs.init:init",
    "load_adapter": "tenon.verbs.predict:load_adapter",
    "load_composition": "tenon.verbs.compose:load_composition",
    "plan": "tenon.verbs.plan:plan",
    "predict": "tenon.verbs.predict:predict",
    "publish": "tenon.verbs.publish:publish",
    "serve": "tenon.verbs.serve:serve",
    "show": "tenon.verbs.show:show",
    "sweep": "tenon.verbs.sweep:sweep",
    "train": "tenon.verbs.train:train",
    "train_together": "tenon.verbs.together:train_together",
}


def _verb(name: str) -> Callable[..., Any]:
    module, _, function = HOMES[name].partition(":")
    collecting = gc.isenabled()
    # Of what is imported nothing is garbage; looking for it takes an eighth of the time.
    gc.disable()
    try:
        return getattr(importlib.import_module(module), function)
    finally:
        if collecting:
            gc.enable()


class _Floor(ModuleType):
    """A floor that has the name of a verb: calling the package is the verb."""

    @property
    def __call__(self) -> Callable[..., Any]:
        return _verb(self.__name__.removeprefix("tenon."))

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__call__)


class _House(ModuleType):
    """This package: makes a floor callable when the import system binds it to its verb's name."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in HOMES and isinstance(value, ModuleType):
            value.__class__ = _Floor
        super().__setattr__(name, value)


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in HOMES:
        raise AttributeError(f"module 'tenon' has no attribute {name!r}")
    return _verb(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})


sys.modules[__name__].__class__ = _House
