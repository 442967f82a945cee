"""Start: the first weights of an adapter that were computed, kept with its run.

They are computed once: another machine, or another number of threads, would round them otherwise,
and what training goes on from stands on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as saved

from tenon.core.errors import FileError
from tenon.core.files import aside, digest_of, reading

NAME = "start.safetensors"
REMEDY = "start anew with --resume never"


def save(run: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write first weights under `run`, whole or not at all.

    Raises:
        FileError: the disk refused.
    """
    with aside(run / NAME) as beside:
        # safetensors' own writer gives mode 0600 and, on a full disk, no OSError
        beside.write_bytes(saved(dict(weights), metadata={"digest": _digest(weights)}))


def load(run: Path) -> dict[str, torch.Tensor] | None:
    """Read the first weights of a run, or None where none are kept.

    Raises:
        FileError: the file is damaged.
    """
    path = run / NAME
    if not path.exists():
        return None
    with reading(path):
        try:
            with safe_open(path, "pt") as file:
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
                stated = (file.metadata() or {}).get("digest")
        except SafetensorError as error:
            raise FileError(f"{path}: not the first weights of a run; {REMEDY}") from error
    if stated != _digest(weights):
        raise FileError(f"{path}: its bytes have changed since it was written; {REMEDY}")
    return weights


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Give a digest of what safetensors, which has no checksum, holds."""
    return digest_of(
        {
            name: [str(t.dtype), list(t.shape), sha256(t.numpy().tobytes()).hexdigest()]
            for name, t in weights.items()
        }
    )
