"""Adapter directories that are wrong in one way each: every one is refused, with its cause.

Some are changed as an accident changes them; others as a forger would, who makes every digest in
the manifest true again. What no digest can tell, the probes do.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from bases import tiny
from models import classifier, save
from sealed import relist, reseal
from tenon.core.errors import TenonError
from tenon.evaluate.answerer import open_answerer

CONFIG, WEIGHTS, HEAD, MANIFEST = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
    "tenon.json",
)
Change = Callable[[Path], None]
CASES: dict[str, tuple[Change, str]] = {}


def wrong(name: str, cause: str) -> Callable[[Change], Change]:
    """Enter a way in which a directory is wrong, and what is said of it."""

    def decorate(change: Change) -> Change:
        CASES[name] = (change, cause)
        return change

    return decorate


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST).read_text())


def config(folder: Path, **fields: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    reseal(folder)


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], name=WEIGHTS) -> None:
    held = load_file(folder / name)
    change(held)
    save_file(held, folder / name)
    relist(folder)


def first(held: dict[str, torch.Tensor]) -> str:
    return sorted(held)[0]


def flip(path: Path, place: int, bit: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(bytes(data))


def settings(folder: Path, **own: Any) -> dict[str, Any]:
    told = manifest(folder)["settings"]
    return {**told, "own": {**told["own"], **own}}


# The base ---------------------------------------------------------------------------------------


def other_base(folder: Path, change: Callable[[Path], None]) -> None:
    """Let the adapter name a base that is changed."""
    base = Path(manifest(folder)["base"]["name"])
    other = folder.parent / "base"
    shutil.copytree(base, other)
    change(other)
    reseal(folder, base={**manifest(folder)["base"], "name": str(other)})


@wrong("other base", "was trained on base .* tensors differ")
def _(folder: Path) -> None:
    other_base(folder, lambda base: tiny("bert", seed=9).save_pretrained(base))


@wrong("base with fewer layers", "was trained on base .* tensors differ")
def _(folder: Path) -> None:
    def cut(base: Path) -> None:
        AutoModel.from_pretrained(base, num_hidden_layers=1).save_pretrained(base)

    other_base(folder, cut)


@wrong("base with fewer layers, of which the fingerprint is forged", "model does not|not found")
def _(folder: Path) -> None:
    from tenon.adapters.fingerprint import fingerprint

    def cut(base: Path) -> None:
        AutoModel.from_pretrained(base, num_hidden_layers=1).save_pretrained(base)

    other_base(folder, cut)
    base = folder.parent / "base"
    reseal(folder, base=fingerprint(base, str(base)).model_dump(mode="json"))


@wrong("other base, of which the fingerprint is forged", "gives other logits here")
def _(folder: Path) -> None:
    from tenon.adapters.fingerprint import fingerprint

    other_base(folder, lambda base: tiny("bert", seed=9).save_pretrained(base))
    base = folder.parent / "base"
    reseal(folder, base=fingerprint(base, str(base)).model_dump(mode="json"))


@wrong("other tokenizer", "the weights are equal, the tokenizer is not")
def _(folder: Path) -> None:
    def change(base: Path) -> None:
        path = base / "tokenizer.json"
        path.write_text(path.read_text().replace('"glad"', '"gladly"'))

    other_base(folder, change)


@wrong("other template", "the weights are equal, the tokenizer is not")
def _(folder: Path) -> None:
    other_base(folder, lambda base: (base / "chat_template.jinja").write_text("{{ messages }}"))


@wrong("base gone", "no such folder")
def _(folder: Path) -> None:
    reseal(folder, base={**manifest(folder)["base"], "name": "/nowhere"})


# The tensors ------------------------------------------------------------------------------------


@wrong("renamed keys", "is a target module without weights|does not|no name of an adapter")
def _(folder: Path) -> None:
    def rename(held: dict[str, torch.Tensor]) -> None:
        for key in [key for key in held if "layer.0" in key]:
            held[key.replace("layer.0", "layer.7")] = held.pop(key)

    tensors(folder, rename)


@wrong("half of the keys missing", "is a target module without weights")
def _(folder: Path) -> None:
    tensors(folder, lambda held: [held.pop(key) for key in list(held) if "layer.1" in key])


@wrong("one of two factors missing", "the model has this tensor, the adapter does not")
def _(folder: Path) -> None:
    tensors(folder, lambda held: held.pop(first(held)))


@wrong("NaN", "1 of .* values are not finite")
def _(folder: Path) -> None:
    tensors(folder, lambda held: held[first(held)].view(-1)[0].fill_(float("nan")))


@wrong("infinity in the head", "head.weight: 1 of .* values are not finite")
def _(folder: Path) -> None:
    tensors(folder, lambda held: held["weight"].view(-1)[0].fill_(float("inf")), HEAD)


@wrong("wrong rank", "in the adapter, .* here")
def _(folder: Path) -> None:
    tensors(folder, lambda held: held.update({first(held): torch.zeros(3, 32)}))


@wrong("extra tensor", "is no name of an adapter's tensor|the model does not")
def _(folder: Path) -> None:
    key = "base_model.model.encoder.layer.0.output.dense.lora_C.weight"
    tensors(folder, lambda held: held.update({key: torch.zeros(1)}))


@wrong("tensor that the list has not", "is not in the manifest's list")
def _(folder: Path) -> None:
    held = load_file(folder / WEIGHTS)
    save_file({**held, "base_model.model.extra": torch.zeros(1)}, folder / WEIGHTS)
    reseal(folder)


@wrong("wrong dtype of a weight", r"is float16 \[8, 32\], was float32 \[8, 32\]")
def _(folder: Path) -> None:
    held = load_file(folder / WEIGHTS)
    save_file({**held, first(held): held[first(held)].half()}, folder / WEIGHTS)
    reseal(folder)


@wrong("whole numbers as weights, listed as such", "gives other logits here")
def _(folder: Path) -> None:
    tensors(folder, lambda held: held.update({first(held): held[first(held)].long()}))


@wrong("wrong dtype of the head", "head.weight: is torch.float16")
def _(folder: Path) -> None:
    tensors(folder, lambda held: held.update(weight=held["weight"].half()), HEAD)


@wrong("weights of another adapter", "gives other logits here")
def _(folder: Path) -> None:
    tensors(folder, lambda held: [tensor.mul_(1.5) for tensor in held.values()])


@wrong("bit flip in the data", "has changed since it was written")
def _(folder: Path) -> None:
    flip(folder / WEIGHTS, -9)


@wrong("bit flip in the header", "has changed since it was written")
def _(folder: Path) -> None:
    flip(folder / WEIGHTS, 30)


@wrong("truncated file", "has changed since it was written")
def _(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


@wrong("truncated file, its digest forged", "not a safetensors file")
def _(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    reseal(folder)


@wrong("header of a size that no file has", "not a safetensors file")
def _(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 62) + data[8:])
    reseal(folder)


# The config -------------------------------------------------------------------------------------


@wrong("changed alpha", "lora_alpha is 1600; the settings of lora.v1 make it 16")
def _(folder: Path) -> None:
    config(folder, lora_alpha=1600)


@wrong("changed alpha, in the settings too", "gives other logits here")
def _(folder: Path) -> None:
    reseal(folder, settings=settings(folder, alpha=1600.0))
    config(folder, lora_alpha=1600)


@wrong("kind settings changed", "lora_alpha is 16; the settings of lora.v1 make it 32")
def _(folder: Path) -> None:
    reseal(folder, settings=settings(folder, alpha=32.0))


@wrong("kind settings that the kind refuses", "its settings are refused")
def _(folder: Path) -> None:
    reseal(folder, settings=settings(folder, rank=-1))


@wrong("hostile regex", "may be a pattern that never ends")
def _(folder: Path) -> None:
    config(folder, target_modules="(([a-z0-9._])+)+!")


@wrong("hostile regex elsewhere", "rank_pattern is")
def _(folder: Path) -> None:
    config(folder, rank_pattern={"(([a-z0-9._])+)+!": 1})


@wrong("config of another method", "peft_type is 'IA3'")
def _(folder: Path) -> None:
    config(folder, peft_type="IA3")


@wrong("config that names a module to import", "auto_mapping is")
def _(folder: Path) -> None:
    config(folder, auto_mapping={"base_model_class": "x", "parent_library": "os"})


@wrong("duplicate key in JSON", "the key 'r' stands twice in one object")
def _(folder: Path) -> None:
    path = folder / CONFIG
    path.write_text(path.read_text().replace("{", '{"r": 64,', 1))
    reseal(folder)


@wrong("JSON that is too deep", "not JSON")
def _(folder: Path) -> None:
    (folder / CONFIG).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    reseal(folder)


# The manifest -----------------------------------------------------------------------------------


@wrong("other label order", "does not have the digest that it states")
def _(folder: Path) -> None:
    path = folder / MANIFEST
    told = manifest(folder)
    path.write_text(json.dumps({**told, "labels": told["labels"][::-1]}))


@wrong("another label than the head has rows", r"make it torch.float32 \[4, 32\]")
def _(folder: Path) -> None:
    reseal(folder, labels=[*manifest(folder)["labels"], "bored"])


@wrong("probes changed", "does not have the digest that it states")
def _(folder: Path) -> None:
    told = manifest(folder)
    told["probes"]["logits"][0][0] += 1.0
    (folder / MANIFEST).write_text(json.dumps(told))


@wrong("probes changed, the digest forged", "gives other logits here")
def _(folder: Path) -> None:
    probes = manifest(folder)["probes"]
    probes["logits"][0][0] += 1.0
    reseal(folder, probes=probes)


@wrong("other pooling", "gives other logits here")
def _(folder: Path) -> None:
    reseal(folder, pooling={"mode": "cls", "normalize": False, "dense": ""})


@wrong("pooling that the head is not for", "head.dense.weight: is missing")
def _(folder: Path) -> None:
    reseal(folder, pooling={"mode": "mean", "normalize": False, "dense": "tanh"})


@wrong("absolute path as name", "name '/etc/cron.d/x' is no adapter's name")
def _(folder: Path) -> None:
    name = "/etc/cron.d/x"
    reseal(folder, name=name, settings={**manifest(folder)["settings"], "name": name})


@wrong("'..' in the name", "is no adapter's name")
def _(folder: Path) -> None:
    reseal(folder, name="../mood", settings={**manifest(folder)["settings"], "name": "../mood"})


@wrong("'..' in the name of a file", "is listed, but no file of an adapter")
def _(folder: Path) -> None:
    reseal(folder, files={**manifest(folder)["files"], "../outside": "00"})


@wrong("kind unknown", "kind 'lora.v9' is unknown here")
def _(folder: Path) -> None:
    told = {**manifest(folder)["settings"], "kind": "lora.v9"}
    reseal(folder, kind="lora.v9", settings=told)


@wrong("manifest of another format", "format is 2, this Tenon reads 1")
def _(folder: Path) -> None:
    reseal(folder, format=2)


@wrong("manifest with a key of tomorrow", "surprise: Extra inputs")
def _(folder: Path) -> None:
    reseal(folder, surprise=True)


@wrong("task unknown", "mind-reading is not a task; known here: ")
def _(folder: Path) -> None:
    reseal(folder, task="mind-reading")


# The files --------------------------------------------------------------------------------------


@wrong("missing head", "head.safetensors: is missing")
def _(folder: Path) -> None:
    (folder / HEAD).unlink()


@wrong("missing head, left out of the manifest", "is not listed|head.weight: is missing|missing")
def _(folder: Path) -> None:
    (folder / HEAD).unlink()
    told = manifest(folder)
    for part in ("files", "tensors"):
        told[part].pop(HEAD)
    reseal(folder, files=told["files"], tensors=told["tensors"])


@wrong("a link", "is a link")
def _(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


@wrong("a pickle beside", "can run any code")
def _(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "adapter_model.bin")


@wrong("a pickle under the name of the weights", "not a safetensors file")
def _(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / WEIGHTS)
    reseal(folder)


@wrong("a folder under the name of a file", "is not a regular file")
def _(folder: Path) -> None:
    (folder / HEAD).unlink()
    (folder / HEAD).mkdir()


@wrong("a pipe", "is not a regular file")
def _(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


@wrong("a file too many", "is not part of the adapter")
def _(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")


@wrong("empty folder", "no adapter: it has no tenon.json")
def _(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@wrong("no manifest", "a PEFT adapter without tenon.json.*tenon import")
def _(folder: Path) -> None:
    (folder / MANIFEST).unlink()


@wrong("no folder", "no such folder")
def _(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory, folder_of):
    """A whole adapter on a tiny base. Read only."""
    folder = tmp_path_factory.mktemp("adapters") / "mood"
    return save(classifier(folder_of("bert"), "lora"), folder_of("bert"), folder, "lora")


def test_there_are_thirty_at_least_and_without_a_change_it_opens(written):
    assert len(CASES) >= 30
    assert open_answerer(written).manifest.name == "mood"


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_its_cause(name, written, tmp_path):
    folder = tmp_path / "mood"
    shutil.copytree(written, folder)
    change, cause = CASES[name]
    change(folder)
    with pytest.raises(TenonError, match=cause) as error:
        open_answerer(folder)
    assert len(str(error.value)) < 3000 and "Traceback" not in str(error.value)
