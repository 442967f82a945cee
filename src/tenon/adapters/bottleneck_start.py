"""Start: the first weights of a bottleneck, by the name of their initialisation.

"identity" and "mam" give a delta of 0, "near" and "bert" a small one.

Source: Houlsby et al. 2019, section 3.6, for "near" (normal of 1e-2, truncated to two of them);
BERT's own 0.02 for "bert", as AdapterHub's `init_weights`; He et al. 2022, section 4.1, for "mam"
(Kaiming's uniform distribution as `nn.Linear` has it, a bias of 0, `up` of 0).
"""

from __future__ import annotations

import torch
from torch import nn

from tenon.adapters.coupling import Coupling
from tenon.adapters.kronecker import KroneckerLinear, start_factors, start_rule

NEAR_STD = 0.01
BERT_STD = 0.02


Layer = tuple[torch.Tensor, torch.Tensor]
"""Weight [O, I] and bias [O] of a dense layer."""


def start_dense(down: Layer, up: Layer, init: str, *, gated: bool = False) -> None:
    """Give two dense layers their first values.

    Args:
        down: fresh from `nn.Linear`, which is its start under "identity".
        init: one of `bottleneck_faults.INITS`.
        gated: whether a norm of gain 0 follows, so that `up` need not be 0.
    """
    if init == "near":
        for weight, _ in (down, up):
            nn.init.trunc_normal_(weight, std=NEAR_STD, a=-2 * NEAR_STD, b=2 * NEAR_STD)
    elif init == "bert":
        for weight, _ in (down, up):
            nn.init.normal_(weight, std=BERT_STD)
    elif not gated:
        nn.init.zeros_(up[0])
    if init != "identity":
        nn.init.zeros_(down[1])
    nn.init.zeros_(up[1])


def start_kronecker(
    down: KroneckerLinear, up: KroneckerLinear, init: str, *, gated: bool = False
) -> None:
    """Give two matrices of Kronecker products, and the rules that are their own, first values."""
    for layer in (down, up):
        start_factors(layer)
        if layer.rule is not None:
            start_rule(layer.rule, near=init == "near")
    if init == "identity" and not gated:
        nn.init.zeros_(up.right)


def start_coupling(coupling: Coupling, init: str) -> None:
    """Give both networks of a coupling first values."""
    for name in ("first", "second"):
        start_dense(coupling.linear(name, "down"), coupling.linear(name, "up"), init)
