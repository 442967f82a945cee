"""Proof: that an adapter answers as when it was written, asked beside the rows of others."""

from __future__ import annotations

from dataclasses import dataclass

from tenon.evaluate.answerer import Answerer
from tenon.evaluate.probes import refuse_other_scores
from tenon.serve.seat import Seat
from tenon.serve.stage import Stage
from tenon.text.render import Rendered


@dataclass(frozen=True)
class ProofJob:
    """The probes of an adapter that may not answer yet.

    Args:
        stage: that the adapter sits on.
        seat: the adapter's.
        rows: of its probes.
    """

    stage: Stage
    seat: Seat
    rows: Rendered


def proved(job: ProofJob, answerer: Answerer) -> None:
    """Take note that an adapter gives the scores which it gave when it was written.

    Raises:
        AdapterError: it does not.
    """
    handle = job.seat.handle
    refuse_other_scores(handle.folder, handle.manifest, answerer.model, job.rows)
    job.stage.remember(handle.digest)
