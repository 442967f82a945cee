"""Grounds: a tiny base of each family with its own head, loaded and proved once, copied at will."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils import logging

from bases import HIDDEN
from families import FAMILIES, STACKED, tiny
from matrix import HEADLESS
from models import rows_of
from tenon.model import trunk as trunks
from tenon.model.base import locate
from tenon.model.classifier import Classifier
from tenon.model.coded import coded_BPD, coded_TD
from tenon.model.head import Head
from tenon.model.models import model_for
from tenon.model.seq2seq import Seq2Seq, parted
from tenon.model.settings import ModelSettings
from tenon.model.trunk import Trunk
from tenon.model.writer import Writer
from tenon.text.batch import Batch

LENGTHS = (3, 9, 4, 6)
LABELS = 3
Model = Classifier | Writer | Seq2Seq


@dataclass(frozen=True)
class Ground:
    """A base on which adapters are put.

    Args:
        family: its model type.
        trunk: as it was loaded; never changed.
        batch: rows with targets of its task.
        states: what the bare base says of the batch, packed (where it is) and padded.
    """

    family: str
    trunk: Trunk
    batch: Batch
    states: dict[bool, torch.Tensor]

    @property
    def writes(self) -> bool:
        """Whether it has a language-model head."""
        return self.trunk.whole is not None

    def copy(self) -> Trunk:
        """Give a trunk of its own to an adapter."""
        held: Any = copy.deepcopy(self.trunk.whole if self.writes else self.trunk.model)
        if not self.writes:
            return replace(self.trunk, model=held)
        return replace(self.trunk, model=held.base_model, whole=held)


def ground(family: str, cache: Path) -> Ground:
    """Load the tiny base of a family: a decoder or encoder-decoder with its head."""
    folder = cache / family
    logging.disable_progress_bar()
    _built(family).save_pretrained(folder)
    writes = family not in HEADLESS
    trunk = trunks.load(locate(str(folder)), ModelSettings(device="cpu"), writes=writes)
    bare = Ground(family, trunk, batch_of(trunk), {})
    layouts = (True, False) if trunk.packed else (False,)
    said = {
        packed: states(model_on(bare.copy(), None), bare.batch, packed=packed) for packed in layouts
    }
    return replace(bare, states=said)


def _built(family: str) -> Any:
    if family in HEADLESS:
        return tiny(family)
    factory: Any = AutoModelForSeq2SeqLM if family in STACKED else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = factory.from_config(FAMILIES[family]())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def batch_of(trunk: Trunk) -> Batch:
    """Give rows with classes; of a base that writes, with weights behind the first two tokens."""
    made = rows_of(LENGTHS)
    if trunk.whole is None:
        return made
    return replace(made, targets_X=(made.positions_T >= 2).float())


def model_on(trunk: Trunk, peft: Any) -> Model:
    """Give the model of the trunk's task, in evaluation mode, its head always the same."""
    made: Any
    if trunk.whole is not None:
        made = model_for("text-generation", trunk, peft, None, "tokens")
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            head = Head(HIDDEN, LABELS, normalize=False, bias=True)
        made = model_for("text-classification", trunk, peft, head, "mean")
    return made.eval()


@torch.no_grad()
def states(model: Model, batch: Batch, *, packed: bool | None = None) -> torch.Tensor:
    """Give the hidden states of all tokens, or the scores of the next one where a base writes."""
    return torch.cat(by_row(model, batch, packed=packed))


@torch.no_grad()
def by_row(model: Model, batch: Batch, *, packed: bool | None = None) -> list[torch.Tensor]:
    """Give the same row by row."""
    trunk = model.trunk if packed is None else replace(model.trunk, packed=packed)
    if isinstance(model, Seq2Seq):
        if trunk.packed:
            rows = parted(batch, trunk.start)
            hidden_TD, _ = coded_TD(trunk.model, rows.source_S, rows.said_T, rows.source, rows.said)
            return list(trunk.logits_UV(hidden_TD).split(list(rows.said)))
        sides = model.sides(batch)
        given = (sides.source_BS, sides.real_BS, sides.said_BP, sides.real_BP)
        logits_BPV = trunk.logits_UV(coded_BPD(trunk.model, *given))
        return [row[real.bool()] for row, real in zip(logits_BPV, sides.real_BP, strict=True)]
    hidden_TD = trunk.hidden_TD(batch)
    found = trunk.logits_UV(hidden_TD) if isinstance(model, Writer) else hidden_TD
    return list(found.split(list(batch.lengths)))


def grounds(cache: Path) -> Callable[[str], Ground]:
    """Give grounds by family, each loaded once."""
    held: dict[str, Ground] = {}

    def of(family: str) -> Ground:
        if family not in held:
            held[family] = ground(family, cache)
        return held[family]

    return of
