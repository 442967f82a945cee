"""Foreign: the files of an adapter that another library wrote, read without trust.

PEFT's directories hold `adapter_config.json` and `adapter_model.safetensors`; AdapterHub's hold
`adapter_config.json` and `adapter.safetensors`, and of a head `head_config.json` and
`model_head.safetensors`. Either library has also written torch files, which are read apart.

Source: PEFT, `PeftModel.save_pretrained`; AdapterHub `adapters`, `AdapterLoader` and
`PredictionHeadLoader` (names of files and fields).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch

from tenon.adapters.directory import JSON_BYTES, parse_json
from tenon.adapters.files import CONFIG, MANIFEST
from tenon.core.apart import unpickled
from tenon.core.errors import AdapterError, Faults, FileError
from tenon.core.files import reading

Form = Literal["peft", "adapterhub"]
WEIGHTS: dict[Form, tuple[str, ...]] = {
    "peft": ("adapter_model.safetensors", "adapter_model.bin"),
    "adapterhub": ("adapter.safetensors", "model.safetensors", "pytorch_adapter.bin"),
}
HEAD_CONFIG = "head_config.json"
HEADS = ("model_head.safetensors", "pytorch_model_head.bin")
BYTES = 64 << 30


@dataclass(frozen=True)
class Foreign:
    """What another library wrote.

    Args:
        folder: where.
        form: of which library.
        config: its config, as it stands there.
        weights: float32, under the library's names.
        head_config: AdapterHub's of a head; empty without one.
        head: tensors of AdapterHub's head; none without one.
        notes: what was met on the way.
    """

    folder: Path
    form: Form
    config: dict[str, Any]
    weights: dict[str, torch.Tensor]
    head_config: dict[str, Any]
    head: dict[str, torch.Tensor]
    notes: tuple[str, ...]

    @property
    def base(self) -> str:
        """The base that it names; empty where it names none."""
        key = "base_model_name_or_path" if self.form == "peft" else "model_name"
        named = self.config.get(key)
        return named if isinstance(named, str) else ""


def read_foreign(folder: Path) -> Foreign:
    """Read the files of an adapter that is not ours.

    Raises:
        FileError: there is no such folder, or nothing of an adapter in it.
        AdapterError: a file is damaged, dangerous, a link out of the folder, or Tenon's own.
    """
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; name the folder of an adapter")
    if (folder / MANIFEST).is_file():
        raise AdapterError(f"{folder}: is an adapter of Tenon already; use it as it is")
    if not (folder / CONFIG).exists():
        raise FileError(f"{folder}: holds no {CONFIG}; name the folder of an adapter")
    config = _config(folder, CONFIG)
    form: Form = "peft" if "peft_type" in config else "adapterhub"
    if form == "adapterhub" and not isinstance(config.get("config"), dict):
        raise AdapterError(
            f"{folder / CONFIG}: has neither peft_type nor config; is this an adapter of PEFT or "
            "AdapterHub?"
        )
    weights, notes = _tensors(folder, WEIGHTS[form])
    headed = form == "adapterhub" and (folder / HEAD_CONFIG).exists()
    head, more = _tensors(folder, HEADS) if headed else ({}, ())
    head_config = _config(folder, HEAD_CONFIG) if headed else {}
    return Foreign(folder, form, config, weights, head_config, head, (*notes, *more))


def _config(folder: Path, name: str) -> dict[str, Any]:
    path = _regular(folder, name, JSON_BYTES)
    with reading(path):
        return parse_json(path, path.read_bytes())


def _regular(folder: Path, name: str, limit: int) -> Path:
    """Give the path of a regular file; one in the hub's cache may be a link within that.

    Raises:
        AdapterError: it is something else, leads elsewhere, or is larger than `limit`.
    """
    path = folder / name
    real = path.resolve()
    home = folder.resolve()
    cached = home.parent.name == "snapshots" and real.parent == home.parent.parent / "blobs"
    if real.parent != home and not cached:
        raise AdapterError(f"{path}: is a link out of its folder; copy the file itself there")
    with reading(path):
        found = real.stat()
    if not stat.S_ISREG(found.st_mode):
        raise AdapterError(f"{path}: is not a regular file; copy the adapter again")
    if found.st_size > limit:
        raise AdapterError(f"{path}: is {found.st_size:,} bytes; expected at most {limit:,}")
    return path


def _tensors(
    folder: Path, names: tuple[str, ...]
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Read the first file there is, in float32."""
    name = next((name for name in names if (folder / name).exists()), "")
    if not name:
        raise AdapterError(f"{folder}: holds none of {', '.join(names)}; copy the adapter again")
    path = _regular(folder, name, BYTES)
    with reading(path):
        data = unpickled(path) if path.suffix == ".bin" else path.read_bytes()
    try:
        held = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise AdapterError(f"{path}: not a safetensors file ({error})") from error
    odd = sorted(key for key, tensor in held.items() if not tensor.is_floating_point())
    if odd:
        raise AdapterError(f"{path}: {odd[0]} is {held[odd[0]].dtype}; expected numbers of weights")
    faults = Faults()
    for key, tensor in held.items():
        if bad := int((~torch.isfinite(tensor)).sum()):
            faults.add(f"{path}: {key}", f"{bad} of {tensor.numel()} values are not finite")
    faults.raise_if_any(AdapterError)
    notes = [f"{name} is a pickle; it was read by torch's reader of weights, in a process apart"]
    narrow = sorted({str(t.dtype).removeprefix("torch.") for t in held.values()} - {"float32"})
    told = [f"{name}: {', '.join(narrow)} became float32"] if narrow else []
    wide = {key: tensor.float() for key, tensor in held.items()}
    return wide, (*(notes if path.suffix == ".bin" else []), *told)
