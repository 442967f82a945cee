"""Continuing: a trunk goes on with rows from what it keeps of them, where that is proved right.

Legend: T new tokens of a pass, D hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from tenon.core.errors import RunError
from tenon.model.attending import attention
from tenon.model.cached import ATTENTION, Line, Pass
from tenon.model.cells import CELLS, Cells
from tenon.model.grid import Grid
from tenon.model.loading import quiet
from tenon.model.packing import Borders
from tenon.model.trunk import PROVABLE_WINDOW, TOLERANCE, Trunk, positions, proof_row
from tenon.text.batch import of_ids

Routed = Callable[[Sequence[int]], AbstractContextManager[None]]
PROOF_LENGTHS = (9, 3, 7)
PROOF_STEPS = 2
"""Tokens that each row of the proof gets one by one, behind its prompt."""


def continued_TD(trunk: Trunk, ids: Sequence[int] | Tensor, borders: Pass | Grid) -> Tensor:
    """Give the last hidden state of each new token, and keep what later ones will see of them.

    The trunk attends by `tenon.model.cached.ATTENTION` meanwhile; who calls sees to that.

    Args:
        ids: of the new tokens, row after row; int64 [T] if a tensor.
        borders: of the rows.
    """
    ids_T = ids if isinstance(ids, Tensor) else torch.tensor(ids, device=trunk.device)
    states = trunk.model(
        input_ids=ids_T[None],
        position_ids=borders.positions_T[None],
        borders=borders,
        use_cache=False,
    )
    return states.last_hidden_state[0]


def continuing_fault(trunk: Trunk, routed: Routed | None = None) -> str:
    """Say why rows cannot be continued from what is kept of them; empty where it is proved.

    Args:
        routed: holds the route of rows of such lengths, where the trunk has adapters in it.
    """
    routed = routed or (lambda _: contextlib.nullcontext())
    if trunk.seq2seq:
        return "an encoder-decoder is asked row by row"
    if not trunk.packed:
        return f"its rows are padded ({trunk.why})"
    if not trunk.decoder:
        return "it writes nothing"
    if trunk.offset:
        return "it counts positions from the tokens of a row"
    why, windows = _difference(trunk, PROOF_LENGTHS, routed)
    window = min(windows, default=PROVABLE_WINDOW)
    fits = positions(trunk) == 0 or window + 2 + PROOF_STEPS <= positions(trunk)
    if why or window >= PROVABLE_WINDOW or not fits:
        return why
    return _difference(trunk, (window + 2 + PROOF_STEPS, 3, window + 1), routed)[0]


def _difference(trunk: Trunk, lengths: tuple[int, ...], routed: Routed) -> tuple[str, set[int]]:
    """Compare rows that are continued to packed ones; give what is wrong, and the windows met."""
    rows = [proof_row(trunk, length) for length in lengths]
    batch = of_ids(rows).to(trunk.device)
    whole = Borders(batch.lengths, trunk.device)
    windows = set[int]()
    with torch.inference_mode(), quiet():
        with routed(batch.lengths):
            expected_TD = trunk.packed_TD(batch, whole).float()
        try:
            found = _in_parts(trunk, rows, windows, routed)
        except RunError as error:
            return str(error), windows
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            return f"it cannot be continued ({type(error).__name__})", windows
    error = float((found - expected_TD).abs().max() / expected_TD.abs().max())
    if error <= TOLERANCE[trunk.model.dtype]:
        return "", windows
    return f"its hidden states differ by {error:.1e} from those of whole rows", windows


def _in_parts(
    trunk: Trunk, rows: Sequence[Sequence[int]], windows: set[int], routed: Routed
) -> Tensor:
    """Give the hidden states of rows that begin one after another and grow at different paces."""
    cells = Cells(sum(map(len, rows)) + CELLS * len(rows))
    blocks = [cells.take(len(row)) for row in rows]
    done = [0] * len(rows)
    found: list[list[Tensor]] = [[] for _ in rows]
    with attention(trunk.model, ATTENTION):
        turn = 0
        while any(at < len(row) for at, row in zip(done, rows, strict=True)):
            # A row begins a turn later than the one before it, with half of its prompt.
            going = [n for n, row in enumerate(rows) if n <= turn and done[n] < len(row)]
            sizes = [_paced(done[n], len(rows[n])) for n in going]
            lines = [Line(blocks[n], done[n], size) for n, size in zip(going, sizes, strict=True)]
            ids = [t for n, s in zip(going, sizes, strict=True) for t in rows[n][done[n] :][:s]]
            with routed(sizes):
                states = continued_TD(trunk, ids, Pass(lines, cells, trunk.device, windows))
            for n, part in zip(going, states.split(sizes), strict=True):
                found[n].append(part)
                done[n] += len(part)
            turn += 1
    return torch.cat([part for parts in found for part in parts]).float()


def _paced(done: int, length: int) -> int:
    """Give how many tokens of a row come next: half of the prompt, the rest, then one by one."""
    prompt = length - PROOF_STEPS
    return 1 if done >= prompt else max(1, prompt // 2) if not done else prompt - done
