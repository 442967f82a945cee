"""The ways out: what Tenon writes is an ordinary adapter of PEFT, for whoever wants to go on.

Read by plain PEFT and by transformers, it computes the same (tests/adapters/test_laws.py and
tests/laws/test_saving.py); here it is also handed to transformers' Trainer, and to PEFT in a
process that knows nothing of Tenon but the kind.
"""

from __future__ import annotations

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from attached import KIND_NAMES, TABLES
from bare import told
from models import LABELS, TEXTS, classifier, examples, renderer_of, save
from tenon.evaluate.card import OURS
from tenon.verbs.export import export

pytestmark = pytest.mark.filterwarnings("ignore:.*not initialized:UserWarning")
HEADED = [("bert", "pooler"), ("qwen3", "last"), ("gpt2", "last")]
READER = """
import importlib, sys, torch, transformers
base, adapter, how = sys.argv[1:]
assert "tenon" not in sys.modules
if how == "plain":
    sys.modules["tenon"] = None
else:
    importlib.import_module(how)
from peft import PeftModel
model = PeftModel.from_pretrained(transformers.AutoModel.from_pretrained(base), adapter)
with torch.no_grad():
    out = model.eval()(input_ids=torch.arange(5, 17)[None]).last_hidden_state
print(out.double().sum().item(), out.double().std().item())
"""
"""Run for each adapter in a process of its own, in which nothing of Tenon is imported yet."""


class Rows(Dataset):
    """Rows of a classification, of one length."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, place: int) -> dict[str, object]:
        ids = torch.arange(5, 15) + place
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": place % 3}


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize(("arch", "pooling"), HEADED)
def test_transformers_trainer_goes_on_with_it(arch, pooling, which, folder_of, tmp_path):
    folder = folder_of(arch)
    model = classifier(folder, which, pooling=pooling, bias=pooling == "pooler")
    saved = save(model, folder, tmp_path / "mood", which)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS))
    theirs = peft.PeftModel.from_pretrained(base, saved, is_trainable=True)
    before = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "trainer"),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    Trainer(model=theirs, args=arguments, train_dataset=Rows()).train()
    changed = {n for n, p in theirs.named_parameters() if not torch.equal(p, before[n])}
    marker = f"{TABLES[which]['kind'].partition('.')[0]}_"
    assert changed and all(marker in name or "modules_to_save" in name for name in changed)
    assert sum(marker in name for name in changed) > 0.9 * sum(marker in name for name in before)
    theirs.save_pretrained(tmp_path / "after")
    assert (
        load_file(tmp_path / "after" / "adapter_model.safetensors").keys()
        == load_file(saved / "adapter_model.safetensors").keys()
    )


def test_a_process_that_knows_peft_alone_or_the_kind_reads_an_export(folder_of, tmp_path):
    folder, cases, expected = folder_of("bert"), [], []
    for which in ("lora", "houlsby", "prefix"):
        saved = save(classifier(folder, which), folder, tmp_path / which / "mood", which)
        export(saved, tmp_path / which / "out", to="peft")
        kind = TABLES[which]["kind"].partition(".")[0]
        how = "plain" if which == "lora" else f"tenon.adapters.{kind}"
        assert (kind in OURS) == (which != "lora"), "what the card tells to import"
        cases.append([str(folder), str(tmp_path / which / "out"), how])
        model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(folder), saved).eval()
        with torch.no_grad():
            out = model(input_ids=torch.arange(5, 17)[None]).last_hidden_state.double()
        expected.append([out.sum().item(), out.std().item()])
    lines = [told(READER, *case).splitlines()[-1] for case in cases]
    found = [[float(number) for number in line.split()] for line in lines]
    assert found == [pytest.approx(each, rel=1e-6) for each in expected]


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ["bert", "qwen3", "t5"])
@torch.no_grad()
def test_transformers_load_adapter_reads_an_export(arch, which, folder_of, tmp_path):
    folder = folder_of(arch)
    model = classifier(folder, which)
    saved = save(model, folder, tmp_path / "mood", which)
    export(saved, tmp_path / "out", to="peft")
    plain = type(model.trunk.model).from_pretrained(folder)
    plain.load_adapter(str(tmp_path / "out"))
    rows = renderer_of(folder).rows(examples(TEXTS[:1]))
    given = torch.tensor(rows.ids)
    expected = model.base(input_ids=given).last_hidden_state
    assert torch.equal(plain.eval()(input_ids=given).last_hidden_state, expected)
