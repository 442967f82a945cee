"""Draft: an adapter as the plainest LoRA there is, and what its written form has to keep.

Legend: B texts, L classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from tenon.adapters import pack
from tenon.adapters.blend import MOST_RANK
from tenon.adapters.delta import Whole
from tenon.adapters.portable import Portable, portable
from tenon.core.errors import AdapterError, PlanError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.merged import LOST, Proof
from tenon.export.kept import kept
from tenon.export.target import Order
from tenon.model.changes import changes
from tenon.model.merge import TOLERANCE, Folded, relative
from tenon.model.settings import ModelSettings


@dataclass(frozen=True)
class Draft:
    """An adapter that is to be written as a LoRA.

    Args:
        made: the plain LoRA.
        proof: what may be lost of the scores.
        expected_BL: the adapter's scores of the proof's texts.
        settings: as the base is to be loaded to compare them.
    """

    made: Portable
    proof: Proof
    expected_BL: Tensor
    settings: ModelSettings


def draft(order: Order, most: int = MOST_RANK) -> Draft:
    """Make the adapter a plain LoRA. The base in memory may be changed by it.

    Args:
        most: the largest rank that its reader takes.

    Raises:
        AdapterError: what it adds is no matrix a module, or the rank that loses nothing is too
            large.
        PlanError: the wanted rank has no effect, or is too large.
    """
    adapter, answerer = pack.read(order.adapter), order.answerer
    manifest, trunk = answerer.manifest, answerer.model.trunk
    named: Any = str(trunk.model.dtype).removeprefix("torch.")
    settings = ModelSettings(device=str(trunk.device), dtype=named, quantize=manifest.base.quantize)
    expected_BL, change = kept(answerer)
    wholes = partial(_wholes, adapter.name, answerer)
    made = portable(adapter, wholes, partial(_rank, adapter.name, order.rank, most))
    tolerance = TOLERANCE[trunk.model.dtype] if made.rank >= made.exact else LOST * change
    modules = sorted((Folded(name, lost) for name, lost in made.lost.items()), key=_size)
    proof = Proof(named, tolerance, 0.0, change, tuple(modules), len(expected_BL))
    return Draft(made, proof, expected_BL, settings)


def near(drafted: Draft, found_BL: Tensor) -> float:
    """Compare what written files give to what the adapter gave.

    Returns:
        Largest difference / largest score.

    Raises:
        AdapterError: they differ by more than rounding; or where a rank was wanted, by more than
            half of what the adapter changes.
    """
    made, proof = drafted.made, drafted.proof
    error, name = relative(drafted.expected_BL, found_BL), made.adapter.name
    if error <= proof.tolerance:
        return error
    if made.rank >= made.exact:
        raise AdapterError(
            f"adapter {name}: as a LoRA its scores differ by {error:.1e} of their size, "
            f"{proof.dtype} allows {proof.tolerance:.0e}; nothing was kept. Export it with --to "
            "merged or --to peft"
        )
    worst = ", ".join(f"{each.module} {100 * each.error:.2g} %" for each in proof.modules[:3])
    raise AdapterError(
        f"adapter {name}: at rank {made.rank} its scores differ by {error:.1e} of their size, and "
        f"the adapter changes them by {proof.change:.1e} in all: too much is lost. Rank "
        f"{made.exact} leaves nothing out. Lost most: {worst}"
    )


def _size(folded: Folded) -> float:
    return -folded.error


def _wholes(name: str, answerer: Answerer) -> dict[str, Whole]:
    """Give what an adapter that is no plain LoRA adds to each module.

    Raises:
        AdapterError: it does not add one matrix a module.
    """
    peft = answerer.model.peft
    if peft is None:
        raise AdapterError(f"adapter {name}: is not on its base; load it again")
    return changes(name, answerer.model.trunk, peft)


def _rank(name: str, wanted: int, most: int, exact: int) -> int:
    """Give the rank to write: the wanted one, or the least that leaves nothing out.

    Raises:
        PlanError: the wanted one would cut nothing, or is too large.
        AdapterError: none is wanted, and the least is too large.
    """
    if wanted >= exact:
        raise PlanError(f"--rank {wanted}: {exact} leaves nothing out already; leave --rank out")
    if wanted > most:
        raise PlanError(f"--rank {wanted}: is too large for it; at most {most:,} can be")
    if not wanted and exact > most:
        raise AdapterError(
            f"adapter {name}: takes rank {exact:,} to lose nothing, at most {most:,} can be; "
            "cut it with --rank, and see what is lost; or export it with --to merged"
        )
    return wanted or exact
