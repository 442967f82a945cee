"""A LoRA in GGUF: named and laid as llama.cpp reads it, and nothing of it lost."""

from __future__ import annotations

import gguf
import pytest
import torch

import writers
from attached import shake
from bases import CONFIGS, HEADS, HIDDEN
from tenon.adapters import pack
from tenon.adapters.delta import deltas
from tenon.core.errors import AdapterError
from tenon.export import gguf as ours
from tenon.verbs.export import export

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen3": "qwen3", "gpt2": "gpt2"}
NAMES = {
    "gpt2": {"attn_qkv", "attn_output", "ffn_up", "ffn_down"},
    "other": {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"},
}


def written(tmp_path, arch="llama", **own):
    folder = writers.causal_folder(tmp_path, arch)
    model = writers.writer(folder, **own)
    shake(model, size=0.1)
    adapter = writers.save(model, folder, tmp_path / "mood", **own)
    return adapter, export(adapter, tmp_path / "out", to="gguf")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_file_says_what_llama_cpp_asks_of_it(arch, tmp_path):
    adapter, made = written(tmp_path, arch)
    assert (
        made.error < 1e-5 and {"adapter.gguf", "README.md", "conformance.py"} <= made.files.keys()
    )
    reader = gguf.GGUFReader(tmp_path / "out" / "adapter.gguf")
    told = {key: reader.get_field(key).contents() for key in reader.fields}
    assert told["general.architecture"] == ARCHITECTURES[arch]
    assert (told["general.type"], told["adapter.type"]) == ("adapter", "lora")
    assert told["adapter.lora.alpha"] == 8.0
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    wanted = NAMES.get(arch, NAMES["other"])
    assert tensors.keys() == {
        f"blk.{layer}.{name}.weight.lora_{side}"
        for layer in range(2)
        for name in wanted
        for side in "ab"
    }
    for name, delta in deltas(pack.read(adapter)).items():
        if name.endswith(("down_proj", "mlp.c_proj")):
            layer = name.split(".")[-3]
            a_RI, b_OR = (tensors[f"blk.{layer}.ffn_down.weight.lora_{side}"] for side in "ab")
            found_OI = torch.from_numpy(b_OR @ a_RI).double()
            torch.testing.assert_close(found_OI, delta.dense_OI, rtol=1e-5, atol=1e-7)


def test_queries_and_keys_meet_under_llama_cpps_rotation_as_under_ours():
    layout = ours.Layout("llama", CONFIGS["llama"]().to_dict())
    size = HIDDEN // HEADS
    q_O, k_O = torch.randn(HEADS * size), torch.randn(2 * size)
    angles = torch.rand(size // 2)
    cos, sin = angles.cos(), angles.sin()

    def halves(x_HS):  # transformers: input i turns with input i + S / 2
        first, second = x_HS[:, : size // 2], x_HS[:, size // 2 :]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], 1)

    def neighbours(x_HS):  # llama.cpp's LLAMA_ROPE_TYPE_NORM: input 2 i turns with input 2 i + 1
        first, second = x_HS[:, ::2], x_HS[:, 1::2]
        return torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(1)

    def attend(turn, q_O, k_O):
        q_HS, k_HS = turn(q_O.view(HEADS, size)), k_O.view(2, size)
        return q_HS @ k_HS.T

    q_rows = layout.rows("layers.0.self_attn.q_proj", len(q_O))
    k_rows = layout.rows("layers.0.self_attn.k_proj", len(k_O))
    assert sorted(q_rows.tolist()) == list(range(len(q_O))) != q_rows.tolist()
    there = attend(neighbours, q_O[q_rows], k_O[k_rows])
    torch.testing.assert_close(there, attend(halves, q_O, k_O))
    assert layout.rows("layers.0.self_attn.v_proj", 16).tolist() == list(range(16))


def test_what_the_file_holds_otherwise_is_found(tmp_path, monkeypatch):
    write = ours._write

    def straight(*given):
        with monkeypatch.context() as patch:
            patch.setattr(ours.Layout, "rows", lambda _own, _name, size: torch.arange(size))
            write(*given)

    monkeypatch.setattr(ours, "_write", straight)
    with pytest.raises(AdapterError, match="its scores differ"):
        written(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"sites": ["embeddings"]}, "changes the vectors of tokens"),
        ({"kind": "prefix.v1", "length": 3}, "is no LoRA and cannot be made one"),
    ],
)
def test_what_llama_cpp_cannot_read_is_refused(own, why, tmp_path):
    with pytest.raises(AdapterError, match=why):
        written(tmp_path, "llama", **own)
    assert not (tmp_path / "out").exists()


def test_a_base_of_unknown_layout_is_merged_instead(tmp_path, monkeypatch):
    monkeypatch.delitem(ours.KNOWN, "llama")
    with pytest.raises(AdapterError, match=r"--to merged.*convert_hf_to_gguf.py"):
        written(tmp_path)
