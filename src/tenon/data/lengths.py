"""Lengths: how long rows are, what is cut of them, and what padding would cost. R rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tenon.data.findings import Finding, Lengths, agreed, share_of
from tenon.data.sample import Sample

Tokenizer = Callable[[Sequence[str]], list[int]]
Counts = npt.NDArray[np.uint32]
PADDED_ROWS = 32
FEW = 0.01
"""The share of rows that a limit of length may well cut."""
_STEP = 8
_WASTE = 0.1


def spread(unit: str, lengths_R: Counts) -> Lengths:
    """Give where the lengths of some rows lie."""
    median, p95, p99 = (
        int(value) for value in np.percentile(lengths_R, [50, 95, 99], method="inverted_cdf")
    )
    return Lengths(unit, len(lengths_R), median, p95, p99, int(lengths_R.max()))


def token_counts(sample: Sample, tokenizer: Tokenizer) -> Counts:
    """Count the tokens of the rows of a sample, of both texts together."""
    texts = sample.texts
    tokens_R = np.asarray(tokenizer([text for text, _ in texts]), dtype=np.uint32)
    if any(pair for _, pair in texts):
        tokens_R = tokens_R + np.asarray(tokenizer([pair for _, pair in texts]), dtype=np.uint32)
    return tokens_R


def length_findings(
    tokens_R: Counts, rows: int, max_tokens: int, *, windowed: bool
) -> Iterator[Finding]:
    """Find what follows from the lengths of a sample.

    Args:
        tokens_R: of the rows that were counted.
        rows: all that there are.
        max_tokens: rows with more are cut or windowed; 0 for no limit.
        windowed: whether a longer row is read in windows.
    """
    cut = int(np.count_nonzero(tokens_R > max_tokens)) if max_tokens else 0
    if cut:
        yield _cut(cut, len(tokens_R), rows, max_tokens, windowed=windowed)
    if not windowed and max_tokens:
        yield from _choice(tokens_R, max_tokens)
    wasted = padding(tokens_R)
    if wasted > _WASTE:
        what = f"padded to the longest of each {PADDED_ROWS} rows, {100 * wasted:.0f} % of all "
        what += "tokens would be padding"
        yield Finding("padding", "note", len(tokens_R), what, "rows are packed, so that none is")


def padding(tokens_R: Counts) -> float:
    """Give the share of padding where each 32 rows, as they come, are as long as the longest."""
    whole = len(tokens_R) // PADDED_ROWS * PADDED_ROWS
    if not whole:
        return 0.0
    batches = tokens_R[:whole].astype(np.int64).reshape(-1, PADDED_ROWS)
    total = int(batches.max(axis=1).sum()) * PADDED_ROWS
    return 1 - int(batches.sum()) / total if total else 0.0


def fitting(tokens_R: Counts) -> int:
    """Give the length, a multiple of 8, that 99 of 100 rows do not exceed."""
    longest = int(np.percentile(tokens_R, 100 * (1 - FEW), method="inverted_cdf"))
    return -(-longest // _STEP) * _STEP


def _choice(tokens_R: Counts, max_tokens: int) -> Iterator[Finding]:
    """Name the length to choose, where it is far from the one that holds."""
    enough = fitting(tokens_R)
    over = int(np.count_nonzero(tokens_R > enough))
    if enough * 2 <= max_tokens and over:
        what = f"{enough:,} tokens hold all but {share_of(over, len(tokens_R))} rows; "
        what += f"the limit is {max_tokens:,}"
        remedy = f"text.max_tokens = {enough} saves the time that the longest rows take"
        yield Finding("length-to-choose", "note", over, what, remedy)


def _cut(cut: int, sampled: int, rows: int, max_tokens: int, *, windowed: bool) -> Finding:
    are = agreed(cut, "are")
    fate = "read in overlapping windows" if windowed else "cut"
    what = f"{share_of(cut, sampled)} rows {are} longer than {max_tokens:,} tokens and will be "
    what += fate
    if sampled < rows:
        what += f"; seen in a sample, so about {round(cut / sampled * rows):,} of all {rows:,}"
    number = round(cut / sampled * rows)
    if windowed:
        return Finding("windows", "note", number, what, "none of their text is lost")
    remedy = "raise text.max_tokens if the base allows"
    return Finding("cut", "warning", number, what, remedy)
