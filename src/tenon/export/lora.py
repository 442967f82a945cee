"""LoRA: an adapter as the plainest LoRA there is, which every engine reads alike.

Any adapter that can be merged is one matrix a module, and a matrix is a product of two; so a DoRA
or an OFT can be written for engines that know LoRA alone. Legend: B texts, L classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from tenon.adapters import pack
from tenon.adapters.blend import MOST_RANK
from tenon.adapters.delta import Whole
from tenon.adapters.directory import CARD, MANIFEST
from tenon.adapters.kind import KINDS
from tenon.adapters.pack import Adapter
from tenon.adapters.portable import Portable, portable
from tenon.core.errors import AdapterError, PlanError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.lora_card import lora_card
from tenon.evaluate.merged import LOST, Proof
from tenon.export.again import scores_again
from tenon.export.kept import kept
from tenon.export.target import TARGETS, Order, Target, Written
from tenon.model.changes import changes
from tenon.model.merge import TOLERANCE, Folded, relative
from tenon.model.settings import ModelSettings


def write(order: Order, folder: Path) -> Written:
    """Write the adapter as a plain LoRA, and read it with PEFT.

    Raises:
        AdapterError: what it adds is no matrix a module; the rank that loses nothing is too large;
            or the written files give other scores.
        PlanError: the wanted rank has no effect.
    """
    adapter, answerer = pack.read(order.adapter), order.answerer
    manifest, trunk = answerer.manifest, answerer.model.trunk
    named: Any = str(trunk.model.dtype).removeprefix("torch.")
    settings = ModelSettings(device=str(trunk.device), dtype=named, quantize=manifest.base.quantize)
    expected_BL, change = kept(answerer)
    wholes = partial(_wholes, adapter, answerer)
    made = portable(adapter, wholes, partial(_rank, adapter.name, order.rank))
    tolerance = TOLERANCE[trunk.model.dtype] if made.rank >= made.exact else LOST * change
    modules = sorted((Folded(name, lost) for name, lost in made.lost.items()), key=_size)
    texts = len(expected_BL)
    proof = Proof(named, tolerance, 0.0, change, tuple(modules), texts)
    pack.write(folder, made.adapter, card="")
    (folder / MANIFEST).unlink()
    found_BL = scores_again(made.adapter.manifest, order.base, settings, adapter=folder)
    error = _near(proof, made, expected_BL, found_BL)
    (folder / CARD).write_text(lora_card(manifest, made, proof, error), "utf-8")
    return Written(proof, error, "PeftModel.from_pretrained")


def _size(folded: Folded) -> float:
    return -folded.error


def _wholes(adapter: Adapter, answerer: Answerer) -> dict[str, Whole]:
    """Give what an adapter that is no plain LoRA adds to each module.

    Raises:
        AdapterError: it does not add one matrix a module.
    """
    kind, peft = KINDS.get(adapter.kind), answerer.model.peft
    if not kind.mergeable or peft is None:
        raise AdapterError(
            f"adapter {adapter.name}: {kind.name} is no LoRA and cannot be made one: "
            f"{kind.mergeable_why}; export it with --to peft, or serve it with Tenon"
        )
    return changes(adapter.name, answerer.model.trunk, peft)


def _rank(name: str, wanted: int, exact: int) -> int:
    """Give the rank to write: the wanted one, or the least that leaves nothing out.

    Raises:
        PlanError: the wanted one would cut nothing.
        AdapterError: none is wanted, and the least is too large.
    """
    if wanted >= exact:
        raise PlanError(f"--rank {wanted}: {exact} leaves nothing out already; leave --rank out")
    if not wanted and exact > MOST_RANK:
        raise AdapterError(
            f"adapter {name}: takes rank {exact:,} to lose nothing, at most {MOST_RANK:,} can be; "
            "cut it with --rank, and see what is lost; or export it with --to merged"
        )
    return wanted or exact


def _near(proof: Proof, made: Portable, expected_BL: Tensor, found_BL: Tensor) -> float:
    """Compare what the written files give to what the adapter gave.

    Raises:
        AdapterError: they differ by more than rounding; or where a rank was wanted, by more than
            half of what the adapter changes.
    """
    error, name = relative(expected_BL, found_BL), made.adapter.name
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


TARGETS.add(
    "lora",
    Target(
        name="lora",
        summary="a plain LoRA, of any adapter that is one matrix a module",
        keeps_format=False,
        ranked=True,
        measures=False,
        write=write,
    ),
)
