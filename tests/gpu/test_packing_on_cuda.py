"""Packing on CUDA: the variable-length kernel gives the hidden states of padded rows."""

from __future__ import annotations

import pytest
import torch

from bases import ARCHITECTURES, tiny
from tenon.model.packing import Borders
from tenon.model.trunk import OFFSET_POSITIONS, TOLERANCE, Trunk
from tenon.text.batch import of_ids

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ROWS = [[7, 11, 13], [17] * 9, [19], [23, 29, 31, 37, 41]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("arch", [arch for arch in ARCHITECTURES if arch != "t5"])
def test_packed_equals_padded(arch: str, dtype: torch.dtype) -> None:
    model = tiny(arch, dtype=dtype).to("cuda")
    pad = model.config.pad_token_id or 0
    offset = pad + 1 if model.config.model_type in OFFSET_POSITIONS else 0
    trunk = Trunk(model, decoder=False, packed=False, why="", offset=offset, pad=pad, parameters=0)
    batch = of_ids(ROWS).to(trunk.device)
    with torch.no_grad():
        padded_TD = trunk.hidden_TD(batch).float()
        packed_TD = trunk.packed_TD(batch, Borders(batch.lengths, trunk.device)).float()
    error = float((packed_TD - padded_TD).abs().max() / padded_TD.abs().max())
    assert error <= TOLERANCE[dtype]
