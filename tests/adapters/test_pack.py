"""The adapter directory: written whole, read strictly, refused for its true cause."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat

import peft
import pytest
import torch
from safetensors.torch import load_file

from attached import KIND_NAMES, hidden
from bases import ARCHITECTURES, tiny
from packed import adapter_on, fingerprint_of
from tenon.adapters import pack, weights
from tenon.adapters.pack import read, write
from tenon.core.errors import AdapterError, FileError

FILES = {
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
    "tenon.json",
}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One adapter's directory. Read only."""
    folder = tmp_path_factory.mktemp("adapters") / "mood"
    return write(folder, adapter_on("bert", "houlsby")[1], card="# mood\n")


# What is written is what is read -----------------------------------------------------------------


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_is_read_is_what_was_written_bitwise(arch, which, tmp_path):
    model, adapter = adapter_on(arch, which)
    found = read(write(tmp_path / "mood", adapter, card="# mood"), fingerprint_of(arch))
    assert same(found.weights, adapter.weights) and same(found.head, adapter.head)
    assert (found.name, found.kind, found.settings) == ("mood", adapter.kind, adapter.settings)
    filled = {"settings", "tensors", "files", "seal"}
    assert found.manifest.model_dump(exclude=filled) == adapter.manifest.model_dump(exclude=filled)
    again = peft.get_peft_model(tiny(arch), found.config).eval()
    weights.put(again, found.weights)
    assert torch.equal(hidden(again), hidden(model))


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ["bert", "modernbert", "llama", "gpt2", "t5"])
def test_peft_and_transformers_read_the_directory(arch, which, tmp_path):
    model, adapter = adapter_on(arch, which)
    write(tmp_path / "mood", adapter, card="# mood")
    theirs = peft.PeftModel.from_pretrained(tiny(arch), tmp_path / "mood").eval()
    assert torch.equal(hidden(theirs), hidden(model))
    plain = tiny(arch)
    plain.load_adapter(str(tmp_path / "mood"))
    assert torch.equal(hidden(plain.eval()), hidden(model))


def test_it_holds_these_files_and_no_other(written):
    assert {path.name for path in written.iterdir()} == FILES
    manifest = json.loads((written / "tenon.json").read_text())
    assert manifest["format"] == 1
    assert set(manifest["files"]) == FILES - {"tenon.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((written / name).read_bytes()).hexdigest() == digest
    assert load_file(written / "head.safetensors").keys() == {"weight", "bias"}


def test_equal_adapters_are_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, adapter_on("bert", "lora")[1], card="# mood")
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_config_names_every_module_in_full_and_in_order(tmp_path):
    """PEFT shortens long target lists in memory, and writes sets in an order of their own."""
    adapter = adapter_on("bert", "lora")[1]
    adapter.config.target_modules = {"query", "key", "value", "attention.output.dense"}
    write(tmp_path / "mood", adapter, card="")
    targets = json.loads((tmp_path / "mood" / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets) == pack.target_modules(adapter)
    assert len(targets) == 12 and all(name.startswith("encoder.layer.") for name in targets)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_rights_that_the_user_asks_for(mask, tmp_path):
    before = os.umask(mask)
    try:
        folder = write(tmp_path / "mood", adapter_on("bert", "pfeiffer")[1], card="")
    finally:
        os.umask(before)
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, path.name


def test_writing_again_replaces_an_adapter_and_nothing_else(tmp_path):
    adapter = adapter_on("bert", "pfeiffer")[1]
    folder = write(tmp_path / "mood", adapter, card="old")
    write(folder, adapter, card="new")
    assert (folder / "README.md").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["mood"]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    with pytest.raises(AdapterError, match="holds other files"):
        write(tmp_path / "own", adapter, card="")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(AdapterError, match="is not a folder"):
        write(tmp_path / "file", adapter, card="")
    assert (tmp_path / "own" / "thesis.txt").read_text() == "mine"


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    adapter = adapter_on("bert", "pfeiffer")[1]
    folder = write(tmp_path / "mood", adapter, card="old")
    (tmp_path / "blocked").mkdir()

    def full(self, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(FileError, match="free some space"):
            write(folder, adapter, card="new")
    assert read(folder).name == "mood"
    assert (folder / "README.md").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"mood", "blocked"}


# What cannot be written --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"name": "other"}, "name or kind differ"),
        ({"kind": "lora.v1"}, "name or kind differ"),
        ({"weights": {}}, "has no weights"),
        ({"head": {}}, "head.bias: is missing"),
        ({"head": {"weight": torch.zeros(3, 32), "bias": torch.zeros(4)}}, r"make it .* \[3\]"),
        ({"head": {"weight": torch.zeros(3, 32).half(), "bias": torch.zeros(3)}}, "float16"),
        ({"weights": {"../x": torch.zeros(1)}}, "is no name of an adapter's tensor"),
    ],
)
def test_an_adapter_that_contradicts_itself_is_not_written(change, cause, tmp_path):
    adapter = dataclasses.replace(adapter_on("bert", "houlsby")[1], **change)
    with pytest.raises(AdapterError, match=cause):
        write(tmp_path / "mood", adapter, card="")
    assert not (tmp_path / "mood").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["weights", "head"])
def test_a_value_that_is_not_finite_is_not_written(part, value, tmp_path):
    adapter = adapter_on("bert", "houlsby")[1]
    key = sorted(getattr(adapter, part))[0]
    getattr(adapter, part)[key].view(-1)[0] = value
    with pytest.raises(AdapterError, match="1 of .* values are not finite"):
        write(tmp_path / "mood", adapter, card="")
    assert not (tmp_path / "mood").exists()


def test_a_config_that_its_settings_do_not_stand_for_is_not_written(tmp_path):
    adapter = adapter_on("bert", "lora")[1]
    adapter.config.lora_alpha = 1600
    with pytest.raises(
        AdapterError, match="lora_alpha is 1600; the settings of lora.v1 make it 16"
    ):
        write(tmp_path / "mood", adapter, card="")


def test_a_kind_of_a_third_party_is_written_and_read_like_ours(tmp_path, monkeypatch):
    from attached import attach
    from tenon.adapters import kind as kinds
    from tenon.core.settings import Settings

    class NoSettings(Settings):
        pass

    monkeypatch.setattr(kinds.KINDS, "_entries", {**kinds.KINDS._entries})
    kinds.KINDS.names()

    @kinds.kind(
        "mine.v1",
        title="Mine",
        settings=NoSettings,
        default_sites=("attention.key", "attention.value"),
        learning_rate=1e-3,
        mergeable=True,
        mergeable_why="it scales columns.",
        rowwise=False,
        paper="Liu et al. 2022",
        summary="Scales.",
    )
    def mine(settings, targets, base):
        names = [name for names in targets.values() for name in names]
        return peft.IA3Config(target_modules=names, feedforward_modules=[])

    table = {"kind": mine.name}
    model = attach(tiny("bert"), table)
    adapter = adapter_on("bert", "lora")[1]
    chosen = kinds.settle("mood", table)
    adapter = dataclasses.replace(
        adapter,
        kind=mine.name,
        settings=chosen,
        config=model.peft_config["default"],
        weights=weights.take(model),
        manifest=adapter.manifest.model_copy(update={"kind": mine.name}),
    )
    found = read(write(tmp_path / "mood", adapter, card=""))
    assert same(found.weights, adapter.weights)
    assert isinstance(found.config, peft.IA3Config)
