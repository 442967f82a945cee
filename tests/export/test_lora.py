"""L8: whatever is one matrix a module is written as a plain LoRA, and gives the same scores."""

from __future__ import annotations

import copy
import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import models
import writers
from attached import shake
from bases import input_ids, tiny
from kinds import NO_TRANSPOSED, TABLES, kind_of
from models import LABELS, classifier, save
from tenon.adapters.fresh import fresh
from tenon.adapters.kind import settle
from tenon.core.errors import AdapterError, PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.model.changes import changes
from tenon.model.trunk import Trunk
from tenon.verbs.adopt import import_adapter
from tenon.verbs.export import export

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected that the base layer has no bias:UserWarning"),
]

PLAIN = {
    "alpha_pattern": {},
    "bias": "none",
    "init_lora_weights": True,
    "rank_pattern": {},
    "use_dora": False,
    "use_rslora": False,
}
SHIFTS = {"adamss.v1", "beft.v1", "glora.v1", "ia3.v1", "road.v1"}
"""Kinds that change a bias as well, where the layer has one."""
NO_MATRIX = {("ln_tuning.v1", arch) for arch in ("bert", "gpt2", "llama")}
NO_MATRIX |= {(name, arch) for name in SHIFTS for arch in ("bert", "gpt2")}
CELLS = [
    (name, arch)
    for name in TABLES
    for arch in ("bert", "gpt2", "llama")
    if kind_of(name).mergeable and (arch != "gpt2" or TABLES[name]["kind"] not in NO_TRANSPOSED)
]
WIDER = {
    "stabilised": {"rank_stabilized": True, "alpha": 3.0},
    "doubled": {"init": "pissa"},
    "embeddings": {"sites": ["embeddings", "mlp.out"]},
}
"""LoRAs that say by their config what the plain form says by its matrices."""


@pytest.fixture(autouse=True)
def every_kind(monkeypatch):
    """Let the classifiers of `models` have any kind of `kinds` as well."""
    for name, table in {
        **TABLES,
        **{n: {"kind": "lora.v1", **t} for n, t in WIDER.items()},
    }.items():
        monkeypatch.setitem(models.TABLES, name, table)


def adapter_of(folder_of, tmp_path, which, arch="bert", size=0.05, **more):
    folder = folder_of(arch)
    model = classifier(folder, which, shaken=False, **more)
    shake(model, size=size)
    return save(model, folder, tmp_path / "mood", which)


def plain(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    assert {key: config[key] for key in PLAIN} == PLAIN
    assert config["r"] == config["lora_alpha"] and isinstance(config["target_modules"], list)
    tensors = load_file(folder / "adapter_model.safetensors")
    ranks = {
        len(tensor) for name, tensor in tensors.items() if "lora_A" in name.rsplit("base", 1)[-1]
    }
    assert ranks <= {config["r"]}
    return config


@pytest.mark.parametrize(("name", "arch"), CELLS)
@torch.no_grad()
def test_what_a_kind_adds_is_one_matrix_a_module(name, arch):
    trunk = tiny(arch).requires_grad_(False)
    base = copy.deepcopy(trunk)
    torch.manual_seed(0)
    model = fresh(trunk, settle("mood", TABLES[name])).peft.eval()
    shake(model, size=0.02)
    expected = model(input_ids=input_ids()).last_hidden_state
    held = Trunk(trunk, False, False, "", 0, 0, 0)
    if (name, arch) in NO_MATRIX:
        with pytest.raises(AdapterError, match="is no product of two matrices"):
            changes("mood", held, model)
        return
    for path, whole in changes("mood", held, model).items():
        module = base.get_submodule(path)
        turned = not isinstance(module, torch.nn.Linear)
        change = whole.matrix_OI.T if turned else whole.matrix_OI
        module.weight.copy_((module.weight.double() + change).float())
    found = base(input_ids=input_ids()).last_hidden_state
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("which", ["lora", "dora.v1", "loha.v1", "hra.v1", *WIDER])
@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_a_kind_that_is_a_matrix_is_a_plain_lora(which, arch, folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, which, arch)
    made = export(adapter, tmp_path / "out", to="lora")
    assert made.error < 1e-5 and made.proof.change > 100 * made.error
    plain(tmp_path / "out")
    assert "tenon.json" not in made.files
    assert "as a LoRA" in (tmp_path / "out" / "README.md").read_text()


@torch.no_grad()
def test_a_writer_is_read_by_peft_alone(tmp_path):
    folder = writers.causal_folder(tmp_path, "llama")
    adapter = writers.save(writers.writer(folder, shaken=True), folder, tmp_path / "mood")
    export(adapter, tmp_path / "out", to="lora")
    ids = AutoTokenizer.from_pretrained(folder)("a glad red fox", return_tensors="pt").input_ids

    def scores(which):
        base = AutoModelForCausalLM.from_pretrained(folder)
        return peft.PeftModel.from_pretrained(base, which).eval()(input_ids=ids).logits

    torch.testing.assert_close(scores(tmp_path / "out"), scores(adapter), rtol=1e-5, atol=1e-5)


def test_a_rank_cuts_and_what_it_costs_is_told(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, "lora")
    made = export(adapter, tmp_path / "out", to="lora", rank=6)
    assert plain(tmp_path / "out")["r"] == 6
    assert 1e-4 < made.error < made.proof.change / 2 == made.proof.tolerance
    assert 0.05 < made.proof.modules[0].error < 0.9
    assert "Rank 8 would leave nothing out" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("which", "rank", "why"),
    [
        ("lora", 8, "8 leaves nothing out already"),
        ("lora", -1, "expected a number of columns"),
        ("houlsby", 0, "is no LoRA and cannot be made one"),
        ("prefix.v1", 0, "is no LoRA and cannot be made one"),
        ("ln_tuning.v1", 0, "no product of two matrices"),
        ("hra.v1", 1, "too much is lost"),
    ],
)
def test_what_cannot_be_one_is_refused_and_leaves_nothing(which, rank, why, folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, which)
    with pytest.raises((AdapterError, PlanError), match=why):
        export(adapter, tmp_path / "out", to="lora", rank=rank)
    assert not (tmp_path / "out").exists()


def test_a_rank_has_no_effect_on_other_targets(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, "lora")
    with pytest.raises(PlanError, match="no effect with --to merged"):
        export(adapter, tmp_path / "out", to="merged", rank=4)


def test_what_is_written_is_taken_in_again(folder_of, tmp_path):
    adapter = adapter_of(folder_of, tmp_path, "dora.v1", "llama", pooling="last", bias=False)
    export(adapter, tmp_path / "out", to="lora")
    base = str(folder_of("llama"))
    import_adapter(tmp_path / "out", tmp_path / "again", base=base, labels=LABELS)
    texts = ["a glad red fox", "the dog was sad"]
    first, second = (open_answerer(each).predict(texts) for each in (adapter, tmp_path / "again"))
    for one, other in zip(first, second, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
