"""`tenon export`: a page or JSON, and one line where it is refused."""

from __future__ import annotations

import json

import pytest

from attached import shake
from models import classifier, save
from tenon.cli import main


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, folder_of):
    """The directories of a LoRA and a bottleneck. Read only."""
    folder = tmp_path_factory.mktemp("adapters")
    for which in ("lora", "houlsby"):
        model = classifier(folder_of("bert"), which, shaken=False)
        shake(model, size=0.05)
        save(model, folder_of("bert"), folder / which, which)
    return folder


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, words)])
    return ended.value.code


def test_as_a_page(adapters, tmp_path, capsys):
    assert run(adapters / "lora", "--to", "merged", "--out", tmp_path / "out") == 0
    told = capsys.readouterr().out
    for word in ("exported to merged", "BertModel.from_pretrained", "differs most", "config.json"):
        assert word in told


def test_as_json(adapters, tmp_path, capsys):
    assert run(adapters / "lora", "--to", "peft", "-o", tmp_path / "out", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["to"] == "peft" and told["error"] < 1e-5
    assert "adapter_model.safetensors" in told["files"]


def test_quietly(adapters, tmp_path, capsys):
    assert run(adapters / "lora", "-o", tmp_path / "out", "-q") == 0
    assert capsys.readouterr().out == ""


def test_what_is_refused_is_told_in_a_line_and_leaves_nothing(adapters, tmp_path, capsys):
    assert run(adapters / "houlsby", "--to", "merged", "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "bottleneck.v1 cannot be merged" in told and "--to peft" in told
    assert list(tmp_path.iterdir()) == []
