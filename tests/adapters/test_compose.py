"""Composed adapters: exact by their deltas, honest where they are cut, refused with the cause."""

from __future__ import annotations

import copy
import dataclasses
import re

import peft
import pytest
import torch

from attached import TABLES, hidden
from bases import input_ids, tiny
from packed import fingerprint_of
from racks import MIXED, adapter_in, parents_in, rack_of
from tenon.adapters import pack
from tenon.adapters.alike import answering, coefficients, refuse_unlike
from tenon.adapters.blend import ComposeSettings, cut
from tenon.adapters.compose import Parents, compose
from tenon.adapters.composition import Average, Fuse, Parallel, Route, Stack
from tenon.adapters.delta import deltas, scaling
from tenon.adapters.manifest import Lengths, Pooling
from tenon.core.errors import AdapterError, PlanError

ARCHITECTURES = ("bert", "llama", "gpt2")
TABLE = {
    **MIXED,
    "e": {**TABLES["lora"], "rank": 2, "alpha": 3, "sites": ["embeddings", "attention.value"]},
}


@pytest.fixture(scope="module")
def made_for(folder_of):
    held = {}

    def go(arch: str = "bert"):
        if arch not in held:
            rack = rack_of(folder_of(arch), TABLE)
            held[arch] = rack, parents_in(rack, TABLE)
        return held[arch]

    return go


@pytest.fixture
def parents(made_for):
    return made_for()[1]


def changed(parents: Parents, name: str, **fields) -> Parents:
    """Give the parents with other fields in the manifest of one."""
    adapter = parents.adapters[name]
    manifest = adapter.manifest.model_copy(update=fields)
    other = dataclasses.replace(adapter, manifest=manifest)
    return Parents({**parents.adapters, name: other}, parents.digests)


def exact(parents: Parents, weights: dict[str, float]) -> dict[str, torch.Tensor]:
    """Sum the whole matrices of LoRA adapters by PEFT's own arithmetic."""
    found: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        for module, delta in deltas(parents.adapters[name]).items():
            found[module] = found.get(module, 0) + weight * delta.dense_OI
    return found


def furthest(found: dict, expected: dict) -> float:
    assert found.keys() == expected.keys()
    return max(
        float((found[m].dense_OI - whole).norm() / whole.norm()) for m, whole in expected.items()
    )


class TestExact:
    @pytest.mark.parametrize("arch", ARCHITECTURES)
    def test_a_delta_is_what_peft_itself_adds(self, arch, made_for):
        rack, parents = made_for(arch)
        for name in ("a", "d", "e"):
            with rack.only(name):
                for path, layer in rack.fittings[name].layers.items():
                    theirs = layer.get_delta_weight("default").detach()
                    ours = deltas(parents.adapters[name])[f"{pack.PEFT_PREFIX}{path}"].dense_OI
                    turned = theirs.shape != ours.shape or layer.__class__.__name__ == "Embedding"
                    fanned = getattr(layer, "fan_in_fan_out", False)
                    ours = ours.T if turned or fanned else ours
                    torch.testing.assert_close(ours.float(), theirs, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("arch", ARCHITECTURES)
    def test_concatenation_is_the_sum_of_deltas(self, arch, made_for):
        parents = made_for(arch)[1]
        weights = {"a": 0.7, "d": -0.4, "e": 2.0}
        made = compose(Average(weights), parents, ComposeSettings(head="a"))
        assert furthest(deltas(made.adapter), exact(parents, weights)) <= 1e-6
        assert made.error == 0 and set(made.errors.values()) == {0.0}
        own = made.adapter.settings.own
        rank = 9 if arch == "gpt2" else 7  # of gpt2, query and value are one module
        assert (own["rank"], own["alpha"], own["rank_stabilized"]) == (rank, float(rank), False)

    @pytest.mark.parametrize("arch", ARCHITECTURES)
    def test_what_is_written_is_what_runs_also_in_plain_peft(self, arch, made_for, tmp_path):
        rack, parents = made_for(arch)
        composition = Average([(Stack("a", "d"), 0.5), ("e", -0.3)])
        made = compose(composition, parents, ComposeSettings(head="a"))
        pack.write(tmp_path / "made", made.adapter, card="# made")
        read = pack.read(tmp_path / "made", fingerprint_of(arch))
        assert all(torch.equal(t, read.weights[k]) for k, t in made.adapter.weights.items())
        ids = input_ids()
        theirs = peft.PeftModel.from_pretrained(tiny(arch), tmp_path / "made").eval()
        with rack.mixed(composition):
            expected = hidden(rack.trunk.model, ids)
        torch.testing.assert_close(hidden(theirs, ids), expected, rtol=2e-5, atol=2e-5)
        plain = hidden(tiny(arch), ids)
        assert float((plain - expected).abs().max()) > 1e-2

    @pytest.mark.parametrize("name", ["a", "b", "c", "d", "e"])
    def test_one_at_weight_one_is_that_one_whatever_its_kind(self, name, parents):
        made = compose(Average({name: 1.0}), parents, ComposeSettings(name="again"))
        before = parents.adapters[name]
        assert made.adapter.weights is before.weights and made.adapter.head == before.head
        assert (made.adapter.kind, made.adapter.name) == (before.kind, "again")
        assert made.adapter.settings.own == before.settings.own
        assert made.adapter.manifest.parents[0].digest == parents.digests[name]

    @pytest.mark.parametrize("weight", [2.0, -1.0, 0.25])
    def test_a_rank_stabilised_one_is_scaled_as_it_is(self, weight, parents):
        made = compose(Average({"a": weight}), parents, ComposeSettings(head="a"))
        assert furthest(deltas(made.adapter), exact(parents, {"a": weight})) <= 1e-6
        assert not made.adapter.config.use_rslora

    def test_negation_takes_back(self, parents):
        made = compose(Average({"a": -1}), parents, ComposeSettings(head="a"))
        held = Parents({**parents.adapters, "m": made.adapter}, {**parents.digests, "m": "m"})
        both = exact(held, {"a": 1, "m": 1})
        size = exact(held, {"a": 1})
        assert max(float(d.norm() / size[m].norm()) for m, d in both.items()) <= 1e-6

    def test_patterns_of_alpha_count(self):
        config = peft.LoraConfig(r=4, lora_alpha=8, alpha_pattern={"query": 3}, use_rslora=True)
        assert scaling(config, "layer.0.query", 4) == 1.5
        assert scaling(config, "layer.0.value", 16) == 2.0


class TestFlags:
    """What PEFT's add_weighted_adapter inherits wrongly."""

    @pytest.mark.parametrize(
        ("field", "value"),
        [("use_dora", True), ("lora_bias", True), ("kasa_config", {"beta": 1}), ("bias", "all")],
    )
    def test_what_is_more_than_a_product_is_kept_whole_or_refused(self, field, value, parents):
        adapter = parents.adapters["a"]
        config = copy.deepcopy(adapter.config)
        setattr(config, field, value)
        odd = dataclasses.replace(adapter, config=config)
        held = Parents({**parents.adapters, "a": odd}, parents.digests)
        one = compose(Average({"a": 1}), held, ComposeSettings()).adapter
        assert getattr(one.config, field) == value and one.weights is odd.weights
        with pytest.raises(AdapterError, match=f"a: its {field} = .* more than the product"):
            compose(Average({"a": 0.5, "d": 0.5}), held, ComposeSettings(head="d"))

    def test_a_start_that_moved_the_base_is_refused(self, parents):
        config = copy.deepcopy(parents.adapters["a"].config)
        config.init_lora_weights = "pissa_niter_4"
        odd = dataclasses.replace(parents.adapters["a"], config=config)
        held = Parents({**parents.adapters, "a": odd}, parents.digests)
        with pytest.raises(AdapterError, match="began as pissa_niter_4, which may change the base"):
            compose(Average({"a": 0.5, "d": 0.5}), held, ComposeSettings(head="d"))

    def test_a_strange_tensor_is_refused(self, parents):
        adapter = parents.adapters["a"]
        key = sorted(adapter.weights)[0].replace("lora_A.weight", "lora_magnitude_vector")
        odd = dataclasses.replace(adapter, weights={**adapter.weights, key: torch.ones(3)})
        held = Parents({**parents.adapters, "a": odd}, parents.digests)
        with pytest.raises(AdapterError, match="lora_magnitude_vector is no part of a product"):
            compose(Average({"a": 0.5}), held, ComposeSettings(head="d"))


class TestCut:
    def test_a_rank_is_the_nearest_there_is_and_its_error_is_told(self, parents):
        weights = {"a": 0.7, "d": 0.5}
        whole = exact(parents, weights)
        made = compose(Average(weights), parents, ComposeSettings(rank=3))
        found = deltas(made.adapter)
        lost = sum(float((found[m].dense_OI - whole[m]).square().sum()) for m in whole)
        size = sum(float(matrix.square().sum()) for matrix in whole.values())
        assert made.error == pytest.approx((lost / size) ** 0.5, rel=1e-4)
        assert 0.01 < made.error < 1
        for module, error in made.errors.items():
            matrix = whole[f"{pack.PEFT_PREFIX}{module}"]
            values = torch.linalg.svdvals(matrix)
            best = float(values[3:].norm() / values.norm())
            assert error == pytest.approx(best, abs=1e-6)
        assert made.adapter.manifest.composed["error"] == made.error

    def test_all_of_it_comes_back_where_the_rank_suffices(self, parents):
        delta = deltas(parents.adapters["a"])[f"{pack.PEFT_PREFIX}encoder.layer.0.output.dense"]
        found = cut(delta, 4)
        assert found.lost <= 1e-20 and found.size == pytest.approx(delta.square)
        torch.testing.assert_close(found.delta.dense_OI, delta.dense_OI, rtol=1e-9, atol=1e-9)

    def test_ties_of_one_or_of_equals_is_the_sum(self, parents):
        """Nothing trimmed and no sign against another: the weighted sum itself."""
        settings = ComposeSettings(method="ties", density=1.0, head="a")
        made = compose(Average({"a": 0.5}), parents, settings)
        assert furthest(deltas(made.adapter), exact(parents, {"a": 0.5})) <= 1e-6
        twin = Parents(
            {**parents.adapters, "t": parents.adapters["a"]}, {**parents.digests, "t": "t"}
        )
        made = compose(Average({"a": 0.5, "t": 1.5}), twin, settings)
        assert furthest(deltas(made.adapter), exact(twin, {"a": 2.0})) <= 1e-6

    def test_ties_by_hand(self, parents):
        """Independent arithmetic, value by value, on one module."""
        settings = ComposeSettings(method="ties", density=0.4, rank=31, head="a")
        weights = {"a": 0.6, "d": 0.9}
        made = compose(Average(weights), parents, settings)
        module = f"{pack.PEFT_PREFIX}encoder.layer.1.attention.self.query"
        wholes = [deltas(parents.adapters[name])[module].dense_OI for name in weights]
        kept = []
        for whole in wholes:
            least = sorted(whole.abs().flatten().tolist(), reverse=True)[: round(0.4 * 1024 + 0.49)]
            kept.append(torch.where(whole.abs() >= least[-1], whole, torch.zeros_like(whole)))
        expected = torch.zeros(32, 32, dtype=torch.float64)
        for row in range(32):
            for column in range(32):
                pulls = [
                    (w, w * float(k[row, column])) for w, k in zip((0.6, 0.9), kept, strict=True)
                ]
                total = sum(pull for _, pull in pulls)
                agreeing = [(w, p) for w, p in pulls if p * total > 0]
                if agreeing:
                    share = sum(w for w, _ in agreeing)
                    expected[row, column] = 1.5 * sum(p for _, p in agreeing) / share
        found = deltas(made.adapter)[module].dense_OI
        error = float((found - expected).norm() / expected.norm())
        assert error == pytest.approx(made.errors[module.removeprefix(pack.PEFT_PREFIX)], abs=1e-4)
        assert error < 0.05

    def test_dare_is_seeded_and_keeps_the_sum_on_average(self, parents):
        def made(seed: int) -> dict:
            settings = ComposeSettings(method="dare", density=0.5, seed=seed, head="a", rank=31)
            return deltas(compose(Average({"a": 1, "d": 1}), parents, settings).adapter)

        first, again, other = made(1), made(1), made(2)
        module = f"{pack.PEFT_PREFIX}encoder.layer.0.output.dense"
        assert torch.equal(first[module].dense_OI, again[module].dense_OI)
        assert not torch.allclose(first[module].dense_OI, other[module].dense_OI)
        whole = exact(parents, {"a": 1, "d": 1})[module]
        mean = sum(made(seed)[module].dense_OI for seed in range(30)) / 30
        assert float((mean - whole).norm() / whole.norm()) < 0.3
        assert float((first[module].dense_OI - whole).norm() / whole.norm()) > 0.5

    def test_dare_that_drops_nothing_is_the_sum(self, parents):
        settings = ComposeSettings(method="dare", density=1.0, head="a")
        made = compose(Average({"a": 1, "d": -1}), parents, settings)
        assert furthest(deltas(made.adapter), exact(parents, {"a": 1, "d": -1})) <= 1e-6


class TestHeads:
    def test_heads_of_equal_labels_are_averaged_by_weight(self, parents):
        made = compose(Average({"a": 3, "d": 1}), parents, ComposeSettings()).adapter
        for key in ("weight", "bias"):
            ours = [parents.adapters[name].head[key] for name in ("a", "d")]
            torch.testing.assert_close(made.head[key], 0.75 * ours[0] + 0.25 * ours[1])

    def test_of_a_stack_the_last_one_answers(self, parents):
        made = compose(Stack("a", "d"), parents, ComposeSettings()).adapter
        assert made.head == parents.adapters["d"].head
        assert answering(Average([(Stack("a", "d"), 1), ("e", 1)])) == ("d", "e")

    def test_the_head_of_a_named_one(self, parents):
        other = changed(parents, "d", labels=("x", "y", "z"))
        made = compose(Average({"a": 1, "d": 1}), other, ComposeSettings(head="d")).adapter
        assert made.head == parents.adapters["d"].head and made.manifest.labels == ("x", "y", "z")

    def test_labels_of_a_lower_part_of_a_stack_do_not_matter(self, parents):
        other = changed(parents, "a", labels=("x",), task="text-generation")
        assert compose(Stack("a", "d"), other, ComposeSettings()).adapter.manifest.labels


class TestManifest:
    def test_it_says_how_it_came_about(self, parents):
        settings = ComposeSettings(method="ties", rank=5, head="d", name="both")
        made = compose(Average({"a": 0.5, "d": 0.25}), parents, settings)
        manifest = made.adapter.manifest
        assert [(p.name, p.weight, p.kind) for p in manifest.parents] == [
            ("a", 0.5, "lora.v1"),
            ("d", 0.25, "lora.v1"),
        ]
        assert manifest.composed == {
            "composition": "average(a:0.5, d:0.25)",
            "method": "ties",
            "density": 0.2,
            "head": "d",
            "rank": 5,
            "error": made.error,
        }
        assert not manifest.plan_digest and not manifest.report and not manifest.probes.texts

    def test_parents_of_one_name_are_told_apart_and_folders_are_not_told(self, parents):
        held = {"runs/x": parents.adapters["a"], "runs/y": parents.adapters["a"]}
        both = Parents(held, {"runs/x": "1", "runs/y": "2"})
        manifest = compose(
            Average(dict.fromkeys(held, 0.5)), both, ComposeSettings()
        ).adapter.manifest
        assert manifest.composed["composition"] == "average(a-1:0.5, a-2:0.5)"
        assert [(p.name, p.digest) for p in manifest.parents] == [("a-1", "1"), ("a-2", "2")]

    def test_the_longest_of_the_texts_that_parents_read(self, parents):
        other = changed(parents, "d", text=Lengths(max_tokens=99))
        made = compose(Average({"a": 1, "d": 1}), other, ComposeSettings()).adapter
        assert made.manifest.text.max_tokens == 99

    def test_a_layout_for_any_of_the_heads(self, parents):
        pooler = {"pooling": Pooling(mode="pooler")}
        both = changed(changed(parents, "a", layout="transformers", **pooler), "d", **pooler)
        assert (
            compose(Average({"a": 1, "d": 1}), both, ComposeSettings()).adapter.manifest.layout
            == "trunk"
        )
        one = compose(Average({"a": 2}), both, ComposeSettings()).adapter
        assert one.manifest.layout == "transformers"


OTHER_BASE = fingerprint_of("bert").model_copy(update={"digest": "0b0b" * 16, "name": "tiny/other"})
WRONG = {
    "other base": (
        Average({"a": 1, "d": 1}),
        {"base": OTHER_BASE},
        {},
        r"d: was trained on base tiny/other \(0b0b…\), a on tiny/bert \(3f9a…",
    ),
    "other task": (
        Average({"a": 1, "d": 1}),
        {"task": "text-regression"},
        {},
        "d: task is 'text-reg",
    ),
    "other labels": (
        Average({"a": 1, "d": 1}),
        {"labels": ("glad", "sad", "angry")},
        {},
        r"d: has other labels \(angry, tired\) than a, .* or take one: head=a",
    ),
    "other order of labels": (
        Average({"a": 1, "d": 1}),
        {"labels": ("sad", "glad", "tired")},
        {},
        "d: has the same labels in another order than a",
    ),
    "other pooling": (
        Average({"a": 1, "d": 1}),
        {"pooling": Pooling(mode="cls")},
        {},
        "d: pooling is 'cls', that of a is 'mean'",
    ),
    "other cut": (
        Average({"a": 1, "d": 1}),
        {"text": Lengths(max_tokens=32, cut="left")},
        {},
        "d: text.cut is 'left', that of a is 'right'",
    ),
    "other constants": (
        Average({"a": 1, "d": 1}),
        {"constants": {"thresholds": (0.1, 0.2, 0.3)}},
        {},
        "d: turns scores into answers by other thresholds than a",
    ),
    "heads with a negative weight": (
        Average({"a": 1, "d": -1}),
        {},
        {},
        "negative weight .*head=NAME",
    ),
    "a kind that cannot be written": (
        Average({"a": 1, "b": 1}),
        {},
        {},
        "b: bottleneck.v1 does not add one matrix to each weight, .*tenon eval",
    ),
    "parallel": (Parallel("a", "d"), {}, {}, "cannot be written as one adapter: it gives several"),
    "route": (Route({"a": (0,)}), {}, {}, "cannot be written .* which adapter a row takes"),
    "fuse": (Fuse("a", "d"), {}, {}, "its attention weighs each token .* learned first"),
    "weights that cancel out": (
        Average([(Average({"a": 1}), 1), ("a", -1)]),
        {},
        {},
        "the weights cancel out",
    ),
    "head of nobody": (
        Average({"a": 1, "d": 1}),
        {},
        {"head": "da"},
        "head = 'da': is no adapter of",
    ),
    "rank above": (Average({"a": 1, "d": 1}), {}, {"rank": 7}, "rank = 7: the sum is exact with 7"),
    "rank above what there is": (
        Average({"a": 1, "d": 1}),
        {},
        {"rank": 40, "method": "ties"},
        "rank = 40: no module has more than 32",
    ),
    "idle density": (
        Average({"a": 1}),
        {},
        {"density": 0.2},
        "density has no effect with method lin",
    ),
    "idle seed": (Average({"a": 1}), {}, {"seed": 1, "method": "ties"}, "seed has no effect"),
    "no name": (Average({"a": 1}), {}, {"name": "a b"}, "'a b': cannot be an adapter's name"),
}


@pytest.mark.parametrize("case", WRONG, ids=[name.replace(" ", "-") for name in WRONG])
def test_what_cannot_be_composed_is_refused_with_the_cause(case, parents):
    composition, fields, settings, told = WRONG[case]
    names = {name: parents.adapters[name] for name in ("a", "b", "d")}
    held = changed(Parents(names, parents.digests), "d", **fields)
    only = {n: held.adapters[n] for n in names if re.search(rf"'{n}'", repr(composition))}
    with pytest.raises((AdapterError, PlanError), match=told):
        compose(composition, Parents(only, parents.digests), ComposeSettings(**settings))


def test_all_that_differs_is_told_at_once(parents):
    other = changed(parents, "d", base=OTHER_BASE, task="text-regression", labels=("x",))
    with pytest.raises(AdapterError) as refused:
        refuse_unlike(Average({"a": 1, "d": 1}), {n: other.manifests[n] for n in "ad"})
    assert len(str(refused.value).splitlines()) == 3


def test_coefficients_add_up_through_every_nesting():
    nested = Average([(Stack("a", Average({"b": 0.5, "c": 2})), 2.0), ("a", -1.0)])
    assert coefficients(nested) == {"a": 1.0, "b": 1.0, "c": 4.0}


def test_a_sum_that_no_rank_can_hold_is_told(made_for):
    rack, _ = made_for()
    wide = {**TABLES["lora"], "rank": 4}
    held = {f"w{n}": adapter_in(rack, "a", wide) for n in range(300)}
    many = Parents(held, dict.fromkeys(held, "x"))
    with pytest.raises(PlanError, match="the exact sum takes 1,200, at most 1,024 can be; set it"):
        compose(Average(dict.fromkeys(held, 1.0)), many, ComposeSettings())
