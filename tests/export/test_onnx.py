"""L8, L10: a graph on onnxruntime gives the adapter's scores, of any kind, task and pooling."""

from __future__ import annotations

import json

import numpy as np
import pytest

import writers
from attached import KIND_NAMES, shake
from models import LABELS, TEXTS, classifier, save
from taggers import renderer_of as tag_renderer
from taggers import save as save_tagger
from taggers import tagger
from tenon.core.errors import AdapterError, DataError, PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.export import export

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

POOLED = [("bert", "mean"), ("bert", "cls"), ("bert", "pooler"), ("roberta", "mean"),
          ("llama", "last"), ("gpt2", "last")]  # fmt: skip


def adapter_of(folder_of, tmp_path, which="lora", arch="bert", pooling="mean", size=0.05):
    model = classifier(folder_of(arch), which, pooling=pooling, shaken=False)
    shake(model, size=size)
    return save(model, folder_of(arch), tmp_path / "mood", which)


@pytest.mark.parametrize(("arch", "pooling"), POOLED)
def test_rows_of_other_lengths_than_those_traced_have_the_adapters_scores(
    arch, pooling, folder_of, tmp_path
):
    adapter = adapter_of(folder_of, tmp_path, arch=arch, pooling=pooling)
    made = export(adapter, tmp_path / "out", to="onnx")
    assert made.error < 1e-5 and made.proof.change > 100 * made.error
    answerer = open_answerer(adapter)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    answers = answerer.predict(list(TEXTS))
    for text, answer in zip(TEXTS, answers, strict=True):
        ids = answerer.renderer.tokenizer(text).input_ids
        feed = {"input_ids": [ids], "attention_mask": [[1] * len(ids)],
                "token_type_ids": [[0] * len(ids)]}  # fmt: skip
        names = {given.name for given in session.get_inputs()}
        (logits,) = session.run(None, {n: np.array(feed[n]) for n in names})[0]
        found = np.exp(logits) / np.exp(logits).sum()
        expected = [answer.probabilities[label] for label in LABELS]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("which", [name for name in KIND_NAMES if name != "prefix"])
def test_what_cannot_be_merged_is_a_part_of_the_graph(which, folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, which)
    made = export(adapter, tmp_path / "out", to="onnx")
    assert made.error < 1e-5
    told = json.loads((tmp_path / "out" / "tenon_onnx.json").read_text())
    assert told["labels"] == list(LABELS) and told["scored"] == "rows"
    assert 0 < told["int8"]["error"] < 1 and told["int8"]["bytes"][1] < told["int8"]["bytes"][0]
    assert {"model.onnx", "model_int8.onnx", "tokenizer.json", "README.md"} <= set(made.files)


def test_tags_are_scored_token_by_token(tmp_path, folder_of):
    folder = folder_of("bert")
    model, renderer = tagger(folder), tag_renderer(folder)
    adapter = save_tagger(model, folder, tmp_path / "mood", "lora", renderer)
    made = export(adapter, tmp_path / "out", to="onnx")
    assert made.error < 1e-5
    assert json.loads((tmp_path / "out" / "tenon_onnx.json").read_text())["scored"] == "tokens"


def test_what_int8_loses_is_measured_on_rows_that_are_named(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path)
    rows = tmp_path / "rows.csv"
    lines = [f'"{text}",{LABELS[place % 3]}' for place, text in enumerate(TEXTS * 6)]
    rows.write_text("\n".join(["text,label", *lines]) + "\n")
    made = export(adapter, tmp_path / "out", to="onnx", data=str(rows))
    (note,) = made.notes
    assert "on 30 labelled rows its Accuracy is" in note and "points" in note
    told = json.loads((tmp_path / "out" / "tenon_onnx.json").read_text())["int8"]
    assert told["whole"]["n"] == told["small"]["n"] == 30 and told["scorer"] == "accuracy"


def test_rows_have_no_effect_on_other_targets_and_must_have_its_labels(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path)
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\nfine,strange\n")
    with pytest.raises(PlanError, match="no effect with --to merged"):
        export(adapter, tmp_path / "out", to="merged", data=str(rows))
    with pytest.raises(DataError, match="strange"):
        export(adapter, tmp_path / "out", to="onnx", data=str(rows))
    assert not (tmp_path / "out").exists()


def test_a_base_that_writes_is_no_single_graph(tmp_path):
    folder = writers.causal_folder(tmp_path, "llama")
    adapter = writers.save(writers.writer(folder, shaken=True), folder, tmp_path / "mood")
    with pytest.raises(AdapterError, match="takes more than one pass"):
        export(adapter, tmp_path / "out", to="onnx")


def test_a_graph_that_takes_one_number_of_rows_alone_is_refused(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, "prefix")
    with pytest.raises(AdapterError, match="for one number of rows alone"):
        export(adapter, tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()
