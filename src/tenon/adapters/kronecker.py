"""KroneckerLinear: a linear layer whose matrix is a sum of Kronecker products.

    y = x H + b,    H = sum over n of A_n (x) (left_n right_n)

The N small matrices A_n are the rule of the multiplication; they may be the layer's own or be
shared by all layers of an adapter, who then pass them in.

Source: Zhang et al. 2021, Beyond Fully-Connected Layers with Quaternions (arXiv:2102.08597), for
the sum; Mahabadi et al. 2021, Compacter (arXiv:2106.04647), for the factors and the sharing.
Legend: N products, I inputs, O outputs, P = I / N, Q = O / N, R rank of the factors.
"""

from __future__ import annotations

import torch
from torch import nn

RULE_STD = 1e-4


class KroneckerLinear(nn.Module):
    """A linear layer from I to O units with I R + O R + O numbers of its own, and N^3 of the rule.

    Args:
        inputs, outputs: I and O, each a multiple of `products`.
        products: N.
        rank: R, of the factors of each product.
        owns_rule: whether the rule is this layer's own.
    """

    def __init__(
        self, inputs: int, outputs: int, *, products: int, rank: int, owns_rule: bool
    ) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(products, inputs // products, rank))
        self.right = nn.Parameter(torch.empty(products, rank, outputs // products))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.rule = new_rule(products) if owns_rule else None

    def forward(self, input_I: torch.Tensor, rule_NNN: torch.Tensor | None = None) -> torch.Tensor:
        """Give [..., O] from [..., I].

        Args:
            input_I: the input.
            rule_NNN: the shared rule, where the layer has none of its own.
        """
        rule_NNN = self.rule if rule_NNN is None else rule_NNN
        assert rule_NNN is not None  # noqa: S101 - the layer above holds one or the other
        return torch.matmul(input_I, matrix(rule_NNN, self.left, self.right)) + self.bias


def new_rule(products: int) -> nn.Parameter:
    """Make a rule [N, N, N]; `start_rule` gives it values."""
    return nn.Parameter(torch.zeros(products, products, products))


def matrix(rule_NNN: torch.Tensor, left_NPR: torch.Tensor, right_NRQ: torch.Tensor) -> torch.Tensor:
    """Give H [I, O]; the number of the product is the first dimension of each argument."""
    product_NPQ = torch.bmm(left_NPR, right_NRQ)
    joined = torch.einsum("nab,npq->apbq", rule_NNN, product_NPQ)
    rows, parts, columns, units = joined.shape
    return joined.reshape(rows * parts, columns * units)


def start_rule(rule_NNN: nn.Parameter, *, near: bool) -> None:
    """Draw the rule: as published where `near`, else with a variance of 1 / N.

    With the published rule the gradient of the factors is some 1e-8 of a dense layer's. A layer
    whose output is 0 at the start anyway needs no small rule.

    Source: Compacter's configurations (`phm_c_init` normal, `phm_init_range` 1e-4).
    """
    nn.init.normal_(rule_NNN, std=RULE_STD if near else rule_NNN.shape[0] ** -0.5)


def start_factors(layer: KroneckerLinear) -> None:
    """Draw the factors of each product from Glorot's uniform distribution; the bias is 0.

    Source: Compacter's configurations (`hypercomplex_nonlinearity` glorot-uniform).
    """
    with torch.no_grad():
        for factor in (*layer.left, *layer.right):
            nn.init.xavier_uniform_(factor)
        layer.bias.zero_()
