"""Fingerprints: equal for equal weights however they lie in files, different for any other bit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bases import ARCHITECTURES, tiny
from tenon.adapters.fingerprint import differences, fingerprint, refuse_other
from tenon.core.errors import AdapterError, FileError


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The folder of a tiny base with a tokenizer. Read only."""
    folder = tmp_path_factory.mktemp("bases") / "bert"
    tiny("bert").save_pretrained(folder)
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}, "truncation": null}')
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 64}')
    return folder


@pytest.fixture
def copy(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "copy")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_has_one_and_only_its_own(arch, tmp_path):
    tiny(arch).save_pretrained(tmp_path / "one")
    tiny(arch, seed=1).save_pretrained(tmp_path / "two")
    one, two = (fingerprint(tmp_path / name, arch) for name in ("one", "two"))
    assert one == fingerprint(tmp_path / "one", arch)
    assert (one.model_type, one.hidden_size) == (arch, 32)
    assert one.tensors.keys() == load_file(tmp_path / "one" / "model.safetensors").keys()
    assert one.tensors.keys() == two.tensors.keys() and one.digest != two.digest


@pytest.mark.parametrize("shard", ["40KB", "15KB"])
def test_the_way_it_is_split_into_files_does_not_matter(bert, tmp_path, shard):
    tiny("bert").save_pretrained(tmp_path, max_shard_size=shard)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert fingerprint(tmp_path, "x").digest == fingerprint(bert, "x").digest


def test_metadata_of_the_file_do_not_matter(copy, bert):
    tensors = load_file(copy / "model.safetensors")
    save_file(tensors, copy / "model.safetensors", metadata={"hello": "world"})
    assert fingerprint(copy, "x").tensors == fingerprint(bert, "x").tensors


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_bit_of_any_tensor_matters_and_that_tensor_alone(bert, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    shutil.copytree(bert, folder, dirs_exist_ok=True)
    file = folder / "model.safetensors"
    raw = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little")
    at = data.draw(st.integers(start, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(raw)
    one, two = fingerprint(bert, "x"), fingerprint(folder, "x")
    assert sum(one.tensors[name] != two.tensors[name] for name in one.tensors) == 1
    assert one.digest != two.digest
    assert differences(one, two) == [f"1 of {len(one.tensors)} tensors differ"]


def test_name_format_and_shape_of_a_tensor_matter(tmp_path):
    variants = {
        "plain": {"a": torch.zeros(4)},
        "name": {"b": torch.zeros(4)},
        "shape": {"a": torch.zeros(2, 2)},
        "format": {"a": torch.zeros(4, dtype=torch.int32)},
        "more": {"a": torch.zeros(4), "b": torch.zeros(0)},
    }
    digests = set()
    for name, tensors in variants.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        save_file(tensors, tmp_path / name / "model.safetensors")
        digests.add(fingerprint(tmp_path / name, "x").digest)
    assert len(digests) == len(variants)


def test_how_the_tokenizer_was_last_called_does_not_matter_and_its_rules_do(copy):
    first = fingerprint(copy, "x").tokenizer_digest
    rules = json.loads((copy / "tokenizer.json").read_text())
    rules["truncation"], rules["padding"] = {"max_length": 8}, {"strategy": "BatchLongest"}
    (copy / "tokenizer.json").write_text(json.dumps(rules, indent=4))
    assert fingerprint(copy, "x").tokenizer_digest == first
    rules["model"]["vocab"]["b"] = 1
    (copy / "tokenizer.json").write_text(json.dumps(rules))
    second = fingerprint(copy, "x").tokenizer_digest
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    third = fingerprint(copy, "x").tokenizer_digest
    (copy / "chat_template.jinja").unlink()
    (copy / "tokenizer_config.json").write_text('{"chat_template": "{{ m }}"}')
    fourth = fingerprint(copy, "x").tokenizer_digest
    assert len({first, second, third, fourth}) == 4


def test_a_slow_tokenizer_counts_by_its_files_and_none_at_all_is_said(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    assert fingerprint(copy, "x").tokenizer_digest == ""
    (copy / "vocab.txt").write_text("a\nb\n")
    first = fingerprint(copy, "x").tokenizer_digest
    (copy / "vocab.txt").write_text("a\nc\n")
    assert first and fingerprint(copy, "x").tokenizer_digest not in ("", first)


def test_pickled_weights_are_refused_with_the_remedy(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(AdapterError, match=r"pickled \(pytorch_model.bin\).*save_pretrained"):
        fingerprint(copy, "x")


def test_a_folder_without_weights_or_config_is_no_base(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"no model.safetensors here"):
        fingerprint(copy, "x")
    with pytest.raises(FileError, match="config.json"):
        fingerprint(copy / "nowhere", "x")


def test_a_missing_shard_is_named(tmp_path):
    tiny("bert").save_pretrained(tmp_path, max_shard_size="40KB")
    gone = sorted(tmp_path.glob("*.safetensors"))[0]
    gone.unlink()
    with pytest.raises(AdapterError, match=gone.name):
        fingerprint(tmp_path, "x")


@pytest.mark.parametrize("damage", ["cut", "more", "header", "length", "empty", "text"])
def test_a_damaged_file_is_refused(copy, damage):
    file = copy / "model.safetensors"
    raw = file.read_bytes()
    damaged = {
        "cut": raw[:-1],
        "more": raw + b"\0",
        "header": raw[:9] + b"]" + raw[10:],
        "length": b"\xff" * 8 + raw[8:],
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n",
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(AdapterError, match="download the base again"):
        fingerprint(copy, "x")


def test_another_base_is_refused_in_the_words_of_the_design(bert, tmp_path):
    tiny("bert", seed=1).save_pretrained(tmp_path)
    ours = fingerprint(bert, "acme/base", "v2")
    theirs = fingerprint(tmp_path, "x")
    count = len(ours.tensors)
    refuse_other("mood", ours, ours)
    with pytest.raises(AdapterError) as error:
        refuse_other("mood", ours, theirs)
    assert str(error.value) == (
        f"adapter mood was trained on base {ours.digest[:4]}…, this base is {theirs.digest[:4]}… "
        f"({count} of {count} tensors differ); load acme/base@v2 or retrain"
    )


def test_another_tokenizer_on_the_same_weights_is_refused(copy, bert):
    (copy / "tokenizer.json").write_text("{}")
    ours, theirs = fingerprint(bert, "acme/base"), fingerprint(copy, "x")
    with pytest.raises(AdapterError, match="the tokenizer is not.*load acme/base or retrain"):
        refuse_other("mood", ours, theirs)


def test_where_it_was_loaded_from_is_no_difference(bert):
    assert differences(fingerprint(bert, "a", "v1"), fingerprint(bert, "b")) == []


def test_it_needs_no_torch(bert):
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from tenon.adapters.fingerprint import fingerprint;"
        f"fingerprint(Path({str(bert)!r}), 'x'); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
