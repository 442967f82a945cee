"""Intake: what is asked, checked and turned into token ids, in the thread of who asks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import cast

from tenon.core.errors import DataError, RequestError
from tenon.evaluate.ground import refuse_other_template, renderer_for
from tenon.evaluate.probes import rows_of
from tenon.model import trunk as trunks
from tenon.model.base import Base, Trained, trained_pooling
from tenon.serve.asked import Features, Prompt, Rows
from tenon.serve.handle import Handle
from tenon.serve.passes import FeaturesJob, RowsJob
from tenon.serve.seat import Seat
from tenon.serve.stage import Stage
from tenon.serve.ticket import Ticket
from tenon.serve.writing import Told, WriteJob
from tenon.text.render import Rendered, Renderer
from tenon.text.text_generation_render import WritingRenderer, form_of
from tenon.text.tokenizer import encode, refuse_empty, token_limit
from tenon.text.tokens import Tokens, collect

BASE_NEW_TOKENS = 256
"""Most tokens of an answer of the base itself, where nothing is said."""


@dataclass(frozen=True)
class Intake:
    """What turns requests into jobs.

    Args:
        base: where its files lie.
        request_rows: most rows of one request.
    """

    base: Base
    request_rows: int
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, stage: Stage, seat: Seat, asked: Rows) -> RowsJob:
        """Give the job of some rows.

        Raises:
            RequestError: there are none or too many, they are of the other sort, or one cannot
                be answered.
        """
        self._refuse_count(len(asked.examples))
        seat.answerer.refuse_other_sort(asked.examples)
        first = asked.examples[0]
        for example in asked.examples:
            if (example.pair is None) != (first.pair is None):
                raise RequestError(
                    f"{example.origin}: is of another sort than {first.origin}, which of the two "
                    "is a pair of texts; ask for texts and pairs apart"
                )
        return RowsJob(stage, seat, self._tokens(seat, asked), asked.form)

    def probes(self, stage: Stage, handle: Handle) -> tuple[Renderer, Rendered | None]:
        """Give what writes an adapter's rows, and the rows of its probes where it has any.

        Raises:
            AdapterError: it was trained with another chat template, or its probes are not whole.
        """
        manifest, seq2seq = handle.manifest, stage.rack.trunk.seq2seq
        with self._reading:
            renderer = renderer_for(manifest, stage.tokenizer, seq2seq=seq2seq)
            refuse_other_template(handle.folder, manifest, renderer)
            return renderer, rows_of(handle.folder, manifest, renderer)

    def _tokens(self, seat: Seat, asked: Rows) -> Tokens:
        try:
            # A tokenizer of transformers keeps how it cuts in itself, which threads would share.
            with self._reading:
                return collect(asked.examples, seat.answerer.renderer)
        except DataError as error:
            raise RequestError(str(error)) from error

    def features(self, stage: Stage, asked: Features) -> FeaturesJob:
        """Give the job of some texts.

        Raises:
            RequestError: there are none or too many, or one has no tokens.
        """
        self._refuse_count(len(asked.texts))
        for place, text in enumerate(asked.texts):
            if not text.strip():
                raise RequestError(f"text {place}: is {text!r}; expected a text that is not empty")
        trunk, tokenizer = stage.rack.trunk, stage.tokenizer
        limit = token_limit(tokenizer, trunks.positions(trunk))
        with self._reading:
            made = encode(tokenizer, asked.texts, None, limit=limit, side="right")
        try:
            refuse_empty(made.ids, [f"text {place}" for place in range(len(made.ids))])
        except DataError as error:
            raise RequestError(str(error)) from error
        return FeaturesJob(stage, made.ids, made.types, self._trained(stage))

    def _trained(self, stage: Stage) -> Trained:
        return trained_pooling(self.base.folder, decoder=stage.rack.trunk.decoder)

    def prompt(
        self, stage: Stage, seat: Seat | None, asked: Prompt, told: Told, ticket: Ticket
    ) -> WriteJob:
        """Give the job of a prompt.

        Raises:
            RequestError: it has no tokens, more than there is room for, or the adapter writes no
                texts.
        """
        renderer = writer_of(stage, seat)
        most = asked.sampling.max_new_tokens or longest(seat)
        limit = most_of_prompt(stage, renderer, most)
        if not 0 < len(asked.ids) <= limit:
            raise RequestError(
                f"the prompt has {len(asked.ids):,} tokens; at least 1 and, with {most:,} to be "
                f"written after them, at most {limit:,} can be"
            )
        sampling = replace(asked.sampling, max_new_tokens=most)
        asked = replace(asked, sampling=sampling)
        return WriteJob(stage, seat, renderer, asked, told, ticket)

    def _refuse_count(self, count: int) -> None:
        if not 0 < count <= self.request_rows:
            raise RequestError(
                f"a request of {count:,} rows; at least 1 and at most {self.request_rows:,} are "
                "answered at once: send the others in requests of their own"
            )


def writer_of(stage: Stage, seat: Seat | None) -> WritingRenderer:
    """Give what makes prompts of conversations, and texts of tokens.

    Raises:
        RequestError: the adapter writes no texts.
    """
    if seat is not None:
        manifest = seat.handle.manifest
        if not manifest.writes:
            raise RequestError(
                f"adapter {seat.handle.name}: is for {manifest.task}, which writes no texts"
            )
        return cast(WritingRenderer, seat.answerer.renderer)
    trunk, tokenizer = stage.rack.trunk, stage.tokenizer
    limit = token_limit(tokenizer, trunks.positions(trunk))
    form = form_of(tokenizer, "auto", "rows", seq2seq=trunk.seq2seq)
    return WritingRenderer(tokenizer, limit, form, seq2seq=trunk.seq2seq)


def longest(seat: Seat | None) -> int:
    """Give the most tokens of an answer where nothing is said."""
    return BASE_NEW_TOKENS if seat is None else seat.handle.manifest.text.max_new_tokens


def most_of_prompt(stage: Stage, renderer: WritingRenderer, max_new_tokens: int) -> int:
    """Give the most tokens of a prompt that leave room for so many new ones."""
    trunk = stage.rack.trunk
    if trunk.seq2seq:
        return renderer.limit
    return (trunks.positions(trunk) or renderer.limit + max_new_tokens) - max_new_tokens
