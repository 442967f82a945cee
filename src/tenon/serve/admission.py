"""Admission: what is proved of an adapter's files before it comes near the base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tenon.adapters import pack
from tenon.adapters.fingerprint import Fingerprint, refuse_other
from tenon.adapters.pack import Adapter
from tenon.core.errors import AdapterError
from tenon.serve.handle import Handle


@dataclass(frozen=True)
class Admission:
    """An adapter whose files are sound.

    Args:
        handle: what it will be asked by.
        adapter: its tensors.
    """

    handle: Handle
    adapter: Adapter


def admit(name: str, folder: Path, base: Fingerprint) -> Admission:
    """Read an adapter, every byte of it, and see that it was made for a base.

    Raises:
        AdapterError: it is damaged, dangerous, or belongs to another base.
        FileError: the folder is not there or cannot be read.
    """
    digest = pack.digest(folder)
    adapter = pack.read(folder)
    manifest = adapter.manifest
    if pack.digest(folder) != digest:
        raise AdapterError(f"{folder}: has changed while it was read; wait until it is written")
    if manifest.base.quantize != base.quantize:
        raise AdapterError(
            f'adapter {manifest.name}: was trained with model.quantize = "{manifest.base.quantize}"'
            f', the base is held with "{base.quantize}"; serve it over a base that is held so'
        )
    refuse_other(manifest.name, manifest.base, base)
    return Admission(Handle(name, digest, manifest, folder), adapter)


def again(handle: Handle, base: Fingerprint) -> Adapter:
    """Read the files of an adapter once more, which must not have changed.

    Raises:
        AdapterError: they have changed.
        FileError: they are gone.
    """
    found = admit(handle.name, handle.folder, base)
    if found.handle.digest != handle.digest:
        raise AdapterError(
            f"{handle.folder}: holds another adapter than when it was admitted as {handle.pinned}; "
            "admit it again"
        )
    return found.adapter
