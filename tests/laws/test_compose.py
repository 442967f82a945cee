"""Laws of running compositions: what they compute, however nested; nothing stays behind."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import encoder_decoders
import writers
from attached import TABLES
from kinds import NO_TRANSPOSED
from kinds import TABLES as PEFT_TABLES
from models import rows_of
from racks import alone, mixed, put, rack_of
from tenon.adapters.composition import Average, Fuse, Parallel, Route, Stack
from tenon.adapters.kind import KINDS
from tenon.core.errors import PlanError, RunError
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.compose import compose, load_composition

ARCHITECTURES = ("bert", "llama", "gpt2")
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(scope="module")
def rack_for(folder_of):
    held = {}

    def go(arch: str, batches: str = "auto"):
        if (arch, batches) not in held:
            held[arch, batches] = rack_of(folder_of(arch), batches=batches)
        return held[arch, batches]

    return go


@pytest.mark.cells
@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_average_of_one_is_that_one_bitwise(arch, name, rack_for):
    rack, batch = rack_for(arch), rows_of([3, 7, 5])
    expected = alone(rack, name, batch)
    assert torch.equal(mixed(rack, Average({name: 1}), batch), expected)
    assert torch.equal(mixed(rack, name, batch), expected)
    assert float((expected - alone(rack, None, batch)).abs().max()) > 1e-2


@pytest.mark.cells
@pytest.mark.parametrize("batches", ["packed", "padded"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_average_is_symmetric_and_adds_up(arch, batches, rack_for):
    rack, batch = rack_for(arch, batches), rows_of([3, 7, 5])
    there = mixed(rack, Average([("a", 0.3), ("b", 0.5), ("c", -0.2)]), batch)
    back = mixed(rack, Average([("c", -0.2), ("a", 0.3), ("b", 0.5)]), batch)
    torch.testing.assert_close(there, back, **CLOSE)
    nested = Average([(Average({"a": 0.6, "b": 1.0}), 0.5), ("c", -0.2)])
    torch.testing.assert_close(mixed(rack, nested, batch), there, **CLOSE)


@pytest.mark.cells
@pytest.mark.parametrize("fresh", ["lora", "houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_stack_with_a_fresh_identity_is_what_it_stands_on(arch, fresh, folder_of):
    rack = rack_of(folder_of(arch), {"a": TABLES["lora"], "b": TABLES["houlsby"]})
    put(rack, "fresh", TABLES[fresh], seed=9, size=0)
    batch = rows_of([4, 6])
    for name in ("a", "b"):
        expected = alone(rack, name, batch)
        torch.testing.assert_close(mixed(rack, Stack(name, "fresh"), batch), expected, **CLOSE)
        torch.testing.assert_close(mixed(rack, Stack("fresh", name), batch), expected, **CLOSE)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_lora_in_a_stack_adds_as_in_an_average_of_ones(arch, rack_for):
    rack, batch = rack_for(arch), rows_of([4, 6])
    expected = mixed(rack, Average({"a": 1, "d": 1}), batch)
    torch.testing.assert_close(mixed(rack, Stack("a", "d"), batch), expected, **CLOSE)
    torch.testing.assert_close(mixed(rack, Stack("d", "a"), batch), expected, **CLOSE)


def test_the_order_of_a_stack_of_bottlenecks_counts(folder_of):
    rack = rack_of(folder_of("bert"), {"a": TABLES["houlsby"], "b": TABLES["houlsby"]}, size=0.5)
    batch = rows_of([4, 6])
    there, back = (mixed(rack, stack, batch) for stack in (Stack("a", "b"), Stack("b", "a")))
    assert float((there - back).abs().max()) > 1e-3


@pytest.fixture(scope="module")
def place(folder_of):
    tables = {
        "a": {**TABLES["lora"], "sites": ["attention.out"]},
        "b": {**TABLES["houlsby"], "sites": ["attention.out"]},
    }
    rack = rack_of(folder_of("bert"), tables)
    path = sorted(rack.bases)[0]
    lora, bottleneck = (rack.fittings[name].layers[path] for name in "ab")
    return rack, path, rack.bases[path], lora, bottleneck


class TestOneModule:
    """A LoRA and a bottleneck on one linear layer, against the formulas in plain torch."""

    def module(self, place, composition):
        rack, path = place[:2]
        return rack._composed(composition)[path]

    def inputs(self):
        return torch.randn(5, 32, generator=torch.manual_seed(1))

    @torch.no_grad()
    def test_an_average(self, place):
        _, _, base, lora, bottleneck = place
        x_D = self.inputs()
        y_D = base(x_D)
        product = lora.lora_B["default"].weight @ lora.lora_A["default"].weight
        changed = bottleneck.delta("default", y_D)
        expected = y_D + 0.7 * 2 * x_D @ product.T - 0.4 * changed
        found = self.module(place, Average({"a": 0.7, "b": -0.4}))(x_D)
        torch.testing.assert_close(found, expected, **CLOSE)

    @torch.no_grad()
    def test_a_stack_and_what_stands_in_it(self, place):
        _, _, base, lora, bottleneck = place
        x_D = self.inputs()
        y_D, low_D = base(x_D), lora(x_D)
        expected = low_D + bottleneck.delta("default", low_D)
        torch.testing.assert_close(self.module(place, Stack("a", "b"))(x_D), expected, **CLOSE)
        half_D = y_D + 0.5 * (low_D - y_D)
        halved = half_D + bottleneck.delta("default", half_D)
        found = self.module(place, Stack(Average({"a": 0.5}), "b"))(x_D)
        torch.testing.assert_close(found, halved, **CLOSE)
        both = y_D + 2 * (expected - y_D) - 1 * (low_D - y_D)
        found = self.module(place, Average([(Stack("a", "b"), 2), ("a", -1)]))(x_D)
        torch.testing.assert_close(found, both, **CLOSE)

    @torch.no_grad()
    def test_the_base_is_run_once(self, place):
        calls = []
        base = place[2]
        hook = base.register_forward_hook(lambda *_: calls.append(1))
        wide = Average([("a", 0.1), ("b", 0.2), (Stack("a", "b"), 0.3)])
        self.module(place, wide)(self.inputs())
        hook.remove()
        assert len(calls) == 1
        assert all(layer.base_layer is base for layer in place[3:])

    def test_gradients_reach_the_inputs(self, place):
        x_D = self.inputs().requires_grad_()
        self.module(place, Average({"a": 0.5, "b": 0.5}))(x_D).sum().backward()
        assert float(x_D.grad.abs().sum()) > 0


INNER = st.recursive(
    st.sampled_from(["a", "b", "c", "d"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3, unique=True).map(lambda parts: Stack(*parts)),
        st.dictionaries(inner, st.sampled_from([-0.5, 0.25, 1.0]), min_size=1, max_size=3).map(
            Average
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=20)
@given(parts=st.lists(INNER, min_size=1, max_size=3, unique=True), data=st.data())
def test_each_row_is_computed_by_its_own_part_whatever_it_is(parts, data, rack_for):
    """Parallel and Route: the same rows by each part, or each row by one, equal it alone."""
    arch = data.draw(st.sampled_from(ARCHITECTURES))
    rack = rack_for(arch, data.draw(st.sampled_from(["packed", "padded"])))
    owned = {f"part {n}": part for n, part in enumerate(parts)}
    owners = data.draw(st.lists(st.sampled_from([*owned, None]), min_size=1, max_size=5))
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=len(owners), max_size=len(owners)))
    batch = rows_of(lengths)
    with rack.all(owned) as router, torch.no_grad(), router.on(rack.route(owners, lengths)):
        found = rack.trunk.hidden_TD(batch).split(lengths)
    for name in {*owners}:
        by_it = alone(rack, None, batch) if name is None else mixed(rack, owned[name], batch)
        for row, owner in enumerate(owners):
            if owner == name:
                torch.testing.assert_close(
                    found[row], by_it.split(lengths)[row], rtol=1e-4, atol=1e-4
                )


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_composition_that_fails_leaves_the_trunk_bare(depth, rack_for):
    rack, batch = rack_for("bert"), rows_of([3, 4])
    bare = {name: type(module) for name, module in rack.trunk.model.named_modules()}
    expected = {name: alone(rack, name, batch) for name in ("a", "b", "c")}
    seen = []

    def fail(module, inputs):
        seen.append(1)
        if len(seen) > depth:
            raise ValueError("planted")

    hooks = [base.register_forward_pre_hook(fail) for base in rack.bases.values()]
    with pytest.raises(ValueError, match="planted"):
        mixed(rack, Average([(Stack("a", "b"), 0.5), ("c", 0.5)]), batch)
    for hook in hooks:
        hook.remove()
    assert {name: type(module) for name, module in rack.trunk.model.named_modules()} == bare
    for name, before in expected.items():
        assert torch.equal(alone(rack, name, batch), before)
    for fitting in rack.fittings.values():
        assert all(
            layer.base_layer is fitting.bases[path] for path, layer in fitting.layers.items()
        )


class TestRefusals:
    @pytest.mark.parametrize(
        "several", [Parallel("a", "b"), Route({"a": (0,)}), Fuse("a", "b")], ids=lambda c: c.form
    )
    def test_what_gives_no_one_answer_is_no_module(self, several, rack_for):
        rack = rack_for("bert")
        with pytest.raises(PlanError, match="is no one module; run its parts"), rack.mixed(several):
            pass
        assert not rack._inside

    def test_a_part_that_is_not_there_is_told(self, rack_for):
        rack = rack_for("bert")
        parts = {"x": Average({"a": 1, "b": 1})}
        with rack.all(parts), pytest.raises(RunError, match="adapter a: is not .* which has x"):
            rack.route(["a"], [3])
        assert rack.route(["a"], [3]).names == {"a"}

    def test_an_adapter_that_is_not_in_the_rack_is_told(self, rack_for):
        rack = rack_for("bert")
        told = pytest.raises(PlanError, match="z: is not in this rack, which has a, b, c, d")
        with told, rack.mixed(Average({"a": 1, "z": 1})):
            pass


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_compositions_of_writers_score_tokens(arch, tmp_path):
    """Of a base that writes: the composed adapter, the running average, and the sum by hand."""
    base = writers.causal_folder(tmp_path / "bases", arch)
    folders = {}
    for name, own in (("a", {"rank": 4}), ("b", {"rank": 2, "rank_stabilized": True})):
        model = writers.writer(base, shaken=True, **own)
        folders[name] = writers.save(model, base, tmp_path / name, **own)
    composition = Average({str(folder): 0.5 for folder in folders.values()})
    made = compose(composition, tmp_path / "made", base=str(base))
    ensemble = load_composition(composition, str(base))
    batch = rows_of([5, 3, 6], labels=False)
    with ensemble.answering(composition) as running, torch.no_grad():
        expected = running.model.next_logits_BV(batch)
    with torch.no_grad():
        found = open_answerer(made.folder, str(base)).model.next_logits_BV(batch)
        bare = writers.writer(base, adapter=False).next_logits_BV(batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float((bare - expected).abs().max()) > 1e-2
    assert (
        ensemble.predict(["the old dog"])[0]
        == open_answerer(made.folder).predict(["the old dog"])[0]
    )


ROWWISE = [(arch, name) for arch in ("bert", "gpt2") for name, kind in KINDS if kind.rowwise]
ROWWISE = [(arch, name) for arch, name in ROWWISE if arch == "bert" or name not in NO_TRANSPOSED]


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "kind"), ROWWISE)
def test_every_kind_that_rows_can_have_is_averaged_and_stacked(arch, kind, folder_of):
    """At the first module it wraps, by the formula; in the whole base, as a part of a stack."""
    rack = rack_of(
        folder_of(arch),
        {"k": PEFT_TABLES.get(kind, TABLES["pfeiffer"]), "a": TABLES["lora"]},
        size=0.05,
    )
    put(rack, "fresh", TABLES["lora"], seed=9, size=0)
    batch = rows_of([4, 6])
    expected = alone(rack, "k", batch)
    torch.testing.assert_close(
        mixed(rack, Stack("k", "fresh"), batch), expected, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(mixed(rack, Average({"k": 1}), batch), expected)
    twice = Average([(Average({"k": 0.5}), 2)])
    torch.testing.assert_close(mixed(rack, twice, batch), expected, rtol=1e-3, atol=1e-3)
    half = mixed(rack, Average({"k": 0.5, "a": 0.5}), batch)
    swapped = mixed(rack, Average({"a": 0.5, "k": 0.5}), batch)
    torch.testing.assert_close(half, swapped, rtol=1e-4, atol=1e-4)
    assert torch.equal(alone(rack, "k", batch), expected)


@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_compositions_over_an_encoder_decoder_write(arch, tmp_path):
    base = encoder_decoders.folder_of(tmp_path / "bases", arch)
    folders = []
    for name, own in (("a", {"rank": 4}), ("b", {"rank": 2})):
        model = encoder_decoders.seq2seq(base, shaken=True, **own)
        folders.append(encoder_decoders.save(model, base, tmp_path / name, **own))
    composition = Average({str(folder): 0.5 for folder in folders})
    made = compose(composition, tmp_path / "made", base=str(base))
    texts = ["the old dog", "a day by the river"]
    running = load_composition(composition, str(base)).predict(texts)
    assert running == open_answerer(made.folder, str(base)).predict(texts)
