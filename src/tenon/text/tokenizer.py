"""Tokenizer: a base's own tokenizer, and the cutting of rows that are too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tenon.core.errors import DataError, FileError, PlanError

LONGEST = 1 << 30


@dataclass(frozen=True)
class Encoded:
    """The token ids of a list of rows.

    Args:
        ids: token ids of each row, special tokens included.
        types: token types of each row, or None where every type is 0.
        cut: for each row, how many tokens were cut from it.
    """

    ids: list[list[int]]
    types: list[list[int]] | None
    cut: list[int]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a base from its folder; nothing is fetched, no remote code is run.

    What its file says of truncation and padding is not followed: rows are cut by `encode` alone.

    Raises:
        FileError: the folder holds no tokenizer that transformers can read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError) as error:
        raise FileError(
            f"{folder}: no tokenizer could be loaded ({_first_line(error)}); download or copy "
            "the base again, with its tokenizer"
        ) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        # Where its files are absent, transformers makes a tokenizer that knows no text.
        raise FileError(
            f"{folder}: no tokenizer could be loaded (its vocabulary is empty); "
            "download the base again, with tokenizer.json"
        )
    _forget(tokenizer)
    return tokenizer


def token_limit(tokenizer: PreTrainedTokenizerBase, positions: int) -> int:
    """Give the most tokens a row may have: the base's positions and the tokenizer's own limit.

    Args:
        positions: positions that the base can tell apart; 0 where it has no limit.
    """
    stated = int(tokenizer.model_max_length)
    limits = [limit for limit in (positions, stated) if 0 < limit < LONGEST]
    return min(limits, default=LONGEST)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    *,
    limit: int,
    side: str,
) -> Encoded:
    """Turn texts (or pairs of texts) into token ids, cut to `limit` tokens.

    A row that fits is encoded once. Of a pair, tokens go from the longer text first.

    Args:
        limit: most tokens of a row, special tokens included.
        side: `right` or `left`, where tokens are cut.

    Raises:
        PlanError: a row must be cut, and the limit leaves no room for text.
    """
    whole = _encode(tokenizer, texts, pairs)
    ids: list[list[int]] = whole["input_ids"]
    types: list[list[int]] | None = whole.get("token_type_ids")
    cut = [max(0, len(row) - limit) for row in ids]
    long = [row for row, excess in enumerate(cut) if excess]
    if long:
        second = None if pairs is None else [pairs[row] for row in long]
        short = _encode_cut(tokenizer, [texts[row] for row in long], second, limit, side)
        for place, row in enumerate(long):
            ids[row] = short["input_ids"][place]
            if types is not None:
                types[row] = short["token_type_ids"][place]
    if types is not None and not any(map(any, types)):
        types = None
    return Encoded(ids, types, cut)


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], pairs: Sequence[str] | None
) -> Any:
    second = None if pairs is None else list(pairs)
    return tokenizer(list(texts), second, return_attention_mask=False, verbose=False)


def _encode_cut(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    pairs: list[str] | None,
    limit: int,
    side: str,
) -> Any:
    special = tokenizer.num_special_tokens_to_add(pair=pairs is not None)
    least = special + (1 if pairs is None else 2)
    if limit < least:
        raise PlanError(
            f"text.max_tokens = {limit}: leaves no room for text; the base's tokenizer adds "
            f"{special} tokens to a row, so that it must be at least {least}"
        )
    before = tokenizer.truncation_side
    tokenizer.truncation_side = side
    try:
        return tokenizer(
            texts, pairs, truncation=True, max_length=limit, return_attention_mask=False
        )
    finally:
        tokenizer.truncation_side = before
        _forget(tokenizer)


def _forget(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let a tokenizer forget how it last cut and padded: its state shall tell what it is."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()


def refuse_empty(ids: Sequence[Sequence[int]], origins: Sequence[str]) -> None:
    """Refuse rows of which the tokenizer leaves nothing.

    Raises:
        DataError: naming the first such row and how many there are.
    """
    empty = [origin for row, origin in zip(ids, origins, strict=True) if not row]
    if empty:
        raise DataError(
            f"{empty[0]}: this text has no tokens in the base's tokenizer "
            f"({len(empty):,} such rows); remove or mend them"
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
