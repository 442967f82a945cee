"""L8: what cannot be merged says so; tests/laws/test_matrix.py merges every other kind."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import families
from attached import FAMILY, shake
from bases import input_ids, tiny
from kinds import TABLES, kind_of
from tenon.adapters.fit import fit
from tenon.adapters.fresh import fresh
from tenon.adapters.kind import settle
from tenon.adapters.wrap import wrap
from tenon.core.errors import AdapterError
from tenon.model.merge import TOLERANCE, merge_modules
from tenon.model.trunk import Trunk

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias:UserWarning"),
]


def adapter_on(name: str, arch: str, dtype: torch.dtype = torch.float32):
    """Give a tiny trunk with a shaken adapter of a kind, and the model of PEFT around it."""
    trunk = tiny(arch, dtype=dtype).requires_grad_(False)
    torch.manual_seed(0)
    settings = settle("mood", TABLES.get(name) or FAMILY[name])
    model = fresh(trunk, settings).peft.eval()
    shake(model, size=0.05)
    return Trunk(trunk, False, False, "", 0, 0, 0), model


@torch.no_grad()
def hidden(model, seed=0):
    return model(input_ids=input_ids(seed=seed)).last_hidden_state


@pytest.mark.parametrize("name", [n for n in TABLES if not kind_of(n).mergeable])
def test_every_other_kind_says_why_it_is_not(name):
    assert len(kind_of(name).mergeable_why) > 20


@pytest.mark.parametrize("name", ["houlsby", "pfeiffer", "parallel", "compacter", "mad-x"])
def test_bottlenecks_refuse_below_the_verb_as_well(name):
    trunk, model = adapter_on(name, "bert")
    with pytest.raises(AdapterError, match="cannot be merged|is not linear"):
        merge_modules("mood", trunk, model, partial(hidden, model))


@torch.no_grad()
def test_a_module_is_compared_to_what_it_gave_not_to_what_was_made_of_it():
    """Falcon adds its attention's output to the very tensor that its MLP gave."""
    trunk = families.tiny("falcon")
    model = wrap(trunk, fit(trunk, settle("mood", {"kind": "lora.v1"})).config).eval()
    shake(model, size=0.05)
    held = Trunk(trunk, False, False, "", 0, 0, 0)
    found = merge_modules("mood", held, model, partial(hidden, model))
    assert "mlp.dense_4h_to_h" in " ".join(folded.module for folded in found)
    assert found[0].error <= TOLERANCE[torch.float32], found[0]
