"""Together: prompts that one model goes on from, many at once, each as soon as it has room."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from tenon.core.errors import RequestError, RunError
from tenon.core.progress import Progress
from tenon.evaluate.decoding import Decoding
from tenon.evaluate.running import Prompt, Running
from tenon.evaluate.sampling import Sampling
from tenon.model.cells import CELLS
from tenon.model.continuing import continuing_fault
from tenon.model.rack import Rack
from tenon.model.seq2seq import Seq2Seq
from tenon.model.trunk import Trunk
from tenon.model.writer import Writer

MOST_ROWS = {"cpu": 64, "cuda": 256}
"""Rows that are written at once: more of them make a pass longer and no token cheaper."""
PROMPT_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens of prompts that a pass reads beside rows that are being written."""
OTHERWISE: dict[str, tuple[object, ...]] = {
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "sequence_bias": (None,),
    "exponential_decay_length_penalty": (None,),
    "guidance_scale": (None, 1.0),
    "watermarking_config": (None,),
    "remove_invalid_values": (None, False),
    "renormalize_logits": (None, False),
}
"""Settings of a base's own generation_config.json by which transformers writes others than the
likeliest tokens, with the values that change nothing."""
SHARE = 0.4
"""Of the free memory of a CUDA device that may hold keys and values, where nothing else comes."""
_PROVED: WeakKeyDictionary[nn.Module, tuple[bool, str]] = WeakKeyDictionary()
"""What was found out of a model, by whether its rows were packed."""
_LASTING: WeakKeyDictionary[nn.Module, Decoding | None] = WeakKeyDictionary()
"""Models that answer time after time, with what they were written with the last time."""


@dataclass(frozen=True)
class Limits:
    """How much is computed and kept at once.

    Args:
        batch_rows: rows that are written at once.
        prompt_tokens: tokens of prompts that are read in a pass.
        cache_tokens: tokens of prompts and answers whose keys and values are held.
    """

    batch_rows: int
    prompt_tokens: int
    cache_tokens: int


def together_fault(model: Writer | Seq2Seq) -> str:
    """Say why prompts are not gone on from together; empty where that gives what each gives alone.

    It is proved once for a model, with its adapter in.
    """
    config: Any = getattr(model.trunk.whole, "generation_config", None)
    for name, idle in OTHERWISE.items():
        value = getattr(config, name, None)
        if value not in idle:
            return f"its generation_config.json sets {name} to {value}"
    packed = model.trunk.packed
    known = _PROVED.get(model)
    if known is None or known[0] != packed:
        known = _PROVED[model] = (packed, continuing_fault(model.trunk))
    return known[1]


def stay(model: Writer | Seq2Seq) -> None:
    """Let what a model is written with stay between calls: it answers portion after portion.

    Its weights and adapter stay as they are from now on, and on CUDA keys and values may take a
    good part of the memory that is free.
    """
    _LASTING.setdefault(model, None)


def roomy(trunk: Trunk, tokens: int) -> int:
    """Give for how many tokens a CUDA device has room, at least so many; elsewhere these."""
    if trunk.device.type != "cuda":
        return tokens
    config = trunk.model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    channels = getattr(config, "head_dim", None) or trunk.hidden_size // config.num_attention_heads
    each = 2 * config.num_hidden_layers * heads * channels * trunk.model.dtype.itemsize
    free, _ = torch.cuda.mem_get_info(trunk.device)
    return max(tokens, int(SHARE * free) // each)


def _decoding(model: Writer, longest: int, tokens: int) -> Decoding:
    """Give what writes; that of the last time where it stays and is large enough."""
    lasting, known = model in _LASTING, _LASTING.get(model)
    if known is not None and not known.rows and known.settings.cache_tokens >= longest:
        if known.turns is not None:
            known.turns.drop()
        return known
    trunk = model.trunk
    held = limits(trunk.device.type, longest, roomy(trunk, tokens) if lasting else tokens)
    made = Decoding(Rack(trunk), held, inside=nullcontext, fault="")
    if lasting:
        _LASTING[model] = made
    return made


def limits(device: str, longest: int, tokens: int) -> Limits:
    """Give how much is written at once.

    Args:
        device: type of the base's.
        longest: tokens of the longest prompt with its answer.
        tokens: of prompts and answers that are held at once; those of one row at least.
    """
    rows = MOST_ROWS.get(device, MOST_ROWS["cpu"])
    reading = PROMPT_TOKENS.get(device, PROMPT_TOKENS["cpu"])
    held = min(max(tokens, longest), rows * (longest + CELLS))
    return Limits(rows, min(reading, held), held)


def go_on(
    model: Writer,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    new: int,
    tokens: int,
    progress: Progress | None,
) -> dict[int, Running]:
    """Give the rows of prompts that were written; those that failed, or have no room, are left out.

    Args:
        stop_ids: an answer ends before any of these.
        new: most tokens of an answer.
        tokens: of prompts and answers that are held at once.
        progress: told of the prompts that are done.
    """
    longest = max(map(len, prompts)) + new
    decoding = _decoding(model, longest, tokens)
    sampling = Sampling(max_new_tokens=new)
    rows = {n: Running(None, Prompt(tuple(ids), sampling), None, stop_ids)
            for n, ids in enumerate(prompts)}  # fmt: skip
    # The longest first: short ones fill the room that is left at the end.
    waiting = sorted(rows, key=lambda n: len(prompts[n]))
    places = {row: n for n, row in rows.items()}
    while waiting or decoding.rows:
        while waiting:
            try:
                if not decoding.room(rows[waiting[-1]].prompt):
                    break
                decoding.begin(rows[waiting[-1]])
            except RequestError:
                del rows[waiting[-1]]
            waiting.pop()
        for row, piece in decoding.step():
            if isinstance(piece, RunError):
                del rows[places[row]]
            elif piece.finish is not None and progress:
                progress.advance(1)
    return rows
