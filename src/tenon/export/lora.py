"""LoRA: an adapter as the plainest LoRA there is, which every engine reads alike.

Any adapter that can be merged is one matrix a module, and a matrix is a product of two; so a DoRA
or an OFT can be written for engines that know LoRA alone.
"""

from __future__ import annotations

from pathlib import Path

from tenon.adapters import pack
from tenon.adapters.files import CARD, MANIFEST
from tenon.adapters.pack import Adapter
from tenon.evaluate.lora_card import lora_card
from tenon.export.again import scores_again
from tenon.export.case import no_lora
from tenon.export.draft import draft, near
from tenon.export.target import TARGETS, Order, Target, Written

READ_BY = "PeftModel.from_pretrained"


def write(order: Order, folder: Path) -> Written:
    """Write the adapter as a plain LoRA, and read it with PEFT.

    Raises:
        AdapterError: what it adds is no matrix a module; the rank that loses nothing is too large;
            or the written files give other scores.
        PlanError: the wanted rank has no effect.
    """
    drafted = draft(order)
    adapter = drafted.made.adapter
    write_files(adapter, folder)
    found_BL = scores_again(adapter.manifest, order.base, drafted.settings, adapter=folder)
    error = near(drafted, found_BL)
    told = lora_card(order.answerer.manifest, drafted.made, drafted.proof, error)
    (folder / CARD).write_text(told, "utf-8")
    return Written(drafted.proof, error, READ_BY)


def write_files(adapter: Adapter, folder: Path) -> None:
    """Write an adapter as PEFT reads it, without Tenon's manifest."""
    pack.write(folder, adapter, card="")
    (folder / MANIFEST).unlink()


TARGETS.add(
    "lora",
    Target(
        name="lora",
        summary="a plain LoRA, of any adapter that is one matrix a module",
        keeps_format=False,
        ranked=True,
        measures=False,
        write=write,
        refuses=no_lora,
    ),
)
