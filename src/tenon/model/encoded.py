"""Encoded: layers of encoders of BERT's form, each computed as one function while it is trained.

Which layers have that form is known by their parts, and proved: on the loaded base, with its
adapter, each layer's output and gradients are compared with those of transformers' own forward
pass; a layer that differs keeps that. Without gradients layers are computed as they are.

Legend: T tokens, U tokens whose output is asked for, D channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers.activations import GELUActivation

from tenon.adapters.lean import FORMATS, autocasts, watched
from tenon.adapters.linears import Linears, linears
from tenon.model.attending import attention
from tenon.model.encoder_layer import EncoderLayer, Norm, Parts, Read
from tenon.model.entry import blocks
from tenon.model.fused import FUSION, Fusion
from tenon.model.noting import commonest, tried
from tenon.model.packing import ATTENTION
from tenon.model.proving import CLOSE, differ, passed
from tenon.model.trunk import EVEN, Trunk

FORM = "its layers are not of BERT's form"
ADAPTER = "an adapter in them is computed in another way"
ROUND = 16
"""In bfloat16 tokens are filled up to a multiple of it. oneDNN makes code for each number of rows
that it has not multiplied yet, 0.6 ms for each of some twenty products, and keeps a thousand."""
WHAT = ("layers", "as one function each")
LAYER = {"attention", "intermediate", "output"}
HEADS = ("attention.self.query", "attention.self.key", "attention.self.value")
INNER = {
    "": LAYER,
    "attention": {"self", "output"},
    "attention.self": {"query", "key", "value", "dropout"},
    "attention.output": {"dense", "LayerNorm", "dropout"},
    "intermediate": {"dense", "intermediate_act_fn"},
    "output": {"dense", "LayerNorm", "dropout"},
}
"""The parts of each part."""
OUT, FIRST, SECOND = "attention.output.dense", "intermediate.dense", "output.dense"
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
DROPS = ("attention.self.dropout", "attention.output.dropout", "output.dropout")


GIVEN = ("borders", "position_ids")
"""What a layer may be given beside its states; positions are read before the first one alone."""


class Encoded:
    """The forward pass of a layer, as one function where that gives the same.

    Args:
        block: the layer.
        how: what it attends with.
    """

    def __init__(self, block: nn.Module, how: dict[str, Any]) -> None:
        self.block, self.how = block, how
        self.held = {name: block.get_submodule(name) for name in (*INNER, *NORMS, *DROPS)}
        attends = cast(Any, self.held["attention.self"])
        self.channels = int(attends.attention_head_size)
        self.read: Read | None = None

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Compute the layer; `given` and `named` are as transformers calls it."""
        parts = self.parts(given, named)
        if parts is None:
            return cast(Any, type(self.block)).forward(self.block, *given, **named)
        made: Any = EncoderLayer.apply(given[0].squeeze(0), parts, *parts.trained)
        return made[None]

    @contextlib.contextmanager
    def reading(self, places_U: Tensor) -> Iterator[None]:
        """Let the layer compute its output for some tokens alone.

        Args:
            places_U: int64, the tokens that are read.
        """
        even = ROUND if self._halves else 1
        more_M = places_U[:1].expand(-len(places_U) % even)
        self.read = Read(torch.cat([places_U, more_M]), len(places_U))
        try:
            yield
        finally:
            self.read = None

    @property
    def _halves(self) -> bool:
        return next(self.block.parameters()).dtype == torch.bfloat16

    def parts(self, given: tuple[Any, ...], named: dict[str, Any]) -> Parts | None:
        """Give the parts of the layer for a pass; None where it is to be computed as it is."""
        if self._otherwise(given, named) or not self._still():
            return None
        if self.read is not None and not self.read.fits(named["borders"]):
            return None
        groups = [HEADS] if self.read is None else [HEADS[:1], HEADS[1:]]
        groups += [(OUT,), (FIRST,), (SECOND,)]
        found = [self._linears(names, given[0]) for names in groups]
        norms = [_norm(self.held[name]) for name in NORMS]
        if None in found or None in norms:
            return None
        *heads, out, first, second = cast("list[Linears]", found)
        made = Parts(
            self.held["attention.self"], self.how, self.channels, tuple(heads), out, first, second,
            cast("tuple[Norm, Norm]", tuple(norms)), named["borders"], self.read,
        )  # fmt: skip
        return made if given[0].requires_grad or made.trained else None

    def _otherwise(self, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Whether the layer is given something that is not known here."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling() or not given:
            return True
        more = [*given[1:], *(each for name, each in named.items() if name not in GIVEN)]
        if any(each is not None and each is not False for each in more):
            return True
        states = given[0]
        if named.get("borders") is None or states.dim() != 3 or states.shape[0] != 1:  # noqa: PLR2004
            return True
        return states.dtype not in FORMATS or autocasts(states)

    def _still(self) -> bool:
        """Whether each part is what was proved, none drops, and nothing looks into it."""
        for name, part in self.held.items():
            if self.block.get_submodule(name) is not part or (name and self._changed(part)):
                return False
        drops = [cast(nn.Dropout, self.held[name]) for name in DROPS]
        return not any(drop.training and drop.p for drop in drops)

    def _changed(self, part: nn.Module) -> bool:
        """Whether a part is watched, or has another forward pass, other than for tokens alone."""
        return watched(part) or (self.read is None and "forward" in vars(part))

    def _linears(self, names: Sequence[str], states: Tensor) -> Linears | None:
        layers = [self.block.get_submodule(name) for name in names]
        return None if any(map(self._changed, layers)) else linears(layers, states)


def encode(trunk: Trunk) -> Fusion:
    """Let layers of a trunk be computed as one function where that is proved to give the same.

    Args:
        trunk: with its adapter.
    """
    made = _encoding(trunk)
    vars(trunk.model)[FUSION] = made
    return made


def of_form(block: nn.Module) -> bool:
    """Whether a layer has the parts of BERT's."""
    for name, expected in INNER.items():
        try:
            part = block.get_submodule(name)
        except AttributeError:
            return False
        if {child for child, _ in part.named_children()} != expected:
            return False
    act = block.get_submodule("intermediate.intermediate_act_fn")
    exact = isinstance(act, GELUActivation | nn.GELU) and getattr(act, "approximate", "none")
    return exact == "none" and all(_norm(block.get_submodule(name)) for name in NORMS)


def _encoding(trunk: Trunk) -> Fusion:
    found = blocks(trunk.model)
    why = _unfit(trunk) or ("" if found else FORM)
    if why:
        return Fusion(0, len(found), why, what=WHAT)
    whys = tried(trunk, found, partial(_encoded, trunk))
    if not all(whys) and trunk.model.dtype == torch.bfloat16:
        vars(trunk.model)[EVEN] = ROUND
    return Fusion(whys.count(""), len(found), commonest(whys), what=WHAT)


def _unfit(trunk: Trunk) -> str:
    """Say why no layer of a trunk can be; empty where one may be."""
    if trunk.seq2seq:
        return FORM
    if not trunk.packed:
        return "rows are padded"
    if trunk.model.dtype not in FORMATS:
        return f"they would be in {str(trunk.model.dtype).removeprefix('torch.')}"
    return "" if trunk.device.type == "cpu" else "they are for the CPU"


def _encoded(trunk: Trunk, block: nn.Module, call: Any, asked: dict[Any, Any]) -> str:
    """Let one layer be computed as one function; say why it is not, empty where it is."""
    if call is None or not of_form(block) or block.get_submodule("attention.self") not in asked:
        held = (m.get_base_layer() for m in block.modules() if isinstance(m, BaseTunerLayer))
        return FORM if all(isinstance(base, nn.Linear) for base in held) else ADAPTER
    how = asked[block.get_submodule("attention.self")]
    if how.keys() - {"scaling", "is_causal"} or how.get("is_causal"):
        return FORM
    if isinstance(vars(block).get("forward"), Encoded):
        del vars(block)["forward"]  # of an adapter before
    if "forward" in vars(block):
        return "they compute their states again"
    made = Encoded(block, how)
    with attention(trunk.model, ATTENTION):
        expected = passed(cast(Any, type(block)).forward, *call, block=block)
        with torch.enable_grad():
            if made.parts((call[0][0].detach().requires_grad_(), *call[0][1:]), call[1]) is None:
                return ADAPTER
        found = passed(lambda _, *given, **named: made(*given, **named), *call, block=block)
    error = differ(found, expected)
    if not error <= CLOSE[trunk.model.dtype]:
        return f"they would differ by {error:.1e} of what they give"
    vars(block)["forward"] = made
    return ""


def _norm(module: nn.Module) -> Norm | None:
    """Give a layer norm that is frozen; None for another module."""
    if type(module) is not nn.LayerNorm or len(module.normalized_shape) != 1:
        return None
    held = dict(module.named_parameters())
    if set(held) != {"weight", "bias"} or any(each.requires_grad for each in held.values()):
        return None
    return Norm(held["weight"], held["bias"], module.eps)
