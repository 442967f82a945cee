"""What is found on shapes is what the same step takes on data, byte for byte."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, T5EncoderModel

from bases import CONFIGS, VOCAB
from kinds import SMALL
from tenon.adapters.kind import KINDS, settle
from tenon.adapters.pool import POOL
from tenon.model.attach import attach
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.recompute import recompute
from tenon.model.trunk import Trunk, is_decoder
from tenon.plan.ledger import Counting, Ledger
from tenon.plan.unreal import META, CountingUnreal, Unreal
from tenon.text.batch import of_ids

BY_NUMBERS = ("adamss.v1", "shira.v1")
"""Kinds of which the weights decide which numbers are trained; shapes alone do not tell."""
ROUGH = {"psoft.v1": 0.2}
"""Without data, PSOFT keeps the whole of the decomposition of which it takes a part."""
NAMES = [name for name, kind in KINDS if kind.compound is None and name not in BY_NUMBERS]


def held(arch: str, kind: str, lengths: tuple[int, ...], *, unreal: bool, packed=True, again=False):
    """Give bytes kept at the end of the forward pass, and the most of forward and backward."""
    config = CONFIGS[arch]()
    read = KINDS.get(kind).reads_weights
    with torch.device("meta" if unreal and not read else "cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = T5EncoderModel(config) if arch == "t5" else AutoModel.from_config(config)
    model.requires_grad_(requires_grad=False).eval()
    packed = packed and arch != "t5"
    trunk = Trunk(model, is_decoder(model), packed=packed, why="", offset=0, pad=0, parameters=0)
    peft = attach(trunk, settle("mood", {"kind": kind, **SMALL.get(kind, {})}), 3).peft
    made = Classifier(trunk, peft, Head(32, 3, normalize=False, bias=True), "mean")
    made.train()
    if again:
        recompute(trunk)
    if unreal:
        made.to(META)
    ids = [[(7 * n + place) % (VOCAB - 5) + 5 for n in range(size)] for place, size in
           enumerate(lengths)]  # fmt: skip
    batch = replace(of_ids(ids), targets_X=torch.zeros(len(lengths)))
    ledger = Ledger()
    POOL.forget()  # what another pass has left there would not be counted
    for parameter in made.parameters():
        ledger.note(parameter)
    counting = CountingUnreal if unreal else Counting
    with Unreal("cpu") if unreal else contextlib.nullcontext(), counting(ledger):
        loss = made.nats(batch)
        kept = ledger.live
        torch.autograd.backward(loss)
    return kept, ledger.peak


def close(found: tuple[int, int], real: tuple[int, int], share: float = 0.005) -> bool:
    """Whether both agree but for a few numbers of bookkeeping."""
    return all(abs(a - b) <= max(512, share * b) for a, b in zip(found, real, strict=True))


@pytest.mark.cells
@pytest.mark.parametrize("arch", ["bert", "qwen3"])
@pytest.mark.parametrize("kind", NAMES)
def test_every_kind_keeps_on_shapes_what_it_keeps_on_data(kind, arch):
    lengths = (3, 9, 17, 17, 5)
    found, real = (held(arch, kind, lengths, unreal=unreal) for unreal in (True, False))
    assert close(found, real, ROUGH.get(kind, 0.005))


@pytest.mark.cells
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("again", [False, True], ids=["kept", "again"])
@pytest.mark.parametrize("arch", list(CONFIGS))
def test_every_architecture(arch, again, packed):
    told = {"packed": packed, "again": again}
    lengths = (3, 9, 17, 17, 5)
    found = held(arch, "lora.v1", lengths, unreal=True, **told)
    assert close(found, held(arch, "lora.v1", lengths, unreal=False, **told))


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_hooks_of_autograd_see_as_many_bytes(arch):
    """The states that autograd says it saves are within what the ledger says is kept."""
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        real = held(arch, "lora.v1", (9, 17, 17), unreal=False)
    found = held(arch, "lora.v1", (9, 17, 17), unreal=True)
    weights = held(arch, "lora.v1", (1,), unreal=True)[0]
    assert close(found, real)
    # Weights are saved for gradients as well; the first token's states are small beside the rest.
    states = found[0] - weights
    assert 0.6 * states < sum(saved.values()) < 3 * found[0]


@settings(max_examples=settings.default.max_examples // 4)
@given(st.lists(st.integers(2, 20), min_size=1, max_size=5), st.integers(1, 20))
def test_another_row_never_takes_less(lengths, more):
    fewer = held("bert", "lora.v1", tuple(sorted(lengths)), unreal=True)
    all_of_them = held("bert", "lora.v1", tuple(sorted([*lengths, more])), unreal=True)
    assert all_of_them[0] > fewer[0]


def test_recomputing_keeps_less():
    rows = (20,) * 20
    kept, again = (held("bert", "lora.v1", rows, unreal=True, again=a) for a in (False, True))
    assert again[0] < 0.6 * kept[0]
    assert again[1] < kept[1]


def test_a_tensor_that_is_gone_is_not_counted():
    ledger = Ledger(grain=512)
    with Counting(ledger):
        tensor = torch.ones(1000)
        view = tensor[10:]
        del tensor
        assert ledger.live == 4096
        del view
    assert (ledger.live, ledger.peak) == (0, 4096)
