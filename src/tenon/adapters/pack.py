"""Adapter: an adapter with its head and manifest, and the directory that it is kept in.

`adapter_config.json` and `adapter_model.safetensors` are PEFT's own format; `tenon.json` is the
manifest; `head.safetensors` holds the head in the layout "trunk"; `README.md` is the card.
`docs/adapter-format.md` is the specification. Legend: D hidden, L labels.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

from tenon.adapters import directory
from tenon.adapters.directory import MODULE
from tenon.adapters.files import CARD, CONFIG, HEAD, MANIFEST, WEIGHTS
from tenon.adapters.fingerprint import Fingerprint, refuse_other
from tenon.adapters.manifest import HEADS, TASK_TYPES, Head, Manifest
from tenon.adapters.settings import AdapterSettings
from tenon.adapters.wrapped import INSIDE
from tenon.core import files
from tenon.core.errors import AdapterError, Faults
from tenon.core.files import folder_aside

PEFT_PREFIX = "base_model.model."
SHARED_PREFIX = "base_model."
"""Of tensors that all modules of an adapter share."""


@dataclass(frozen=True)
class Adapter:
    """A trained adapter, apart from any model.

    Args:
        name: as in the plan.
        kind: a registered kind.
        settings: resolved.
        config: PEFT's config of it over AutoModel.
        weights: PEFT's names over AutoModel, `base_model.model.encoder...lora_A.weight`.
        head: float32 `weight` [L, D] and `bias` [L]; empty where it is the base's own.
        manifest: all else.
    """

    name: str
    kind: str
    settings: AdapterSettings
    config: PeftConfig
    weights: dict[str, torch.Tensor]
    head: dict[str, torch.Tensor]
    manifest: Manifest


def write(folder: Path, adapter: Adapter, *, card: str) -> Path:
    """Write the directory of `adapter`, whole or not at all; an adapter that was there is replaced.

    Args:
        folder: the directory; it must not exist, be empty, or hold an adapter.
        adapter: what is written; of its manifest, `settings`, `tensors` and `files` are filled in.
        card: text of the model card.

    Raises:
        AdapterError: the adapter contradicts itself, or the folder holds something else; nothing
            has been written.
        FileError: the disk refused; nothing has been written.
    """
    manifest = adapter.manifest.model_copy(update={"settings": adapter.settings})
    directory.check_manifest(manifest, f"adapter {adapter.name}")
    check(adapter, f"adapter {adapter.name}")
    _refuse_foreign(folder)
    parts = _parts(adapter)
    named = {
        CONFIG: _config_bytes(adapter),
        CARD: card.encode(),
        **{name: safetensors.torch.save(tensors) for name, tensors in parts.items()},
    }
    directory.read_config(folder, named[CONFIG], manifest)
    sealed = manifest.model_copy(
        update={
            "tensors": {
                name: {key: directory.spec(part[key]) for key in sorted(part)}
                for name, part in parts.items()
            },
            "files": {name: hashlib.sha256(named[name]).hexdigest() for name in sorted(named)},
        }
    )
    told = sealed.model_dump(mode="json")
    told["seal"] = directory.seal_of(told)
    text = json.dumps(told, indent=2, ensure_ascii=False)
    with folder_aside(folder) as beside:
        for name, content in {**named, MANIFEST: f"{text}\n".encode()}.items():
            (beside / name).write_bytes(content)
    return folder


def read(folder: Path, base: Fingerprint | None = None) -> Adapter:
    """Read the directory of an adapter; every byte is checked before it means anything.

    Args:
        folder: the directory.
        base: the base that it shall sit on; None where none is at hand.

    Raises:
        AdapterError: anything missing, extra, changed, non-finite, dangerous, of an unknown format
            or for another base, each with its cause.
        FileError: the folder is not there or cannot be read.
    """
    names = directory.list_folder(folder)
    manifest = directory.read_manifest(folder, names)
    content = directory.read_files(folder, names, manifest)
    config = directory.read_config(folder, content[CONFIG], manifest)
    parts = directory.read_tensors(folder, content, manifest)
    weights, head = _split(parts, manifest)
    settings = cast(AdapterSettings, manifest.settings)
    adapter = Adapter(manifest.name, manifest.kind, settings, config, weights, head, manifest)
    check(adapter, str(folder))
    if base is not None:
        refuse_other(manifest.name, manifest.base, base)
    return adapter


def digest(folder: Path) -> str:
    """Give what identifies an adapter directory: the sha256 of its manifest, which has all others.

    Raises:
        FileError: there is no manifest, or it cannot be read.
    """
    return files.digest(folder / MANIFEST)


def check(adapter: Adapter, where: str) -> None:
    """Refuse an adapter whose tensors, head, labels and config do not fit together.

    Raises:
        AdapterError: all that is wrong, at once.
    """
    faults = Faults()
    manifest = adapter.manifest
    if {adapter.name, adapter.settings.name} != {manifest.name} or {
        adapter.kind,
        adapter.settings.kind,
    } != {manifest.kind}:
        faults.add(where, "name or kind differ between adapter, settings and manifest")
    if not adapter.weights:
        faults.add(where, "has no weights", "train it first")
    for key, tensor in {**adapter.weights, **_prefixed(adapter.head)}.items():
        bad = int((~torch.isfinite(tensor)).sum()) if tensor.is_floating_point() else 0
        if bad:
            faults.add(f"{where}: {key}", f"{bad} of {tensor.numel()} values are not finite")
    for key in adapter.weights:
        if not (MODULE.fullmatch(key) and (key.startswith(PEFT_PREFIX) or _is_shared(key))):
            faults.add(f"{where}: {key}", "is no name of an adapter's tensor")
    _check_head(adapter, where, faults)
    _check_targets(adapter, where, faults)
    faults.raise_if_any(AdapterError)


def _is_shared(key: str) -> bool:
    """Whether a tensor is of no one module, as the random matrices of VeRA are."""
    return key.startswith(SHARED_PREFIX) and not key.startswith(PEFT_PREFIX)


def _prefixed(head: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"head.{key}": tensor for key, tensor in head.items()}


def _check_head(adapter: Adapter, where: str, faults: Faults) -> None:
    if adapter.manifest.writes:
        if adapter.head:
            faults.add(where, "has a head beside the base's own", "leave it out")
        return
    labels, hidden = len(adapter.manifest.labels), adapter.manifest.base.hidden_size
    shapes = {"weight": (labels, hidden), "bias": (labels,)}
    if adapter.manifest.pooling.dense:
        shapes |= {"dense.weight": (hidden, hidden), "dense.bias": (hidden,)}
    for key in sorted({*adapter.head, *shapes}):
        tensor, shape = adapter.head.get(key), shapes.get(key)
        if tensor is None or shape is None:
            faults.add(f"{where}: head.{key}", "is missing" if tensor is None else "is unknown")
        elif tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
            faults.add(
                f"{where}: head.{key}",
                f"is {tensor.dtype} {list(tensor.shape)}; {labels} labels and {hidden} hidden "
                f"units make it torch.float32 {list(shape)}",
            )
    head = _head_of(adapter.manifest)
    if head and not head.has_bias and "bias" in adapter.head and adapter.head["bias"].any():
        faults.add(f"{where}: head.bias", f"is not 0, and {head.name} has none", "use layout trunk")


def _check_targets(adapter: Adapter, where: str, faults: Faults) -> None:
    named = getattr(adapter.config, "target_modules", None)
    if isinstance(named, str):
        faults.add(where, f"target_modules is the pattern {named!r}", "expected a list of names")
        return
    found = target_modules(adapter)
    for name in sorted(cast(set[str], named or set())):
        if not any(module == name or module.endswith(f".{name}") for module in found):
            faults.add(f"{where}: {name}", "is a target module without weights", "retrain")


def target_modules(adapter: Adapter) -> list[str]:
    """Give the full names of the modules that the adapter's tensors sit on, sorted.

    PEFT shortens long lists of targets in memory to common endings, which could match more on
    another model; the tensors say exactly which they are.
    """
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING[cast(Any, adapter.config.peft_type)]
    return sorted(
        {
            # a module inside of a block that is wrapped as well lies one layer deeper
            name.removeprefix(PEFT_PREFIX).partition(f".{prefix}")[0].replace(INSIDE, "")
            for name in adapter.weights
            if not _is_shared(name)
        }
    )


def _refuse_foreign(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise AdapterError(f"{folder}: is not a folder; choose another place for the adapter")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise AdapterError(f"{folder}: holds other files than an adapter's; choose another place")


def _head_of(manifest: Manifest) -> Head | None:
    if manifest.layout == "trunk" or manifest.writes:
        return None
    return HEADS[manifest.base.model_type, manifest.pooling.mode]


def _parts(adapter: Adapter) -> dict[str, dict[str, torch.Tensor]]:
    """Give the tensors of each file, under the names of the layout."""
    if adapter.manifest.layout == "trunk":
        return {WEIGHTS: _packed(adapter.weights), HEAD: _packed(adapter.head)}
    trunk, head = _trunk_prefix(adapter.manifest), _head_of(adapter.manifest)
    named = {
        key if _is_shared(key) else f"{trunk}{key.removeprefix(PEFT_PREFIX)}": tensor
        for key, tensor in adapter.weights.items()
    }
    if head is None:
        return {WEIGHTS: _packed(named)}
    for part, tensor in head_of(adapter.head, has_bias=head.has_bias).items():
        named[f"{PEFT_PREFIX}{head.name}.{part}"] = tensor
    return {WEIGHTS: _packed(named)}


def head_of(head: Mapping[str, torch.Tensor], *, has_bias: bool) -> dict[str, torch.Tensor]:
    """Give the tensors of a linear layer that our head is in transformers."""
    return {part: head[part] for part in (("weight", "bias") if has_bias else ("weight",))}


def _trunk_prefix(manifest: Manifest) -> str:
    """Give what the names of the trunk's tensors begin with in the model with a head."""
    head = _head_of(manifest)
    prefix = manifest.prefix if head is None else head.prefix
    return f"{PEFT_PREFIX}{prefix}." if prefix else PEFT_PREFIX


def _packed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: tensors[key].detach().cpu().contiguous() for key in sorted(tensors)}


def _split(
    parts: Mapping[str, dict[str, torch.Tensor]], manifest: Manifest
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Give weights and head under our own names; the inverse of `_parts`."""
    if manifest.layout == "trunk":
        return parts[WEIGHTS], parts[HEAD]
    trunk, head = _trunk_prefix(manifest), _head_of(manifest)
    if head is None:
        named = parts[WEIGHTS].items()
        return {_ours(key, trunk): tensor for key, tensor in named}, {}
    at_head = f"{PEFT_PREFIX}{head.name}."
    weights: dict[str, torch.Tensor] = {}
    ours: dict[str, torch.Tensor] = {}
    if not head.has_bias:
        ours["bias"] = torch.zeros(len(manifest.labels))
    for key, tensor in parts[WEIGHTS].items():
        if key.startswith(at_head):
            ours[key.removeprefix(at_head)] = tensor
        else:
            weights[_ours(key, trunk)] = tensor
    return weights, ours


def _ours(key: str, trunk: str) -> str:
    return key if _is_shared(key) else PEFT_PREFIX + key.removeprefix(trunk)


def _config_bytes(adapter: Adapter) -> bytes:
    config = copy.deepcopy(adapter.config)
    head = _head_of(adapter.manifest)
    fields = {
        **config.to_dict(),
        "target_modules": target_modules(adapter),
        "modules_to_save": [head.name] if head else None,
        "task_type": _task_type(adapter.manifest),
        "inference_mode": True,
        "base_model_name_or_path": adapter.manifest.base.name,
        "revision": adapter.manifest.base.revision or None,
        "auto_mapping": None,
    }
    plain = {key: _sorted(value) for key, value in fields.items()}
    return (json.dumps(plain, indent=2, sort_keys=True) + "\n").encode()


def _task_type(manifest: Manifest) -> str | None:
    if manifest.writes:
        return TASK_TYPES[manifest.head]
    return "SEQ_CLS" if manifest.layout == "transformers" else None


def _sorted(value: object) -> object:
    return sorted(cast(set[str], value)) if isinstance(value, set) else value
