"""Every kind of PEFT's learns, on an encoder, two decoders and an encoder of two stacks."""

from __future__ import annotations

import peft
import pytest
import torch

from attached import hidden, shake
from bases import HIDDEN, input_ids, tiny
from kinds import NO_TRANSPOSED, RATES, TABLES, kind_of
from tenon.adapters import weights
from tenon.adapters.fresh import fresh as put_on
from tenon.adapters.kind import KINDS, settle

pytestmark = [
    # PEFT says so of T5's embeddings; nothing is merged into a tied head here
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
    # dividing by IA3's vector is exact but where it is 0
    pytest.mark.filterwarnings("ignore:Unmerge result can be inaccurate:UserWarning"),
    # PeftModel.from_pretrained has the same complaints as `wrap`, which keeps them quiet
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore:Specified to not (save|load):UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias:UserWarning"),
]
ARCHITECTURES = ("bert", "llama", "gpt2", "t5")
STEPS = 30
MERGED = 1e-4
"""Largest difference of a hidden state, relative to the largest, after a merge in float32."""

CELLS = [
    (name, arch)
    for name in TABLES
    for arch in ARCHITECTURES
    if arch != "gpt2" or name not in NO_TRANSPOSED
]
"""Where a kind can sit; tests/laws/test_matrix.py proves the refusals, and the laws of one cell."""

every_kind = pytest.mark.parametrize("name", TABLES)


def attached(name: str, arch: str, **more) -> peft.PeftModel:
    return fresh(tiny(arch), name, **more)


def fresh(trunk, name: str, seed: int = 0, **more) -> peft.PeftModel:
    """Put a fresh adapter on `trunk`, seeded, as `model/attach` does."""
    torch.manual_seed(seed)
    settings = settle("mood", {**TABLES[name], **more})
    return put_on(trunk.requires_grad_(False), settings).peft.eval()


def trained(model: peft.PeftModel) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def test_each_kind_that_cannot_sit_on_transposed_layers_says_so_of_itself():
    told = {
        name for name, kind in KINDS if "linear" in kind.wraps and "transposed" not in kind.wraps
    }
    assert told == NO_TRANSPOSED


@pytest.mark.cells
@pytest.mark.parametrize(("name", "arch"), CELLS)
def test_it_learns_and_once_merged_comes_out_again(name, arch):
    model = attached(name, arch)
    learned(model, RATES.get(name, 1e-2))
    merged(model, kind_of(name), hidden(model))


def learned(model: peft.PeftModel, rate: float) -> None:
    """Fit a random target for some steps: the loss falls, and each tensor has had a gradient."""
    held = trained(model)
    start = {key: p.detach().clone() for key, p in held.items()}
    base = {key: p for key, p in model.named_parameters() if not p.requires_grad}
    generator = torch.Generator().manual_seed(3)
    target_BD = torch.randn(2, HIDDEN, generator=generator)
    optimizer = torch.optim.AdamW(held.values(), rate)
    losses, alive = [], set()
    model.train()
    for _ in range(STEPS):
        states = model(input_ids=input_ids()).last_hidden_state
        loss = (states.mean(1) - target_BD).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        alive |= {key for key, p in held.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
    model.eval()
    assert min(losses[-5:]) < 0.97 * losses[0], losses
    assert alive == set(held)
    assert not [key for key in held if torch.equal(held[key], start[key])]
    assert not any(p.grad is not None for p in base.values())


def merged(model, kind, expected) -> None:
    """L8: merged it is the same within a tolerance, and unmerged the base again; or it refuses."""
    if not kind.mergeable:
        return
    model.merge_adapter()
    difference = (hidden(model) - expected).abs().max() / expected.abs().max()
    assert difference <= MERGED
    model.unmerge_adapter()
    again = (hidden(model) - expected).abs().max() / expected.abs().max()
    assert again <= MERGED


@every_kind
def test_a_bfloat16_base_keeps_its_format_and_the_adapter_stays_in_float32(name):
    before = hidden(tiny("bert", dtype=torch.bfloat16))
    model = fresh(tiny("bert", dtype=torch.bfloat16), name)
    formats = {p.dtype for p in trained(model).values()}
    assert formats == {torch.bfloat16 if name == "ln_tuning.v1" else torch.float32}
    found = hidden(model)
    assert found.dtype == torch.bfloat16
    if kind_of(name).start:
        assert (found - before).abs().max() <= 0.1 * before.abs().max()
    else:
        assert torch.equal(found, before)
    shake(model, size=0.05)
    model(input_ids=input_ids()).last_hidden_state.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in trained(model).values())


@every_kind
def test_the_same_seed_gives_the_same_first_weights(name):
    first, second = attached(name, "bert"), attached(name, "bert")
    one, other = weights.take(first), weights.take(second)
    assert one.keys() == other.keys() and one
    assert all(torch.equal(one[key], other[key]) for key in one)
