"""Adapter directories changed as a forger would: every digest of the manifest is true again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from tenon.adapters.directory import seal_of


def reseal(folder: Path, **changes: Any) -> None:
    """Change fields of the manifest and make its list of files and its own digest true again."""
    path = folder / "tenon.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        if (folder / name).is_file():
            manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    manifest.update(changes)
    write_sealed(path, manifest)


def relist(folder: Path) -> None:
    """Make the manifest's list of tensors true as well, and reseal."""
    manifest = json.loads((folder / "tenon.json").read_text())
    listed: Mapping[str, Any] = {
        name: {
            key: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape)}
            for key, t in load_file(folder / name).items()
        }
        for name in manifest["tensors"]
    }
    reseal(folder, tensors=dict(listed))


def write_sealed(path: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with its digest."""
    path.write_text(json.dumps({**manifest, "seal": seal_of(manifest)}))
