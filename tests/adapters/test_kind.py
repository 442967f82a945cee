"""Kinds: the registry, and how one `[adapters.NAME]` table is settled."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attached import TABLES
from tenon.adapters.kind import KINDS, Kind, kind, settle
from tenon.adapters.peft_kinds import LoraSettings
from tenon.core.errors import PlanError
from tenon.core.registry import Registry
from tenon.core.settings import Settings


def test_both_kinds_of_this_release_are_registered_and_complete():
    assert KINDS.names() == ["bottleneck.v1", "lora.v1"]
    for name, found in KINDS:
        assert found.name == name
        assert found.summary.endswith(".") and found.paper and found.mergeable_why
        assert 1e-5 < found.learning_rate < 1e-2
        assert found.sites(found.settings()) == found.default_sites


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_settled_table_settles_to_itself(table):
    first = settle("mood", table)
    second = settle("mood", {"kind": first.kind, "sites": list(first.sites), **first.own})
    assert first == second
    assert first.own and set(first.own) == set(KINDS.get(first.kind).settings.model_fields)


def test_the_default_sites_follow_the_preset():
    assert settle("a", TABLES["houlsby"]).sites == ("attention.out", "mlp.out")
    assert settle("a", TABLES["pfeiffer"]).sites == ("mlp.out",)
    assert settle("a", TABLES["lora"]).sites == ("attention", "mlp")


def test_all_faults_of_a_table_come_at_once():
    table = {"kind": "bottleneck.v1", "widht": 3, "dropout": 2.0, "sites": "mlp.out", "scle": 1}
    with pytest.raises(PlanError) as error:
        settle("0mood", table)
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    assert "adapters.0mood.widht is not a setting of bottleneck.v1; did you mean width?" in lines
    assert "adapters.0mood.scle is not a setting of bottleneck.v1; did you mean scale?" in lines
    assert any("cannot be an adapter's name" in line for line in lines)
    assert any(line.startswith("adapters.0mood.dropout is 2.0") for line in lines)
    assert any(line.startswith("adapters.0mood.sites is 'mlp.out'") for line in lines)


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ({}, "adapters.mood.kind is missing"),
        ({"kind": 3}, "adapters.mood.kind is missing"),
        ({"kind": "lora.v2"}, "lora.v2 is not a kind; did you mean lora.v1"),
        ({"kind": "lora.v1", "rank": 0}, "adapters.mood.rank is 0"),
        ({"kind": "lora.v1", "rank": 2.5}, "adapters.mood.rank is 2.5"),
        ({"kind": "lora.v1", "alpha": float("nan")}, "adapters.mood.alpha is nan"),
        ({"kind": "lora.v1", "sites": []}, r"adapters.mood.sites is \[\]"),
        ({"kind": "lora.v1", "sites": ["mlp.in", 3]}, "expected a list of site names"),
    ],
)
def test_each_fault_says_where_and_what(table, cause):
    with pytest.raises(PlanError, match=cause):
        settle("mood", table)


@given(st.text(max_size=70))
def test_only_plain_names_name_an_adapter(name):
    plain = (
        0 < len(name) <= 64
        and name[0].isalpha()
        and all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in name)
    )
    if plain:
        assert settle(name, {"kind": "lora.v1"}).name == name
    else:
        with pytest.raises(PlanError, match="cannot be an adapter's name"):
            settle(name, {"kind": "lora.v1"})


def test_a_site_named_twice_is_one_site():
    settled = settle("mood", {"kind": "lora.v1", "sites": ["mlp.in", "mlp.out", "mlp.in"]})
    assert settled.sites == ("mlp.in", "mlp.out")


def test_a_third_party_registers_a_kind_with_the_decorator(monkeypatch):
    registry: Registry[Kind] = Registry("kind", "tenon.kinds")
    monkeypatch.setattr("tenon.adapters.kind.KINDS", registry)

    class OwnSettings(Settings):
        size: int = 3

    def declare():
        return kind(
            "mine.v1",
            title="Mine",
            settings=OwnSettings,
            default_sites=("mlp.out",),
            learning_rate=1e-3,
            mergeable=False,
            mergeable_why="no.",
            rowwise=False,
            paper="none",
            summary="Nothing.",
        )(lambda *_: None)

    mine = declare()
    assert registry.get("mine.v1") is mine
    assert settle("a", {"kind": "mine.v1", "size": 4}).own == {"size": 4}
    with pytest.raises(ValueError, match="registered twice"):
        declare()


def test_whole_alphas_are_written_as_whole_numbers():
    config = KINDS.get("lora.v1").config(LoraSettings(alpha=16.0), {}, _base("bert"))
    assert repr(config.lora_alpha) == "16"
    assert KINDS.get("lora.v1").config(LoraSettings(alpha=1.5), {}, _base("bert")).lora_alpha == 1.5


def _base(model_type):
    from bases import tiny

    return tiny(model_type).config


def test_a_transposed_architecture_tells_peft_so():
    lora = KINDS.get("lora.v1").config
    assert lora(LoraSettings(), {}, _base("gpt2")).fan_in_fan_out
    assert not lora(LoraSettings(), {}, _base("llama")).fan_in_fan_out


@pytest.mark.parametrize("then", ["", "k.settle('a', {'kind': 'bottleneck.v1', 'width': 4})"])
def test_naming_and_settling_kinds_needs_no_torch(then):
    """`tenon --help`, `tenon init` and a refused setting do no more than this."""
    code = (
        f"import sys, tenon.adapters.kind as k; {then}\n"
        "print('torch' in sys.modules, 'peft' in sys.modules)"
    )
    found = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", "False"]


def test_names_are_sorted():
    assert all(first < second for first, second in pairwise(KINDS.names()))
