"""What is refused in an adapter's directory, each for its true cause."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from attached import attached
from packed import adapter_on, fingerprint_of
from sealed import reseal
from tenon.adapters.pack import read, write
from tenon.core.errors import AdapterError, FileError

FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
    "tenon.json",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One adapter's directory. Read only; take `copy` to change it."""
    folder = tmp_path_factory.mktemp("adapters") / "mood"
    return write(folder, adapter_on("bert", "houlsby")[1], card="# mood\n")


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "mood")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_bit_of_any_file_can_change_unnoticed(written, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip") / "mood"
    shutil.copytree(written, folder)
    name = data.draw(st.sampled_from(sorted(FILES - {"tenon.json"})))
    raw = bytearray((folder / name).read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(raw)
    with pytest.raises(AdapterError, match=f"{name}: has changed since it was written"):
        read(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    cause = "without tenon.json" if name == "tenon.json" else f"{name}: is missing"
    with pytest.raises(AdapterError, match=cause):
        read(copy)


def test_all_faults_of_the_files_come_at_once(copy):
    (copy / "README.md").unlink()
    (copy / "notes.txt").write_text("x")
    with pytest.raises(AdapterError) as error:
        read(copy)
    assert len(str(error.value).splitlines()) == 2


def test_a_folder_that_is_no_adapter_says_what_it_is(tmp_path):
    with pytest.raises(FileError, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(AdapterError, match=r"no adapter: it has no tenon.json"):
        read(tmp_path)
    attached("bert", "lora").save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"a PEFT adapter without tenon.json"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["adapter_model.bin", "x.pt", "y.PKL", "z.pickle", "w.npz"])
def test_a_pickle_beside_the_weights_is_refused(copy, name):
    (copy / name).write_bytes(b"\x80\x04.")
    with pytest.raises(AdapterError, match="can run any code"):
        read(copy)


def test_a_pickle_under_the_name_of_the_weights_is_refused(copy):
    torch.save({"a": torch.zeros(1)}, copy / "adapter_model.safetensors")
    reseal(copy)
    with pytest.raises(AdapterError, match="not a safetensors file"):
        read(copy)


def test_links_folders_and_pipes_are_refused(copy, tmp_path):
    (copy / "README.md").rename(tmp_path / "elsewhere.md")
    (copy / "README.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(AdapterError, match="is a link"):
        read(copy)
    (copy / "README.md").unlink()
    shutil.copy(tmp_path / "elsewhere.md", copy / "README.md")
    (copy / "sub").mkdir()
    with pytest.raises(AdapterError, match="is not a regular file"):
        read(copy)
    (copy / "sub").rmdir()
    os.mkfifo(copy / "pipe")
    with pytest.raises(AdapterError, match="is not a regular file"):
        read(copy)
    (copy / "pipe").unlink()
    (copy / ".gitattributes").write_text("hidden files are nobody's business")
    assert read(copy).name == "mood"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "not JSON"),
        ("[]", "holds a list"),
        ("[" * 100_000, "not JSON"),
        ("\xff", "not JSON"),
        ('{"format": 2}', "format is 2, this Tenon reads 1"),
        ('{"format": "1"}', "format is '1'"),
        ("{}", "format is None"),
        ('{"format": 1, "format": 1}', "the key 'format' stands twice in one object"),
        ('{"format": NaN}', "NaN is no number of JSON"),
        ('{"format": 1, "name": 3}', "does not have the digest that it states"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(copy, text, cause):
    (copy / "tenon.json").write_text(text, encoding="latin-1")
    with pytest.raises(AdapterError, match=cause):
        read(copy)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"name": 3}, "name: Input should be a valid string"),
        ({"kind": "lora.v9"}, "kind 'lora.v9' is unknown here"),
        ({"name": "../../etc"}, "is no adapter's name"),
        ({"name": "/abs"}, "is no adapter's name"),
        ({"settings": None}, "settings are missing"),
        ({"labels": ["a", "a", "b"]}, "labels are"),
        ({"labels": []}, "labels are"),
        ({"labels": ["a", "b"]}, "2 labels and 32 hidden units make it"),
        ({"layout": "transformers"}, "layout transformers does not exist"),
        ({"files": {}}, "is not listed"),
        ({"files": {"../../outside": "00"}}, "is listed, but no file of an adapter"),
        ({"files": {"/etc/passwd": "00"}}, "is listed, but no file of an adapter"),
        ({"tensors": {}}, "is not in the manifest's list"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(copy, change, cause):
    reseal(copy, **change)
    with pytest.raises(AdapterError, match=cause):
        read(copy)


def _change_weights(folder, change):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    reseal(folder)


def _first(tensors):
    return sorted(tensors)[0]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda t: t.pop(_first(t)), "is missing"),
        (lambda t: t.update({"base_model.model.extra": torch.zeros(1)}), "not in the manifest"),
        (lambda t: t.update({_first(t): torch.zeros(1)}), r"is float32 \[1\], was float32"),
        (lambda t: t.update({_first(t): t[_first(t)].half()}), "is float16 .* was float32"),
        (lambda t: t[_first(t)].view(-1)[0].fill_(float("nan")), "values are not finite"),
    ],
)
def test_tensors_other_than_the_manifests_are_refused(copy, change, cause):
    _change_weights(copy, change)
    with pytest.raises(AdapterError, match=cause):
        read(copy)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"target_modules": "(([a-z0-9._])+)+!"}, "may be a pattern that never ends"),
        ({"target_modules": "all-linear"}, "may be a pattern"),
        ({"target_modules": ["(a+)+$"]}, "may be a pattern"),
        ({"target_modules": None}, "may be a pattern"),
        ({"target_modules": ["encoder.layer.9.output.dense"]}, "target module without weights"),
        ({"exclude_modules": "(a+)+$"}, "exclude_modules is"),
        ({"modules_to_save": ["(a+)+$"]}, "modules_to_save and task_type are"),
        ({"task_type": "SEQ_CLS"}, "modules_to_save and task_type are"),
        ({"layers_pattern": "(a+)+$", "layers_to_transform": [0]}, "layers_pattern is"),
        ({"peft_type": "LORA"}, "peft_type is 'LORA'"),
        ({"scale": 100.0}, "scale is 100.0; the settings of bottleneck.v1 make it 1.0"),
        ({"activation": "relu"}, "activation is 'relu'"),
        ({"auto_mapping": {"base_model_class": "os"}}, "auto_mapping is"),
        ({"megatron_core": "os", "megatron_config": {}}, "megatron_core is 'os'"),
    ],
)
def test_a_config_with_patterns_or_other_values_is_refused_though_resealed(copy, change, cause):
    path = copy / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    reseal(copy)
    with pytest.raises(AdapterError, match=cause):
        read(copy)


def test_a_field_of_another_peft_that_is_empty_is_no_fault(copy):
    path = copy / "adapter_config.json"
    config = {**json.loads(path.read_text()), "field_of_tomorrow": None, "peft_version": "9"}
    path.write_text(json.dumps(config))
    reseal(copy)
    assert read(copy).config.scale == 1.0


def test_settings_that_the_kind_refuses_are_refused(copy):
    manifest = json.loads((copy / "tenon.json").read_text())
    manifest["settings"]["own"]["width"] = 7
    reseal(copy, settings=manifest["settings"])
    with pytest.raises(AdapterError, match="its settings are refused"):
        read(copy)


def test_an_adapter_of_another_base_is_refused(copy):
    here = fingerprint_of("bert")
    assert read(copy, here).name == "mood"
    other = here.model_copy(update={"digest": "77c1" * 16, "tensors": {"a": "0" * 16, "b": "2"}})
    with pytest.raises(AdapterError) as error:
        read(copy, other)
    assert str(error.value) == (
        "adapter mood was trained on base 3f9a…, this base is 77c1… (1 of 2 tensors differ); "
        "load tiny/bert or retrain"
    )


def test_a_manifest_too_large_to_be_one_is_not_read(copy, monkeypatch):
    monkeypatch.setattr("tenon.adapters.directory.JSON_BYTES", 10)
    with pytest.raises(AdapterError, match="expected at most 10"):
        read(copy)
