"""Fit: every kind on every site of every architecture is a working adapter, or a PlanError."""

from __future__ import annotations

import peft
import pytest
import torch

from attached import KIND_NAMES, TABLES, hidden, shake
from bases import ARCHITECTURES, HIDDEN, tiny
from tenon.adapters import weights
from tenon.adapters.fit import fit
from tenon.adapters.kind import settle
from tenon.adapters.names import GROUPS, NAMES
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import PlanError

SITES = (*NAMES, *GROUPS, "*", "head", "no-such-site", "no.such.*")
TIED = "ignore:Model has `tie_word_embeddings=True`:UserWarning"


def fitted(arch, settings):
    trunk = tiny(arch).requires_grad_(requires_grad=False)
    torch.manual_seed(0)
    return peft.get_peft_model(trunk, fit(trunk, settings).config).eval()


@pytest.mark.cells
@pytest.mark.filterwarnings(TIED)  # T5 says so of its embeddings; nothing is merged into them here
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_site_is_refused_by_its_full_name_or_carries_a_working_adapter(arch, which):
    before = hidden(tiny(arch))
    carried = 0
    for site in SITES:
        try:
            settings = settle("mood", {**TABLES[which], "sites": [site]})
            model = fitted(arch, settings)
        except PlanError as error:
            lines = str(error).splitlines()
            assert all(line.startswith("adapters.mood.sites: ") for line in lines), lines
            continue
        carried += 1
        assert torch.equal(hidden(model), before), site
        shake(model)
        moved = hidden(model)
        assert moved.isfinite().all() and not torch.equal(moved, before), site
        again = fitted(arch, settings)
        weights.put(again, weights.take(model))
        assert torch.equal(hidden(again), moved), site
        given = model(input_ids=torch.tensor([[5, 6, 7]]))
        read = [given[name] for name in ("last_hidden_state", "pooler_output") if name in given]
        sum((out * torch.linspace(-1, 1, HIDDEN)).square().sum() for out in read).backward()
        dead = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert not dead, site
    assert carried >= (1 if which in ("parallel", "pfeiffer") else 2)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"sites": ["atention"]}, "adapters.a-b.sites: atention is no site"),
        ({"sites": ["mlp.gate"]}, "adapters.a-b.sites: mlp.gate is nowhere in this bert model"),
        ({"sites": ["*.querry"]}, "adapters.a-b.sites: pattern *.querry matches no"),
        (
            {"kind": "bottleneck.v1", "preset": "pfeiffer", "sites": ["*.query"]},
            "adapters.a-b.sites: encoder.layer.0.attention.self.query is followed by no norm",
        ),
        (
            {"kind": "bottleneck.v1", "preset": "parallel", "sites": ["*.query"]},
            "adapters.a-b.sites: preset parallel sits beside an MLP",
        ),
    ],
)
def test_a_fault_begins_with_the_full_name_of_the_setting(table, line):
    settings = settle("a-b", {"kind": "lora.v1", **table})
    with pytest.raises(PlanError) as caught:
        fit(tiny("bert"), settings)
    assert str(caught.value).startswith(line)


def test_all_faults_come_at_once():
    settings = settle("mood", {"kind": "lora.v1", "sites": ["mlp.gate", "nothing.*"]})
    with pytest.raises(PlanError) as caught:
        fit(tiny("bert"), settings)
    assert len(str(caught.value).splitlines()) == 2


def test_a_setting_that_a_base_makes_idle_is_told_by_its_name():
    table = {"kind": "bottleneck.v1", "preset": "pfeiffer", "original_ln_before": True}
    with pytest.raises(PlanError, match="^adapters.mood.original_ln_before: has no effect"):
        fit(tiny("llama"), settle("mood", table))


def test_settings_of_an_unknown_kind():
    with pytest.raises(PlanError, match="no.v1 is not a kind"):
        fit(tiny("bert"), AdapterSettings(name="mood", kind="no.v1", sites=("mlp",), own={}))
