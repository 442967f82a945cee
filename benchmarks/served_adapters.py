"""Adapters for `serve.py`: written as runs write them, their weights random, their probes true."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config

from tenon.adapters import pack
from tenon.adapters.fingerprint import Fingerprint, fingerprint
from tenon.adapters.kind import settle
from tenon.adapters.manifest import Lengths, Manifest, Pooling
from tenon.adapters.weights import take
from tenon.evaluate.ground import rendered_by
from tenon.evaluate.probes import probe
from tenon.model import trunk as trunks
from tenon.model.attach import attach
from tenon.model.base import Base, locate
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.rack import Rack
from tenon.model.settings import ModelSettings
from tenon.model.writer import Writer

LABELS = tuple(f"label {number}" for number in range(8))
MIXED: tuple[dict[str, Any], ...] = (
    {"kind": "lora.v1", "rank": 8},
    {"kind": "bottleneck.v1", "preset": "houlsby"},
    {"kind": "bottleneck.v1", "preset": "pfeiffer"},
    {"kind": "lora.v1", "rank": 16, "sites": ["attention.query", "attention.value"]},
    {"kind": "bottleneck.v1", "preset": "parallel"},
    {"kind": "dora.v1", "rank": 8},
    {"kind": "ia3.v1"},
    {"kind": "prefix.v1", "length": 8},
)
"""What of every eight adapters each is."""
LORA: tuple[dict[str, Any], ...] = ({"kind": "lora.v1", "rank": 8},)
BOTTLENECK: tuple[dict[str, Any], ...] = ({"kind": "bottleneck.v1", "preset": "houlsby"},)
SAID = (
    "the service was slow but staff kind parcel arrived early money refund card lost help "
    "account balance transfer pending why is my payment declined top up failed rate wrong"
)
WORDS = tuple(SAID.split(" "))


def text(chance: random.Random) -> str:
    """Give a text of six to twenty-four words."""
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(6, 24)))


def classifiers(root: Path, base: Base, count: int, tables: Any = MIXED) -> list[Path]:
    """Write adapters for a classification into eight labels; those that are there are taken."""
    folders = [root / f"a{number}" for number in range(count)]
    missing = [number for number, folder in enumerate(folders) if not folder.exists()]
    if missing:
        rack = Rack(trunks.load(base, ModelSettings(device="cpu", dtype="float32")))
        printed = fingerprint(base.folder, base.name)
        for number in missing:
            _classifier(rack, base, printed, folders[number], tables[number % len(tables)], number)
    return folders


def _classifier(
    rack: Rack, base: Base, printed: Fingerprint, folder: Path, table: dict[str, Any], seed: int
) -> None:
    task, lengths = "text-classification", Lengths(max_tokens=128)
    renderer = rendered_by(task, LABELS, lengths, base, seq2seq=False)
    settings = settle(folder.name, table)
    peft = _shaken(attach(rack.trunk, settings, seed).peft, seed)
    torch.manual_seed(seed)
    head = Head(rack.trunk.hidden_size, len(LABELS), normalize=True, bias=True)
    model = Classifier(rack.trunk, peft, head, "mean").eval()
    manifest = Manifest(
        tenon="0.1.0", name=folder.name, kind=settings.kind, labels=LABELS, base=printed,
        pooling=Pooling(mode="mean", normalize=True), text=lengths,
        probes=probe(task, model, renderer),
    )  # fmt: skip
    _write(folder, settings, peft, head.tensors(), manifest)
    rack.keep(folder.name, settings.kind, peft)
    rack.drop(folder.name)


def writers(root: Path, base: Base, tables: Any, device: str) -> list[Path]:
    """Write one adapter of each table for a base that writes; those that are there are taken."""
    folders = [root / f"w{number}" for number in range(len(tables))]
    if all(folder.exists() for folder in folders):
        return folders
    trunk = trunks.load(base, ModelSettings(device=device), writes=True)
    rack, printed = Rack(trunk), fingerprint(base.folder, base.name)
    for number, (folder, table) in enumerate(zip(folders, tables, strict=True)):
        _writer(rack, base, printed, folder, table, number)
    return folders


def _writer(
    rack: Rack, base: Base, printed: Fingerprint, folder: Path, table: dict[str, Any], seed: int
) -> None:
    task, whole = "text-generation", rack.trunk.whole
    lengths = Lengths(max_tokens=1024, units="texts", template="none", max_new_tokens=256)
    renderer = rendered_by(task, (), lengths, base, seq2seq=False)
    settings = settle(folder.name, table)
    peft = _shaken(attach(rack.trunk, settings, seed).peft, seed)
    model = Writer(rack.trunk, peft).eval()
    manifest = Manifest(
        tenon="0.1.0", name=folder.name, kind=settings.kind, task=task, head="language",
        prefix=str(whole.base_model_prefix if whole else ""), labels=(), base=printed,
        pooling=Pooling(mode="tokens"), text=lengths, layout="transformers",
        probes=probe(task, model, renderer),
    )  # fmt: skip
    _write(folder, settings, peft, {}, manifest)
    rack.keep(folder.name, settings.kind, peft)
    rack.drop(folder.name)


def _shaken(peft: Any, seed: int) -> Any:
    """Let an adapter do something: away from its first weights, by a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator) * 0.02
                parameter.add_(noise.to(parameter.device, parameter.dtype))
    return peft.eval()


def _write(folder: Path, settings: Any, peft: Any, head: Any, manifest: Manifest) -> None:
    config = peft.peft_config["default"]
    held = pack.Adapter(folder.name, settings.kind, settings, config, take(peft), head, manifest)
    pack.write(folder, held, card=f"# {folder.name}")


def decoder(folder: Path, *, small: bool) -> Base:
    """Write a Qwen3-shaped decoder with random weights: of 0.6 B parameters, or a small one."""
    if not (folder / "config.json").exists():
        sizes = (256, 4, 4, 2, 64, 768) if small else (1024, 28, 16, 8, 128, 3072)
        hidden, layers, heads, pairs, channels, inner = sizes
        vocabulary = _tokenizer(folder, 0 if small else 151_936)
        config = Qwen3Config(
            vocab_size=vocabulary, hidden_size=hidden,
            num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=pairs,
            head_dim=channels, intermediate_size=inner, max_position_embeddings=4096,
            tie_word_embeddings=True, pad_token_id=0, bos_token_id=None, eos_token_id=1,
        )  # fmt: skip
        torch.manual_seed(7)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return locate(str(folder))


def _tokenizer(folder: Path, least: int) -> int:
    """Write a tokenizer of whole words, at least so many; give how many it knows."""
    pieces = ["<pad>", "</s>", "<unk>", *dict.fromkeys(WORDS)]
    # A token without a text of its own would be told with the next that has one.
    pieces += [f"word{number}" for number in range(len(pieces), least)]
    inner = Tokenizer(models.WordLevel({w: n for n, w in enumerate(pieces)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    made.save_pretrained(folder)
    return len(pieces)


def note(path: Path, result: dict[str, Any]) -> None:
    """Write what was measured so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
