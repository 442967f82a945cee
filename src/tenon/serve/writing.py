"""Writing: one text after another, by the base with one adapter or without."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from transformers.generation.streamers import BaseStreamer

from tenon.core.errors import RequestError
from tenon.evaluate.generate import Writing, generate
from tenon.model.models import model_for
from tenon.serve.asked import Finish, Piece, Prompt
from tenon.serve.seat import Seat
from tenon.serve.stage import Stage
from tenon.serve.ticket import Ticket
from tenon.text.text_generation_render import WritingRenderer

HALF = "\N{REPLACEMENT CHARACTER}"
Told = Callable[[Piece], None]


@dataclass(frozen=True)
class WriteJob:
    """A prompt for an adapter or the base to go on from.

    Args:
        stage: where it is written.
        seat: the adapter's; None for the base as it is.
        renderer: tokens to text.
        prompt: what is asked.
        told: gets the pieces.
        ticket: of the request.
    """

    stage: Stage
    seat: Seat | None
    renderer: WritingRenderer
    prompt: Prompt
    told: Told
    ticket: Ticket


class Stopped(Exception):  # noqa: N818 - no error: it ends a text from inside of its writing
    """A text was given up."""

    def __init__(self, finish: Finish) -> None:
        super().__init__(finish)
        self.finish: Finish = finish


def write_one(job: WriteJob) -> Piece:
    """Write one text, greedily, and give its last piece; each piece was told before.

    Raises:
        RequestError: it is to be sampled, or to end at a text.
    """
    sampling = job.prompt.sampling
    if sampling.temperature or sampling.stop or sampling.logprobs is not None:
        raise RequestError(
            "this base writes greedily and whole: leave out temperature, stop and logprobs"
        )
    speaker = Speaker(job)
    stop_ids = (*job.renderer.stop_ids, *sampling.stop_ids)
    finish: Finish
    with _alone(job) as model:
        try:
            said = generate(
                model,
                [job.prompt.ids],
                stop_ids=stop_ids,
                max_new_tokens=sampling.max_new_tokens,
                batch_tokens=1,
                streamer=speaker,
            )[0]
            finish = "stop" if said.ended else "length"
        except Stopped as stopped:
            finish = stopped.finish
    last = speaker.last(finish)
    job.told(last)
    return last


@contextlib.contextmanager
def _alone(job: WriteJob) -> Any:
    """Give the model of one adapter, or of the base, with nothing else in the base."""
    stage = job.stage
    if job.seat is None:
        stage.close()
        made = model_for("text-generation", stage.rack.trunk, None, None, "tokens")
        yield cast(Writing, made.eval())
        return
    stage.residence.bring([job.seat])
    with stage.apart(job.seat) as peft:
        task = job.seat.handle.manifest.task
        made = model_for(task, stage.rack.trunk, peft, None, "tokens")
        yield cast(Writing, made.eval())


@dataclass(eq=False)
class Speaker(BaseStreamer):
    """Tells a text while it is written, in whole characters.

    Args:
        job: whose text it is.
    """

    job: WriteJob
    ids: list[int] | None = None
    new: list[int] = field(default_factory=list[int])
    shown: str = ""

    def put(self, value: Any) -> None:
        """Take in the prompt, and then token after token.

        Raises:
            Stopped: the text is given up, or late.
        """
        if self.ids is None:
            self.ids = []
            return
        deadline = self.job.prompt.deadline
        if self.job.ticket.cancelled:
            raise Stopped("cancelled")
        if deadline is not None and time.monotonic() > deadline:
            raise Stopped("deadline")
        stop_ids = (*self.job.renderer.stop_ids, *self.job.prompt.sampling.stop_ids)
        more = [token for token in value.tolist() if token not in stop_ids]
        self.ids += more
        self.new += more
        text = self.job.renderer.answer(self.ids)
        if not text.endswith(HALF) and text.startswith(self.shown) and len(text) > len(self.shown):
            self.job.told(self._piece(text, None))

    def end(self) -> None:
        """Nothing: the last piece is told by who knows why it ended."""

    def last(self, finish: Finish) -> Piece:
        """Give what was held back, and why it ended."""
        text = self.job.renderer.answer(self.ids or [])
        return self._piece(text if text.startswith(self.shown) else self.shown, finish)

    def _piece(self, text: str, finish: Finish | None) -> Piece:
        piece = Piece(text[len(self.shown) :], tuple(self.new), (), finish)
        self.shown, self.new = text, []
        return piece
