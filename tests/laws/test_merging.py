"""L8 over every kind × architecture: merged it computes the same, or it is refused with why."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from attached import FAMILY, shake
from bases import input_ids, tiny
from kinds import NO_TRANSPOSED, TABLES, kind_of
from tenon.adapters.fresh import fresh
from tenon.adapters.kind import settle
from tenon.core.errors import AdapterError
from tenon.model.merge import TOLERANCE, adapted, merge_modules, relative
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


MERGEABLE = [name for name in TABLES if kind_of(name).mergeable]


@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2", "t5"])
@pytest.mark.parametrize("name", MERGEABLE)
def test_a_mergeable_kind_is_the_same_within_rounding(name, arch):
    if arch == "gpt2" and name in NO_TRANSPOSED:
        pytest.skip("refused, as tests/adapters/test_kind_laws.py proves")
    trunk, model = adapter_on(name, arch)
    expected = hidden(model, seed=1)
    found = merge_modules("mood", trunk, model, partial(hidden, model))
    assert not adapted(trunk.model)
    assert relative(expected, hidden(trunk.model, seed=1)) <= TOLERANCE[torch.float32]
    assert found[0].error <= TOLERANCE[torch.float32], found[0]


@pytest.mark.parametrize("name", [n for n in TABLES if not kind_of(n).mergeable])
def test_every_other_kind_says_why_it_is_not(name):
    assert len(kind_of(name).mergeable_why) > 20


@pytest.mark.parametrize("name", ["houlsby", "pfeiffer", "parallel", "compacter", "mad-x"])
def test_bottlenecks_refuse_below_the_verb_as_well(name):
    trunk, model = adapter_on(name, "bert")
    with pytest.raises(AdapterError, match="cannot be merged|is not linear"):
        merge_modules("mood", trunk, model, partial(hidden, model))
