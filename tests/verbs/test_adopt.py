"""`tenon import`: a page or JSON, and one line where it is refused."""

from __future__ import annotations

import json

import peft
import pytest
from transformers import AutoModelForSequenceClassification

from attached import shake
from tenon.cli import main
from tenon.terminal.page import render
from tenon.verbs.show import show

pytestmark = pytest.mark.filterwarnings("ignore:.*not initialized:UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory, folder_of):
    """A classifier that PEFT wrote. Read only."""
    folder = tmp_path_factory.mktemp("peft") / "my adapter!"
    base = AutoModelForSequenceClassification.from_pretrained(folder_of("bert"), num_labels=3)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", target_modules=["query"], modules_to_save=["classifier"]
    )
    model = peft.get_peft_model(base, config)
    shake(model, size=0.1)
    model.save_pretrained(folder)
    return folder


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["import", *map(str, words)])
    return ended.value.code


def test_as_a_page(source, tmp_path, capsys):
    assert run(source, "--out", tmp_path / "mood", "--labels", "glad, sad, tired") == 0
    told = capsys.readouterr().out
    for word in ("my-adapter", "lora.v1", "not proven", "glad, sad, tired"):
        assert word in told
    assert show(str(tmp_path / "mood")).proven is False
    assert render(show(str(tmp_path / "mood")))


def test_as_json(source, tmp_path, capsys):
    assert run(source, "-o", tmp_path / "mood", "--name", "mood", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["manifest"]["name"] == "mood" and told["manifest"]["origin"] == "peft"
    assert any("--labels" in note for note in told["notes"])


def test_what_is_refused_is_told_in_a_line_and_leaves_nothing(source, tmp_path, capsys):
    assert run(source, "-o", tmp_path / "mood", "--name", "../mood") == 2
    assert "cannot be an adapter's name" in capsys.readouterr().err
    assert run(source, "-o", tmp_path / "mood", "--labels", "glad,sad") == 2
    assert "the head has 3" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", "-o", tmp_path / "mood") == 2
    assert "no such folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_imported_adapter_is_predicted_evaluated_and_exported_with(source, tmp_path, capsys):
    assert run(source, "-o", tmp_path / "mood", "--labels", "glad,sad,tired", "-q") == 0
    rows = ["text,label", *(f"the dog is {word},{word}" for word in ("glad", "sad", "tired") * 4)]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    for words in (
        ["predict", tmp_path / "mood", tmp_path / "rows.csv", "--out", tmp_path / "answers.jsonl"],
        ["eval", tmp_path / "mood", tmp_path / "rows.csv"],
        ["export", tmp_path / "mood", "--out", tmp_path / "merged"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), "--quiet"])
        assert ended.value.code == 0, capsys.readouterr().err
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 12
