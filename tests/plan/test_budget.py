"""The budget counted on shapes is what the attached model really has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bases import ARCHITECTURES, CONFIGS, HIDDEN, tiny
from kinds import SMALL
from plan.tables import NEEDED, table_of
from tenon.adapters.kind import KINDS
from tenon.core.errors import FileError, PlanError
from tenon.model.attach import attach
from tenon.model.base import Base
from tenon.model.trunk import Trunk
from tenon.plan.budget import budget, shapes
from tenon.plan.resolve import resolve_table

ADAPTERS = {
    "lora": {"kind": "lora.v1"},
    "houlsby": {"kind": "bottleneck.v1", "preset": "houlsby", "width": 4},
    "pfeiffer": {"kind": "bottleneck.v1", "preset": "pfeiffer", "width": 4},
    "parallel": {"kind": "bottleneck.v1", "preset": "parallel", "width": 4},
}
LABELS = 3


def plan_of(adapter, **more):
    table = table_of({**NEEDED, **more})
    table["adapters"] = {"mood": adapter}
    return resolve_table(table, Path("/project/run.toml"))


@pytest.fixture
def base(tmp_path, request):
    CONFIGS[request.param]().save_pretrained(tmp_path)
    return Base(request.param, tmp_path)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("base", ARCHITECTURES, indirect=True)
def test_it_counts_what_is_attached(base, adapter):
    plan = plan_of(ADAPTERS[adapter])
    counted = budget(plan, base, LABELS)
    model = tiny(base.name)
    model.requires_grad_(requires_grad=False)
    trunk = Trunk(model, decoder=False, packed=False, why="", offset=0, pad=0, parameters=0)
    attached = attach(trunk, plan.adapter, plan.seed)
    trained = [p.numel() for p in attached.peft.parameters() if p.requires_grad]
    assert counted.adapter_parameters == sum(trained) > 0
    assert sum(place.parameters for place in counted.places) == counted.adapter_parameters
    first: dict[str, str] = {}
    for site, names in attached.places.items():
        first.setdefault(names[0], site)
    assert {p.site for p in counted.places if p.parameters} == set(first.values())
    assert [place.site for place in counted.places] == list(attached.places)


@pytest.mark.parametrize("base", ARCHITECTURES, indirect=True)
def test_it_counts_the_base_without_its_weights(base):
    pooler = base.name in ("bert", "roberta", "xlm-roberta")
    real = sum(parameter.numel() for parameter in tiny(base.name).parameters())
    trunk = shapes(base, pooler=pooler)
    assert trunk.parameters == real
    assert all(parameter.is_meta for parameter in trunk.model.parameters())
    assert trunk.hidden_size == HIDDEN


@pytest.mark.parametrize("base", ["bert", "llama"], indirect=True)
def test_the_sums(base):
    counted = budget(plan_of({"kind": "lora.v1"}, **{"model.dtype": "bfloat16"}), base, LABELS)
    bias = 0 if base.name == "llama" else LABELS
    assert counted.head_parameters == LABELS * HIDDEN + bias
    assert counted.trained == counted.adapter_parameters + counted.head_parameters
    assert counted.share == counted.trained / counted.base_parameters
    assert counted.base_bytes == 2 * counted.base_parameters
    assert counted.adapter_bytes == 4 * counted.trained
    assert counted.optimizer_bytes == 12 * counted.trained
    json = counted.to_json()
    assert json["trained_parameters"] == counted.trained
    assert json["places"][0]["site"] == counted.places[0].site


@pytest.mark.parametrize("base", ["bert"], indirect=True)
def test_a_site_that_matches_nothing(base):
    with pytest.raises(PlanError, match="attention.query"):
        budget(plan_of({"kind": "lora.v1", "sites": ["attention.qery"]}), base, LABELS)


def test_a_config_that_is_not_one(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(FileError, match="base mine: transformers cannot read its config"):
        shapes(Base("mine", tmp_path))


@pytest.mark.parametrize("base", ["bert"], indirect=True)
def test_a_pattern_of_ones_own_shows_what_it_matched(base):
    table = {"kind": "lora.v1", "sites": ["*.query", "encoder.layer.1.*.dense"]}
    first, second = budget(plan_of(table), base, LABELS).places
    assert (first.site, first.modules) == ("*.query", 2)
    assert first.example == "encoder.layer.0.attention.self.query"
    assert (second.site, second.modules) == ("encoder.layer.1.*.dense", 3)
    assert first.parameters and second.parameters


@pytest.mark.parametrize("base", ["bert"], indirect=True)
@pytest.mark.parametrize("kind", [name for name, kind in KINDS if kind.reads_weights])
def test_a_kind_that_is_counted_on_weights_is_counted_on_random_ones(base, kind):
    before = torch.get_rng_state()
    counted = budget(plan_of({"kind": kind, **SMALL.get(kind, {})}), base, LABELS)
    assert counted.adapter_parameters > 0
    assert torch.equal(torch.get_rng_state(), before)
