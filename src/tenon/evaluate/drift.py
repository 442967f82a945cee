"""Drift: what a base makes of texts that an adapter was not trained for, with it and without.

A decoder is asked how likely it finds each next token; an encoder with a language-model head, how
likely it finds tokens that are masked, the same ones both times; an encoder without, where it puts
the text.

Legend: R texts, B rows of a batch, P tokens of the longest, V tokens of the vocabulary, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from scipy import sparse
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tenon.core.progress import Progress
from tenon.data.plain import Plain
from tenon.evaluate import likelihood
from tenon.evaluate.prediction import Bools, Index, picked
from tenon.evaluate.scorers import Scorer
from tenon.evaluate.statistics import paired
from tenon.model.head import pool
from tenon.model.settings import Pooling
from tenon.model.trunk import Trunk, padded
from tenon.text.batch import of_ids
from tenon.text.tokenizer import encode

Doubles = npt.NDArray[np.float64]
Metric = Literal["perplexity", "masked_perplexity", "vector_cosine"]
MASKED = 0.15
"""Share of a text's tokens that are masked at once. Source: Devlin et al. 2019, BERT."""
BATCH_TOKENS = 2_048
LEAST_TOKENS = 2


@dataclass(frozen=True)
class Weighed:
    """A sum and a count of each of R texts; the form of answers that statistics read.

    Args:
        ids, origins: of the texts.
        sums_R: nats, or cosines.
        counts_R: tokens, or 1.
    """

    ids: Sequence[str]
    origins: Sequence[str]
    sums_R: Doubles
    counts_R: Doubles
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known_R(self) -> Bools:
        """All of them: a text needs no gold."""
        return np.ones(len(self), np.bool_)

    def finite(self) -> bool:
        """Whether every number is finite."""
        return bool(np.isfinite(self.sums_R).all())

    def take(self, rows: Index) -> Weighed:
        """Give the texts at `rows`, in that order."""
        return replace(self, **picked(self, rows, "sums_R", "counts_R"))

    def same_gold(self, other: Weighed) -> bool:
        """Whether as much was asked of both."""
        return np.array_equal(self.counts_R, other.counts_R)


def _terms(answers: Weighed) -> Any:
    return sparse.csr_array(np.stack([answers.sums_R, answers.counts_R], axis=1))


def _mean(sums_SK: Doubles, _rows: Any) -> Doubles:
    return sums_SK[:, 0] / sums_SK[:, 1]


SCORERS: dict[Metric, Scorer] = {
    "perplexity": Scorer(
        "perplexity", "Perplexity", "lower", "plain", "log", _terms, likelihood.perplexity
    ),
    "masked_perplexity": Scorer(
        "masked_perplexity", "Perplexity of masked tokens", "lower", "plain", "log", _terms,
        likelihood.perplexity,
    ),
    "vector_cosine": Scorer(
        "vector_cosine", "Cosine to the base's vector", "higher", "plain", "bca", _terms, _mean
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """What texts are asked with.

    Args:
        trunk: of an encoder or decoder, with the adapter on it.
        peft: the adapter.
        language: the base's language model around the trunk, or None without.
        tokenizer: of the base.
        limit: most tokens of a text; longer ones are cut.
        pooling: how the base makes one vector of a text.
        seed: of the masks and of resampling.
        level, resamples: of the intervals.
    """

    trunk: Trunk
    peft: PeftModel
    language: PreTrainedModel | None
    tokenizer: PreTrainedTokenizerBase
    limit: int
    pooling: Pooling
    seed: int
    level: float
    resamples: int

    @property
    def metric(self) -> Metric:
        """By what base and adapter are compared."""
        if self.language is None:
            return "vector_cosine"
        return "perplexity" if self.trunk.decoder else "masked_perplexity"


def drift(texts: Plain, ask: Ask, progress: Progress | None = None) -> dict[str, Any]:
    """Compare the base with and without the adapter on texts.

    Texts that have less than two tokens say nothing and are left out.

    Returns:
        n, metric, before, after, and the difference with low, high and p, of which only finite
        numbers are given.
    """
    encoded = encode(ask.tokenizer, texts.texts, None, limit=ask.limit, side="right")
    kept = [row for row, ids in enumerate(encoded.ids) if len(ids) >= LEAST_TOKENS]
    ids = [encoded.ids[row] for row in kept]
    scorer = SCORERS[ask.metric]
    with torch.inference_mode():
        after = _asked(ids, ask, progress)
        with ask.peft.disable_adapter():
            before = _asked(ids, ask, progress)
    if ask.metric == "vector_cosine":
        before, after = _cosines(before, after)
    named = [texts.ids[row] for row in kept], [texts.origins[row] for row in kept]
    first, second = (Weighed(*named, sums, counts, {}) for sums, counts in (before, after))
    drawn: dict[str, Any] = {"level": ask.level, "resamples": ask.resamples, "seed": ask.seed}
    compared = paired(second, first, [scorer], **drawn)[scorer.name]
    return {
        "n": compared.n,
        "metric": scorer.name,
        "before": scorer.score(first),
        "after": scorer.score(second),
        "difference": compared.difference,
        "low": compared.low,
        "high": compared.high,
        "p": compared.p,
        "method": compared.method,
    }


def _asked(ids: list[list[int]], ask: Ask, progress: Progress | None) -> tuple[Any, Any]:
    """Give sums and counts of each text; of vectors, the vectors and ones."""
    if ask.language is None:
        found = [_vectors(ids[rows], ask) for rows in _batches(ids, progress)]
        return np.concatenate(found), np.ones(len(ids))
    asked: Callable[..., Any] = _next if ask.trunk.decoder else _masked
    pairs = [asked(ids[rows], ask) for rows in _batches(ids, progress)]
    return tuple(np.concatenate(side) for side in zip(*pairs, strict=True))  # type: ignore[return-value]


def _batches(ids: list[list[int]], progress: Progress | None) -> Iterator[slice]:
    """Give runs of texts that hold so many tokens together, padding counted; one text at least."""
    start = 0
    while start < len(ids):
        stop, longest = start, 0
        while stop < len(ids):
            longest = max(longest, len(ids[stop]))
            if stop > start and longest * (stop - start + 1) > BATCH_TOKENS:
                break
            stop += 1
        yield slice(start, stop)
        if progress:
            progress.advance(stop - start)
        start = stop


def _logits_BPV(ids: list[list[int]], ask: Ask) -> tuple[Tensor, Tensor, Tensor]:
    """Give ids_BP and mask_BP of texts, and the language model's scores."""
    ids_BP, mask_BP, _ = padded(of_ids(ids).to(ask.trunk.device), ask.trunk.pad)
    assert ask.language is not None  # noqa: S101 - asked only where there is one
    logits_BPV = ask.language(input_ids=ids_BP, attention_mask=mask_BP).logits
    return ids_BP, mask_BP, logits_BPV


def _next(ids: list[list[int]], ask: Ask) -> tuple[Doubles, Doubles]:
    """Give the nats of each text's tokens behind its first, and how many they are."""
    ids_BP, mask_BP, logits_BPV = _logits_BPV(ids, ask)
    nats_BP = functional.cross_entropy(
        logits_BPV[:, :-1].float().transpose(1, 2), ids_BP[:, 1:], reduction="none"
    )
    real_BP = mask_BP[:, 1:].bool()
    return _summed(nats_BP, real_BP)


def _masked(ids: list[list[int]], ask: Ask) -> tuple[Doubles, Doubles]:
    """Give the nats of each text's masked tokens, and how many they are."""
    blank = cast(int, ask.tokenizer.mask_token_id)
    special = set(ask.tokenizer.all_special_ids)
    hidden = [_places(row, special, ask.seed) for row in ids]
    shown = [
        [blank if place in places else token for place, token in enumerate(row)]
        for row, places in zip(ids, hidden, strict=True)
    ]
    shown_BP, _, logits_BPV = _logits_BPV(shown, ask)
    wanted_BP, _, _ = padded(of_ids(ids).to(ask.trunk.device), ask.trunk.pad)
    asked_BP = torch.zeros_like(shown_BP, dtype=torch.bool)
    for row, places in enumerate(hidden):
        asked_BP[row, sorted(places)] = True
    nats_BP = functional.cross_entropy(
        logits_BPV.float().transpose(1, 2), wanted_BP, reduction="none"
    )
    return _summed(nats_BP, asked_BP)


def _places(ids: Sequence[int], special: set[int], seed: int) -> set[int]:
    """Draw which tokens of a text are masked, by its tokens and the seed alone; one at least."""
    plain = [place for place, token in enumerate(ids) if token not in special]
    if not plain:
        return {0}
    generator = np.random.default_rng([seed % 2**32, *ids])
    count = max(1, round(MASKED * len(plain)))
    return set(generator.choice(plain, count, replace=False).tolist())


def _summed(nats_BP: Tensor, asked_BP: Tensor) -> tuple[Doubles, Doubles]:
    sums_B = nats_BP.double().masked_fill(~asked_BP, 0.0).sum(1)
    return sums_B.cpu().numpy(), asked_BP.sum(1).double().cpu().numpy()


def _vectors(ids: list[list[int]], ask: Ask) -> Doubles:
    """Give the vector of each text, scaled to length 1, [B, D]."""
    batch = of_ids(ids).to(ask.trunk.device)
    vector_BD = pool(ask.trunk.hidden_TD(batch), batch.lengths, ask.pooling)
    return functional.normalize(vector_BD, dim=-1).double().cpu().numpy()


def _cosines(before: Any, after: Any) -> tuple[Any, Any]:
    """Give the cosines of vectors to the base's own, which are 1 for these themselves."""
    ones_R = before[1]
    cosine_R = np.einsum("rd,rd->r", before[0], after[0])
    return (ones_R.copy(), ones_R), (cosine_R, ones_R)
