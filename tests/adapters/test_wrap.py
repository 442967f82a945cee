"""Wrap: PEFT's refusals become ours, and its needless warnings are not heard."""

from __future__ import annotations

import warnings

import peft
import pytest
import torch

import families
from bases import tiny
from kinds import TABLES
from tenon.adapters.fit import fit
from tenon.adapters.fresh import fresh
from tenon.adapters.kind import settle
from tenon.adapters.wrap import KNOWN, wrap
from tenon.core.errors import PlanError


@pytest.mark.parametrize("name", TABLES)
def test_no_kind_warns_when_it_is_put_on(name):
    trunk = tiny("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh(trunk, settle("mood", TABLES[name]))


def test_what_peft_refuses_is_a_plan_error_with_its_words():
    config = peft.OFTConfig(target_modules=["c_attn"])
    with pytest.raises(
        PlanError, match=r"PEFT refuses OFT on this gpt2 model \(Target module Conv"
    ):
        wrap(tiny("gpt2"), config)


def test_our_own_errors_are_passed_on_as_they_are():
    from tenon.adapters.bottleneck import BottleneckConfig

    config = BottleneckConfig(target_modules=["LayerNorm"], width=3)
    with pytest.raises(PlanError, match="^bottleneck: wraps linear layers"):
        wrap(tiny("bert"), config)


@pytest.mark.parametrize("place", range(len(KNOWN)))
def test_each_warning_that_is_kept_quiet_is_one_that_peft_gives(place):
    """Else it is no longer needed, and hides what is new."""
    message, category = KNOWN[place]
    makers = {
        0: lambda: peft.LoraConfig(target_modules=["q_proj"]),
        1: lambda: peft.LNTuningConfig(target_modules=["norm"]),
        2: lambda: peft.BeftConfig(target_modules=["v_proj"]),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peft.get_peft_model(tiny("llama"), makers[place]())
    found = [w for w in caught if str(w.message).startswith(message.replace("`", "`"))]
    assert any(issubclass(w.category, category) for w in found)


def test_sparse_tensors_are_checked_by_torch():
    trunk = tiny("bert")
    wrap(trunk, fit(trunk, settle("mood", {"kind": "shira.v1"})).config)
    assert torch.sparse.check_sparse_tensor_invariants.is_enabled()


@pytest.mark.parametrize("name", ["lora.v1", "dora.v1"])
def test_on_a_mixture_of_experts_the_config_stays_as_the_kind_made_it(name):
    """PEFT writes an empty set of parameters into it, with which no adapter could be written."""
    trunk = families.tiny("qwen3_moe")
    settings = settle("mood", TABLES[name])
    asked = fit(trunk, settings).config.to_dict()
    held = wrap(trunk, fit(trunk, settings).config).peft_config["default"].to_dict()
    assert {key for key in asked if held[key] != asked[key]} <= {"target_modules"}
