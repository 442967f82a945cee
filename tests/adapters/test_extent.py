"""Layers: an adapter of any kind is kept to the layers that its settings name."""

from __future__ import annotations

import pytest

from attached import KIND_NAMES, TABLES
from bases import ARCHITECTURES, LAYERS, tiny
from tenon.adapters.blocks import block_of
from tenon.adapters.extent import labels_of, read_layers
from tenon.adapters.fit import fit
from tenon.adapters.kind import settle
from tenon.adapters.names import modules
from tenon.core.errors import PlanError

DEEP = [f"encoder.layer.{n}.output.dense" for n in range(6)]
TWO = [f"{stack}.block.{n}.wi" for stack in ("encoder", "decoder") for n in range(3)]


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_only_the_named_layers_get_it(arch, which):
    trunk = tiny(arch)
    whole = fit(trunk, settle("mood", TABLES[which])).places
    for said, kept in (("last:1", {LAYERS - 1}), ([0], {0}), ("0", {0})):
        found = fit(trunk, settle("mood", {**TABLES[which], "layers": said}))
        assert found.places.keys() == whole.keys()
        assert {block_of(name).number for name in modules(found.places)} == kept
        expected = [n for n in modules(whole) if block_of(n).number in kept]
        assert list(modules(found.places)) == expected
        assert {block_of(name).number for name in found.config.target_modules} == kept


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("last:2", ("4", "5")),
        (["0", "last:1"], ("0", "5")),
        ([3, "last:3"], ("3", "4", "5")),
    ],
)
def test_what_is_said_of_one_stack(said, found):
    faults: list[str] = []
    assert labels_of(read_layers(said, "adapters.mood", faults), DEEP) == found
    assert not faults


def test_each_of_two_stacks_has_its_last():
    assert labels_of(("last:1",), TWO) == ("decoder.2", "encoder.2")
    assert labels_of(("decoder.1", "0"), TWO) == ("decoder.1", "0")


@pytest.mark.parametrize(
    "said", [[], "", "top", "last:0", "last", -1, True, 1.5, [["4"]], {"a": 1}]
)
def test_what_is_no_layer_is_refused_with_what_is(said):
    with pytest.raises(PlanError, match=r"adapters\.mood\.layers is .*last:2.*\[4, 5\]"):
        settle("mood", {"kind": "lora.v1", "layers": said})


def test_a_layer_that_is_named_twice_is_refused():
    with pytest.raises(PlanError, match="names a layer twice"):
        settle("mood", {"kind": "lora.v1", "layers": [1, "1"]})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("6",), "layers: 6 is no layer of this base; they are 0 to 5"),
        (("decoder.1",), "layers: decoder.1 is no layer of this base; they are 0 to 5"),
        (("last:6",), "layers: last:6 has no effect: the base has 6 layers; leave it out, or take"),
        (("last:9",), "layers: last:9 has no effect: the base has 6 layers"),
        (("0", "last:5"), "layers: names every layer, which has no effect; leave it out"),
        (("7", "last:8"), "layers: 7 is no layer"),
    ],
)
def test_what_the_base_has_not_is_refused(said, told):
    with pytest.raises(PlanError) as met:
        labels_of(said, DEEP)
    assert str(met.value).startswith(told)
    assert len(str(met.value).splitlines()) == (len(said) if told.endswith("7 is no layer") else 1)


def test_a_site_that_lies_in_none_of_them_is_refused():
    table = {"kind": "lora.v1", "sites": ["attention", "embeddings"], "layers": "last:1"}
    with pytest.raises(PlanError, match=r"adapters\.mood\.layers: embeddings lies in none of the "):
        fit(tiny("bert"), settle("mood", table))


def test_a_fusion_has_the_layers_of_its_parts():
    table = {"kind": "fusion.v1", "parts": [], "layers": "last:1"}
    with pytest.raises(PlanError, match="layers has no effect: its places are those of its parts"):
        settle("mood", table)
