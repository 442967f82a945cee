"""Writing: one text after another, by the base with one adapter or without."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from transformers.generation.streamers import BaseStreamer

from tenon.core.errors import RequestError
from tenon.evaluate.generate import Writing, generate
from tenon.evaluate.running import Finish, Piece
from tenon.model.models import model_for
from tenon.serve.asked import Prompt
from tenon.serve.seat import Seat
from tenon.serve.stage import Stage
from tenon.serve.ticket import Ticket
from tenon.text.spelling import Spelling
from tenon.text.text_generation_render import WritingRenderer

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
    """A text has ended before the base ended it."""

    def __init__(self, finish: Finish) -> None:
        super().__init__(finish)
        self.finish: Finish = finish


def write_one(job: WriteJob) -> Piece:
    """Write one text, greedily, and give its last piece; each piece was told before.

    Raises:
        RequestError: it is to be sampled, or its probabilities are wanted.
    """
    sampling = job.prompt.sampling
    if sampling.temperature or sampling.logprobs is not None:
        who = "this base" if job.seat is None else f"adapter {job.seat.handle.name}"
        raise RequestError(
            f"{who} writes the likeliest tokens, one text after another: leave out temperature and "
            "logprobs"
        )
    speaker = Speaker(job)
    finish: Finish
    with _alone(job) as model:
        try:
            said = generate(
                model,
                [job.prompt.ids],
                stop_ids=speaker.stop_ids,
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
def _alone(job: WriteJob) -> Iterator[Writing]:
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


class Speaker(BaseStreamer):
    """Tells a text while it is written.

    Args:
        job: whose text it is.
    """

    def __init__(self, job: WriteJob) -> None:
        self.job = job
        self.stop_ids = (*job.renderer.stop_ids, *job.prompt.sampling.stop_ids)
        self.spelling = Spelling(job.renderer.answer, job.prompt.sampling.stop)
        self.begun = False
        self.untold: list[int] = []

    def put(self, value: Any) -> None:
        """Take in the prompt, and then token after token.

        Raises:
            Stopped: a stop text was written, or the text is given up, or late.
        """
        if not self.begun:
            self.begun = True
            return
        if self.job.ticket.cancelled:
            raise Stopped("cancelled")
        deadline = self.job.prompt.deadline
        if deadline is not None and time.monotonic() > deadline:
            raise Stopped("deadline")
        for token in value.tolist():
            if token not in self.stop_ids:
                self._say(token)

    def _say(self, token: int) -> None:
        self.untold.append(token)
        if text := self.spelling.put(token):
            self.job.told(self._piece(text, None))
        if self.spelling.stopped:
            raise Stopped("stop")

    def end(self) -> None:
        """Nothing: the last piece is told by who knows why it ended."""

    def last(self, finish: Finish) -> Piece:
        """Give what was held back, and why it ended."""
        text = self.spelling.end()
        return self._piece(text, "stop" if self.spelling.stopped else finish)

    def _piece(self, text: str, finish: Finish | None) -> Piece:
        piece = Piece(text, tuple(self.untold), (), finish)
        self.untold = []
        return piece
