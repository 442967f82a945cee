"""Expected: what an engine has to answer to an adapter's probes, with the adapter and without.

Legend: B texts, L classes, V tokens of the vocabulary.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from tenon.core.errors import AdapterError
from tenon.evaluate.answerer import Answerer
from tenon.evaluate.merged import proof_texts
from tenon.evaluate.predict import inference
from tenon.evaluate.probes import rendered
from tenon.export import conformance
from tenon.export.kept import scores_of
from tenon.model.writer import Writer
from tenon.text.batch import of_ids

SCRIPT, ASKED = "conformance.py", "conformance.json"
PLACES = 6
"""Tokens that are written after each prompt."""
HELD = 20
"""Scores of the likeliest tokens that are held at each place."""
DIGITS = 5


@dataclass(frozen=True)
class Expected:
    """What an engine has to answer.

    Args:
        api: the interface it is asked over, "completions" or "classify".
        probes: of each the token `ids` that are asked, and the scores of `adapter` and `base`: of
            labels, or at each place those of the likeliest next tokens, from the largest.
    """

    api: str
    probes: tuple[dict[str, Any], ...]

    @property
    def told(self) -> bool:
        """Whether the adapter changes enough for an engine's rounding not to hide it."""
        return any(_change(probe) > 2 * conformance.TOLERANCE for probe in self.probes)


def expected(answerer: Answerer) -> Expected:
    """Give what an engine has to answer, from the adapter on its base.

    Raises:
        AdapterError: the adapter is not on its base.
    """
    peft = answerer.model.peft
    if peft is None:
        raise AdapterError(f"adapter {answerer.manifest.name}: is not on its base; load it again")
    ids = rendered(answerer.renderer, *proof_texts(answerer.manifest, answerer.renderer)).ids
    if isinstance(answerer.model, Writer):
        with inference(answerer.model):
            return Expected("completions", _written(answerer.model, peft, ids))
    adapter_BL = scores_of(answerer, answerer.model)
    with peft.disable_adapter():
        base_BL = scores_of(answerer, answerer.model)
    return Expected(
        "classify",
        tuple(
            {"ids": row, "adapter": _rounded(ours), "base": _rounded(bare)}
            for row, ours, bare in zip(ids, adapter_BL, base_BL, strict=True)
        ),
    )


def write_conformance(asked: Expected, engine: str, name: str, folder: Path) -> None:
    """Write the script that asks a running engine, and what it asks."""
    source = Path(conformance.__file__)
    shutil.copyfile(source, folder / SCRIPT)
    told = {"format": 1, "engine": engine, "name": name, "api": asked.api, "probes": asked.probes}
    (folder / ASKED).write_text(f"{json.dumps(told)}\n", "utf-8")


def _written(model: Writer, peft: PeftModel, ids: list[list[int]]) -> tuple[dict[str, Any], ...]:
    """Let the adapter write after each prompt, and score each place with it and without it."""
    probes: list[dict[str, Any]] = [{"ids": row, "adapter": [], "base": []} for row in ids]
    rows = [list(row) for row in ids]
    for _ in range(PLACES):
        ours_BV = _log_probs_BV(model, rows)
        with peft.disable_adapter():
            bare_BV = _log_probs_BV(model, rows)
        for row, probe, ours_V, bare_V in zip(rows, probes, ours_BV, bare_BV, strict=True):
            count = min(HELD, len(ours_V))
            probe["adapter"].append(_rounded(ours_V.topk(count).values))
            probe["base"].append(_rounded(bare_V.topk(count).values))
            row.append(int(ours_V.argmax()))
    return tuple(probes)


def _log_probs_BV(model: Writer, rows: list[list[int]]) -> Tensor:
    return torch.log_softmax(model.next_logits_BV(of_ids(rows)).float(), -1).cpu()


def _rounded(scores: Tensor) -> list[float]:
    return [round(float(score), DIGITS) for score in scores]


def _change(probe: dict[str, Any]) -> float:
    if probe["adapter"] and isinstance(probe["adapter"][0], list):
        count = conformance.ASKED
        pairs = zip(probe["adapter"], probe["base"], strict=True)
        return max(conformance.distance(ours[:count], bare) for ours, bare in pairs)
    return conformance.distance(probe["adapter"], probe["base"])
