"""Kinds: the registry, and how one `[adapters.NAME]` table is settled."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftType

from attached import TABLES, attach
from bases import tiny
from tenon.adapters.bottleneck_faults import NORM_NAMES
from tenon.adapters.bottleneck_kind import NORMS, PARALLEL, PRESETS, BottleneckSettings
from tenon.adapters.kind import KINDS, Kind, kind, settle
from tenon.adapters.lora_kinds import LoraSettings
from tenon.adapters.names import CORE, GROUPS, NAMES, WEIGHTED, members, split
from tenon.adapters.refused import REFUSED
from tenon.core.errors import PlanError
from tenon.core.registry import Registry
from tenon.core.settings import Settings


def test_each_kind_is_registered_and_complete():
    assert len(KINDS.names()) >= 30
    for name, found in KINDS:
        assert found.name == name and name.endswith(".v1")
        assert found.summary.endswith(".") and found.paper and found.mergeable_why
        assert found.rate_source and 1e-4 < found.learning_rate <= 0.1
        if found.compound is not None:
            continue
        assert found.sites(found.settings()) == found.default_sites
        places = {split(each)[1] for site in found.default_sites for each in members(site)}
        assert places <= set(found.places(found.settings()))
        assert set(found.divides) <= set(found.settings.model_fields)
        assert all(setting.meaning for setting in found.manual()), name


OUR_OWN = ("bottleneck.v1", "fusion.v1", "prefix.v1")
"""Kinds that PEFT does not have."""


def test_every_type_of_peft_is_a_kind_or_refused_with_a_reason():
    made = {_made(name).peft_type for name, _ in KINDS if name not in OUR_OWN}
    refused = {each.peft_type for each in REFUSED.values() if each.peft_type}
    assert not made & refused
    assert {peft_type.value for peft_type in PeftType} == {each.value for each in made} | refused
    for name, each in REFUSED.items():
        assert each.name == name and each.why and not each.why.endswith(".")
        assert not each.instead or each.instead in KINDS.names()
        assert f"{name}.v1" not in KINDS.names()


def _made(name):
    kind = KINDS.get(name)
    return kind.config(kind.settings(), {}, _base("bert"))


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        *((name, "lora.v1") for name in ("adalora.v1", "AdaLoRA", "adalora", "corda")),
        *((name, "prefix.v1") for name in ("prefix-tuning.v1", "p_tuning", "prompt-tuning")),
    ],
)
def test_a_refused_method_is_told_by_its_reason(name, instead):
    told = rf"^adapters.mood.kind: \S.* is refused: .*; take {instead}$"
    with pytest.raises(PlanError, match=told):
        settle("mood", {"kind": name})


def test_a_refused_method_without_another_names_none():
    with pytest.raises(PlanError, match="no task here does that$"):
        settle("mood", {"kind": "cartridge.v1"})


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_settled_table_settles_to_itself(table):
    first = settle("mood", table)
    second = settle("mood", {"kind": first.kind, "sites": list(first.sites), **first.own})
    assert first == second
    assert first.own and set(first.own) == set(KINDS.get(first.kind).settings.model_fields)


def test_the_default_sites_follow_the_preset():
    assert settle("a", TABLES["houlsby"]).sites == ("attention.out", "mlp.out")
    assert settle("a", TABLES["pfeiffer"]).sites == ("mlp.out",)
    assert settle("a", TABLES["lora"]).sites == ("linear",)


def test_all_faults_of_a_table_come_at_once():
    table = {"kind": "bottleneck.v1", "widht": 3, "dropout": 2.0, "sites": "mlp.out", "scle": 1}
    with pytest.raises(PlanError) as error:
        settle("0mood", table)
    lines = str(error.value).splitlines()
    assert len(lines) == 5
    for wrong, right in (("widht", "width"), ("scle", "scale")):
        what = f"adapters.0mood.{wrong} is not a setting of bottleneck.v1"
        assert f"{what}; did you mean adapters.0mood.{right}?" in lines
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


PLACES = {
    "lora": set(WEIGHTED),
    "houlsby": set(WEIGHTED),
    "pfeiffer": {site for site in WEIGHTED if site.endswith(".out")},
    "parallel": {"mlp.out"},
    "prefix": set(CORE),
}


@pytest.mark.parametrize("which", TABLES)
@pytest.mark.parametrize("site", [*NAMES, *GROUPS])
def test_a_site_that_no_base_has_for_a_kind_is_refused_before_there_is_a_base(which, site):
    table = {**TABLES[which], "sites": [site]}
    if set(members(site)) <= PLACES[which]:
        assert settle("mood", table).sites == (site,)
        return
    with pytest.raises(PlanError) as caught:
        settle("mood", table)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"adapters.mood.sites: {site} is no place for {table['kind']}")
    assert PLACES[which] == set(line.rpartition("it can be put on ")[2].split(", "))


def test_norms_that_are_not_the_identity_are_refused_before_there_is_a_base():
    table = {"kind": "bottleneck.v1", "original_ln_before": True, "original_ln_after": False}
    with pytest.raises(PlanError, match=r"^adapters.mood: original_ln_before = true, .*residual"):
        settle("mood", table)
    assert settle("mood", {**table, "residual_before_ln": False})


def test_a_kind_tells_its_settings_and_what_each_preset_decides():
    told = KINDS.get("bottleneck.v1").to_json()
    assert json.loads(json.dumps(told)) == told
    settings = {setting["name"]: setting for setting in told["settings"]}
    assert set(settings) == set(BottleneckSettings.model_fields)
    assert list(told["presets"]) == list(PRESETS)
    for preset, values in told["presets"].items():
        settled = settle("mood", {"kind": "bottleneck.v1", "preset": preset})
        assert tuple(values.pop("sites")) == settled.sites
        norms = dict(zip(NORM_NAMES, NORMS[preset], strict=True))
        for name, value in values.items():
            assert settings[name]["by_preset"]
            assert settings[name]["default"] is None
            expected = norms[name] if name in norms else settled.own[name]
            assert value == (None if name in norms and preset in PARALLEL else expected)
    decided = {name for name, setting in settings.items() if setting["by_preset"]}
    assert all(decided == set(values) for values in told["presets"].values())
    free = settings.keys() - decided
    plain = BottleneckSettings()
    assert all(settings[name]["default"] == getattr(plain, name) for name in free)


def test_a_kind_without_presets_tells_its_defaults():
    told = KINDS.get("lora.v1").to_json()
    assert told["presets"] == {}
    assert {s["name"]: s["default"] for s in told["settings"]} == LoraSettings().model_dump()


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


def test_lora_plus_is_a_factor_on_the_rate_of_b():
    lora = KINDS.get("lora.v1")
    own = settle("mood", {"kind": "lora.v1", "b_learning_rate_ratio": 8}).own
    assert lora.factors(own) == {".lora_B.": 8.0, ".lora_embedding_B.": 8.0}
    model = attach(tiny("bert"), {"kind": "lora.v1", "sites": ["attention.query", "embeddings"]})
    for part in lora.factors(own):
        assert any(part in name for name, p in model.named_parameters() if p.requires_grad), part
    assert set(lora.factors(LoraSettings().model_dump()).values()) == {1.0}
    assert KINDS.get("ia3.v1").factors({}) == {}
