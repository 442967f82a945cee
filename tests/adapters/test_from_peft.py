"""Adapters that PEFT wrote: adopted, they compute what they did there; or refused, with why."""

from __future__ import annotations

import json
import shutil

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

import encoder_decoders
import writers
from attached import shake
from models import LABELS, TEXTS
from tenon.adapters import pack
from tenon.adapters.manifest import Manifest
from tenon.core.errors import AdapterError, FileError
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.adopt import import_adapter

CLASSIFIERS = ("bert", "roberta", "xlm-roberta", "electra", "distilbert", "llama", "qwen3", "gpt2")
TARGETS = {
    "bert": ["query", "value", "output.dense"],
    "roberta": ["query", "value", "output.dense"],
    "xlm-roberta": ["query", "value"],
    "electra": ["query", "value"],
    "distilbert": ["q_lin", "lin2"],
    "llama": ["q_proj", "down_proj"],
    "qwen3": "all-linear",
    "gpt2": ["c_attn", "mlp.c_proj"],
}
HEADS = {"distilbert": ["pre_classifier", "classifier"], "llama": ["score"], "qwen3": ["score"]}
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*not initialized:UserWarning", "ignore:Model has `tie_word_embeddings"
)


def classifier(folder, arch, **more) -> peft.PeftModel:
    """Train nothing, shake everything: a PEFT classifier of three labels."""
    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    given = {
        "task_type": "SEQ_CLS",
        "target_modules": TARGETS[arch],
        "modules_to_save": HEADS.get(arch, ["score"] if arch == "gpt2" else ["classifier"]),
        "fan_in_fan_out": arch == "gpt2",
        **more,
    }
    model = peft.get_peft_model(base, peft.LoraConfig(**given)).eval()
    shake(model, size=0.1)
    return model


@torch.no_grad()
def theirs(model, answerer) -> list[list[float]]:
    """Probabilities of the texts, by the classifier itself, one row at a time."""
    tokenizer, found = answerer.renderer.tokenizer, []
    for text in TEXTS:
        rows = tokenizer(text, return_tensors="pt")
        found.append(model(**rows).logits[0].softmax(-1).tolist())
    return found


def ours(answerer) -> list[list[float]]:
    return [list(each.probabilities.values()) for each in answerer.predict(list(TEXTS))]


@pytest.fixture
def saved(folder_of, tmp_path):
    """Write a PEFT adapter; give its folder."""

    def go(arch="bert", **more):
        model = classifier(folder_of(arch), arch, **more)
        model.save_pretrained(tmp_path / "peft")
        return model, tmp_path / "peft"

    return go


def change(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def reweigh(folder, how):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    how(tensors)
    save_file(tensors, path)


def first(tensors, part="lora_A"):
    return sorted(key for key in tensors if part in key)[0]


@pytest.mark.parametrize("arch", CLASSIFIERS)
def test_a_classifier_answers_as_in_peft(arch, saved, tmp_path):
    model, folder = saved(arch)
    made = import_adapter(folder, tmp_path / "mood", labels=LABELS)
    answerer = open_answerer(tmp_path / "mood")
    assert ours(answerer) == [pytest.approx(row, abs=2e-5) for row in theirs(model, answerer)]
    manifest = made.manifest
    assert (manifest.proven, manifest.origin, manifest.labels) == (False, "peft", LABELS)
    assert len(manifest.probes.logits) >= 3
    assert "The base is not proven" in (tmp_path / "mood" / "README.md").read_text()


@pytest.mark.parametrize(
    "more",
    [
        {"r": 5, "lora_alpha": 3},
        {"r": 16, "use_rslora": True},
        {"rank_pattern": {"query": 3}, "alpha_pattern": {"output.dense": 40}},
        {"rank_pattern": {r"encoder\.layer\.0.*": 2}, "use_rslora": True},
        {"target_modules": r".*\.(query|key)"},
        {"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": "layer"},
        {"target_modules": ["word_embeddings", "query"]},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.1},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_lora_can_be_configured_to(more, saved, tmp_path):
    model, folder = saved(**more)
    import_adapter(folder, tmp_path / "mood")
    answerer = open_answerer(tmp_path / "mood")
    assert ours(answerer) == [pytest.approx(row, abs=2e-5) for row in theirs(model, answerer)]


def test_ranks_that_differ_become_one_by_zeros(saved, tmp_path):
    _, folder = saved(rank_pattern={"query": 3}, alpha_pattern={"output.dense": 40})
    made = import_adapter(folder, tmp_path / "mood")
    assert made.manifest.settings.own["rank"] == 8 == made.manifest.settings.own["alpha"]
    assert any("ranks 3 to 8 became 8 by zeros" in note for note in made.notes)


@pytest.mark.parametrize("arch", writers.DECODERS)
@torch.no_grad()
def test_a_language_model_adapter(arch, tmp_path):
    folder = writers.causal_folder(tmp_path, arch)
    base = AutoModelForCausalLM.from_pretrained(folder)
    names = ["c_attn"] if arch == "gpt2" else ["q_proj", "up_proj"]
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", target_modules=names, fan_in_fan_out=arch == "gpt2"
    )
    model = peft.get_peft_model(base, config).eval()
    shake(model, size=0.1)
    model.save_pretrained(tmp_path / "peft")
    made = import_adapter(tmp_path / "peft", tmp_path / "mood", name="talk")
    assert (made.manifest.name, made.manifest.task) == ("talk", "text-generation")
    answerer = open_answerer(tmp_path / "mood")
    ids = answerer.renderer.tokenizer("the old dog", return_tensors="pt").input_ids
    whole = answerer.model.trunk.whole
    torch.testing.assert_close(whole(input_ids=ids).logits, model(input_ids=ids).logits)
    assert isinstance(answerer.predict(["the old dog"])[0].text, str)


@torch.no_grad()
def test_an_encoder_decoder_adapter(tmp_path):
    folder = encoder_decoders.folder_of(tmp_path, "t5")
    base = AutoModelForSeq2SeqLM.from_pretrained(folder)
    config = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q", "v", "wo"])
    model = peft.get_peft_model(base, config).eval()
    shake(model, size=0.1)
    model.save_pretrained(tmp_path / "peft")
    made = import_adapter(tmp_path / "peft", tmp_path / "mood")
    assert made.manifest.head == "seq2seq"
    answerer = open_answerer(tmp_path / "mood")
    given = {
        "input_ids": torch.tensor([[5, 9, 17, 1]]),
        "decoder_input_ids": torch.tensor([[0, 8]]),
    }
    whole = answerer.model.trunk.whole
    torch.testing.assert_close(whole(**given).logits, model(**given).logits)


def test_a_torch_file_is_read_through_the_reader_of_weights(saved, tmp_path):
    model, folder = saved()
    tensors = load_file(folder / "adapter_model.safetensors")
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    made = import_adapter(folder, tmp_path / "mood")
    assert any("is a pickle" in note for note in made.notes)
    answerer = open_answerer(tmp_path / "mood")
    assert ours(answerer) == [pytest.approx(row, abs=2e-5) for row in theirs(model, answerer)]


class Hostile:
    def __reduce__(self):
        import os

        return (os.system, ("touch pwned",))


def test_a_pickle_that_is_a_program_is_not_run(saved, tmp_path, monkeypatch):
    _, folder = saved()
    monkeypatch.chdir(tmp_path)
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": Hostile()}, folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="reader of weights refuses it"):
        import_adapter(folder, tmp_path / "mood")
    torch.save({"a": torch.zeros(1), "b": [1]}, folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="it holds more than names and tensors"):
        import_adapter(folder, tmp_path / "mood")
    assert not list(tmp_path.rglob("pwned")) and not (tmp_path / "mood").exists()


def test_half_precision_weights_become_float32(saved, tmp_path):
    _, folder = saved()
    reweigh(folder, lambda t: t.update({k: v.bfloat16() for k, v in t.items() if "lora" in k}))
    made = import_adapter(folder, tmp_path / "mood")
    assert any("bfloat16 became float32" in note for note in made.notes)
    assert {t.dtype for t in pack.read(tmp_path / "mood").weights.values()} == {torch.float32}


@pytest.mark.parametrize("which", ["houlsby", "pfeiffer", "parallel", "adapterplus", "mad-x"])
def test_a_bottleneck_of_ours_that_lost_its_manifest(which, folder_of, tmp_path):
    from attached import FAMILY, TABLES
    from models import classifier as our_classifier
    from models import save

    TABLES.setdefault(which, FAMILY[which])
    model = our_classifier(folder_of("bert"), which, pooling="pooler")
    adapter = save(model, folder_of("bert"), tmp_path / "mood", which)
    shutil.copytree(adapter, tmp_path / "peft")
    (tmp_path / "peft" / "tenon.json").unlink()
    import_adapter(tmp_path / "peft", tmp_path / "again", labels=LABELS)
    found, expected = pack.read(tmp_path / "again"), pack.read(adapter)
    assert found.weights.keys() == expected.weights.keys()
    assert ours(open_answerer(tmp_path / "again")) == [
        pytest.approx(row, abs=1e-5) for row in ours(open_answerer(adapter))
    ]


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"peft_type": "IA3"}, "peft_type IA3 is none that can be imported; there are LORA"),
        ({"bias": "all"}, "bias is all; lora.v1 has nothing of that"),
        ({"use_dora": True}, "DoRA|dora|magnitude"),
        ({"init_lora_weights": "pissa"}, "'pissa', which changes the base's weights"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices is"),
        ({"layer_replication": [[0, 1]]}, "layer_replication is"),
        ({"lora_alpha": "16"}, "lora_alpha is '16'; expected a number above 0"),
        ({"r": 0}, "r is 0; expected a number above 0"),
        ({"r": 4}, "has rank 8, the config says 4"),
        ({"task_type": "TOKEN_CLS"}, "task_type is TOKEN_CLS, which cannot be imported"),
        ({"task_type": None}, "has no head, and a bert does not write answers"),
        ({"target_modules": ["query", "key", "value", "output.dense"]}, "key, .* have no tensors"),
        ({"target_modules": ["query"]}, "which have tensors; PEFT would leave them out"),
        ({"target_modules": "(([a-z0-9._])+)+!"}, "was not matched within"),
        ({"target_modules": "(unclosed"}, "is no pattern"),
        ({"target_modules": 3}, "target_modules is 3; expected a list"),
        ({"rank_pattern": {"(([a-z0-9._])+)+!": 3}}, "was not matched within"),
    ],
)
def test_a_config_that_our_kinds_do_not_cover_is_refused(
    fields, cause, saved, tmp_path, monkeypatch
):
    monkeypatch.setattr("tenon.core.apart.PATTERN_SECONDS", 1.0)
    _, folder = saved()
    change(folder, **fields)
    with pytest.raises(AdapterError, match=cause):
        import_adapter(folder, tmp_path / "mood")
    assert not (tmp_path / "mood").exists()


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        (lambda t: t.pop(first(t)), "lora_A.weight: is missing"),
        (lambda t: t.update({"base_model.model.x.y.lora_A.weight": torch.zeros(8, 32)}), "has not"),
        (lambda t: t.update({"extra": torch.zeros(1)}), "extra: is no tensor of such an adapter"),
        (lambda t: t.update({first(t): torch.zeros(8, 31)}), r"is \[8, 31\]; on this base"),
        (lambda t: t[first(t)].view(-1)[0].fill_(float("nan")), "are not finite"),
        (lambda t: t.pop("base_model.model.classifier.weight"), "its head is missing: classifier"),
        (lambda t: t.update({first(t): t[first(t)].long()}), "expected numbers of weights"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(how, cause, saved, tmp_path):
    _, folder = saved()
    reweigh(folder, how)
    with pytest.raises(AdapterError, match=cause):
        import_adapter(folder, tmp_path / "mood")
    assert not (tmp_path / "mood").exists()


def test_a_base_of_another_kind_or_size_is_refused(saved, folder_of, tmp_path):
    _, folder = saved()
    with pytest.raises(AdapterError, match="head|has not"):
        import_adapter(folder, tmp_path / "mood", base=str(folder_of("distilbert")))


def test_labels_are_as_many_as_the_heads_rows(saved, tmp_path):
    _, folder = saved()
    with pytest.raises(AdapterError, match=r"2 are named \(a, b\); the head has 3"):
        import_adapter(folder, tmp_path / "mood", labels=["a", "b"])
    made = import_adapter(folder, tmp_path / "mood")
    assert made.manifest.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert any("do not name the 3 labels" in note for note in made.notes)


def test_a_link_out_of_the_folder_is_refused(saved, tmp_path):
    _, folder = saved()
    (folder / "adapter_model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "adapter_model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdapterError, match="is a link out of its folder"):
        import_adapter(folder, tmp_path / "mood")


def test_what_lies_in_the_hubs_cache_may_be_links(saved, tmp_path):
    _, folder = saved()
    home = tmp_path / "models--a--b"
    (home / "snapshots").mkdir(parents=True)
    (home / "blobs").mkdir()
    folder.rename(home / "snapshots" / "1")
    for path in list((home / "snapshots" / "1").iterdir()):
        path.rename(home / "blobs" / path.name)
        path.symlink_to(home / "blobs" / path.name)
    import_adapter(home / "snapshots" / "1", tmp_path / "mood")
    assert isinstance(pack.read(tmp_path / "mood").manifest, Manifest)


def test_what_is_no_foreign_adapter_says_so(saved, tmp_path):
    _, folder = saved()
    import_adapter(folder, tmp_path / "mood")
    with pytest.raises(AdapterError, match="is an adapter of Tenon already"):
        import_adapter(tmp_path / "mood", tmp_path / "again")
    with pytest.raises(FileError, match="no such folder"):
        import_adapter(tmp_path / "nowhere", tmp_path / "again")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="holds no adapter_config.json"):
        import_adapter(tmp_path / "empty", tmp_path / "again")
    with pytest.raises(FileError, match="holds files"):
        import_adapter(folder, tmp_path / "mood")
    (tmp_path / "empty" / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match="has neither peft_type nor config"):
        import_adapter(tmp_path / "empty", tmp_path / "again")
    change(folder, base_model_name_or_path=None)
    with pytest.raises(AdapterError, match="does not name its base"):
        import_adapter(folder, tmp_path / "again")
