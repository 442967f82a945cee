"""L9: a row's answer depends on its own adapter alone, and a failure leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from attached import TABLES, shake
from models import rows_of, trunk_of
from tenon.adapters.kind import settle
from tenon.core.errors import PlanError, RunError
from tenon.model.attach import attach
from tenon.model.rack import Rack
from tenon.model.route import Route, Router, Segment

ARCHITECTURES = ("bert", "roberta", "llama", "qwen3", "gpt2")
NAMES = ("a", "b", "c")
KINDS = {"a": "lora", "b": "houlsby", "c": "pfeiffer"}
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def rack_of(folder, kinds: dict[str, str] | None = None, **settings) -> Rack:
    """Give a trunk with adapters of several kinds, away from their first weights."""
    rack = Rack(trunk_of(folder, **settings))
    for place, (name, which) in enumerate((kinds or KINDS).items()):
        held = attach(rack.trunk, settle(name, {**TABLES[which], "dropout": 0.0}), seed=place)
        shake(held.peft, seed=place, size=0.2)
        rack.keep(name, TABLES[which]["kind"], held.peft)
    return rack


def routed(rack: Rack, owners, batch) -> torch.Tensor:
    with rack.all() as router, router.on(rack.route(owners, batch.lengths)), torch.no_grad():
        return rack.trunk.hidden_TD(batch)


def alone(rack: Rack, name: str | None, batch) -> torch.Tensor:
    with torch.no_grad():
        if name is None:
            return rack.trunk.hidden_TD(batch)
        with rack.only(name):
            return rack.trunk.hidden_TD(batch)


@pytest.mark.cells
@pytest.mark.parametrize("batches", ["packed", "padded"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_row_is_computed_by_its_own_adapter(arch, batches, folder_of):
    rack = rack_of(folder_of(arch), batches=batches)
    owners = ["a", "a", None, "b", "c", "b", None]
    batch = rows_of([3, 7, 5, 4, 6, 2, 9])
    found = routed(rack, owners, batch).split(list(batch.lengths))
    answers = {name: alone(rack, name, batch).split(list(batch.lengths)) for name in {*owners}}
    for row, name in enumerate(owners):
        torch.testing.assert_close(found[row], answers[name][row], **CLOSE)
    first, base = answers["a"][0], answers[None][0]
    assert float((first - base).abs().max()) > 1e-2, "the adapters do something"


@settings(max_examples=25)
@given(data=st.data())
def test_l9_over_kinds_batches_and_failures(data, bert_rack):
    """Whatever came before, be it a failure in the middle, a batch is computed as it is alone."""
    rack = bert_rack
    owners = data.draw(st.lists(st.sampled_from([*NAMES, None]), min_size=1, max_size=6))
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=len(owners), max_size=len(owners)))
    batch = rows_of(lengths, seed=data.draw(st.integers(0, 99)))
    if data.draw(st.booleans()):
        fail_within(rack, owners, batch, data.draw(st.integers(0, 3)))
    found = routed(rack, owners, batch).split(lengths)
    for name in {*owners}:
        expected = alone(rack, name, batch).split(lengths)
        for row, owner in enumerate(owners):
            if owner == name:
                torch.testing.assert_close(found[row], expected[row], **CLOSE)


@pytest.fixture(scope="module")
def bert_rack(folder_of):
    return rack_of(folder_of("bert"))


def fail_within(rack: Rack, owners, batch, depth: int) -> None:
    """Let a forward pass fail within the layer of some module."""
    seen = 0

    def fail(module, inputs):
        nonlocal seen
        seen += 1
        if seen > depth:
            raise ValueError("planted")

    hooks = [
        module.register_forward_pre_hook(fail)
        for module in rack.trunk.model.modules()
        if isinstance(module, torch.nn.LayerNorm)
    ]
    with pytest.raises(ValueError, match="planted"):
        routed(rack, owners, batch)
    for hook in hooks:
        hook.remove()
    assert rack.router.route is None


def test_the_trunk_is_bare_again_afterwards(folder_of):
    rack = rack_of(folder_of("bert"))
    before = {name: type(module) for name, module in rack.trunk.model.named_modules()}
    fresh = {
        name: type(module) for name, module in trunk_of(folder_of("bert")).model.named_modules()
    }
    assert before == fresh
    with rack.all():
        assert any(type(m).__name__ == "Switch" for m in rack.trunk.model.modules())
    with rack.only("b"):
        assert any(type(m).__name__ == "BottleneckLayer" for m in rack.trunk.model.modules())
    assert {name: type(module) for name, module in rack.trunk.model.named_modules()} == fresh


def test_an_adapter_that_is_in_alone_is_as_peft_left_it(folder_of):
    folder = folder_of("llama")
    rack = rack_of(folder)
    trunk = trunk_of(folder)
    held = attach(trunk, settle("a", {**TABLES["lora"], "dropout": 0.0}), seed=0)
    shake(held.peft, seed=0, size=0.2)
    batch = rows_of([4, 6])
    with torch.no_grad():
        assert torch.equal(alone(rack, "a", batch), trunk.hidden_TD(batch))
    with rack.only("a") as peft:
        assert [name for name, _ in peft.named_parameters()] == [
            name for name, _ in held.peft.named_parameters()
        ]


def recomputed(trunk, batch) -> torch.Tensor:
    """Give the hidden states with the forward pass done again on the way back."""

    def compute(_: torch.Tensor) -> torch.Tensor:
        return trunk.hidden_TD(batch)

    return checkpoint(compute, torch.zeros(1, requires_grad=True), use_reentrant=False)


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_gradients_are_those_of_each_alone_also_under_checkpointing(arch, folder_of):
    rack = rack_of(folder_of(arch))
    owners, batch = ["a", "b", "c", "a"], rows_of([5, 3, 6, 4])
    wanted = torch.randn(batch.tokens, rack.trunk.hidden_size, generator=torch.manual_seed(0))

    def gradients(compute) -> dict[str, torch.Tensor]:
        found = {}
        for name, fitting in rack.fittings.items():
            for place, layer in fitting.layers.items():
                for key, parameter in layer.named_parameters():
                    if parameter.requires_grad:
                        parameter.grad = None
                        found[name, place, key] = parameter
        compute()
        return {key: p.grad.clone() for key, p in found.items() if p.grad is not None}

    def together(way):
        def compute():
            with rack.all() as router, router.on(rack.route(owners, batch.lengths)):
                (way(batch) * wanted).sum().backward()

        return compute

    def one_by_one():
        parts = wanted.split(list(batch.lengths))
        for name in NAMES:
            with rack.only(name):
                rows = rack.trunk.hidden_TD(batch).split(list(batch.lengths))
                sum(
                    (rows[r] * parts[r]).sum() for r, o in enumerate(owners) if o == name
                ).backward()

    expected = gradients(one_by_one)
    plain = gradients(together(rack.trunk.hidden_TD))
    again = gradients(together(lambda batch: recomputed(rack.trunk, batch)))
    assert expected.keys() == plain.keys() == again.keys() and expected
    for key, gradient in expected.items():
        size = float(gradient.abs().max())
        assert float((plain[key] - gradient).abs().max()) <= 5e-5 * max(size, 1e-3), key
        assert float((again[key] - gradient).abs().max()) <= 5e-5 * max(size, 1e-3), key


def test_a_compiled_trunk_follows_the_route(folder_of):
    rack = rack_of(folder_of("bert"), batches="padded")
    owners, batch = ["a", None, "b"], rows_of([4, 4, 4])
    expected = routed(rack, owners, batch)
    with rack.all() as router, router.on(rack.route(owners, batch.lengths)), torch.no_grad():
        compiled = torch.compile(rack.trunk.model, backend="eager")
        ids = batch.ids_T.view(3, 4)
        states = compiled(input_ids=ids, attention_mask=torch.ones_like(ids))
    torch.testing.assert_close(states.last_hidden_state.flatten(0, 1), expected, **CLOSE)


class TestRefusals:
    def test_an_unknown_adapter_is_told(self, bert_rack):
        with pytest.raises(RunError, match=r"adapter z: is not in this rack, which has a, b, c"):
            bert_rack.route(["z"], [3])

    def test_a_batch_without_a_route_is_no_batch_of_anyone(self, bert_rack):
        with bert_rack.all(), pytest.raises(RunError, match="no route says whose"):
            bert_rack.trunk.hidden_TD(rows_of([3]))

    def test_a_route_of_another_size_is_told(self, bert_rack):
        told = pytest.raises(RunError, match="does not have the 7 rows")
        route = bert_rack.route(["a", "b"], [3, 4])
        with bert_rack.all() as router, router.on(route), told:
            bert_rack.trunk.hidden_TD(rows_of([3, 5]))

    def test_two_batches_are_not_mixed(self):
        router = Router()
        route = Route((Segment("a", 1),), 0)
        with router.on(route), pytest.raises(RunError, match="routed already"), router.on(route):
            pass
        assert router.route is None

    def test_adapters_are_put_in_once(self, bert_rack):
        told = pytest.raises(RunError, match="in the trunk already")
        with bert_rack.only("a"), told, bert_rack.all():
            pass

    def test_a_name_is_taken_once(self, folder_of):
        rack = rack_of(folder_of("bert"), {"a": "lora"})
        held = attach(rack.trunk, settle("a", TABLES["lora"]), seed=0)
        with pytest.raises(PlanError, match="adapter a: there is one of this name"):
            rack.keep("a", "lora.v1", held.peft)
