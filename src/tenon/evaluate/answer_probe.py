"""Answer probe: the linear head that finds answers best on the frozen base; it needs no adapter.

It is fitted as the head is trained, on the same loss and on features of the bare base.

Legend: W windows, T tokens of all windows, D features, L classes of the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tenon.core.progress import Progress
from tenon.data.question_answering import NO_ANSWER
from tenon.evaluate.answer import extracts, gathered, places_W2, token_features
from tenon.evaluate.answer_leaning import best_leaning
from tenon.evaluate.answer_spans import LEANING
from tenon.evaluate.baselines import PROBE, Baselines
from tenon.evaluate.frequent import Frequent
from tenon.evaluate.prediction import Floats
from tenon.model.reader import SIDES, Reader, place_nats, place_scores
from tenon.text.batch import Batch
from tenon.text.order import generator
from tenon.text.tokens import Tokens

FITTED_TOKENS, JUDGED_TOKENS = 80_000, 30_000
STREAM = 1 << 41
SPREADS = (1.0, 10.0, 100.0)
"""Prior variances of a logit that are tried, from strong to weak penalties."""
USUAL_SPREAD = 3.0
ITERATIONS = 40


@dataclass(frozen=True)
class _Rows:
    """Some windows, ready to be fitted.

    Args:
        features_TD: of all their tokens, standardised.
        lengths: tokens of each window.
        places_W2: of their answers.
    """

    features_TD: Tensor
    lengths: tuple[int, ...]
    places_W2: Tensor

    def nats(self, weight_LD: Tensor, bias_L: Tensor) -> Tensor:
        """Give the summed loss of a head."""
        logits_TL = self.features_TD @ weight_LD.T + bias_L
        return place_nats(place_scores(logits_TL, self.lengths), self.lengths, self.places_W2)


def fit(
    bare: Reader,
    tokens: Mapping[str, Tokens],
    labels: Sequence[str],
    *,
    seed: int,
    batch_tokens: int,
    progress: Progress | None = None,
) -> Baselines:
    """Fit the probe on the frozen base's features, and let it answer dev and test.

    Of train, at most 80,000 tokens of whole windows are fitted, drawn by `seed`; the penalty is
    the one with the least loss on dev.

    Args:
        bare: the base and head, without an adapter.
        tokens: of each part; `train`, and whichever of `dev` and `test` there are.
        labels: what the head scores.
    """
    train = _sample(tokens["train"], FITTED_TOKENS, seed)
    if progress:
        progress.start("features of train", len(train))
    features_TD = token_features(bare, train, batch_tokens=batch_tokens, progress=progress)
    mean_D = features_TD.mean(0)
    spread_D = np.maximum(features_TD.std(0), 1e-6)
    features_TD = (features_TD - mean_D) / spread_D
    judged = None
    if "dev" in tokens:
        dev = _sample(tokens["dev"], JUDGED_TOKENS, seed)
        dev_TD = (token_features(bare, dev, batch_tokens=batch_tokens) - mean_D) / spread_D
        judged = _rows(dev_TD, dev)
    if progress:
        progress.start("linear probe", None)
    weight_LD, bias_L = _chosen(_rows(features_TD, train), judged, len(labels))
    raw_LD = (weight_LD / spread_D).astype(np.float32)
    known = Baselines(
        frequent=Frequent(np.zeros(SIDES, np.float32), (), np.zeros((0, SIDES), np.float32)),
        weight_LD=raw_LD,
        bias_L=(bias_L - raw_LD @ mean_D).astype(np.float32),
        unit_D=np.zeros(len(mean_D), np.float32),
        log_probs={},
        fitted_rows=len(train),
    )
    judging = {part: rows for part, rows in tokens.items() if part != "train"}
    known = known.answering(
        {p: probed(bare, known, rows, batch_tokens=batch_tokens) for p, rows in judging.items()}
    )
    if "dev" not in tokens or NO_ANSWER not in labels:
        return known
    leaning = best_leaning(extracts(tokens["dev"], labels, known.log_probs["dev"]))
    return replace(known, constants={PROBE: {LEANING: (leaning,)}})


def probed(model: Reader, known: Baselines, tokens: Tokens, *, batch_tokens: int) -> Floats:
    """Give the scores that the probe gives the tokens, [T, 2].

    Args:
        model: a reader whose adapter is off, or that has none.
        known: whose probe it is.
    """
    weight_LD, bias_L = torch.from_numpy(known.weight_LD), torch.from_numpy(known.bias_L)

    def scores(rows: Batch) -> Tensor:
        return place_scores(model.features_TD(rows).cpu() @ weight_LD.T + bias_L, rows.lengths)

    return gathered(model, tokens, SIDES, scores, batch_tokens)


def _sample(tokens: Tokens, most: int, seed: int) -> Tokens:
    """Give whole windows of at most so many tokens, drawn by `seed`, or all."""
    if tokens.total <= most:
        return tokens
    order = generator(seed, STREAM).permutation(len(tokens))
    fitting = int((tokens.lengths_R[order].cumsum() <= most).sum())
    return tokens.take(np.sort(order[: max(1, fitting)]))


def _rows(features_TD: Floats, tokens: Tokens) -> _Rows:
    lengths: list[int] = tokens.lengths_R.tolist()
    return _Rows(torch.from_numpy(features_TD), tuple(lengths), torch.tensor(places_W2(tokens)))


def _chosen(train: _Rows, dev: _Rows | None, labels: int) -> tuple[Floats, Floats]:
    """Fit at each penalty in turn, from the weights before, until dev does not gain."""
    weight_LD = torch.zeros(labels, train.features_TD.shape[1])
    bias_L = torch.zeros(labels)
    best: tuple[float, Floats, Floats] | None = None
    for spread in SPREADS if dev is not None else (USUAL_SPREAD,):
        _descend(train, weight_LD, bias_L, spread)
        with torch.no_grad():
            nats = float((dev or train).nats(weight_LD, bias_L))
        if best is not None and nats >= best[0]:
            break
        best = nats, weight_LD.numpy().copy(), bias_L.numpy().copy()
    assert best is not None  # noqa: S101 - at least one penalty is tried
    return best[1], best[2]


def _descend(rows: _Rows, weight_LD: Tensor, bias_L: Tensor, spread: float) -> None:
    """Move weights and bias, in place, to the least loss at one penalty."""
    held = [weight_LD.requires_grad_(), bias_L.requires_grad_()]
    count = max(1, len(rows.lengths))
    solver = torch.optim.LBFGS(held, max_iter=ITERATIONS, line_search_fn="strong_wolfe")
    penalty = weight_LD.shape[1] / (2 * spread)

    def loss() -> Tensor:
        solver.zero_grad()
        total = (rows.nats(weight_LD, bias_L) + penalty * weight_LD.square().sum()) / count
        total.backward()
        return total

    solver.step(partial(loss))
    for tensor in held:
        tensor.requires_grad = False
