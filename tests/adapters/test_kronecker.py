"""Kronecker products: the sum, its factors, and the rule that all layers share."""

from __future__ import annotations

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attached import FAMILY, attached, config_of, hidden, shake
from bases import ARCHITECTURES, input_ids, tiny
from tenon.adapters import weights
from tenon.adapters.bottleneck import layers_of
from tenon.adapters.kind import settle
from tenon.adapters.kronecker import KroneckerLinear, new_rule, start_factors, start_rule


@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
)
def test_it_is_a_linear_layer_of_the_sum_of_kronecker_products(n, p, q, rank, owns):
    torch.manual_seed(n + 10 * p + 100 * q)
    layer = KroneckerLinear(n * p, n * q, products=n, rank=rank, owns_rule=owns)
    start_factors(layer)
    rule = torch.randn(n, n, n)
    with torch.no_grad():
        layer.bias.copy_(torch.randn(n * q))
        if owns:
            layer.rule.copy_(rule)
    terms = [torch.kron(rule[i], layer.left[i] @ layer.right[i]) for i in range(n)]
    x = torch.randn(2, 3, n * p)
    expected = x @ torch.stack(terms).sum(0) + layer.bias
    found = layer(x) if owns else layer(x, rule)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    own = n * p * rank + rank * n * q + n * q + (n**3 if owns else 0)
    assert sum(parameter.numel() for parameter in layer.parameters()) == own


def test_factors_are_glorots_and_the_published_rule_is_narrow():
    torch.manual_seed(0)
    layer = KroneckerLinear(4 * 200, 4 * 50, products=4, rank=1, owns_rule=False)
    start_factors(layer)
    for factor, fans in ((layer.left, 201), (layer.right, 51)):
        assert factor.abs().max() <= (6 / fans) ** 0.5
        assert factor.std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.08)
    assert not layer.bias.any()
    rule = new_rule(12)
    start_rule(rule, near=True)
    assert rule.std().item() == pytest.approx(1e-4, rel=0.08)
    start_rule(rule, near=False)
    assert rule.std().item() == pytest.approx(12**-0.5, rel=0.08)


def rules(model, name="default"):
    return [layer.rule(name) for layer in layers_of(model)]


@pytest.mark.cells
@pytest.mark.parametrize("which", ["compacter", "compacter++"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_one_rule_is_shared_held_once_and_saved_once(arch, which):
    model = attached(arch, which)
    found = rules(model)
    assert len(found) >= 2 and all(rule is found[0] for rule in found)
    held = [key for key in weights.take(model) if key.endswith("bottleneck_rule")]
    assert len(held) == 1
    shake(model)
    first = next(layers_of(model))
    before = hidden(model)
    with torch.no_grad():
        first.bottleneck_rule["default"].mul_(2)
    assert not torch.equal(hidden(model), before)


def test_rules_of_their_own_are_two_in_each_layer():
    model = attached("bert", "compacter", phm_shared=False, phm_dim=2)
    held = [p for n, p in model.named_parameters() if n.endswith(".rule")]
    assert len(held) == 2 * 4 and len({id(p) for p in held}) == 8
    assert all(rule is None for rule in rules(model))
    shake(model)
    layer = next(layers_of(model))
    down = layer.bottleneck_down["default"]
    x = torch.randn(3, 32)
    expected = x @ sum(torch.kron(down.rule[i], down.left[i] @ down.right[i]) for i in range(2))
    torch.testing.assert_close(down(x), expected + down.bias, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_the_shared_rule_is_the_sum_over_all_layers():
    model = attached("bert", "compacter")
    shake(model)
    parts = []
    for layer in layers_of(model):
        alone = torch.nn.Parameter(layer.rule("default").detach().clone())
        parts.append(alone)
        layer.rule_holders["default"] = type("Holder", (), {"bottleneck_rule": {"default": alone}})
    model(input_ids=input_ids()).last_hidden_state.square().mean().backward()
    apart = torch.stack([part.grad for part in parts]).sum(0)
    model = attached("bert", "compacter")
    shake(model)
    model(input_ids=input_ids()).last_hidden_state.square().mean().backward()
    torch.testing.assert_close(rules(model)[0].grad, apart, rtol=1e-4, atol=1e-6)


def test_a_second_adapter_has_a_rule_of_its_own():
    model = attached("llama", "compacter")
    model.add_adapter("other", config_of(tiny("llama"), settle("mood", FAMILY["compacter"])))
    assert rules(model)[0] is not rules(model, "other")[0]
    assert len({id(rule) for rule in rules(model, "other")}) == 1
    assert rules(model)[0].requires_grad and not rules(model, "other")[0].requires_grad
    model.set_adapter("other")
    model.delete_adapter("default")
    assert all(rule is None for rule in rules(model))
    assert rules(model, "other")[0] is not None


@pytest.mark.parametrize("low", [False, True])
def test_after_loading_the_rule_is_shared_again_and_trains_as_one(low, tmp_path):
    model = attached("bert", "compacter++")
    shake(model)
    model.save_pretrained(tmp_path)
    theirs = peft.PeftModel.from_pretrained(
        tiny("bert"), tmp_path, is_trainable=True, low_cpu_mem_usage=low
    ).eval()
    plain = tiny("bert")
    plain.load_adapter(str(tmp_path), is_trainable=True)
    for loaded in (theirs, plain.eval()):
        assert torch.equal(hidden(loaded), hidden(model))
        found = rules(loaded)
        assert all(rule is found[0] for rule in found) and found[0].requires_grad
        loaded(input_ids=input_ids()).last_hidden_state.square().mean().backward()
        assert found[0].grad.abs().max() > 0
