"""Sampling: the next token of each row, and the likeliest ones beside it.

A token is drawn by one number between 0 and 1, which a row draws from its own generator, so that
what it draws depends on nothing else.

Legend: B rows, V tokens of the vocabulary, S rows that are drawn, W tokens they are drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        max_new_tokens: most tokens of an answer; 0 for as many as the adapter had in training.
        temperature: what scores are divided by; 0 takes the likeliest, as evaluation does.
        top_p: only the likeliest tokens that have so much probability together.
        top_k: only so many of the likeliest; 0 for all.
        seed: of the draws; the same seed gives the same answer.
        stop: texts before which the answer ends.
        stop_ids: tokens before which it ends, beside those of the adapter.
        logprobs: how many of the likeliest tokens are told with each token; None for no
            probabilities at all.
    """

    max_new_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True)
class Logprob:
    """The natural logarithm of a token's probability, and of those beside it.

    Args:
        id: the token.
        logprob: of it.
        top: the likeliest tokens with theirs, best first.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def chosen(
    logits_BV: Tensor, samplings: Sequence[Sampling], draws: Sequence[float]
) -> list[int | None]:
    """Give the next token of each row; None where its scores are not finite.

    Args:
        logits_BV: float32.
        samplings: how each row is sampled.
        draws: of each row a number from [0, 1); of no effect where it takes the likeliest.
    """
    best_B, ids_B = logits_BV.max(1)
    drawn = [row for row, how in enumerate(samplings) if how.temperature]
    if drawn:
        some = len(drawn) < len(samplings)
        at = torch.tensor(drawn, device=logits_BV.device)
        rows_SV = logits_BV[at] if some else logits_BV
        ids_B[at] = _drawn(rows_SV, [samplings[n] for n in drawn], [draws[n] for n in drawn])
    best: list[float] = best_B.tolist()
    ids: list[int] = ids_B.tolist()
    return [token if isfinite(most) else None for token, most in zip(ids, best, strict=True)]


def _drawn(logits_SV: Tensor, samplings: Sequence[Sampling], draws: Sequence[float]) -> Tensor:
    """Draw a token for each row; int64 [S]."""
    device = logits_SV.device
    warmth = torch.tensor([how.temperature for how in samplings], device=device)
    scores_SV = logits_SV / warmth[:, None]
    u_S = torch.tensor(draws, dtype=torch.float64, device=device)
    cut = [how.top_k > 0 or how.top_p < 1 for how in samplings]
    if not any(cut):
        return _at(scores_SV.softmax(1), u_S)
    if not all(cut):
        # Rows that may draw any token need no sorting.
        found_S = torch.empty_like(u_S, dtype=torch.int64)
        for wanted in (True, False):
            rows = [row for row, is_cut in enumerate(cut) if is_cut == wanted]
            at = torch.tensor(rows, device=device)
            own = [samplings[row] for row in rows]
            found_S[at] = _drawn(logits_SV[at], own, [draws[row] for row in rows])
        return found_S
    return _of_likeliest(scores_SV, samplings, u_S)


def _of_likeliest(scores_SV: Tensor, samplings: Sequence[Sampling], u_S: Tensor) -> Tensor:
    """Draw from the likeliest tokens, as `top_k` and then `top_p` limit them.

    Source: Holtzman et al. 2020 (arXiv:1904.09751): the fewest tokens that have `top_p` together.
    """
    device, vocabulary = scores_SV.device, scores_SV.shape[1]
    most = [min(how.top_k or vocabulary, vocabulary) for how in samplings]
    best_SW, ids_SW = scores_SV.topk(max(most), dim=1)
    ranks_W = torch.arange(best_SW.shape[1], device=device)
    beyond_SW = ranks_W >= torch.tensor(most, device=device)[:, None]
    chances_SW = best_SW.masked_fill(beyond_SW, -torch.inf).softmax(1)
    share_S = torch.tensor([how.top_p for how in samplings], device=device)
    before_SW = chances_SW.cumsum(1) - chances_SW
    # The likeliest token always stays, whatever share is asked for.
    off_SW = (before_SW >= share_S[:, None]) & (ranks_W > 0)
    places_S = _at(chances_SW.masked_fill(off_SW, 0.0), u_S)
    return ids_SW.gather(1, places_S[:, None])[:, 0]


def _at(chances_SW: Tensor, u_S: Tensor) -> Tensor:
    """Give the place at which the running sum of the chances passes `u` of their total."""
    sums_SW = chances_SW.cumsum(1, dtype=torch.float64)
    wanted_S1 = (u_S * sums_SW[:, -1])[:, None]
    places_S = torch.searchsorted(sums_SW, wanted_S1, right=True)[:, 0]
    return places_S.clamp(max=chances_SW.shape[1] - 1)


def logprobs(
    logits_BV: Tensor, ids: Sequence[int], counts: Sequence[int | None]
) -> list[Logprob | None]:
    """Give the logarithm of the probability of a token of each row that asks for it.

    Args:
        logits_BV: float32, before any temperature.
        ids: the token of each row.
        counts: how many of the likeliest are told beside it; None for nothing.
    """
    found: list[Logprob | None] = [None] * len(ids)
    asked = [row for row, count in enumerate(counts) if count is not None]
    if not asked:
        return found
    logs_BV = torch.log_softmax(logits_BV[torch.tensor(asked, device=logits_BV.device)], 1)
    most = min(max(counts[row] or 0 for row in asked), logits_BV.shape[1])
    best, tokens = (each.tolist() for each in logs_BV.topk(most, dim=1)) if most else ([], [])
    own = logs_BV.gather(1, torch.tensor([[ids[row]] for row in asked], device=logs_BV.device))
    for place, (row, log) in enumerate(zip(asked, own[:, 0].tolist(), strict=True)):
        count = counts[row] or 0
        pairs = zip(tokens[place][:count], best[place][:count], strict=True) if count else ()
        found[row] = Logprob(ids[row], log, tuple(pairs))
    return found
