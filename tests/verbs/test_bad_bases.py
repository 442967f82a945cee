"""Bases that cannot be used: the command line says where, what and what to do, and writes nothing.

Each is told with exit code 2, in one line, without a traceback.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest

from runs import table
from tenon.cli import main


def cut(folder, size=-100):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])


def garbled(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\xff" * 16 + weights.read_bytes()[16:])


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without(folder, *patterns):
    for pattern in patterns:
        for path in list(folder.glob(pattern)):
            path.unlink()


def sharded(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


AGAIN = "download (or copy )?the base again"
DAMAGES = {
    "cut short": (cut, rf"bert/model\.safetensors: is damaged or cut short at .*{AGAIN}"),
    "cut in its header": (lambda f: cut(f, 100), rf"bert/model\.safetensors: .*{AGAIN}"),
    "empty": (lambda f: cut(f, 0), rf"bert/model\.safetensors: .*{AGAIN}"),
    "garbled": (garbled, rf"bert/model\.safetensors: is damaged .*{AGAIN}"),
    "a shard is missing": (sharded, rf"bert: 1 of 2 weight files are missing .*{AGAIN}"),
    "pickled": (
        pickled,
        r"bert: has its weights as pickle only \(pytorch_model\.bin\), .* convert them to safetens",
    ),
    "without weights": (lambda f: without(f, "*.safetensors"), r"bert: .*is the download whole\?"),
    "without config": (
        lambda f: without(f, "config.json"),
        r"bert: holds no config\.json; give the folder of one model",
    ),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), rf"bert: .*{AGAIN}"),
    "without tokenizer": (
        lambda f: without(f, "token*", "vocab*", "special*"),
        rf"bert: no tokenizer could be loaded .*{AGAIN}",
    ),
    "tokenizer is no JSON": (
        lambda f: (f / "tokenizer.json").write_text("{"),
        rf"bert: no tokenizer could be loaded .*{AGAIN}",
    ),
    "not there": (shutil.rmtree, "bert: no such folder; give a folder, a hub id"),
    "a file": (
        lambda f: (shutil.rmtree(f), f.write_text("")),
        "bert: no such folder; give a folder, a hub id",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_named_with_its_remedy_and_nothing_is_written(
    damage, folder_of, tmp_path, monkeypatch, capsys
):
    spoil, told = DAMAGES[damage]
    base = shutil.copytree(folder_of("bert"), tmp_path / "bert")
    spoil(base)
    (tmp_path / "train.csv").write_text(table(60))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENON_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as end:
        main(["train", "train.csv", f"base={base}", "model.device=cpu", "--quiet"])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith("tenon: ")
    assert err.count("\n") == 1, err
    assert re.search(told, err), err
    assert {path.name for path in tmp_path.iterdir()} <= {"bert", "train.csv"}
