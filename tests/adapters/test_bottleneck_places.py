"""The tables of places: each row against a tiny model of its type."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModel,
    DebertaV2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    MPNetConfig,
    MT5Config,
    Phi3Config,
)

import families
from attached import FAMILY, attach, hidden, shake
from bases import HEADS, HIDDEN, INNER, LAYERS, POSITIONS, VOCAB, input_ids, tiny
from tenon.adapters import bottleneck_places, sites
from tenon.adapters.bottleneck import layers_of
from tenon.adapters.bottleneck_places import POST_NORM, STREAM, behind, embedded, mlps
from tenon.core.errors import PlanError
from whole import whole


def like(config, **more):
    return config(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=POSITIONS,
        **more,
    )


CONFIGS = {
    "mpnet": lambda: like(MPNetConfig),
    "albert": lambda: like(AlbertConfig, embedding_size=16, num_hidden_groups=2),
    "deberta-v2": lambda: like(DebertaV2Config, relative_attention=True, type_vocab_size=0),
    "phi3": lambda: like(Phi3Config, pad_token_id=0, num_key_value_heads=2),
    "gemma3_text": lambda: like(Gemma3TextConfig, num_key_value_heads=2, head_dim=8),
    "gpt_neox": lambda: like(GPTNeoXConfig),
    "mt5": lambda: MT5Config(
        vocab_size=VOCAB, d_model=HIDDEN, d_kv=8, d_ff=INNER, num_layers=LAYERS, num_heads=HEADS
    ),
}


def model_of(arch):
    if arch in CONFIGS:
        torch.manual_seed(0)
        model = AutoModel.from_config(CONFIGS[arch]()).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        return model
    return whole("bart").model.eval() if arch == "bart" else tiny(arch)


@torch.no_grad()
def states(model):
    more = {"decoder_input_ids": input_ids(seed=1)} if model.config.is_encoder_decoder else {}
    return model(input_ids=input_ids(), **more).last_hidden_state


@pytest.mark.parametrize("arch", sorted(POST_NORM))
def test_a_norm_of_the_table_takes_in_the_linear_layers_output_and_the_residual(arch):
    """What is left of the norm's input came out before: of a norm, or of the embeddings."""
    model = model_of(arch)
    found = sites.places(model).modules
    linears = [n for s in ("attention.out", "cross.out", "mlp.out") for n in found.get(s, ())]
    norms = behind(linears, arch)
    assert len(set(norms)) == len(linears) >= 2 * LAYERS
    modules = dict(model.named_modules())
    seen = {}
    for name, module in modules.items():
        if isinstance(module, nn.LayerNorm | nn.Linear | nn.Dropout):
            module.register_forward_hook(lambda _m, i, out, n=name: seen.update({n: (i[0], out)}))
    states(model)
    for linear, norm in zip(linears, norms, strict=True):
        residual = seen[norm][0] - seen[linear][1]
        before = [out for n, (_, out) in seen.items() if n != norm and out.shape == residual.shape]
        assert any(torch.allclose(residual, out, atol=1e-4) for out in before), (linear, norm)


@pytest.mark.parametrize("arch", sorted(STREAM))
def test_the_stream_is_what_the_next_block_reads(arch):
    model = model_of(arch)
    found = sites.places(model).modules
    blocks = behind(found["mlp.out"], arch)
    if arch not in ("t5", "mt5"):
        assert blocks == found["layer"]
        return
    assert all(model.get_submodule(name) is not None for name in blocks)
    assert [f"{name}.DenseReluDense.wo" for name in blocks] == list(found["mlp.out"])


@pytest.mark.cells
@pytest.mark.parametrize("which", ["houlsby", "pfeiffer", "adapterplus", "compacter++"])
@pytest.mark.parametrize("arch", sorted(CONFIGS))
def test_presets_are_the_identity_there_and_move_with_training(arch, which):
    before = states(model_of(arch))
    model = attach(model_of(arch), FAMILY[which])
    assert torch.equal(states(model), before)
    shake(model)
    moved = states(model)
    assert moved.isfinite().all() and not torch.equal(moved, before)


def test_a_linear_layer_that_ends_nothing_is_refused_with_what_would_do():
    with pytest.raises(PlanError, match="followed by no norm"):
        behind(["encoder.layer.0.intermediate.dense"], "bert")
    with pytest.raises(PlanError, match=r'gives the sum of layers.0.self_attn.o_proj .*"mlp.out"'):
        behind(["layers.0.self_attn.o_proj"], "llama")
    with pytest.raises(PlanError, match="model type odd ends is not known"):
        behind(["stack.0.proj"], "odd")
    with pytest.raises(PlanError, match="not known to end one"):
        mlps(["stack.0.proj"], "odd")
    assert behind([], "odd") == mlps([], "odd") == ()


@pytest.mark.parametrize(
    ("tables", "arch", "expected"),
    [
        (["embeddings.word_embeddings"], "bert", ("embeddings",)),
        (["bert.embeddings.word_embeddings"], "bert", ("bert.embeddings",)),
        (["model.embed_tokens"], "llama", ("model.embed_tokens",)),
        (["wte"], "gpt2", ("drop",)),
        (["transformer.wte"], "gpt2", ("transformer.drop",)),
        (["encoder.embed_tokens", "decoder.embed_tokens"], "t5", ("encoder.embed_tokens",)),
        (["model.decoder.embed_tokens"], "bart", ("model.encoder.layernorm_embedding",)),
        ([], "bert", ()),
    ],
)
def test_the_coupling_goes_behind_all_that_is_added_to_the_embeddings(tables, arch, expected):
    assert embedded(tables, arch) == expected


def test_modules_that_lie_open_in_their_block_are_their_own_mlp():
    assert mlps(["model.decoder.layers.0.fc2"], "bart") == ("model.decoder.layers.0.fc2",)
    assert mlps(["layers.1.mlp.down_proj"], "llama") == ("layers.1.mlp",)
    open_ = "encoder.albert_layer_groups.0.albert_layers.0.ffn_output"
    assert mlps([open_], "albert") == (open_,)
    assert bottleneck_places.outside(["h.0.mlp", "wte"]) == ("wte",)


def test_an_adapter_on_albert_is_one_for_each_group_that_layers_share():
    model = attach(model_of("albert"), FAMILY["pfeiffer"])
    assert len(list(layers_of(model))) == 2
    assert hidden(model).isfinite().all()


@pytest.mark.parametrize("family", families.NAMES)
@pytest.mark.parametrize("which", ["parallel", "scaled-parallel"])
def test_an_adapter_beside_an_mlp_has_no_attention_in_its_module(family, which):
    """What a parallel adapter reads is the input of the MLP, not that of its block."""
    if family == "qwen3_moe":
        with pytest.raises(PlanError, match="its experts lie together"):
            attach(families.tiny(family), FAMILY[which])
        return
    attentions = {*sites.places(families.tiny(family)).modules["attention.out"]}
    for layer in layers_of(attach(families.tiny(family), FAMILY[which])):
        assert not {name for name in attentions if name.startswith(f"{layer.module}.")}
