"""Admission: a wrong adapter is refused with its cause, and all others answer as before."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sealed import relist, reseal
from served import CLASSES, evaluated, rows, same, saved
from tenon.core.errors import AdapterError, TenonError
from tenon.serve.asked import Rows
from tenon.serve.engine import Engine

WEIGHTS, HEAD, CONFIG, MANIFEST = (
    "adapter_model.safetensors",
    "head.safetensors",
    "adapter_config.json",
    "tenon.json",
)
Wrong = Callable[[Path], None]


def tensors(change: Callable[[dict], None], file: str = WEIGHTS) -> Wrong:
    """Change tensors as a forger would, with all digests true again."""

    def wrong(folder: Path) -> None:
        held = load_file(folder / file)
        change(held)
        save_file(held, folder / file)
        relist(folder)

    return wrong


def config(**fields) -> Wrong:
    def wrong(folder: Path) -> None:
        held = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**held, **fields}))
        reseal(folder)

    return wrong


def manifest(change: Callable[[dict], dict]) -> Wrong:
    def wrong(folder: Path) -> None:
        reseal(folder, **change(json.loads((folder / MANIFEST).read_text())))

    return wrong


def bytes_of(file: str, change: Callable[[bytes], bytes]) -> Wrong:
    def wrong(folder: Path) -> None:
        (folder / file).write_bytes(change((folder / file).read_bytes()))

    return wrong


def base(**fields) -> Wrong:
    return manifest(lambda held: {"base": {**held["base"], **fields}})


def first(held: dict) -> str:
    return min(key for key in held if "lora" in key)


def scaled(held: dict) -> None:
    held.update({key: tensor * 100 for key, tensor in held.items()})


def doubled(held: dict) -> None:
    held[first(held)] = torch.cat([held[first(held)]] * 2)


def not_finite(held: dict) -> None:
    held[first(held)] = held[first(held)] * torch.nan


WRONG: dict[str, tuple[Wrong, str]] = {
    "a bit is flipped": (bytes_of(WEIGHTS, lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]), "sha"),
    "a file is cut short": (bytes_of(WEIGHTS, lambda b: b[:-40]), WEIGHTS),
    "a file is empty": (bytes_of(HEAD, lambda _: b""), HEAD),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "tenon.json"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS),
    "no head": (lambda folder: (folder / HEAD).unlink(), HEAD),
    "a pickle beside": (lambda folder: (folder / "a.bin").write_bytes(b"x"), "a.bin"),
    "no JSON": (bytes_of(MANIFEST, lambda b: b[:90]), "tenon.json"),
    "the manifest's seal": (bytes_of(MANIFEST, lambda b: b.replace(b'"mood"', b'"mode"')), ""),
    "another base": (base(digest="0" * 64, tensors={"a": "0" * 16}), "base"),
    "another tokenizer": (base(tokenizer_digest="0" * 64), "tokenizer"),
    "a quantised base": (base(quantize="int8"), "quantize"),
    "another format": (manifest(lambda _: {"format": 2}), "format"),
    "another kind": (manifest(lambda _: {"kind": "ia3.v1"}), ""),
    "a tensor is missing": (tensors(lambda held: held.pop(first(held))), ""),
    "a tensor too many": (
        tensors(lambda h: h.update({first(h).replace("layer.0", "layer.7"): h[first(h)].clone()})),
        "layer.7",
    ),
    "another shape": (tensors(doubled), first({"lora_A": 0})),
    "not finite": (tensors(not_finite), "not finite"),
    "another alpha": (config(lora_alpha=800), "lora_alpha"),
    "a pattern of targets": (config(target_modules="(([a-z0-9._])+)+!"), "target_modules"),
    "other weights": (tensors(scaled), "gives other logits here than when it was written"),
    "another head": (tensors(scaled, HEAD), "gives other logits here"),
    "other probes": (
        manifest(lambda held: {"probes": {**held["probes"], "texts": ["a"]}}),
        "one logit a label",
    ),
}


def test_wrong_adapters_are_refused_with_the_cause_and_nothing_has_changed(folder_of, tmp_path):
    bert = folder_of("bert")
    right = saved(CLASSES, "lora", bert, tmp_path / "right")
    better = saved(CLASSES, "lora", bert, tmp_path / "better", seed=1)
    with Engine(str(bert)) as engine:
        handle = engine.add("mood", right)
        expected = evaluated(right, rows(CLASSES))
        known: list[str] = []
        for number, (what, (wrong, cause)) in enumerate(WRONG.items()):
            folder = shutil.copytree(better, tmp_path / f"wrong-{number}")
            wrong(folder)
            with pytest.raises(TenonError) as error:
                engine.add("mood", folder)
            assert cause in str(error.value), f"{what}: {error.value}"
            assert str(error.value) not in known, what
            known.append(str(error.value))
            assert engine.handles == {"mood": handle}
        found = engine.ask(Rows(handle, rows(CLASSES), form="entries")).result(9)
        assert same(found, expected)
        assert engine.add("mood", better) is not handle
    assert len(known) >= 20


@pytest.fixture(scope="module")
def bert(folder_of):
    return folder_of("bert")


@pytest.fixture(scope="module")
def moods(bert, tmp_path_factory):
    root = tmp_path_factory.mktemp("moods")
    return [saved(CLASSES, "lora", bert, root / f"{seed}", seed=seed) for seed in range(3)]


def probes_of(folder: Path) -> int:
    return len(json.loads((folder / MANIFEST).read_text())["probes"]["texts"])


def watched(engine: Engine) -> list[int]:
    """Give a list of the rows of each pass from now on."""
    found: list[int] = []
    engine.watch(lambda _, rows: found.append(rows))
    return found


def test_a_digest_that_was_proved_is_read_again_and_not_proved_again(bert, moods, tmp_path):
    folder = shutil.copytree(moods[1], tmp_path / "copy")
    with Engine(str(bert)) as engine:
        passes = watched(engine)
        first = engine.add("mood", folder)
        assert passes == [probes_of(folder)] != [0]
        engine.add("other", folder)
        engine.remove("mood")
        again = engine.add("mood", moods[1])
        assert len(passes) == 1 and again.digest == first.digest and again is not first
        found = engine.ask(Rows(again, rows(CLASSES), form="entries")).result(9)
        assert same(found, evaluated(folder, rows(CLASSES)))
        engine.add("mood", moods[2])
        assert passes[1:] == [len(rows(CLASSES)), probes_of(moods[2])]
        bytes_of(WEIGHTS, lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:])(folder)
        with pytest.raises(AdapterError, match="sha256"):
            engine.add("mood", folder)


def test_a_digest_that_was_refused_is_refused_again(bert, moods, tmp_path):
    folder = shutil.copytree(moods[0], tmp_path / "wrong")
    WRONG["other weights"][0](folder)
    with Engine(str(bert)) as engine:
        for _ in range(2):
            with pytest.raises(AdapterError, match="gives other logits here"):
                engine.add("mood", folder)
        assert not engine.handles


def test_adapters_are_proved_in_one_pass_with_what_is_asked_and_a_wrong_one_spoils_none(
    bert, moods, tmp_path
):
    wrong = shutil.copytree(moods[0], tmp_path / "wrong")
    WRONG["other weights"][0](wrong)
    refused: list[str] = []
    with Engine(str(bert)) as engine:
        handle = engine.add("here", moods[0])
        passes, held = watched(engine), threading.Event()
        queue = engine._worker.queue  # noqa: SLF001 - so that all come at once
        queue.call(held.wait)

        def add(name: str, folder: Path) -> None:
            try:
                engine.add(name, folder)
            except AdapterError as error:
                refused.append(f"{name}: {error}")

        come = {"one": moods[1], "two": moods[2], "bad": wrong}
        threads = [threading.Thread(target=add, args=each) for each in come.items()]
        for thread in threads:
            thread.start()
        while len(queue._calls) < len(come):  # noqa: SLF001
            time.sleep(0.01)
        asked = queue.call(lambda: engine.ask(Rows(handle, rows(CLASSES), form="entries")))
        held.set()
        for thread in threads:
            thread.join(30)
        assert same(asked.result(9).result(9), evaluated(moods[0], rows(CLASSES)))
        probes = sum(map(probes_of, come.values()))
        assert passes[0] == len(rows(CLASSES)) + probes
        assert len(refused) == 1 and refused[0].startswith("bad: ")
        for name in ("one", "two"):
            found = engine.ask(Rows(engine.handle(name), rows(CLASSES), form="entries")).result(9)
            assert same(found, evaluated(come[name], rows(CLASSES)))
        assert sorted(engine.handles) == ["here", "one", "two"]
