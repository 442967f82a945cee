"""Sites: the table against the models, the structure against the table, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import families
from bases import ARCHITECTURES, HIDDEN, LAYERS, tiny
from tenon.adapters import sites
from tenon.adapters.names import LINEAR, modules
from tenon.core.errors import PlanError

every_arch = pytest.mark.parametrize("arch", ARCHITECTURES)
GATED = {"modernbert", "llama", "mistral", "qwen2", "qwen3", "t5"}


def test_every_row_of_the_table_is_tested_on_a_tiny_model():
    assert set(ARCHITECTURES) <= set(sites.SITES) == set(families.NAMES)


@every_arch
def test_the_table_finds_each_site_once_a_layer(arch):
    here = sites.places(tiny(arch))
    assert here.source == "table"
    absent = {*sites.GROUPS["cross"], "cross.core", *(() if arch in GATED else ("mlp.gate",))}
    assert set(here.modules) == {*sites.NAMES} - absent
    for site, names in here.modules.items():
        if site != "norms":
            assert len(names) == (1 if site == "embeddings" else LAYERS), site


@every_arch
def test_every_linear_layer_of_a_block_has_a_site(arch):
    trunk = tiny(arch)
    here = sites.places(trunk).modules
    named = set(modules({s: here[s] for s in here if s in LINEAR}))
    inside = {
        f"{layer}.{name}"
        for layer in here["layer"]
        for name, module in trunk.get_submodule(layer).named_modules()
        if sites.is_linear(module)
    }
    assert named == inside


@every_arch
def test_structure_alone_finds_what_the_table_says(arch):
    trunk = tiny(arch)
    found, table = sites.by_structure(trunk), dict(sites.places(trunk).modules)
    of_whole_models = ("norms", "attention.core")
    assert {**found, **{site: table[site] for site in of_whole_models}} == table


@every_arch
def test_sites_have_the_shapes_of_what_they_are(arch):
    trunk = tiny(arch)
    here = sites.places(trunk).modules
    for name in here["attention.out"]:
        assert sites.features(trunk.get_submodule(name)) == (HIDDEN, HIDDEN)
    for name in here["mlp.out"]:
        assert sites.features(trunk.get_submodule(name))[1] == HIDDEN
    for name in here["mlp.in"]:
        assert sites.features(trunk.get_submodule(name))[0] == HIDDEN
    weight = trunk.get_submodule(here["embeddings"][0]).weight
    assert weight.data_ptr() == trunk.get_input_embeddings().weight.data_ptr()


class OddBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.ModuleDict({"qkv_proj": nn.Linear(8, 24), "proj": nn.Linear(8, 8)})
        self.feed = nn.ModuleDict({"w1": nn.Linear(8, 20), "w3": nn.Linear(8, 20)})
        self.feed["w2"] = nn.Linear(20, 8)


class OddModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = type("Config", (), {"model_type": "odd"})()
        self.words = nn.Embedding(30, 8)
        self.places = nn.Embedding(5, 8)
        self.stack = nn.ModuleList(OddBlock() for _ in range(3))
        self.pool = nn.Linear(8, 8)


def test_an_unknown_architecture_is_read_by_structure_and_says_so():
    here = sites.places(OddModel())
    assert (here.model_type, here.source) == ("odd", "structure")
    assert here.modules["attention.query"] == here.modules["attention.value"]
    assert here.modules["attention.query"][0] == "stack.0.attn.qkv_proj"
    assert here.modules["attention.out"][2] == "stack.2.attn.proj"
    assert here.modules["mlp.gate"][1] == "stack.1.feed.w1"
    assert here.modules["mlp.in"][1] == "stack.1.feed.w3"
    assert here.modules["mlp.out"][1] == "stack.1.feed.w2"
    assert here.modules["embeddings"] == ("words",)
    assert here.modules["layer"] == ("stack.0", "stack.1", "stack.2")


def test_a_model_without_blocks_has_no_sites_and_the_message_shows_what_there_is():
    trunk = nn.Module()
    trunk.config = type("Config", (), {"model_type": ""})()
    trunk.one = nn.Linear(2, 2)
    assert sites.places(trunk).modules == {}
    with pytest.raises(PlanError, match="none that Tenon knows"):
        sites.resolve(trunk, ["mlp.out"])
    assert sites.resolve(trunk, ["*one"]) == {"*one": ("one",)}


@every_arch
def test_groups_are_their_members_that_exist(arch):
    trunk = tiny(arch)
    here = sites.places(trunk).modules
    found = sites.resolve(trunk, ["attention", "mlp", "core"])
    assert found == {s: here[s] for g in sites.GROUPS.values() for s in g if s in here}


def test_globs_match_linear_layers_and_embeddings_by_their_full_names():
    trunk = tiny("bert")
    found = sites.resolve(trunk, ["*.query", "encoder.layer.1.*.dense", "embeddings.word*"])
    assert found["*.query"] == sites.places(trunk).modules["attention.query"]
    assert found["encoder.layer.1.*.dense"] == (
        "encoder.layer.1.attention.output.dense",
        "encoder.layer.1.intermediate.dense",
        "encoder.layer.1.output.dense",
    )
    assert found["embeddings.word*"] == ("embeddings.word_embeddings",)


@pytest.mark.parametrize(
    ("site", "cause"),
    [
        ("attention.qury", "did you mean attention.query"),
        ("mlp.gate", "mlp.gate is nowhere in this bert model; it has attention.query"),
        ("head", "head is trained with every adapter"),
        ("*.querry", r"would match: encoder.layer.\*.attention.self.query"),
        ("encoder.layer.*.outptu.dense", r"would match: encoder.layer.\*.output.dense"),
        ("*.LayerNorm", "matches no linear layer"),
        ("(a+)+$", "is no site"),
        ("", "is no site"),
    ],
)
def test_a_site_that_matches_nothing_shows_what_would(site, cause):
    with pytest.raises(PlanError, match=cause):
        sites.resolve(tiny("bert"), [site])


def test_all_bad_sites_come_at_once_and_good_ones_do_not_hide_them():
    with pytest.raises(PlanError) as error:
        sites.resolve(tiny("bert"), ["mlp.out", "mlp.gate", "nothing.*"])
    assert len(str(error.value).splitlines()) == 2


@given(st.text(alphabet="abc.*?[]()+!#\\", max_size=12))
def test_any_text_as_a_pattern_ends_in_names_or_a_message(pattern):
    trunk = TINY
    try:
        found = sites.resolve(trunk, [pattern])
    except PlanError as error:
        assert "sites:" in str(error)
    else:
        names = {name for name, _ in trunk.named_modules()}
        assert set(modules(found)) <= names and modules(found)


TINY = tiny("bert")


def test_modules_are_named_once_in_order():
    assert modules({"a": ("x", "y"), "b": ("y", "z")}) == ("x", "y", "z")


def test_a_trunk_inside_a_model_with_a_head_has_the_same_sites():
    wrapped = nn.Module()
    wrapped.bert = tiny("bert")
    wrapped.config = wrapped.bert.config
    inner = sites.places(wrapped.bert).modules
    outer = sites.places(wrapped).modules
    assert outer == {site: tuple(f"bert.{n}" for n in names) for site, names in inner.items()}


def test_features_know_transposed_layers():
    trunk = tiny("gpt2")
    layer = trunk.get_submodule("h.0.mlp.c_fc")
    assert sites.features(layer) == (32, 48)
    assert sites.features(nn.Linear(3, 5)) == (3, 5)
    assert layer(torch.zeros(1, 32)).shape == (1, 48)
