"""Sites of 22 families of transformers, stated by hand."""

from __future__ import annotations

import peft
import pytest
import torch
from transformers import GPT2Config

import families
from attached import TABLES, shake
from bases import LAYERS
from families import STACKED, built, states, tiny
from tenon.adapters import sites
from tenon.adapters.fit import fit
from tenon.adapters.kind import settle
from tenon.core.errors import PlanError

BERT = {
    "attention.query": "encoder.layer.{}.attention.self.query",
    "attention.key": "encoder.layer.{}.attention.self.key",
    "attention.value": "encoder.layer.{}.attention.self.value",
    "attention.out": "encoder.layer.{}.attention.output.dense",
    "mlp.in": "encoder.layer.{}.intermediate.dense",
    "mlp.out": "encoder.layer.{}.output.dense",
    "embeddings": "embeddings.word_embeddings",
}
LLAMA = {
    "attention.query": "layers.{}.self_attn.q_proj",
    "attention.key": "layers.{}.self_attn.k_proj",
    "attention.value": "layers.{}.self_attn.v_proj",
    "attention.out": "layers.{}.self_attn.o_proj",
    "mlp.in": "layers.{}.mlp.up_proj",
    "mlp.gate": "layers.{}.mlp.gate_proj",
    "mlp.out": "layers.{}.mlp.down_proj",
    "embeddings": "embed_tokens",
}
T5_ENCODER = {
    "attention.query": "encoder.block.{}.layer.0.SelfAttention.q",
    "attention.key": "encoder.block.{}.layer.0.SelfAttention.k",
    "attention.value": "encoder.block.{}.layer.0.SelfAttention.v",
    "attention.out": "encoder.block.{}.layer.0.SelfAttention.o",
    "mlp.in": "encoder.block.{}.layer.1.DenseReluDense.wi",
    "mlp.out": "encoder.block.{}.layer.1.DenseReluDense.wo",
    "embeddings": "encoder.embed_tokens",
}
T5_DECODER = {
    "attention.query": "decoder.block.{}.layer.0.SelfAttention.q",
    "attention.key": "decoder.block.{}.layer.0.SelfAttention.k",
    "attention.value": "decoder.block.{}.layer.0.SelfAttention.v",
    "attention.out": "decoder.block.{}.layer.0.SelfAttention.o",
    "cross.query": "decoder.block.{}.layer.1.EncDecAttention.q",
    "cross.key": "decoder.block.{}.layer.1.EncDecAttention.k",
    "cross.value": "decoder.block.{}.layer.1.EncDecAttention.v",
    "cross.out": "decoder.block.{}.layer.1.EncDecAttention.o",
    "mlp.in": "decoder.block.{}.layer.2.DenseReluDense.wi",
    "mlp.out": "decoder.block.{}.layer.2.DenseReluDense.wo",
    "embeddings": "decoder.embed_tokens",
}
MT5_ENCODER = {
    **T5_ENCODER,
    "mlp.in": "encoder.block.{}.layer.1.DenseReluDense.wi_1",
    "mlp.gate": "encoder.block.{}.layer.1.DenseReluDense.wi_0",
}
MT5_DECODER = {
    **T5_DECODER,
    "mlp.in": "decoder.block.{}.layer.2.DenseReluDense.wi_1",
    "mlp.gate": "decoder.block.{}.layer.2.DenseReluDense.wi_0",
}
BART_ENCODER = {
    "attention.query": "encoder.layers.{}.self_attn.q_proj",
    "attention.key": "encoder.layers.{}.self_attn.k_proj",
    "attention.value": "encoder.layers.{}.self_attn.v_proj",
    "attention.out": "encoder.layers.{}.self_attn.out_proj",
    "mlp.in": "encoder.layers.{}.fc1",
    "mlp.out": "encoder.layers.{}.fc2",
    "embeddings": "encoder.embed_tokens",
}
BART_DECODER = {
    **{site: name.replace("encoder", "decoder") for site, name in BART_ENCODER.items()},
    "cross.query": "decoder.layers.{}.encoder_attn.q_proj",
    "cross.key": "decoder.layers.{}.encoder_attn.k_proj",
    "cross.value": "decoder.layers.{}.encoder_attn.v_proj",
    "cross.out": "decoder.layers.{}.encoder_attn.out_proj",
}
QKV = ("attention.query", "attention.key", "attention.value")
ONE: dict[str, dict[str, str]] = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "electra": BERT,
    "deberta-v2": {
        **BERT,
        "attention.query": "encoder.layer.{}.attention.self.query_proj",
        "attention.key": "encoder.layer.{}.attention.self.key_proj",
        "attention.value": "encoder.layer.{}.attention.self.value_proj",
    },
    "mpnet": {
        **BERT,
        "attention.query": "encoder.layer.{}.attention.attn.q",
        "attention.key": "encoder.layer.{}.attention.attn.k",
        "attention.value": "encoder.layer.{}.attention.attn.v",
        "attention.out": "encoder.layer.{}.attention.attn.o",
    },
    "albert": {
        "attention.query": "encoder.albert_layer_groups.0.albert_layers.0.attention.query",
        "attention.key": "encoder.albert_layer_groups.0.albert_layers.0.attention.key",
        "attention.value": "encoder.albert_layer_groups.0.albert_layers.0.attention.value",
        "attention.out": "encoder.albert_layer_groups.0.albert_layers.0.attention.dense",
        "mlp.in": "encoder.albert_layer_groups.0.albert_layers.0.ffn",
        "mlp.out": "encoder.albert_layer_groups.0.albert_layers.0.ffn_output",
        "embeddings": "embeddings.word_embeddings",
    },
    "distilbert": {
        "attention.query": "transformer.layer.{}.attention.q_lin",
        "attention.key": "transformer.layer.{}.attention.k_lin",
        "attention.value": "transformer.layer.{}.attention.v_lin",
        "attention.out": "transformer.layer.{}.attention.out_lin",
        "mlp.in": "transformer.layer.{}.ffn.lin1",
        "mlp.out": "transformer.layer.{}.ffn.lin2",
        "embeddings": "embeddings.word_embeddings",
    },
    "modernbert": {
        **dict.fromkeys(QKV, "layers.{}.attn.Wqkv"),
        "attention.out": "layers.{}.attn.Wo",
        **dict.fromkeys(("mlp.in", "mlp.gate"), "layers.{}.mlp.Wi"),
        "mlp.out": "layers.{}.mlp.Wo",
        "embeddings": "embeddings.tok_embeddings",
    },
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma3_text": LLAMA,
    "qwen3_moe": {site: name for site, name in LLAMA.items() if not site.startswith("mlp")},
    "phi3": {
        **LLAMA,
        **dict.fromkeys(QKV, "layers.{}.self_attn.qkv_proj"),
        **dict.fromkeys(("mlp.in", "mlp.gate"), "layers.{}.mlp.gate_up_proj"),
    },
    "gpt2": {
        **dict.fromkeys(QKV, "h.{}.attn.c_attn"),
        "attention.out": "h.{}.attn.c_proj",
        "mlp.in": "h.{}.mlp.c_fc",
        "mlp.out": "h.{}.mlp.c_proj",
        "embeddings": "wte",
    },
    "gpt_neox": {
        **dict.fromkeys(
            ("attention.query", "attention.key"), "layers.{}.attention.query_key_value"
        ),
        "attention.value": "layers.{}.attention.query_key_value",
        "attention.out": "layers.{}.attention.dense",
        "mlp.in": "layers.{}.mlp.dense_h_to_4h",
        "mlp.out": "layers.{}.mlp.dense_4h_to_h",
        "embeddings": "embed_in",
    },
    "falcon": {
        **dict.fromkeys(
            ("attention.query", "attention.key"), "h.{}.self_attention.query_key_value"
        ),
        "attention.value": "h.{}.self_attention.query_key_value",
        "attention.out": "h.{}.self_attention.dense",
        "mlp.in": "h.{}.mlp.dense_h_to_4h",
        "mlp.out": "h.{}.mlp.dense_4h_to_h",
        "embeddings": "word_embeddings",
    },
}
TWO = {
    "t5": (T5_ENCODER, T5_DECODER),
    "mt5": (MT5_ENCODER, MT5_DECODER),
    "bart": (BART_ENCODER, BART_DECODER),
}
CORES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "electra", "deberta-v2"),
        ("encoder.layer.{}.attention.self",),
    ),
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma3_text", "phi3"),
        ("layers.{}.self_attn",),
    ),
    **dict.fromkeys(
        ("t5", "mt5"),
        ("encoder.block.{}.layer.0.SelfAttention", "decoder.block.{}.layer.0.SelfAttention"),
    ),
    "mpnet": ("encoder.layer.{}.attention.attn",),
    "albert": ("encoder.albert_layer_groups.0.albert_layers.0.attention",),
    "distilbert": ("transformer.layer.{}.attention",),
    "modernbert": ("layers.{}.attn",),
    "gpt2": ("h.{}.attn",),
    "gpt_neox": ("layers.{}.attention",),
    "falcon": ("h.{}.self_attention",),
    "bart": ("encoder.layers.{}.self_attn", "decoder.layers.{}.self_attn"),
}
"""Attention modules; those of the decoder to the encoder's output are below."""
CROSS_CORES = {
    "bart": "decoder.layers.{}.encoder_attn",
    **dict.fromkeys(("t5", "mt5"), "decoder.block.{}.layer.1.EncDecAttention"),
}
NORMS = {
    "bert": 5, "roberta": 5, "xlm-roberta": 5, "electra": 5, "deberta-v2": 6, "mpnet": 5,
    "albert": 3, "distilbert": 5, "modernbert": 5, "llama": 5, "mistral": 5, "qwen2": 5,
    "qwen3": 9, "qwen3_moe": 9, "gemma3_text": 13, "phi3": 5, "gpt2": 5, "gpt_neox": 5,
    "falcon": 3, "t5": 12, "mt5": 12, "bart": 12,
}  # fmt: skip
every_family = pytest.mark.parametrize("family", families.NAMES)


def by_hand(family: str) -> dict[str, tuple[str, ...]]:
    """Give the modules of each site, as they are written above."""
    found: dict[str, tuple[str, ...]] = {}
    for named in TWO.get(family) or (ONE[family],):
        for site, name in named.items():
            here = tuple(dict.fromkeys(name.format(layer) for layer in range(LAYERS)))
            found[site] = found.get(site, ()) + here
    return found


def cores(family: str) -> dict[str, tuple[str, ...]]:
    """Give the attention modules, as they are written above."""
    found = {"attention.core": CORES[family]}
    if family in CROSS_CORES:
        found["cross.core"] = (CROSS_CORES[family],)
    return {
        site: tuple(dict.fromkeys(n.format(layer) for n in names for layer in range(LAYERS)))
        for site, names in found.items()
    }


def test_there_are_22_families_and_each_is_written_down():
    assert len(families.NAMES) == 22
    assert {*ONE, *TWO} == set(families.NAMES) == set(NORMS)


@every_family
def test_the_sites_are_those_that_are_written_down(family):
    here = sites.places(tiny(family))
    named = {site: names for site, names in here.modules.items() if site not in ("layer", "norms")}
    assert named == {**by_hand(family), **cores(family)}
    assert here.source == "table"
    assert len(here.modules["norms"]) == NORMS[family]
    assert here.stacked == (family in STACKED)
    per_stack = 1 if family == "albert" else LAYERS
    assert len(here.modules["layer"]) == per_stack * (2 if family in STACKED else 1)


@every_family
def test_structure_alone_agrees_with_what_is_written_down(family):
    found = sites.by_structure(tiny(family))
    found.pop("layer")
    if family == "qwen3_moe":
        found = {site: names for site, names in found.items() if not site.startswith("mlp")}
    assert found == by_hand(family)


@pytest.mark.parametrize("family", STACKED)
@pytest.mark.parametrize("place", [0, 1])
def test_one_stack_alone_can_be_named(family, place):
    stack = ("encoder", "decoder")[place]
    trunk = tiny(family)
    groups = ["attention", "mlp"] if stack == "encoder" else ["attention", "cross", "mlp"]
    found = sites.resolve(trunk, [f"{stack}.{group}" for group in groups])
    expected = {
        f"{stack}.{site}": tuple(name.format(layer) for layer in range(LAYERS))
        for site, name in TWO[family][place].items()
        if site != "embeddings"
    }
    assert found == expected
    assert sites.resolve(trunk, [f"{stack}.linear"]) == expected
    (table,) = sites.resolve(trunk, [f"{stack}.embeddings"]).values()
    assert table == (f"{stack}.embed_tokens",)


@pytest.mark.parametrize(
    ("family", "site", "cause"),
    [
        ("t5", "encoder.cross", "encoder.cross is nowhere in this t5 model"),
        ("bart", "mlp.gate", "mlp.gate is nowhere in this bart model; it has attention.query"),
        ("bart", "decoder.attention.qury", "did you mean decoder.attention.query"),
        ("bert", "encoder.attention", "and this bert model has but one; write attention"),
        ("llama", "decoder.mlp.out", "and this llama model has but one; write mlp.out"),
        ("llama", "cross", "cross is nowhere in this llama model"),
        ("bart", "decoder.layers.*.encoder_atn.q_proj", r"encoder_attn.q_proj"),
    ],
)
def test_a_stack_or_site_that_is_not_there_says_what_is(family, site, cause):
    with pytest.raises(PlanError, match=cause):
        sites.resolve(tiny(family), [site])


def test_experts_are_told_and_left_alone():
    """Beside them a dense MLP is as well: PEFT would sit on the experts in its stead."""
    trunk = tiny("qwen3_moe")
    assert any("layers.1.mlp.up_proj" in name for name, _ in trunk.named_modules())
    assert set(sites.resolve(trunk, ["linear"])) == set(sites.GROUPS["attention"])
    for site in ("mlp", "mlp.out"):
        with pytest.raises(PlanError, match=r"lie together in layers.0.mlp.experts.*and 1 more"):
            sites.resolve(trunk, [site])
    assert not any(".mlp." in name for name in sites.resolve(trunk, ["*"])["*"])


def test_a_router_beside_its_experts_is_no_gate():
    block = torch.nn.ModuleDict({"gate": torch.nn.Linear(8, 4), "experts": torch.nn.ModuleList()})
    block["experts"].append(torch.nn.ModuleDict({"up": torch.nn.Linear(8, 20)}))
    block["experts"][0]["down"] = torch.nn.Linear(20, 8)
    trunk = torch.nn.Module()
    trunk.config = type("Config", (), {"model_type": "odd"})()
    trunk.blocks = torch.nn.ModuleList([torch.nn.ModuleDict({"moe": block})])
    found = sites.places(trunk).modules
    assert found["mlp.in"] == ("blocks.0.moe.experts.0.up",)
    assert found["mlp.out"] == ("blocks.0.moe.experts.0.down",)
    assert "mlp.gate" not in found


def test_a_decoder_of_one_stack_with_cross_attention_has_its_sites():
    trunk = built(
        GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=50, add_cross_attention=True)
    )
    found = sites.places(trunk).modules
    assert found["cross.query"] == ("h.0.crossattention.q_attn",)
    assert found["cross.key"] == found["cross.value"] == ("h.0.crossattention.c_attn",)
    assert found["attention.out"] == ("h.0.attn.c_proj",)
    assert found == {**sites.by_structure(trunk), **found}


def fitted(family: str, which: str, seed: int = 0, **more) -> peft.PeftModel:
    trunk = tiny(family)
    config = fit(trunk, settle("mood", {**TABLES[which], **more})).config
    torch.manual_seed(seed)
    return peft.get_peft_model(trunk, config).eval()


def test_a_mixture_of_experts_takes_bottlenecks_on_its_attention():
    trunk = tiny("qwen3_moe")
    with torch.no_grad():
        before = states(trunk)
        model = fitted("qwen3_moe", "houlsby", sites=["attention.out"])
        assert torch.equal(states(model), before)


@pytest.mark.cells
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("family", STACKED)
@pytest.mark.parametrize(
    "named", [["cross"], ["encoder.linear"], ["decoder.mlp.out"], ["embeddings"]], ids=str
)
def test_each_part_of_an_encoder_decoder_takes_an_adapter(family, named):
    with torch.no_grad():
        before = states(tiny(family))
        for which in ("lora", "houlsby"):
            model = fitted(family, which, sites=named)
            assert torch.equal(states(model), before)
            shake(model)
            assert not torch.equal(states(model), before)
