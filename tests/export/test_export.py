"""L8: what is exported gives the adapter's scores, in the classes that other tools read it by."""

from __future__ import annotations

import os
import shutil
import stat

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import encoder_decoders
import writers
from attached import shake
from bases import ARCHITECTURES
from models import LABELS, TEXTS, classifier, save
from taggers import renderer_of as tag_renderer
from taggers import save as save_tagger
from taggers import tagger
from tenon.core.errors import AdapterError, FileError, PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.export import export

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gpt2")
HEADED = [("bert", "pooler"), *((arch, "last") for arch in DECODERS)]
TRUNKS = [*((arch, "mean") for arch in ARCHITECTURES), ("roberta", "pooler"), ("t5", "last")]


def adapter_of(folder_of, tmp_path, arch="bert", which="lora", pooling="mean", size=0.05, **more):
    """Write an adapter that changes scores as a trained one does."""
    folder, bias = folder_of(arch), pooling != "last"
    model = classifier(folder, which, pooling=pooling, bias=bias, shaken=False, **more)
    shake(model, size=size)
    return save(model, folder, tmp_path / "mood", which)


def rows_of(folder, texts=TEXTS):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    return tokenizer(list(texts), padding=True, return_tensors="pt")


def probabilities(adapter):
    answers = open_answerer(adapter).predict(list(TEXTS))
    return np.array([[answer.probabilities[label] for label in LABELS] for answer in answers])


@pytest.mark.parametrize(("arch", "pooling"), HEADED)
@torch.no_grad()
def test_a_merged_classifier_is_read_by_transformers_class_with_its_head(
    arch, pooling, folder_of, tmp_path
):
    adapter = adapter_of(folder_of, tmp_path, arch, pooling=pooling)
    made = export(adapter, tmp_path / "out", to="merged")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert made.how == f"{type(model).__name__}.from_pretrained"
    assert model.config.id2label == dict(enumerate(LABELS))
    found = model.eval()(**rows_of(tmp_path / "out")).logits.softmax(-1)
    np.testing.assert_allclose(found, probabilities(adapter), atol=1e-5)


@pytest.mark.parametrize(("arch", "pooling"), TRUNKS)
@torch.no_grad()
def test_a_merged_trunk_lies_beside_its_head(arch, pooling, folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, arch, pooling=pooling)
    made = export(adapter, tmp_path / "out", to="merged")
    factory = getattr(transformers, made.how.removesuffix(".from_pretrained"))
    model = factory.from_pretrained(tmp_path / "out").eval()
    rows = rows_of(tmp_path / "out")
    states, mask_BP = model(**rows), rows["attention_mask"]
    hidden_BPD, ends_B = states.last_hidden_state, mask_BP.sum(1) - 1
    vectors_BD = {
        "mean": lambda: (hidden_BPD * mask_BP[..., None]).sum(1) / mask_BP.sum(1)[:, None],
        "last": lambda: hidden_BPD[torch.arange(len(ends_B)), ends_B],
        "pooler": lambda: states.pooler_output,
    }[pooling]()
    head = load_file(tmp_path / "out" / "head.safetensors")
    found = (vectors_BD @ head["weight"].T + head["bias"]).softmax(-1)
    np.testing.assert_allclose(found, probabilities(adapter), atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert factory.__name__ in card and "head.safetensors" in card and "`tired`" in card


@pytest.mark.parametrize("which", ["lora", "houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize(
    ("arch", "pooling"), [("bert", "pooler"), ("bert", "mean"), ("t5", "last")]
)
def test_as_peft_alone_it_has_no_manifest_and_the_same_tensors(
    arch, pooling, which, folder_of, tmp_path
):
    adapter = adapter_of(folder_of, tmp_path, arch, which, pooling)
    made = export(adapter, tmp_path / "out", to="peft")
    assert "tenon.json" not in made.files and made.error < 1e-5
    for name in made.files:
        assert (tmp_path / "out" / name).read_bytes() == (adapter / name).read_bytes()


@pytest.mark.parametrize("arch", writers.DECODERS)
@torch.no_grad()
def test_a_merged_decoder_scores_the_next_token_as_before(arch, tmp_path):
    folder = writers.causal_folder(tmp_path, arch)
    model = writers.writer(folder, shaken=True)
    adapter = writers.save(model, folder, tmp_path / "mood")
    export(adapter, tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(TEXTS[2], return_tensors="pt").input_ids
    found = plain(input_ids=ids).logits[0, -1].log_softmax(-1)
    base = AutoModelForCausalLM.from_pretrained(folder)
    theirs = peft.PeftModel.from_pretrained(base, adapter).eval()
    expected = theirs(input_ids=ids).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert ("generation_config.json" in names) == (folder / "generation_config.json").exists()


@pytest.mark.parametrize("arch", encoder_decoders.ENCODER_DECODERS)
@torch.no_grad()
def test_a_merged_encoder_decoder_writes_as_before(arch, tmp_path):
    folder = encoder_decoders.folder_of(tmp_path, arch)
    model = encoder_decoders.seq2seq(folder, shaken=True)
    adapter = encoder_decoders.save(model, folder, tmp_path / "mood")
    export(adapter, tmp_path / "out")
    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    base = AutoModelForSeq2SeqLM.from_pretrained(folder)
    theirs = peft.PeftModel.from_pretrained(base, adapter).eval()
    ids, said = torch.tensor([[5, 9, 17, 30, 1]]), torch.tensor([[2, 8, 40]])
    expected = theirs(input_ids=ids, decoder_input_ids=said).logits
    found = plain(input_ids=ids, decoder_input_ids=said).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@torch.no_grad()
def test_a_head_tied_to_adapted_embeddings_stays_what_it_was(arch, tmp_path):
    """Else the merged word embeddings would change the scores of tokens as well."""
    folder = tmp_path / "tied"
    shutil.copytree(writers.causal_folder(tmp_path, arch), folder)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    plain.config.tie_word_embeddings = True
    plain.tie_weights()
    plain.save_pretrained(folder)
    model = writers.writer(folder, shaken=True, sites=["embeddings", "mlp"])
    adapter = writers.save(model, folder, tmp_path / "mood", sites=["embeddings", "mlp"])
    made = export(adapter, tmp_path / "out")
    assert any(folded.module.endswith(("wte", "embed_tokens")) for folded in made.proof.modules)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert plain.config.tie_word_embeddings is False
    base = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(plain.get_output_embeddings().weight, base.get_output_embeddings().weight)
    assert not torch.equal(plain.get_input_embeddings().weight, base.get_input_embeddings().weight)


def test_a_tagger(folder_of, tmp_path):
    folder = folder_of("bert")
    renderer = tag_renderer(folder)
    model = tagger(folder)
    shake(model, size=0.05)
    adapter = save_tagger(model, folder, tmp_path / "mood", "lora", renderer)
    made = export(adapter, tmp_path / "out")
    assert made.error < 1e-5
    assert "logits_TL" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 5e-3), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("arch", ["bert", "qwen3", "gpt2", "t5"])
def test_in_half_precision_weights_are_rounded_once(arch, dtype, limit, folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, arch)
    made = export(adapter, tmp_path / "out", dtype=dtype)
    assert 0 < made.proof.error <= made.proof.tolerance == limit
    assert made.proof.error < made.proof.change / 10
    kinds = {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()}
    # of t5, transformers keeps one matrix of each block in float32
    assert getattr(torch, dtype) in kinds and len(kinds) == 1 + (
        arch == "t5" and dtype == "float16"
    )


def test_the_number_format_is_that_of_the_bases_files(folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path / "half")
    model = transformers.AutoModel.from_pretrained(tmp_path / "half", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    made = export(adapter_of(lambda _: tmp_path / "half", tmp_path), tmp_path / "out")
    assert made.proof.dtype == "bfloat16"


def test_rounding_that_would_lose_the_adapter_is_refused(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, size=0.0003)
    with pytest.raises(AdapterError, match=r"bfloat16 loses it.*differ most: encoder.*float32"):
        export(adapter, tmp_path / "out", dtype="bfloat16")
    assert not (tmp_path / "out").exists()
    assert export(adapter, tmp_path / "out", dtype="float32").error < 1e-5


def test_above_the_tolerance_the_worst_module_is_named(folder_of, tmp_path, monkeypatch):
    adapter = adapter_of(folder_of, tmp_path)
    folded = peft.tuners.lora.layer.Linear.get_delta_weight

    def wrong(self, adapter):
        odd = self.base_layer.weight.shape == (48, 32)
        return folded(self, adapter) * (1.1 if odd else 1.0)

    monkeypatch.setattr(peft.tuners.lora.layer.Linear, "get_delta_weight", wrong)
    with pytest.raises(AdapterError, match=r"differ most: encoder.layer.\d.intermediate.dense by"):
        export(adapter, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mood"]


@pytest.mark.parametrize("which", ["houlsby", "pfeiffer", "parallel"])
def test_a_kind_that_cannot_be_merged_says_why(which, folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, which=which)
    with pytest.raises(AdapterError, match="an activation stands between its two matrices"):
        export(adapter, tmp_path / "out", to="merged")


def test_in_python_the_merged_adapter_answers_and_cannot_be_merged_again(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path)
    held = open_answerer(adapter)
    expected = [answer.probability for answer in held.predict(list(TEXTS))]
    merged = held.merge()
    assert merged.model.peft is None and merged.proof.error < 1e-5
    found = [answer.probability for answer in merged.predict(list(TEXTS))]
    assert found == pytest.approx(expected, abs=1e-5)
    for again in (held, merged):
        with pytest.raises(AdapterError, match="has been merged"):
            again.merge()


def test_the_merged_model_is_no_base_of_the_adapter(folder_of, tmp_path):
    """Merged twice, an adapter would count double; its fingerprint says that this is no base."""
    adapter = adapter_of(folder_of, tmp_path, pooling="mean")
    export(adapter, tmp_path / "out")
    with pytest.raises(AdapterError, match="was trained on base"):
        export(adapter, tmp_path / "twice", base=str(tmp_path / "out"))


def test_shards(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path)
    made = export(adapter, tmp_path / "out", shard_size="20KB")
    shards = [name for name in made.files if name.startswith("model-")]
    assert len(shards) > 2 and "model.safetensors.index.json" in made.files
    with pytest.raises(AdapterError, match='give a size such as "5GB"'):
        export(adapter, tmp_path / "odd", shard_size="many")
    assert not (tmp_path / "odd").exists()


def test_files_have_the_rights_that_the_user_asks_for(folder_of, tmp_path):
    mask = os.umask(0o027)
    try:
        export(adapter_of(folder_of, tmp_path), tmp_path / "out")
    finally:
        os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o640}


def test_a_place_that_is_taken_is_refused(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, cause in (("full", "holds files"), ("file", "is not a folder")):
        with pytest.raises(FileError, match=cause):
            export(adapter, tmp_path / name)
    with pytest.raises(FileError, match="lies in an adapter"):
        export(adapter, adapter / "out")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_words_that_are_not_known_are_refused(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path)
    with pytest.raises(PlanError, match="merge is not a target of an export; did you mean merged"):
        export(adapter, tmp_path / "out", to="merge")
    with pytest.raises(PlanError, match="--dtype int8: is unknown"):
        export(adapter, tmp_path / "out", dtype="int8")
