"""Decoding: many rows written at once, a token each in every pass, whatever adapter each has.

A pass takes what is next of every row: of rows that are being written the one token that was last
chosen, and of prompts a share of the tokens that a pass may read, so that a long prompt holds up
nobody. Rows come and go between passes. What a row writes depends on its own prompt, adapter and
seed alone.

A row takes cells for the longest answer it may give before it begins, so that none that has begun
ever waits for cells. Its state moves on once a pass has been computed, so that a pass that fails
leaves all rows as they were; it is then computed again adapter by adapter, then row by row, and the
rows that fail alone are given up.

Legend: B rows of a pass whose next token is wanted, V tokens of the vocabulary, T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from tenon.core.errors import PlanError, RequestError, RunError
from tenon.evaluate.running import Asked, Finish, Piece, Running
from tenon.evaluate.sampling import Logprob, chosen, logprobs
from tenon.evaluate.turns import Landed, Turns
from tenon.model import trunk as trunks
from tenon.model.attending import attention
from tenon.model.cached import ATTENTION, Pass
from tenon.model.cells import Cells
from tenon.model.continuing import continued_TD, continuing_fault
from tenon.model.grid import ROWS
from tenon.model.rack import Rack

FAULTS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, OSError)
"""What a pass may fail by: torch's errors and ours. One row's failure must not end the others."""
LEAST_READ = 16
"""Tokens of prompts that a pass reads however many rows are being written."""
Said = tuple[Running, Piece | RunError]
"""A row with its next piece, or with why it was given up."""
Inside = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Passes:
    """How many passes were computed.

    Args:
        replayed: of rows in grids, from what was recorded.
        grids: of rows in grids, as others are.
        others: all others.
    """

    replayed: int = 0
    grids: int = 0
    others: int = 0


class AtOnce(Protocol):
    """How much is computed and kept at once; `tenon.serve.settings` says what each field is."""

    @property
    def batch_rows(self) -> int:
        """Rows that are written at once."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Tokens of prompts that are read in a pass beside rows that are being written."""
        ...

    @property
    def cache_tokens(self) -> int:
        """Tokens of prompts and answers whose keys and values are held."""
        ...


class Decoding:
    """Rows that are being written over one base. One thread alone may use it.

    Args:
        rack: the base, and adapters that rows can have for themselves; in evaluation mode.
        settings: how much is computed and kept at once.
        inside: puts the adapters of the rack in for a pass; they may stay in. Left out, they are
            put in and taken out for every pass.
        fault: why rows cannot be continued, as a proof has found, "" where they can; None to prove
            it now.
        grids: whether rows are written in grids; None for where that is faster, on CUDA.

    Raises:
        PlanError: rows cannot be continued on this base; `tenon.evaluate.generate` writes on it.
    """

    def __init__(
        self,
        rack: Rack,
        settings: AtOnce,
        inside: Inside | None = None,
        *,
        fault: str | None = None,
        grids: bool | None = None,
    ) -> None:
        self.rack, self.settings = rack, settings
        self.inside: Inside = inside or rack.all
        if fault is None:
            with self.inside():
                fault = continuing_fault(rack.trunk, self._bare)
        if fault:
            raise PlanError(
                f"this base cannot write several rows at once: {fault}; write one after another"
            )
        self.cells = Cells(settings.cache_tokens)
        self.rows: list[Running] = []
        self._passes = Passes()
        self.why = ""
        """Why rows are no longer written in grids."""
        on = rack.trunk.device.type == "cuda" if grids is None else grids
        self.turns: Turns | None = None
        if on and settings.batch_rows <= ROWS[-1]:
            self.turns = Turns(rack, self.cells, settings.prompt_tokens, self.inside)
        self._vocabulary = int(rack.trunk.model.config.vocab_size)

    @property
    def passes(self) -> Passes:
        """How many passes were computed, and how."""
        if self.turns is not None:
            known = self.turns.recordings
            self._passes = Passes(known.replayed, known.computed, self._passes.others)
        return self._passes

    def _bare(self, lengths: Sequence[int]) -> AbstractContextManager[None]:
        """Hold the route of rows of the base as it is."""
        return self.rack.router.on(self.rack.route([None] * len(lengths), lengths))

    @property
    def owners(self) -> set[str]:
        """The adapters of the rows, which must be in the rack when a pass is computed."""
        return {row.owner for row in self.rows if row.owner is not None}

    def room(self, prompt: Asked) -> bool:
        """Whether a row of this prompt could begin now.

        Raises:
            RequestError: it could never begin here.
        """
        self._refuse(prompt)
        wanted = self.cells.needed(_longest(prompt))
        return len(self.rows) < self.settings.batch_rows and wanted <= self.cells.free

    def begin(self, row: Running) -> None:
        """Let a row be written from the next pass on.

        Raises:
            RequestError: it could never be.
            RunError: there is no room for it now. Nothing has changed.
        """
        if not self.room(row.prompt):
            raise RunError(
                f"{len(self.rows):,} rows are being written and {self.cells.free:,} blocks of "
                "cells are free, too few for another row; wait until one has ended"
            )
        row.blocks = self.cells.take(_longest(row.prompt))
        self.rows.append(row)

    def cancel(self, row: Running, finish: Finish = "cancelled") -> Piece:
        """End a row that is being written, and give its last piece; other rows do not notice."""
        piece = row.end(finish)
        self._leave(row)
        return piece

    def step(self) -> list[Said]:
        """Compute one pass, and give what can be told of its rows; those that ended have left.

        Rows whose deadline has passed end before it.
        """
        now = time.monotonic()
        late = [row for row in self.rows if (row.prompt.deadline or now) < now]
        said: list[Said] = [(row, self.cancel(row, "deadline")) for row in late]
        turned = [] if self.turns is None else self.turns.take(self.rows)
        others = set(self.rows).difference(turned)
        if turned:
            said += self._turned(turned)
        going = self._going([row for row in self.rows if row in others])
        return [*said, *self._passed(going)] if going else said

    def _turned(self, rows: list[Running]) -> list[Said]:
        """Compute a turn of rows in grids; where that fails, they are computed as others are."""
        assert self.turns is not None  # noqa: S101 - asked before
        try:
            landed = self.turns.step(rows)
        except FAULTS as error:
            self._passes = self.passes
            self.why, self.turns = f"grids failed ({type(error).__name__}: {error})", None
            return self._passed(self._going(rows))
        return [said for each in landed if each.rows for said in self._told(each)]

    @torch.inference_mode()
    def _told(self, landed: Landed) -> list[Said]:
        """Give what can be told of rows of a turn."""
        if all(row.plain for row in landed.rows):
            return self._put(landed.rows, landed.ids, [None] * len(landed.rows))
        places = torch.tensor(landed.places, device=landed.logits_RV.device)
        return self._said(landed.rows, landed.logits_RV[places])

    def _going(self, rows: Sequence[Running]) -> list[tuple[Running, int]]:
        """Give the rows of the next pass with how many tokens of each are read."""
        reading = [row for row in rows if not row.new]
        left = max(LEAST_READ, self.settings.prompt_tokens - (len(rows) - len(reading)))
        counts: dict[Running, int] = {row: 1 for row in rows if row.new}
        # What short prompts leave of their share is for longer ones.
        reading.sort(key=lambda row: row.unread)
        for place, row in enumerate(reading):
            counts[row] = min(row.unread, -(-left // (len(reading) - place)))
            left -= counts[row]
        # Adapter by adapter, which makes the route short; within it rows of like length side by
        # side, which are computed in one product of their slots.
        going = [(row, count) for row, count in counts.items() if count]
        return sorted(going, key=lambda each: (self.rack.order(each[0].owner), each[1]))

    def _passed(self, going: Sequence[tuple[Running, int]]) -> list[Said]:
        """Compute a pass; where it fails, one for each adapter, and then for each row."""
        try:
            wanted, logits_BV = self._computed(going)
        except FAULTS as error:
            if len(going) == 1:
                return [self._failed(going[0][0], f"{type(error).__name__}: {error}")]
            owners = dict.fromkeys(row.owner for row, _ in going)
            parts = [[each for each in going if each[0].owner == owner] for owner in owners]
            parts = parts if len(parts) > 1 else [[each] for each in going]
            return [said for part in parts for said in self._passed(part)]
        for row, count in going:
            row.past += count
        return self._said(wanted, logits_BV) if wanted else []

    @torch.inference_mode()
    def _computed(self, going: Sequence[tuple[Running, int]]) -> tuple[list[Running], Tensor]:
        """Give the rows that have been read whole, and the scores of their next tokens."""
        trunk = self.rack.trunk
        self._passes = replace(self._passes, others=self._passes.others + 1)
        borders = Pass([row.line(count) for row, count in going], self.cells, trunk.device)
        route = self.rack.route([row.owner for row, _ in going], borders.lengths)
        ids = [token for row, count in going for token in row.ids(count)]
        with self.inside(), self.rack.router.on(route), attention(trunk.model, ATTENTION):
            hidden_TD = continued_TD(trunk, ids, borders)
        places = [n for n, (row, count) in enumerate(going) if row.unread == count]
        wanted = [going[place][0] for place in places]
        if len(places) == len(hidden_TD):
            return wanted, trunk.logits_UV(hidden_TD)
        ends = torch.tensor([borders.ends[place] for place in places], device=trunk.device)
        return wanted, trunk.logits_UV(hidden_TD[ends.long()])

    @torch.inference_mode()
    def _said(self, rows: Sequence[Running], logits_BV: Tensor) -> list[Said]:
        """Choose the next token of each row, and give what can be told."""
        samplings = [row.prompt.sampling for row in rows]
        found = chosen(logits_BV, samplings, [row.draw() for row in rows])
        ids = [0 if token is None else token for token in found]
        logs = logprobs(logits_BV, ids, [how.logprobs for how in samplings])
        return self._put(rows, found, logs)

    def _put(
        self,
        rows: Sequence[Running],
        found: Sequence[int | None],
        logs: Sequence[Logprob | None],
    ) -> list[Said]:
        """Let rows go on with their next tokens, and give what can be told."""
        said: list[Said] = []
        for row, token, log in zip(rows, found, logs, strict=True):
            if token is None:
                said.append(
                    self._failed(row, "the base and adapter gave scores that are not finite")
                )
                continue
            piece = row.put(token, log)
            if row.finish is not None:
                self._leave(row)
            if piece is not None:
                said.append((row, piece))
        return said

    def _failed(self, row: Running, why: str) -> Said:
        self._leave(row)
        owner = "the base" if row.owner is None else f"adapter {row.owner}"
        return row, RunError(f"{owner}: no answer could be written ({why}); try the row again")

    def _leave(self, row: Running) -> None:
        self.rows.remove(row)
        self.cells.give_back(row.blocks)

    def _refuse(self, prompt: Asked) -> None:
        """Refuse a prompt for which there would be no room however long it waited.

        Raises:
            RequestError: it is such a one.
        """
        ids, longest = prompt.ids, _longest(prompt)
        if not ids or prompt.sampling.max_new_tokens < 1:
            raise RequestError(
                f"a prompt of {len(ids):,} tokens with {prompt.sampling.max_new_tokens:,} new "
                "ones: both must be at least 1"
            )
        if not 0 <= min(ids) <= max(ids) < self._vocabulary:
            raise RequestError(
                f"the prompt has token ids from {min(ids):,} to {max(ids):,}, and the base knows "
                f"0 to {self._vocabulary - 1:,}; use the base's own tokenizer"
            )
        told = f"the prompt of {len(ids):,} tokens with its answer takes {longest:,} places, and "
        shorter = "; shorten the prompt or ask for fewer new tokens"
        positions = trunks.positions(self.rack.trunk)
        if positions and longest > positions:
            raise RequestError(f"{told}the base knows {positions:,}{shorter}")
        if self.cells.needed(longest) > self.cells.blocks:
            raise RequestError(f"{told}there are cells for {self.settings.cache_tokens:,}{shorter}")


def _longest(prompt: Asked) -> int:
    """Give the most tokens that a row will have in its cells: its last is written, never read."""
    return len(prompt.ids) + prompt.sampling.max_new_tokens - 1
