"""L1: a fresh adapter changes no logit, bitwise, packed or padded."""

from __future__ import annotations

import pytest
import torch

from attached import KIND_NAMES, TABLES
from bases import ARCHITECTURES
from models import bare, laid, rows_of
from tenon.adapters.kind import settle
from tenon.model.attach import attach
from tenon.model.classifier import Classifier

LENGTHS = (1, 9, 4, 4, 17, 2)


def logits(model: Classifier) -> dict[str, torch.Tensor]:
    """Give the logits of a batch in every layout that the base allows."""
    ways = {"packed": True, "padded": False} if model.trunk.packed else {"padded": False}
    with torch.no_grad():
        found = {
            way: laid(model, packed=packed).logits_BL(rows_of(LENGTHS))
            for way, packed in ways.items()
        }
    laid(model, packed=ways.get("packed", False))
    return found


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_fresh_adapter_changes_no_logit(arch, which, folder_of):
    before = bare(folder_of(arch))
    expected = logits(before)
    assert ("packed" in expected) == (arch != "t5")
    held = attach(before.trunk, settle("mood", TABLES[which]), seed=1)
    fresh = Classifier(before.trunk, held.peft, before.head, before.pooling).eval()
    found = logits(fresh)
    for way, logits_BL in expected.items():
        assert torch.equal(found[way], logits_BL), way
        assert logits_BL.std() > 0


@pytest.mark.parametrize("which", KIND_NAMES)
def test_in_training_mode_too_where_nothing_drops_out(which, folder_of):
    model = bare(folder_of("bert"))
    held = attach(model.trunk, settle("mood", TABLES[which]), seed=1)
    fresh = Classifier(model.trunk, held.peft, model.head, model.pooling)
    expected = logits(fresh.eval())
    for way, logits_BL in logits(fresh.train()).items():
        assert torch.equal(expected[way], logits_BL), way


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_first_weights_follow_from_the_seed_alone(which, seed, folder_of):
    found: list[dict[str, torch.Tensor]] = []
    for noise in (1, 2):
        trunk = bare(folder_of("llama")).trunk
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        held = attach(trunk, settle("mood", TABLES[which]), seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append({n: p.detach() for n, p in held.peft.named_parameters() if p.requires_grad})
    first, second = found
    assert first and first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
