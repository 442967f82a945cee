"""A run on a quantised base: trained, loaded again as it was, exported, composed, or refused."""

from __future__ import annotations

import json
import shutil
from functools import cache

import pytest
import torch
from transformers import AutoModel

import tenon
from quantised import QUANTIZE, stored
from runs import project, table
from tenon.adapters import pack
from tenon.adapters.fingerprint import fingerprint
from tenon.adapters.kind import settle
from tenon.cli import main
from tenon.core.errors import AdapterError, PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.model import trunk as trunks
from tenon.model.attach import attach, restore
from tenon.model.base import locate
from tenon.model.quantized import quantized
from tenon.model.settings import ModelSettings
from tenon.verbs.compose import compose, load_composition
from tenon.verbs.plan import plan as preview_of
from tenon.verbs.train import train
from verbs.test_generation import command

TEXTS = ["it is of the old dog", "best good my day", "the worst bad fox river"]
KINDS = {
    "lora": {"kind": "lora.v1", "rank": 2},
    "dora": {"kind": "dora.v1", "rank": 2},
    "ia3": {"kind": "ia3.v1"},
    "pfeiffer": {"kind": "bottleneck.v1", "preset": "pfeiffer", "reduction": 4},
}
CASES = [
    *((arch, quantize, "lora") for arch in ("bert", "llama", "gpt2") for quantize in QUANTIZE),
    *(("bert", "int8", name) for name in ("dora", "ia3", "pfeiffer")),
    ("llama", "bnb-nf4", "pfeiffer"),
]
"""Every scheme on every architecture, every kind at least once."""


@pytest.fixture(scope="module")
def run_of(tmp_path_factory, folder_of):
    """Give the folder of a run, made once. Read only."""
    root, made = tmp_path_factory.mktemp("quantised"), {}

    def make(arch="bert", quantize="int8", name="lora", **more):
        key = "-".join([arch, quantize, name, *map(str, more.values())])
        if key not in made:
            pooling = {} if arch == "bert" else {"model__pooling": "last"}
            asked = {"model__quantize": quantize, "train__epochs": 2, **pooling, **more}
            plan = project(root / key, folder_of(arch), adapter=KINDS[name], **asked)
            made[key] = (train(plan, root / key / "run"), root / key / "run")
        return made[key]

    return make


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "quantize", "name"), CASES)
def test_it_is_loaded_again_as_it_was_without_a_word(arch, quantize, name, run_of):
    run, folder = run_of(arch, quantize, name)
    held = [note for note in run.report.notes if note.startswith("the base is held as")]
    assert len(held) == 1
    assert f"held as {quantize}: the weights of" in held[0]
    assert run.report.environment["quantize"] == quantize
    answerer = open_answerer(folder / "adapter", device="cpu")
    assert answerer.manifest.base.quantize == quantize
    assert quantized(answerer.model.trunk.model)
    lines = (folder / "report/predictions.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    answers = answerer.predict([row["text"] for row in told])
    for row, answer in zip(told, answers, strict=True):
        assert answer.label == row["answer"]
        assert answer.probability == pytest.approx(row["probability"], abs=1e-5)


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_the_quantisation_is_part_of_the_bases_digest(quantize, run_of, folder_of):
    base = pack.read(run_of(quantize=quantize)[1] / "adapter").manifest.base
    floats = fingerprint(folder_of("bert"), str(folder_of("bert")))
    assert base.digest != floats.digest
    assert base.tensors == floats.tensors
    others = {fingerprint(folder_of("bert"), "x", quantize=other).digest for other in QUANTIZE}
    assert len(others | {floats.digest}) == len(QUANTIZE) + 1


def test_an_adapter_is_refused_on_the_base_held_in_another_way(run_of, folder_of):
    base = locate(str(folder_of("bert")))
    pairs = [("int8", "none"), ("none", "int8"), ("int8", "bnb-int8")]
    for trained, here in pairs:
        folder = run_of(quantize=trained)[1] / "adapter"
        print_of_base = fingerprint(base.folder, base.name, quantize=here)
        held = {"none": "in floats"}
        was, now = (held.get(each, f"quantised to {each}") for each in (trained, here))
        with pytest.raises(AdapterError, match=f"it was {was}, here it is {now}") as refused:
            pack.read(folder, print_of_base)
        assert f'with model.quantize = "{trained}" or retrain' in str(refused.value)
        trunk = trunks.load(base, ModelSettings(device="cpu", quantize=here))
        with pytest.raises(AdapterError, match=f'was trained with model.quantize = "{trained}"'):
            restore(trunk, pack.read(folder))


@pytest.mark.cells
@pytest.mark.parametrize("quantize", QUANTIZE)
@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2"])
def test_merging_writes_the_quantised_base_in_floats_and_tells_the_error(
    arch, quantize, run_of, tmp_path, folder_of
):
    made = tenon.export(run_of(arch, quantize)[1], tmp_path / "out", device="cpu")
    assert made.proof.dequantized == quantize
    assert made.proof.error <= 1e-5 < made.proof.change
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert "quantization_config" not in config
    assert f"quantised ({quantize})" in (tmp_path / "out/README.md").read_text()
    merged = AutoModel.from_pretrained(tmp_path / "out")
    whole = AutoModel.from_pretrained(folder_of(arch))
    assert not quantized(merged)
    assert merged.num_parameters() <= whole.num_parameters()


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_the_files_for_peft_give_the_same_scores(quantize, run_of, tmp_path):
    made = tenon.export(run_of(quantize=quantize)[1], tmp_path / "out", to="peft", device="cpu")
    assert made.error <= 1e-5
    card = (tmp_path / "out/README.md").read_text()
    assert "quantization_config=" in card
    assert f"(`{quantize}`)" in card


def test_the_exported_page_says_that_it_grows(run_of, tmp_path, capsys):
    words = ["export", str(run_of()[1]), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "the base, int8, was written as float32: it takes more bytes" in told


def test_peft_itself_is_kept_from_merging_into_nothing(folder_of):
    trunk = trunks.load(
        locate(str(folder_of("bert"))), ModelSettings(device="cpu", quantize="int8")
    )
    peft = attach(trunk, settle("mood", KINDS["lora"]), 0).peft
    for merge in (peft.merge_adapter, peft.merge_and_unload):
        with pytest.raises(
            AdapterError, match="PEFT cannot merge into it; tenon export --to merged"
        ):
            merge()


def test_composing_over_one_quantised_base_alone(run_of, tmp_path):
    first, second = (run_of(quantize="int8", seed=seed)[1] for seed in (7, 8))
    written = compose(f"average({first}:0.5, {second}:0.5)", tmp_path / "made", device="cpu")
    assert written.manifest.base.quantize == "int8"
    alone = open_answerer(tmp_path / "made", device="cpu").predict(TEXTS)
    mixed = load_composition(f"parallel({first}, {second})", device="cpu")
    assert mixed.rack.trunk.quantize == "int8"
    assert len(alone) == len(TEXTS)
    other = run_of(quantize="none")[1]
    with pytest.raises(AdapterError, match="it was quantised to int8, here it is in floats"):
        compose(f"average({first}:0.5, {other}:0.5)", tmp_path / "mixed", device="cpu")


TOGETHER = """\
base = "{base}"
seed = 5
model = {{ device = "cpu", quantize = "bnb-nf4" }}
evaluate = {{ resamples = 200 }}
train = {{ epochs = 2, tokens_per_step = 150 }}
data = {{ train = "a.csv", dev = 0.2 }}

[adapters.one]
kind = "lora.v1"

[adapters.two]
kind = "bottleneck.v1"
reduction = 4
"""


def test_adapters_trained_together_are_those_trained_alone(tmp_path, folder_of):
    (tmp_path / "a.csv").write_text(table(60, 1))
    (tmp_path / "run.toml").write_text(TOGETHER.format(base=folder_of("bert")))
    assert command("train", tmp_path / "run.toml", "--out", tmp_path / "runs", "--quiet") == 0
    for name in ("one", "two"):
        together = tmp_path / "runs" / name
        found = pack.read(together / "adapter")
        assert found.manifest.base.quantize == "bnb-nf4"
        alone = tmp_path / f"alone-{name}"
        assert command("train", together / "plan.json", "--out", alone, "--quiet") == 0
        expected = pack.read(alone / "adapter")
        for key, tensor in expected.weights.items():
            assert torch.allclose(found.weights[key], tensor, atol=1e-5), key


@pytest.fixture(scope="module")
def planned(tmp_path_factory, folder_of):
    """Give the preview of a run on a quantised base, and, made once, of one on floats."""
    folder = tmp_path_factory.mktemp("planned")
    project(folder, folder_of("bert"))
    words = [f"base={folder_of('bert')}", "model.device=cpu"]
    return cache(lambda *more: preview_of(str(folder / "train.csv"), [*words, *more]))


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_a_plan_counts_its_bytes_and_names_what_stays(quantize, planned):
    floats, here = planned(), planned(f"model.quantize={quantize}")
    held = here.budget.holding
    assert floats.budget.holding is None
    saved = held.before_bytes - held.after_bytes
    assert here.budget.base_bytes == floats.budget.base_bytes - saved < floats.budget.base_bytes
    assert here.budget.base_parameters == floats.budget.base_parameters
    assert str(held) in here.notes
    assert ("no multiple of 32" in str(held)) == (quantize == "int4")
    assert here.to_json()["budget"]["holding"]["layers"] == held.layers


@pytest.mark.parametrize("quantize", ["int8", "bnb-int8", "bnb-nf4"])
def test_a_base_that_is_stored_quantised_is_loaded_as_it_is(quantize, tmp_path, folder_of):
    base = stored(folder_of("bert"), tmp_path / "base", quantize)
    shown = project(tmp_path / "project", base)
    preview = preview_of(str(tmp_path / "project/train.csv"), [f"base={base}", "model.device=cpu"])
    assert any(note.startswith("the base is stored quantised: ") for note in preview.notes)
    held = preview.budget.holding
    assert preview.budget.base_bytes < 4 * preview.budget.base_parameters
    assert held.quantize == "stored"
    train(shown, tmp_path / "run")
    answerer = open_answerer(tmp_path / "run/adapter", device="cpu")
    assert answerer.manifest.base.quantize == "none"
    assert quantized(answerer.model.trunk.model)
    made = tenon.export(tmp_path / "run", tmp_path / "out", device="cpu", dtype="float32")
    assert made.proof.dequantized == "stored"
    again = project(tmp_path / "again", base, model__quantize="int4")
    with pytest.raises(PlanError, match="is stored quantised by (torchao|bitsandbytes) already"):
        train(again, tmp_path / "again/run")


def test_a_run_goes_on_from_a_checkpoint_and_not_as_another(run_of, tmp_path, folder_of):
    run, folder = run_of(quantize="int4")
    copied = tmp_path / "run"
    shutil.copytree(folder, copied)
    plan = project(folder.parent, folder_of("bert"), adapter=KINDS["lora"], train__epochs=2)
    with pytest.raises(tenon.core.errors.TenonError, match="another plan"):
        train(plan, copied)
