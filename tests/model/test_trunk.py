"""Trunk: a base loaded from its folder, frozen, packed where proved, refused where unsound."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import (
    AutoModel,
    BartConfig,
    BloomConfig,
    ErnieConfig,
    FNetConfig,
    Gemma2Config,
    MistralConfig,
    ModernBertConfig,
    Qwen2Config,
    RobertaConfig,
)

from bases import ARCHITECTURES, CONFIGS, HIDDEN, POSITIONS, tiny
from models import rows_of, trunk_of
from tenon.core.errors import FileError, PlanError
from tenon.model.packing import ATTENTION
from tenon.model.trunk import attention, padded, pick_device, positions
from tenon.text.batch import of_ids

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gpt2")
ABSOLUTE = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "gpt2")
SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
LLAMA = {**SMALL, "num_key_value_heads": 2, "pad_token_id": 0}


def made(folder, config, **more):
    """Save a fresh model of `config`, its weights large enough to show in the output."""
    torch.manual_seed(0)
    model = AutoModel.from_config(config, **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return folder


def hidden(trunk, batch, *, packed):
    with torch.no_grad():
        return replace(trunk, packed=packed).hidden_TD(batch)


def both(trunk, batch):
    return hidden(trunk, batch, packed=True), hidden(trunk, batch, packed=False)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_base_is_loaded_whole_frozen_and_in_evaluation_mode(arch, folder_of):
    trunk = trunk_of(folder_of(arch))
    expected = tiny(arch).state_dict()
    found = trunk.model.state_dict()
    dropped = {name for name in expected if name not in found}
    assert all(name.startswith("pooler.") for name in dropped)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert not any(parameter.requires_grad for parameter in trunk.model.parameters())
    assert not any(module.training for module in trunk.model.modules())
    assert trunk.decoder == (arch in DECODERS)
    assert trunk.hidden_size == HIDDEN and trunk.device == torch.device("cpu")
    assert trunk.parameters == sum(p.numel() for p in trunk.model.parameters())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_its_padded_states_are_those_of_plain_transformers(arch, folder_of):
    trunk = trunk_of(folder_of(arch))
    batch = rows_of([3, 8, 1], typed=arch in ("bert", "electra"))
    ids_BP, mask_BP, types_BP = padded(batch, trunk.pad)
    kinds = {} if types_BP is None else {"token_type_ids": types_BP}
    with torch.no_grad():
        states = tiny(arch)(input_ids=ids_BP, attention_mask=mask_BP, **kinds).last_hidden_state
    found = hidden(trunk, batch, packed=False)
    torch.testing.assert_close(found, states[mask_BP.bool()], rtol=1e-6, atol=1e-6)


@pytest.mark.cells
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("arch", [arch for arch in ARCHITECTURES if arch != "t5"])
def test_half_precision_is_packed_as_well(arch, dtype, folder_of):
    trunk = trunk_of(folder_of(arch), dtype=dtype)
    assert trunk.packed, trunk.why
    assert {p.dtype for p in trunk.model.parameters()} == {getattr(torch, dtype)}
    packed, other = both(trunk, rows_of([3, 8, 1]))
    assert packed.dtype == getattr(torch, dtype)
    torch.testing.assert_close(packed.float(), other.float(), rtol=0.1, atol=0.1)


WINDOWED = {
    "modernbert": lambda: ModernBertConfig(
        **SMALL,
        max_position_embeddings=POSITIONS,
        local_attention=8,
        global_attn_every_n_layers=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    "mistral": lambda: MistralConfig(**LLAMA, max_position_embeddings=POSITIONS, sliding_window=4),
    "qwen2": lambda: Qwen2Config(
        **LLAMA,
        max_position_embeddings=POSITIONS,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
    ),
}


@pytest.mark.parametrize("arch", WINDOWED)
def test_rows_longer_than_a_sliding_window_are_packed_too(arch, tmp_path):
    trunk = trunk_of(made(tmp_path, WINDOWED[arch]()))
    assert trunk.packed, trunk.why
    window = 5 if arch == "modernbert" else 4
    for lengths in ([30, 29, 3, 1], [window], [window + 1], [12, 2, 12, 11, 10]):
        packed, other = both(trunk, rows_of(lengths))
        torch.testing.assert_close(packed, other, rtol=1e-5, atol=1e-5)
    whole, cut = (hidden(trunk, of_ids([row]), packed=True) for row in ([5] * 30, [5] * 20))
    assert whole.shape == (30, HIDDEN) and cut.shape == (20, HIDDEN)


def test_a_window_that_no_row_can_pass_is_proved_without_one(tmp_path):
    config = MistralConfig(**LLAMA, max_position_embeddings=16, sliding_window=15)
    assert trunk_of(made(tmp_path, config)).packed


OTHERS = {
    "bloom": (lambda: BloomConfig(vocab_size=100, hidden_size=32, n_layer=1, n_head=2), "borders"),
    "fnet": (
        lambda: FNetConfig(
            vocab_size=100, hidden_size=32, num_hidden_layers=1, intermediate_size=48
        ),
        "borders",
    ),
    "gemma2": (lambda: Gemma2Config(**LLAMA, head_dim=8), "adds softcap"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_a_base_whose_attention_is_another_falls_back_to_padded(name, tmp_path):
    config, why = OTHERS[name]
    trunk = trunk_of(made(tmp_path, config()))
    assert not trunk.packed
    assert trunk.why.startswith("this base cannot be packed: ") and why in trunk.why
    assert hidden(trunk, rows_of([3, 5]), packed=False).isfinite().all()
    with pytest.raises(PlanError, match='batches = "packed": this base cannot be packed: '):
        trunk_of(tmp_path, batches="packed")


@pytest.mark.parametrize("arch", ["distilbert", "modernbert", "llama", "gpt2", "t5"])
def test_a_base_without_token_types_is_not_given_any(arch, folder_of):
    """Some tokenizers give types to every base; GPT-2 would take them for words."""
    trunk = trunk_of(folder_of(arch))
    assert trunk.types == 0
    plain, typed = rows_of([4, 6]), rows_of([4, 6], typed=True)
    assert torch.equal(plain.ids_T, typed.ids_T) is False or typed.types_T is not None
    typed = replace(plain, types_T=typed.types_T)
    for packed in {trunk.packed, False}:
        expected = hidden(trunk, plain, packed=packed)
        assert torch.equal(hidden(trunk, typed, packed=packed), expected)


def test_a_base_with_one_token_type_has_no_second(tmp_path):
    config = RobertaConfig(**SMALL, max_position_embeddings=20, pad_token_id=1, type_vocab_size=1)
    trunk = trunk_of(made(tmp_path, config))
    typed = rows_of([4, 6], typed=True)
    assert typed.types_T.max() == 1
    packed, other = both(trunk, typed)
    torch.testing.assert_close(packed, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ["bert", "electra", "roberta"])
def test_token_types_tell_where_the_base_has_them(arch, folder_of):
    trunk = trunk_of(folder_of(arch))
    plain = rows_of([4, 6])
    typed = replace(plain, types_T=torch.tensor([0, 0, 1, 1, 0, 1, 1, 1, 1, 1]))
    for packed in (True, False):
        assert not torch.equal(
            hidden(trunk, plain, packed=packed), hidden(trunk, typed, packed=packed)
        )


@pytest.mark.parametrize("arch", ABSOLUTE)
def test_the_positions_are_exactly_those_that_the_base_has(arch, folder_of):
    trunk = trunk_of(folder_of(arch))
    most = positions(trunk)
    assert most == POSITIONS - 2 * (arch in ("roberta", "xlm-roberta"))
    for packed in (True, False):
        assert hidden(trunk, rows_of([most]), packed=packed).isfinite().all()
        with pytest.raises((IndexError, RuntimeError)):
            hidden(trunk, rows_of([most + 1]), packed=packed)


def test_a_base_without_a_limit_has_none(folder_of):
    assert positions(trunk_of(folder_of("t5"))) == 0


def test_padding_stands_on_the_right_and_is_masked():
    ids_BP, mask_BP, types_BP = padded(of_ids([[5, 6, 7], [8]], [[0, 1, 1], [1]]), 9)
    assert ids_BP.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask_BP.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert types_BP.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert padded(of_ids([[5]]), 9)[2] is None


def test_the_attention_is_given_back_whatever_happens(folder_of):
    model = trunk_of(folder_of("bert")).model
    before = model.config._attn_implementation
    with pytest.raises(KeyError), attention(model, ATTENTION):
        assert model.config._attn_implementation == ATTENTION
        raise KeyError
    assert model.config._attn_implementation == before
    with attention(model, before):
        assert model.config._attn_implementation == before


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("cuda:99", "abacus"):
        with pytest.raises(PlanError, match=f"model.device = '{name}': not usable here"):
            pick_device(name)


POOLED = {"bert", "roberta", "xlm-roberta"}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_pooler_is_loaded_where_there_is_one_and_asked_for(arch, folder_of):
    assert getattr(trunk_of(folder_of(arch)).model, "pooler", None) is None
    if arch in POOLED:
        found = trunk_of(folder_of(arch), pooler=True).model.pooler.state_dict()
        expected = tiny(arch).pooler.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        return
    with pytest.raises(PlanError, match=rf'model.pooling = "pooler": .*\({arch}\) has no pooler'):
        trunk_of(folder_of(arch), pooler=True)


def test_a_pooler_that_was_never_trained_is_refused(tmp_path):
    model = AutoModel.from_config(CONFIGS["bert"](), add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    with pytest.raises(PlanError, match="has no trained pooler .*pooler.dense.bias"):
        trunk_of(tmp_path, pooler=True)
    assert trunk_of(tmp_path).packed


def test_a_pooler_that_is_not_used_may_be_absent_in_any_architecture(tmp_path):
    trunk = trunk_of(made(tmp_path, ErnieConfig(**SMALL), add_pooling_layer=False))
    assert trunk.packed


@pytest.fixture
def copy(folder_of, tmp_path):
    return shutil.copytree(folder_of("bert"), tmp_path / "bert")


def reconfigured(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_weights_that_are_cut_short_are_refused(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(FileError, match=r"model\.safetensors: is damaged or cut short at .*copy"):
        trunk_of(copy)


def test_weights_that_lack_tensors_are_refused(copy):
    reconfigured(copy, num_hidden_layers=3)
    with pytest.raises(FileError, match=r"16 tensors of the model are not in its weights \(enc"):
        trunk_of(copy)


def test_weights_of_other_shapes_are_refused(copy):
    reconfigured(copy, intermediate_size=40)
    with pytest.raises(FileError, match="transformers cannot load it"):
        trunk_of(copy)


@pytest.mark.parametrize("text", ["{", '{"model_type": "bort"}', "{}"])
def test_a_config_that_transformers_does_not_know_is_refused(copy, text):
    (copy / "config.json").write_text(text)
    with pytest.raises(FileError, match="transformers cannot load it"):
        trunk_of(copy)


def test_code_that_a_base_brings_along_is_not_run(copy):
    reconfigured(copy, model_type="mine", auto_map={"AutoConfig": "code.C", "AutoModel": "code.M"})
    (copy / "code.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(FileError, match="transformers cannot load it"):
        trunk_of(copy)


def test_an_encoder_decoder_is_refused_before_its_weights_are_read(tmp_path):
    BartConfig(vocab_size=100, d_model=32).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(PlanError, match="bart is an encoder-decoder"):
        trunk_of(tmp_path)
