"""Engine: another server that an adapter is written for, with its launch line and its proof.

What is written is a plain LoRA under the engine's own rules, the command that serves it, and a
script that asks the running engine whether it answers as the adapter does.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tenon.adapters.files import CARD
from tenon.adapters.portable import Portable
from tenon.evaluate.engine_card import engine_card
from tenon.export.again import scores_again
from tenon.export.draft import draft, near
from tenon.export.expected import SCRIPT, expected, write_conformance
from tenon.export.lora import write_files
from tenon.export.target import Order, Written

LAUNCH = "launch.sh"
HERE = '"$(cd "$(dirname "$0")" && pwd)"'
UNTOLD = (
    "the adapter changes its probes by little more than an engine's rounding: the script may not "
    "be able to tell it from the base"
)


@dataclass(frozen=True)
class Served:
    """What an engine is to serve.

    Args:
        order: how it was asked for.
        made: the plain LoRA.
        path: where it lies, as the command has it; quoted.
    """

    order: Order
    made: Portable
    path: str

    @property
    def name(self) -> str:
        """The adapter's."""
        return self.made.adapter.name

    @property
    def base(self) -> list[str]:
        """The base as a command names it: an id on the hub with its revision, or a folder."""
        base = self.order.base
        if base.revision:
            return [shlex.quote(base.name), "--revision", shlex.quote(base.revision)]
        return [shlex.quote(str(base.folder))]


@dataclass(frozen=True)
class Engine:
    """An engine that serves LoRA.

    Args:
        name: as in `--to`.
        title: in prose.
        most: the largest rank that it takes.
        form: changes a plain LoRA as it has to be for it.
        launch: gives the words of the command that serves it.
    """

    name: str
    title: str
    most: int
    form: Callable[[Order, Portable], Portable]
    launch: Callable[[Served], list[str]]


def write_for(engine: Engine, order: Order, folder: Path) -> Written:
    """Write an adapter for an engine, and read it with PEFT.

    Raises:
        AdapterError: it cannot be made a plain LoRA, takes a larger rank than the engine has, or
            the written files give other scores.
        PlanError: the wanted rank has no effect, or is too large.
    """
    manifest, asked = order.answerer.manifest, expected(order.answerer)
    drafted = draft(order, engine.most)
    drafted = replace(drafted, made=engine.form(order, drafted.made))
    adapter = drafted.made.adapter
    write_files(adapter, folder)
    found_BL = scores_again(adapter.manifest, order.base, drafted.settings, adapter=folder)
    error = near(drafted, found_BL)
    write_conformance(asked, engine.name, adapter.name, folder)
    script = " \\\n    ".join(engine.launch(Served(order, drafted.made, HERE)))
    (folder / LAUNCH).write_text(f'#!/bin/sh\nexec {script} "$@"\n', "utf-8")
    (folder / LAUNCH).chmod(0o755)
    place = order.out.resolve()
    line = " ".join(engine.launch(Served(order, drafted.made, shlex.quote(str(place)))))
    quantized = manifest.base.quantize
    held = f"the adapter was trained on the base in {quantized}; {engine.title} holds it otherwise"
    notes = (
        *(() if asked.told else (UNTOLD,)),
        *(() if quantized == "none" else (held,)),
    )
    elsewhere = " ".join(engine.launch(Served(order, drafted.made, "path/of/this/folder")))
    told = engine_card(manifest, drafted.made, drafted.proof, error, engine.title, elsewhere)
    (folder / CARD).write_text(told, "utf-8")
    commands = (line, f"python {shlex.quote(str(place / SCRIPT))}")
    return Written(drafted.proof, error, f"{engine.title}, by {LAUNCH}", notes, commands)
