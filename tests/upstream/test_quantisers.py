"""What model/quantization leans on in torchao, bitsandbytes and transformers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

pytest.importorskip("torchao")
functional = pytest.importorskip("bitsandbytes.functional")

HERE = "model/quantized.py"


def by_hand(packed, state, outputs, inputs):
    """Read 4-bit numbers as the format says: two a byte, the first in its high half."""
    pairs = packed.view(-1)
    values = state.code[torch.stack([pairs >> 4, pairs & 15], 1).view(-1).long()]
    scales = state.absmax.repeat_interleave(state.blocksize)[: len(values)]
    return (values * scales)[: outputs * inputs].view(outputs, inputs)


@pytest.mark.parametrize("shape", [(64, 32), (37, 96), (16, 16), (128, 48), (64, 64)])
def test_four_bits_are_right_where_they_are_read_as_one_row(shape):
    generator = torch.Generator().manual_seed(0)
    weight_OI = torch.randn(shape, generator=generator)
    packed, state = functional.quantize_4bit(weight_OI, blocksize=64, quant_type="nf4")
    expected_OI = by_hand(packed, state, *shape)
    state.shape = torch.Size((1, weight_OI.numel()))
    assert torch.equal(functional.dequantize_4bit(packed, state).view(shape), expected_OI)


def test_four_bits_are_wrong_on_some_cpus_where_blocks_cross_rows():
    weight_OI = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    packed, state = functional.quantize_4bit(weight_OI, blocksize=64, quant_type="nf4")
    wrong_OI = functional.dequantize_4bit(packed, state)
    if torch.equal(wrong_OI, by_hand(packed, state, 64, 32)):
        pytest.skip(
            f"bitsandbytes is right here; were it so everywhere, {HERE} needs no single row"
        )


def test_torchaos_own_product_keeps_a_float_copy_of_the_weight():
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    linear = nn.Linear(64, 48).requires_grad_(requires_grad=False)
    quantize_(linear, Int8WeightOnlyConfig(set_inductor_config=False))
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks
    with hooks(lambda tensor: (kept.append((tensor.shape, tensor.dtype)), tensor)[1], lambda x: x):
        F.linear(torch.randn(5, 64, requires_grad=True), linear.weight, linear.bias)
    copies = [
        shape for shape, dtype in kept if shape.numel() == 64 * 48 and dtype.is_floating_point
    ]
    assert copies, f"torchao keeps no copy now: compare its product with that of {HERE}"


def test_transformers_knows_both():
    for name in ("torchao", "bitsandbytes_4bit", "bitsandbytes_8bit"):
        assert name in AUTO_QUANTIZER_MAPPING, "model/quantization.py names them"
