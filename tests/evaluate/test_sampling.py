"""Sampling: what is drawn follows the softmax, as temperature, top_k and top_p limit it."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats

from tenon.evaluate.sampling import Sampling, chosen, logprobs

ROWS, VOCABULARY = 6000, 12
LOGITS_V = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(3)) * 1.5
HOWS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.6),
    Sampling(temperature=1.0, top_k=4),
    Sampling(temperature=1.5, top_p=0.7),
    Sampling(temperature=1.5, top_k=8, top_p=0.6),
]


def draws(seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [chance.random() for _ in range(ROWS)]


def chances(how: Sampling) -> np.ndarray:
    """Say by the definition how likely each token is."""
    scores = (LOGITS_V.double() / how.temperature).numpy()
    order = np.argsort(-scores)[: how.top_k or VOCABULARY]
    kept = np.exp(scores[order]) / np.exp(scores[order]).sum()
    kept = np.where(np.cumsum(kept) - kept < how.top_p, kept, 0.0)
    found = np.zeros(VOCABULARY)
    found[order] = kept / kept.sum()
    return found


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_frequencies_follow_the_softmax(how):
    found = chosen(LOGITS_V.expand(ROWS, -1), [how] * ROWS, draws())
    seen, hoped = np.bincount(found, minlength=VOCABULARY), chances(how) * ROWS
    assert not seen[hoped == 0].any()
    assert stats.chisquare(seen[hoped > 0], hoped[hoped > 0]).pvalue > 0.01


def test_a_row_is_drawn_as_it_would_be_alone():
    """Rows that are sampled in all ways, and greedy ones, in one batch."""
    hows = [*HOWS, Sampling(), Sampling(temperature=0.3, top_k=1)] * 40
    generator = torch.Generator().manual_seed(4)
    logits_BV = torch.randn(len(hows), 50, generator=generator) * 2
    numbers = draws()[: len(hows)]
    together = chosen(logits_BV, hows, numbers)
    alone = [chosen(logits_BV[n : n + 1], [how], [numbers[n]])[0] for n, how in enumerate(hows)]
    assert together == alone
    likeliest = logits_BV.argmax(1).tolist()
    sure = [n for n, how in enumerate(hows) if how.temperature == 0 or how.top_k == 1]
    assert [together[n] for n in sure] == [likeliest[n] for n in sure]
    assert together != likeliest


def test_the_least_share_and_the_largest_draw_are_still_tokens():
    tiny = Sampling(temperature=1.0, top_p=1e-9)
    assert chosen(LOGITS_V[None], [tiny], [0.999]) == [int(LOGITS_V.argmax())]
    last = chosen(LOGITS_V[None], [Sampling(temperature=1.0)], [math.nextafter(1, 0)])
    assert last == [VOCABULARY - 1]
    assert chosen(LOGITS_V[None], [Sampling(temperature=1.0)], [0.0]) == [0]


def test_scores_that_are_not_finite_give_no_token():
    rows = LOGITS_V.repeat(4, 1)
    rows[1, 3] = math.nan
    rows[2] = math.inf
    rows[3, :5] = -math.inf
    for how in (Sampling(), HOWS[0], HOWS[3]):
        found = chosen(rows, [how] * 4, [0.5] * 4)
        assert [token is None for token in found] == [False, True, True, False]


def test_logprobs_are_told_to_those_who_ask():
    rows = LOGITS_V.expand(3, -1)
    logs = torch.log_softmax(LOGITS_V, 0)
    none, plain, three = logprobs(rows, [1, 2, 3], [None, 0, 3])
    assert none is None
    assert (plain.id, plain.top) == (2, ()) and plain.logprob == pytest.approx(float(logs[2]))
    assert three.id == 3 and three.logprob == pytest.approx(float(logs[3]))
    best, ids = logs.topk(3)
    assert [token for token, _ in three.top] == ids.tolist()
    assert [value for _, value in three.top] == pytest.approx(best.tolist())
    assert len(logprobs(rows, [1, 2, 3], [99, None, None])[0].top) == VOCABULARY
