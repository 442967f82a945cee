"""Split: to which part a row belongs, decided by what it says and nothing else."""

from __future__ import annotations

import hashlib
from typing import Literal

_SCALE = 1 << 64


def part_of(id: str, seed: int, share: float) -> Literal["train", "dev"]:
    """Give the part of the row whose inputs have the digest `id`.

    The answer depends on (seed, id) alone: rows with equal inputs are never separated, rows that
    are added or reordered move none, and a larger share only moves rows from train to dev.

    Args:
        id: content id of the row.
        seed: another seed gives an independent split.
        share: expected share of dev, in [0, 1].
    """
    digest = hashlib.blake2b(f"{seed}:{id}".encode(), digest_size=8).digest()
    return "dev" if int.from_bytes(digest, "big") < share * _SCALE else "train"
