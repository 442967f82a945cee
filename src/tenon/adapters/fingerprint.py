"""Fingerprint: which base an adapter belongs to, from the bytes of its files.

Each tensor is digested by name, format, shape and bytes, so that the same weights
give the same fingerprint however they are split into files. No tensor library
is needed, and no tensor is copied.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from tenon.core.errors import AdapterError
from tenon.core.files import canonical, digest_of, read_json, reading
from tenon.core.settings import Settings

DIGITS = 16
"""Hex digits kept of each tensor's digest; the digest of the whole keeps all 64."""
CHUNK_BYTES = 16 << 20
HEADER_BYTES = 100 << 20
HIDDEN_SIZES = ("hidden_size", "d_model", "n_embd", "dim")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
SLOW_TOKENIZERS = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
OF_A_CALL = ("truncation", "padding")
"""Parts of tokenizer.json that record how it was last called, not what it is."""


Quantize = Literal["none", "int8", "int4", "bnb-int8", "bnb-nf4"]
"""How the linear layers of a base are held while it computes."""


class Fingerprint(Settings):
    """What identifies a base.

    Args:
        name: hub id, package or folder by which it was loaded.
        revision: commit, tag or branch; empty where there is none.
        model_type: as its config says.
        hidden_size: D.
        digest: sha256 over all tensors, in hex, and over `quantize` where the base is quantised.
        tokenizer_digest: sha256 of the tokenizer and its chat template; empty without tokenizer.
        tensors: tensor name to the first digits of its sha256.
        quantize: how the base was quantised when it was loaded; "none" also for one that is stored
            quantised, whose tensors say so.
    """

    name: str
    revision: str
    model_type: str
    hidden_size: int
    digest: str
    tokenizer_digest: str
    tensors: dict[str, str]
    quantize: Quantize = "none"


def fingerprint(
    folder: Path, name: str, revision: str = "", quantize: Quantize = "none"
) -> Fingerprint:
    """Read the fingerprint of the base in `folder`.

    Args:
        quantize: how it is quantised when it is loaded; another base than the same in floats.

    Raises:
        AdapterError: the weights are pickled, damaged, missing a shard, or not there.
        FileError: `config.json` is absent or unreadable.
    """
    config = read_json(folder / "config.json")
    sizes = [config[key] for key in HIDDEN_SIZES if isinstance(config.get(key), int)]
    tensors = {name: digest for file in weight_files(folder) for name, digest in _tensors(file)}
    whole: list[Any] = [list(entry) for entry in sorted(tensors.items())]
    return Fingerprint(
        name=name,
        revision=revision,
        model_type=str(config.get("model_type", "")),
        hidden_size=sizes[0] if sizes else 0,
        digest=digest_of(whole if quantize == "none" else [whole, {"quantize": quantize}]),
        tokenizer_digest=tokenizer_digest(folder),
        tensors={key: digest[:DIGITS] for key, digest in sorted(tensors.items())},
        quantize=quantize,
    )


def weight_files(folder: Path) -> list[Path]:
    """Give the safetensors files that hold the weights of the base in `folder`.

    Raises:
        AdapterError: there are none, or some that the index names are missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted({str(shard) for shard in read_json(index)["weight_map"].values()})
        absent = [shard for shard in shards if not (folder / shard).is_file()]
        if absent:
            raise AdapterError(
                f"{folder}: {len(absent)} of {len(shards)} weight files are missing "
                f"({', '.join(absent[:3])}); download the base again"
            )
        return [folder / shard for shard in shards]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    raise AdapterError(_no_weights(folder))


def _no_weights(folder: Path) -> str:
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        return (
            f"{folder}: the weights are pickled ({', '.join(pickles[:3])}), which Tenon does not "
            "open, as a pickle can run any code; take a revision with model.safetensors, or, where "
            "you trust it, convert it: AutoModel.from_pretrained(old).save_pretrained(new)"
        )
    return f"{folder}: no model.safetensors here; expected the folder of a base model"


def _tensors(file: Path) -> Iterator[tuple[str, str]]:
    with reading(file), file.open("rb") as opened:
        size = file.stat().st_size
        head = _header(file, opened.read(8), opened.read(min(HEADER_BYTES, size)), size)
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for name, (dtype, shape, begin, end) in head.items():
                hashed = hashlib.sha256(canonical([name, dtype, shape]).encode())
                for start in range(begin, end, CHUNK_BYTES):
                    hashed.update(data[start : min(start + CHUNK_BYTES, end)])
                yield name, hashed.hexdigest()


Entry = tuple[str, list[int], int, int]


def _header(file: Path, length: bytes, text: bytes, size: int) -> dict[str, Entry]:
    """Read a safetensors header: name to format, shape, first and last byte in the file.

    Source: the safetensors format: 8 bytes of header length (little-endian), JSON, then data.
    """
    start = 8 + int.from_bytes(length, "little")
    try:
        header = cast(dict[str, dict[str, Any]], json.loads(text[: start - 8]))
        found = {name: _entry(header[name], start) for name in header if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AdapterError(f"{file}: not a safetensors file; download the base again") from error
    last = max((entry[3] for entry in found.values()), default=start)
    if last != size:
        raise AdapterError(
            f"{file}: is {size:,} bytes, its header speaks of {last:,}; download the base again"
        )
    return found


def _entry(entry: dict[str, Any], start: int) -> Entry:
    begin, end = entry["data_offsets"]
    return str(entry["dtype"]), list(entry["shape"]), start + int(begin), start + int(end)


def tokenizer_digest(folder: Path) -> str:
    """Digest what turns text into ids: tokenizer.json or the slow tokenizer's files, and template.

    How the tokenizer was last called (its truncation and padding) is left out.
    """
    parts: dict[str, object] = {}
    fast = folder / "tokenizer.json"
    if fast.is_file():
        rules = read_json(fast)
        parts["tokenizer.json"] = {key: rules[key] for key in rules if key not in OF_A_CALL}
    else:
        for file in SLOW_TOKENIZERS:
            if (folder / file).is_file():
                parts[file] = hashlib.sha256(_bytes(folder / file)).hexdigest()
    if not parts:
        return ""
    return digest_of([parts, _chat_template(folder)])


def _chat_template(folder: Path) -> object:
    separate = folder / "chat_template.jinja"
    if separate.is_file():
        return _bytes(separate).decode("utf-8", "replace")
    settings = folder / "tokenizer_config.json"
    return read_json(settings).get("chat_template") if settings.is_file() else None


def _bytes(file: Path) -> bytes:
    with reading(file):
        return file.read_bytes()


def differences(ours: Fingerprint, theirs: Fingerprint) -> list[str]:
    """Say how `theirs` differs from `ours`; empty where an adapter of one fits the other."""
    if ours.digest == theirs.digest:
        if ours.tokenizer_digest == theirs.tokenizer_digest:
            return []
        return [
            f"the weights are equal, the tokenizer is not ({ours.tokenizer_digest[:4] or 'none'}…, "
            f"here {theirs.tokenizer_digest[:4] or 'none'}…)"
        ]
    names = {*ours.tensors, *theirs.tensors}
    differing = sum(ours.tensors.get(name) != theirs.tensors.get(name) for name in names)
    held = f"it was {_held(ours.quantize)}, here it is {_held(theirs.quantize)}"
    other = [held] if ours.quantize != theirs.quantize else []
    if not differing and other:
        return other
    return [f"{differing} of {len(names)} tensors differ", *other]


def _held(quantize: Quantize) -> str:
    return "in floats" if quantize == "none" else f"quantised to {quantize}"


def refuse_other(adapter: str, ours: Fingerprint, theirs: Fingerprint) -> None:
    """Refuse a base other than the one that `adapter` was trained on.

    Raises:
        AdapterError: the weights or the tokenizer differ.
    """
    found = differences(ours, theirs)
    if not found:
        return
    at = f"{ours.name}@{ours.revision}" if ours.revision else ours.name
    if ours.quantize != theirs.quantize:
        at = f'{at} with model.quantize = "{ours.quantize}"'
    raise AdapterError(
        f"adapter {adapter} was trained on base {ours.digest[:4]}…, this base is "
        f"{theirs.digest[:4]}… ({'; '.join(found)}); load {at} or retrain"
    )
