"""Likelihood: how probable the model finds what it should write.

Perplexity is per token, so it compares only models of one tokenizer. Bits per byte is the
same loss spread over the UTF-8 bytes of the text, and compares all models.

R rows, S samples, K = 2 terms: nats, and tokens or bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Doubles = npt.NDArray[np.float64]


def token_terms(nats_R: npt.ArrayLike, tokens_R: npt.ArrayLike) -> Any:
    """Put the loss and the tokens of each row side by side, sparse [R, 2].

    Args:
        nats_R: negative log-likelihood of each row's target, summed over its tokens.
        tokens_R: tokens of each target that were scored, the end-of-turn token among them; one
            at least.

    Raises:
        ValueError: rows differ in number, a loss is not finite or negative, or a row has no token.
    """
    return _terms(nats_R, tokens_R, "token", least=1)


def byte_terms(nats_R: npt.ArrayLike, bytes_R: npt.ArrayLike) -> Any:
    """Put the loss and the bytes of each row side by side, sparse [R, 2].

    Args:
        nats_R: as in `token_terms`, over all tokens of the target.
        bytes_R: bytes of each target's text, see `utf8_bytes`; an empty target has none.

    Raises:
        ValueError: rows differ in number, a loss is not finite or negative, or no row has a byte.
    """
    return _terms(nats_R, bytes_R, "byte", least=0)


def _terms(nats_R: npt.ArrayLike, sizes_R: npt.ArrayLike, unit: str, *, least: int) -> Any:
    nats, sizes = np.asarray(nats_R, np.float64), np.asarray(sizes_R, np.float64)
    if nats.shape != sizes.shape or nats.ndim != 1:
        raise ValueError(f"there are {nats.shape} losses and {sizes.shape} counts of {unit}s")
    bad = np.flatnonzero(~np.isfinite(nats) | (nats < 0))
    if len(bad):
        raise ValueError(f"row {bad[0]} has a loss of {nats[bad[0]]}; the model is damaged")
    short = np.flatnonzero(~(sizes >= least))
    if len(short):
        raise ValueError(f"row {short[0]} has {sizes[short[0]]:g} {unit}s, at least {least} needed")
    if not sizes.sum():
        raise ValueError(f"no row has a {unit}; there is nothing to predict")
    return sparse.csr_array(np.stack([nats, sizes], axis=1))


def utf8_bytes(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Give the bytes of each text in UTF-8, [R]."""
    return np.array([len(text.encode("utf-8")) for text in texts], np.int64)


def perplexity(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give the exponential of the mean loss per token, [S]; infinite beyond what a double holds."""
    with np.errstate(over="ignore"):
        return np.exp(sums_SK[:, 0] / sums_SK[:, 1])


def bits_per_byte(sums_SK: Doubles, _rows: int) -> Doubles:
    """Give the loss in bits over the bytes, [S]; a sample without a byte counts as one byte."""
    return sums_SK[:, 0] / np.log(2) / np.maximum(sums_SK[:, 1], 1)


COMBINE: dict[str, Callable[[Doubles, int], Doubles]] = {
    "perplexity": perplexity,
    "bits_per_byte": bits_per_byte,
}
