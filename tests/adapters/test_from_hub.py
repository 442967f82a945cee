"""AdapterHub checkpoints: what is imported computes the published formulas; the rest is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

import encoder_decoders
import hub
import writers
from bases import HIDDEN, INNER, LAYERS, input_ids, tiny
from models import TEXTS
from tenon.adapters import pack
from tenon.core.errors import AdapterError
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.adopt import import_adapter

BERTS = ("bert", "roberta", "xlm-roberta")
PREFIX = {"bert": "bert.", "roberta": "roberta.", "xlm-roberta": "roberta."}


@pytest.fixture
def checkpoint(folder_of, tmp_path):
    """Write a checkpoint of a BERT with a head; give the reference, the head and the folder."""

    def go(
        arch="bert", which="pfeiffer", *, layers=2, pickled=False, head=None, config=None, **more
    ):
        base, random = folder_of(arch), hub.Random()
        model = tiny(arch)
        settings = config or hub.BOTTLENECKS[which]
        tensors = hub.on_bert(model, settings, PREFIX[arch], random)
        folder = hub.write(tmp_path / "hub", base, arch, settings, tensors, pickled=pickled, **more)
        held = hub.write_head(folder, random, layers=layers, pickled=pickled, **(head or {}))
        return model, held, folder

    return go


@torch.no_grad()
def expected(model, head, answerer, texts=TEXTS):
    found = []
    for text in texts:
        rows = answerer.renderer.tokenizer(text, return_tensors="pt")
        states = model(**rows).last_hidden_state[0]
        found.append(hub.head_logits(states[0], head).softmax(-1).tolist())
    return found


def answers(answerer):
    return [list(each.probabilities.values()) for each in answerer.predict(list(TEXTS))]


def near(found, wanted):
    assert found == [pytest.approx(row, abs=2e-5) for row in wanted]


@pytest.mark.cells
@pytest.mark.parametrize("which", hub.BOTTLENECKS)
@pytest.mark.parametrize("arch", BERTS)
def test_bottlenecks_of_berts_kin(arch, which, checkpoint, tmp_path):
    model, head, folder = checkpoint(arch, which)
    made = import_adapter(folder, tmp_path / "mood")
    assert made.manifest.labels == ("glad", "sad", "tired")
    assert (made.manifest.name, made.manifest.origin, made.manifest.proven) == (
        hub.NAME,
        "adapterhub",
        False,
    )
    answerer = open_answerer(tmp_path / "mood")
    near(answers(answerer), expected(model, head, answerer))


@pytest.mark.parametrize(("layers", "pickled"), [(1, False), (1, True), (2, True)])
def test_heads_of_one_and_two_layers_from_either_form_of_file(
    layers, pickled, checkpoint, tmp_path
):
    model, head, folder = checkpoint(layers=layers, pickled=pickled)
    made = import_adapter(folder, tmp_path / "mood")
    assert made.manifest.pooling.dense == ("tanh" if layers == 2 else "")
    assert any("is a pickle" in note for note in made.notes) == pickled
    answerer = open_answerer(tmp_path / "mood")
    near(answers(answerer), expected(model, head, answerer))


def test_several_labels_a_row(checkpoint, tmp_path):
    sort = {"head_type": "multilabel_classification"}
    model, head, folder = checkpoint(layers=1, head=sort)
    made = import_adapter(folder, tmp_path / "mood")
    assert made.manifest.constants == {"thresholds": (0.5, 0.5, 0.5)}
    answerer = open_answerer(tmp_path / "mood")
    rows = answerer.renderer.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        logits = hub.head_logits(model(**rows).last_hidden_state[0, 0], head)
    found = answerer.predict([TEXTS[0]])[0].labels
    assert set(found) == {
        n for n, z in zip(("glad", "sad", "tired"), logits, strict=True) if z >= 0
    }


def test_older_names_of_tensors(checkpoint, tmp_path):
    model, head, folder = checkpoint()
    tensors = pack.safetensors.torch.load((folder / "adapter.safetensors").read_bytes())
    old = {k.replace(".adapters.", ".layer_text_task_adapters."): v for k, v in tensors.items()}
    save_file(old, folder / "adapter.safetensors")
    import_adapter(folder, tmp_path / "mood")
    answerer = open_answerer(tmp_path / "mood")
    near(answers(answerer), expected(model, head, answerer))


@pytest.mark.parametrize("which", ["pfeiffer", "houlsby", "norms", "widths", "channel"])
@torch.no_grad()
def test_bottlenecks_of_gpt2(which, tmp_path):
    base = writers.causal_folder(tmp_path, "gpt2")
    whole = AutoModelForCausalLM.from_pretrained(base).eval()
    config = hub.BOTTLENECKS[which]
    tensors = hub.on_gpt2(whole.transformer, config, "transformer.", hub.Random())
    folder = hub.write(tmp_path / "hub", base, "gpt2", config, tensors)
    import_adapter(folder, tmp_path / "mood")
    answerer = open_answerer(tmp_path / "mood")
    found = answerer.model.trunk.whole(input_ids=input_ids()).logits
    torch.testing.assert_close(found, whole(input_ids=input_ids()).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("which", ["pfeiffer", "houlsby", "all", "widths"])
@torch.no_grad()
def test_bottlenecks_of_t5(which, tmp_path):
    base = encoder_decoders.folder_of(tmp_path, "t5")
    whole = AutoModelForSeq2SeqLM.from_pretrained(base).eval()
    known = {
        **hub.BOTTLENECKS,
        "all": {**hub.DOUBLE, "cross_adapter": True},
        "widths": {**hub.SEQ, "reduction_factor": {"0": 8, str(LAYERS): 4, "default": 2}},
    }
    tensors = hub.on_t5(whole, known[which], "", hub.Random())
    folder = hub.write(tmp_path / "hub", base, "t5", known[which], tensors)
    import_adapter(folder, tmp_path / "mood")
    answerer = open_answerer(tmp_path / "mood")
    given = {
        "input_ids": torch.tensor([[5, 9, 17, 1]]),
        "decoder_input_ids": torch.tensor([[0, 8]]),
    }
    found = answerer.model.trunk.whole(**given).logits
    torch.testing.assert_close(found, whole(**given).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", ["adapters.1.2.0", "adapters.1.0.0", "3.2.1"])
def test_lora_and_its_factor_by_version(version, folder_of, tmp_path):
    model, random, config = tiny("bert"), hub.Random(), dict(hub.LORA)
    if version == "adapters.1.0.0":
        config["alpha"] = config["r"]
    tensors = {}
    for layer, block in enumerate(model.encoder.layer):
        for name in ("query", "value"):
            held = hub.lora_on(getattr(block.attention.self, name), config, random, HIDDEN)
            at = f"bert.encoder.layer.{layer}.attention.self.{name}.loras.{hub.NAME}."
            tensors |= {at + part: tensor for part, tensor in held.items()}
    folder = hub.write(
        tmp_path / "hub", folder_of("bert"), "bert", hub.LORA, tensors, version=version
    )
    head = hub.write_head(folder, random)
    made = import_adapter(folder, tmp_path / "mood")
    assert any("did not apply it" in note for note in made.notes) == (version == "adapters.1.0.0")
    answerer = open_answerer(tmp_path / "mood")
    near(answers(answerer), expected(model, head, answerer))


@pytest.mark.parametrize("matrices", [["q"], ["q", "v"], ["k", "v"], ["q", "k", "v"]])
@torch.no_grad()
def test_lora_on_the_fused_layer_of_gpt2(matrices, tmp_path):
    base = writers.causal_folder(tmp_path, "gpt2")
    whole, random = AutoModelForCausalLM.from_pretrained(base).eval(), hub.Random()
    config = {**hub.LORA, "attn_matrices": matrices, "intermediate_lora": True}
    tensors = {}
    for layer, block in enumerate(whole.transformer.h):
        parts = [hub.Tensors(lora_A=random(4, HIDDEN), lora_B=random(HIDDEN, 4)) for _ in matrices]
        at = f"transformer.h.{layer}.attn.c_attn.loras.{hub.NAME}."
        tensors |= {
            f"{at}{n}": torch.cat([part[n] for part in parts]) for n in ("lora_A", "lora_B")
        }

        def fused(_, given, output, parts=parts):
            output = output.clone()
            for letter, part in zip(matrices, parts, strict=True):
                begin = "qkv".index(letter) * HIDDEN
                more = 3.0 * given[0] @ part["lora_A"].T @ part["lora_B"].T
                output[..., begin : begin + HIDDEN] += more
            return output

        block.attn.c_attn.register_forward_hook(fused)
        held = hub.lora_on(block.mlp.c_fc, config, random, INNER)
        at = f"transformer.h.{layer}.mlp.c_fc.loras.{hub.NAME}."
        tensors |= {at + part: tensor for part, tensor in held.items()}
    folder = hub.write(tmp_path / "hub", base, "gpt2", config, tensors)
    import_adapter(folder, tmp_path / "mood")
    answerer = open_answerer(tmp_path / "mood")
    found = answerer.model.trunk.whole(input_ids=input_ids()).logits
    torch.testing.assert_close(found, whole(input_ids=input_ids()).logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_language_model_head_is_the_bases_own_or_refused(tmp_path):
    base = writers.causal_folder(tmp_path, "gpt2")
    whole = AutoModelForCausalLM.from_pretrained(base).eval()
    tensors = hub.on_gpt2(whole.transformer, hub.SEQ, "transformer.", hub.Random())
    folder = hub.write(tmp_path / "hub", base, "gpt2", hub.SEQ, tensors)
    config = {"head_type": "causal_lm", "layers": 1, "vocab_size": 100}
    (folder / "head_config.json").write_text(json.dumps({"config": config, "name": hub.NAME}))
    own = whole.get_output_embeddings().weight.clone()
    save_file({f"heads.{hub.NAME}.0.weight": own}, folder / "model_head.safetensors")
    made = import_adapter(folder, tmp_path / "mood")
    assert any("the base's own" in note for note in made.notes)
    save_file({f"heads.{hub.NAME}.0.weight": own + 1}, folder / "model_head.safetensors")
    with pytest.raises(AdapterError, match="language-model head other than the base's own"):
        import_adapter(folder, tmp_path / "again")


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"use_gating": True}, "a gate cannot be imported"),
        ({"phm_layer": True}, "Kronecker matrices in AdapterHub's form cannot be imported"),
        ({"inv_adapter": "nice"}, "an invertible adapter in AdapterHub's form"),
        ({"architecture": "prefix_tuning"}, "architecture is prefix_tuning"),
        ({"non_linearity": "mish"}, "non_linearity is mish"),
        ({"residual_before_ln": "post_add"}, "drops or doubles a residual"),
        ({"residual_before_ln": False}, "drops or doubles a residual"),
        ({"ln_after": True, "adapter_residual_before_ln": True}, "adapter_residual_before_ln"),
        ({"mh_adapter": True}, "has no tensors behind encoder.layer.0.attention.output.dense"),
        ({"output_adapter": False}, "has no place in our bottleneck"),
        ({"reduction_factor": 2}, "is .* in the adapter, .* here"),
        ({"reduction_factor": 0.5}, "bottleneck.v1 has no such adapter: .*reduction"),
    ],
)
def test_a_config_that_our_bottleneck_is_not_is_refused(fields, cause, checkpoint, tmp_path):
    _, _, folder = checkpoint()
    path = folder / "adapter_config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "config": {**told["config"], **fields}}))
    with pytest.raises(AdapterError, match=cause):
        import_adapter(folder, tmp_path / "mood")
    assert not (tmp_path / "mood").exists()


@pytest.mark.parametrize("arch", ["gpt2"])
def test_a_parallel_adapter_before_the_norm_computes_something_else(arch, tmp_path):
    base = writers.causal_folder(tmp_path, arch)
    folder = hub.write(tmp_path / "hub", base, arch, hub.PARALLEL, {"a": torch.zeros(1)})
    with pytest.raises(AdapterError, match="reads what stands before the block's norm"):
        import_adapter(folder, tmp_path / "mood")


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"model_type": "roberta"}, "model_type is roberta, the base's is bert"),
        ({"hidden_size": 768}, "hidden_size is 768, the base's is 32"),
        ({"name": "other"}, "is no tensor of this adapter"),
        ({"model_name": None}, "does not name its base"),
        ({"config": None}, "has neither peft_type nor config"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(fields, cause, checkpoint, tmp_path):
    _, _, folder = checkpoint()
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(AdapterError, match=cause):
        import_adapter(folder, tmp_path / "mood")


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"head_type": "question_answering"}, "is a question_answering head of a bert"),
        ({"num_labels": 1}, "so it is a regression"),
        ({"activation_function": "swish"}, "2 layers with activation swish"),
        ({"label2id": {"a": 0, "b": 5, "c": 1}}, "label2id numbers its 3 labels"),
        ({"layers": 3}, "3 layers with activation tanh"),
    ],
)
def test_a_head_that_ours_is_not_is_refused(fields, cause, checkpoint, tmp_path):
    layers = fields.pop("layers", 2) if "layers" in fields else 2
    _, _, folder = checkpoint(layers=layers, head=dict(fields))
    with pytest.raises(AdapterError, match=cause):
        import_adapter(folder, tmp_path / "mood")


def test_without_a_head_there_is_nothing_to_answer_with(checkpoint, tmp_path):
    _, _, folder = checkpoint()
    (folder / "head_config.json").unlink()
    with pytest.raises(AdapterError, match="has no head, and a bert does not write answers"):
        import_adapter(folder, tmp_path / "mood")
