"""Likelihood: perplexity and bits per byte from sums over rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.evaluate import likelihood
from tenon.evaluate.likelihood import COMBINE


def score(name, terms_RK):
    sums_1K = np.asarray(terms_RK.sum(axis=0)).reshape(1, -1)
    return float(COMBINE[name](sums_1K, terms_RK.shape[0])[0])


rows = st.lists(st.tuples(st.floats(0, 500), st.integers(1, 90)), min_size=1, max_size=20)


@given(rows=rows)
def test_scores_are_their_definitions(rows):
    nats, sizes = zip(*rows, strict=True)
    mean = math.fsum(nats) / sum(sizes)
    perplexity = score("perplexity", likelihood.token_terms(nats, sizes))
    assert perplexity == pytest.approx(math.exp(mean))
    bits = score("bits_per_byte", likelihood.byte_terms(nats, sizes))
    assert bits == pytest.approx(mean * math.log2(math.e))


@given(vocabulary=st.integers(2, 100_000), tokens=st.integers(1, 50))
def test_a_uniform_guess_is_as_perplexed_as_its_vocabulary_is_large(vocabulary, tokens):
    nats = [tokens * math.log(vocabulary)] * 3
    perplexity = score("perplexity", likelihood.token_terms(nats, [tokens] * 3))
    assert perplexity == pytest.approx(vocabulary)


def test_a_uniform_guess_of_bytes_has_eight_bits():
    size = likelihood.utf8_bytes(["añ", "", "中文"])
    assert size.tolist() == [3, 0, 6]
    assert score("bits_per_byte", likelihood.byte_terms(size * np.log(256), size)) == (
        pytest.approx(8)
    )


@given(rows=rows, seed=st.integers(0, 9))
def test_how_rows_are_cut_does_not_matter(rows, seed):
    nats, sizes = (np.array(side, float) for side in zip(*rows, strict=True))
    whole = score("perplexity", likelihood.token_terms([nats.sum()], [sizes.sum()]))
    assert score("perplexity", likelihood.token_terms(nats, sizes)) == pytest.approx(whole)
    taken = np.random.default_rng(seed).integers(0, len(rows), len(rows))
    count_1R = np.bincount(taken, minlength=len(rows))[None].astype(float)
    for name, terms in (
        ("perplexity", likelihood.token_terms),
        ("bits_per_byte", likelihood.byte_terms),
    ):
        value = COMBINE[name](np.asarray(count_1R @ terms(nats, sizes)), len(rows))[0]
        assert value == pytest.approx(score(name, terms(nats[taken], sizes[taken])))


def test_what_cannot_be_held_is_infinite():
    assert score("perplexity", likelihood.token_terms([1e6], [1])) == math.inf


def test_a_sample_of_empty_texts_has_its_bits():
    terms_RK = likelihood.byte_terms([2.0, 3.0], [0, 4])
    sums_1K = np.asarray(np.array([[2.0, 0.0]]) @ terms_RK)
    assert COMBINE["bits_per_byte"](sums_1K, 2)[0] == pytest.approx(4 / math.log(2))


@pytest.mark.parametrize(
    ("terms", "nats", "sizes", "message"),
    [
        (likelihood.token_terms, [1.0, math.nan], [1, 1], "row 1 has a loss of nan"),
        (likelihood.token_terms, [-1.0], [1], "row 0 has a loss of -1"),
        (likelihood.byte_terms, [math.inf], [1], "row 0 has a loss of inf"),
        (likelihood.token_terms, [1.0], [0], "row 0 has 0 tokens, at least 1"),
        (likelihood.token_terms, [1.0], [math.nan], "row 0 has nan tokens"),
        (likelihood.byte_terms, [1.0, 1.0], [3, -1], "row 1 has -1 bytes, at least 0"),
        (likelihood.byte_terms, [1.0, 1.0], [0, 0], "no row has a byte"),
        (likelihood.token_terms, [], [], "no row has a token"),
        (likelihood.token_terms, [1.0, 2.0], [1], "losses and"),
    ],
)
def test_damaged_rows_are_refused(terms, nats, sizes, message):
    with pytest.raises(ValueError, match=message):
        terms(nats, sizes)
