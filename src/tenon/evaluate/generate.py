"""Generate: the only way from prompts to what a base writes: greedy, many at once, with a cache.

Where it is proved that rows can be continued, they are written together (`Decoding`), and one that
ends gives its place to the next. All others are written in padded batches by transformers.

P tokens of a batch's longest prompt, B rows, N new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from tenon.core.progress import Progress
from tenon.evaluate.predict import inference
from tenon.evaluate.together import go_on, together_fault
from tenon.model import trunk as trunks
from tenon.model.seq2seq import Seq2Seq
from tenon.model.trunk import Trunk
from tenon.model.writer import Writer
from tenon.text.order import micro_batches

Writing = Writer | Seq2Seq
"""A model that writes answers itself."""
LEAST_PROMPT = 16
"""So many tokens of a prompt are kept, whatever room answers are to have."""
LOOP_TIMES, LOOP_TOKENS, LONGEST_LOOP = 4, 16, 64
"""A loop is the same tokens, at most so many, so often one after another, over so many tokens."""


@dataclass(frozen=True)
class Said:
    """What a base wrote.

    Args:
        ids: token ids, without the one that ends them.
        ended: whether it came to an end by itself.
    """

    ids: list[int]
    ended: bool

    @property
    def looped(self) -> bool:
        """Whether it was broken off while it said the same tokens over and over."""
        return not self.ended and repeats(self.ids)


def repeats(ids: Sequence[int]) -> bool:
    """Tell whether tokens end in the same few, time after time."""
    for period in range(1, min(LONGEST_LOOP, len(ids) // LOOP_TIMES) + 1):
        size = max(LOOP_TIMES * period, LOOP_TOKENS)
        end = ids[-size:]
        if len(end) == size and list(end[period:]) == list(end[:-period]):
            return True
    return False


def room(model: Writing, limit: int, max_new_tokens: int) -> int:
    """Give the most tokens of a prompt to which so many may be written.

    Args:
        limit: most tokens of a row in training; of an encoder-decoder, of its source, which takes
            no room from an answer.
    """
    if model.trunk.seq2seq:
        return limit
    positions = trunks.positions(model.trunk) or limit + max_new_tokens
    return max(min(limit, positions - max_new_tokens), min(LEAST_PROMPT, limit))


def clipped(ids: Sequence[int], most: int, begin: int | None) -> list[int]:
    """Give the last tokens of a prompt; a beginning of sequence stays."""
    if len(ids) <= most:
        return list(ids)
    head = list(ids[:1]) if ids[0] == begin else []
    return [*head, *ids[len(ids) - most + len(head) :]]


def generate(
    model: Writing,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    batch_tokens: int,
    progress: Progress | None = None,
    streamer: BaseStreamer | None = None,
) -> list[Said]:
    """Write after each prompt what the base finds likeliest, token by token.

    Weights, mode and random state of the model stay as they are. What is written depends on the
    prompt alone, up to rounding.

    Args:
        prompts: token ids, at least one of each.
        stop_ids: an answer ends before any of these.
        max_new_tokens: most tokens of an answer.
        batch_tokens: tokens of prompts and answers that are computed at once.
        progress: told of the prompts that are done.
        streamer: of a single prompt; gets its tokens one by one.
    """
    found: dict[int, Said] = {}
    with inference(model):
        if isinstance(model, Writer) and prompts and not (streamer or together_fault(model)):
            written = go_on(model, prompts, stop_ids, max_new_tokens, batch_tokens, progress)
            found = {n: Said(row.new, row.finish == "stop") for n, row in written.items()}
        rows = np.array([row for row in range(len(prompts)) if row not in found], np.int64)
        lengths = np.array([len(prompt) for prompt in prompts], np.int64)
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        sizes = lengths + max_new_tokens
        for part in micro_batches(rows, sizes, batch_tokens) if len(rows) else ():
            chosen: list[int] = part.tolist()
            new_BN = _new_tokens(
                model, [prompts[row] for row in chosen], stop_ids, max_new_tokens, streamer
            )
            for row, new in zip(chosen, new_BN, strict=True):
                found[row] = _ended(new, stop_ids)
            if progress:
                progress.advance(len(chosen))
    return [found[row] for row in range(len(prompts))]


def _new_tokens(
    model: Writing,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    streamer: BaseStreamer | None,
) -> list[list[int]]:
    trunk = model.trunk
    asked = _asked(trunk, prompts)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=list(stop_ids),
        pad_token_id=trunk.pad,
        decoder_start_token_id=trunk.start[0] if trunk.seq2seq else None,
        use_cache=True,
    )
    whole: Any = trunk.whole
    out_BX = whole.generate(**asked, generation_config=settings, streamer=streamer)
    given = asked.get("decoder_input_ids", asked["input_ids"]).shape[1]
    return out_BX[:, given:].tolist()


def _asked(trunk: Trunk, prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Give prompts as a base takes them: padded on the left, or on the right for an encoder."""
    longest = max(map(len, prompts))
    gaps = [longest - len(prompt) for prompt in prompts]
    fill, real = [[trunk.pad] * gap for gap in gaps], [[0] * gap for gap in gaps]
    if trunk.seq2seq:
        ids = [[*prompt, *pad] for prompt, pad in zip(prompts, fill, strict=True)]
        mask = [[1] * len(prompt) + pad for prompt, pad in zip(prompts, real, strict=True)]
    else:
        ids = [[*pad, *prompt] for prompt, pad in zip(prompts, fill, strict=True)]
        mask = [pad + [1] * len(prompt) for prompt, pad in zip(prompts, real, strict=True)]
    asked = {"input_ids": ids, "attention_mask": mask}
    if trunk.seq2seq:
        asked["decoder_input_ids"] = [list(trunk.start)] * len(prompts)
    return {name: torch.tensor(rows, device=trunk.device) for name, rows in asked.items()}


def _ended(new: Sequence[int], stop_ids: Sequence[int]) -> Said:
    end = next((place for place, token in enumerate(new) if token in stop_ids), None)
    return Said(list(new[:end]), ended=end is not None)
