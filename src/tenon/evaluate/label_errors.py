"""Label errors: rows whose label a probe that has not seen them finds next to impossible.

Legend: R rows, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from tenon.data.findings import EXAMPLES, ROWS, Finding, agreed, share_of
from tenon.evaluate.probe import Floats, Ints

ODDS = 128
"""How many times as probable another label must be. Of 10 % labels of BANKING77 set at random, 86 %
reach it, and of the others 0.2 %; benchmarks/doctor.md."""
LEAST_ODDS = 7
"""The smallest odds of a plateau; below, a probe knows too little to doubt a label."""
_NARROW = 1.6
_HALF = 0.7


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that is most likely wrong.

    Args:
        row: its number.
        rather: number of the likeliest label.
        nats: logarithm of how many times that one is as probable.
    """

    row: int
    rather: int
    nats: float


def doubts(log_probs_RL: Floats, gold_R: Ints) -> list[Doubt]:
    """Give the rows whose label is doubtful, the most doubtful first.

    Args:
        log_probs_RL: of probes that have not seen the rows; calibrated.
        gold_R: index of each row's label.
    """
    if not len(gold_R):
        return []
    rows_R = np.arange(len(gold_R))
    rather_R = cast("npt.NDArray[np.int64]", log_probs_RL.argmax(axis=1))
    nats_R = log_probs_RL[rows_R, rather_R] - log_probs_RL[rows_R, gold_R]
    doubtful = np.flatnonzero(nats_R >= least_nats(log_probs_RL))
    ranked = doubtful[np.argsort(-nats_R[doubtful], kind="stable")]
    return [Doubt(int(row), int(rather_R[row]), float(nats_R[row])) for row in ranked]


def least_nats(log_probs_RL: Floats) -> float:
    """Give how much more probable another label must be, in nats.

    Labels that are wrong by chance keep a calibrated probe from being surer than they are rare: of
    two labels with 10 % wrong ones, no odds pass 9. Where the odds of most rows lie so on a
    plateau, half of its height is enough; a spread of easy and hard rows is no plateau.
    """
    top_R2 = np.sort(log_probs_RL, axis=1)[:, -2:]
    half, most = np.quantile(top_R2[:, 1] - top_R2[:, 0], (0.5, 0.9))
    flat = most - half <= _NARROW and half >= np.log(LEAST_ODDS)
    return float(min(np.log(ODDS), half - _HALF) if flat else np.log(ODDS))


def label_errors(
    log_probs_RL: Floats, gold_R: Ints, labels: Sequence[str], origins: Sequence[str]
) -> Finding | None:
    """Give the finding about doubtful labels; None where there are none.

    Args:
        log_probs_RL: as of `doubts`.
        gold_R: index of each row's label.
        labels: the L names.
        origins: of the R rows.
    """
    found = doubts(log_probs_RL, gold_R)
    if not found:
        return None
    count = len(found)
    what = f"{share_of(count, len(gold_R))} labels of train {agreed(count, 'are')} doubtful: a "
    odds = np.exp(least_nats(log_probs_RL))
    what += f"probe that has not seen the row holds another for {odds:.0f} times as probable"
    return Finding(
        "label-errors",
        "warning",
        count,
        what,
        "look at them, the most doubtful first; some are rare ways to say the same",
        tuple(
            f"{origins[doubt.row]} ({labels[gold_R[doubt.row]]}; rather {labels[doubt.rather]})"
            for doubt in found[:EXAMPLES]
        ),
        tuple(origins[doubt.row] for doubt in found[:ROWS]),
    )
