"""Predict: every row answered once, in its place, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import LABELS, PAIRS, TEXTS, bare, classifier, examples, laid, renderer_of, tokens_of
from tenon.evaluate.predict import NOT_FINITE, features, predict
from tenon.text.batch import batch
from tenon.text.tokens import collect


class Counted:
    """A progress that counts."""

    def __init__(self):
        self.rows = 0

    def start(self, what, total, *, done=0):
        raise AssertionError(what)

    def advance(self, n, **fields):
        self.rows += n


@pytest.fixture(scope="module")
def model(folder_of):
    return classifier(folder_of("bert"), "houlsby")


@pytest.fixture(scope="module")
def tokens(folder_of):
    return tokens_of(folder_of("bert"), 23)


@torch.no_grad()
def alone(model, tokens):
    """Give the log-probabilities of each row in a batch of its own."""
    logits = [model.logits_BL(batch(tokens, np.array([row]))) for row in range(len(tokens))]
    return torch.cat(logits).log_softmax(-1).numpy()


@settings(max_examples=12)
@given(batch_tokens=st.integers(1, 400), packed=st.booleans())
def test_the_size_of_a_batch_changes_no_answer(model, tokens, batch_tokens, packed):
    found = predict(laid(model, packed=packed), tokens, LABELS, batch_tokens=batch_tokens)
    np.testing.assert_allclose(found.log_probs_RL, alone(model, tokens), rtol=1e-4, atol=1e-5)
    assert found.log_probs_RL.dtype == np.float32 and found.log_probs_RL.shape == (23, 3)


def test_the_rows_keep_their_place_id_origin_text_and_gold(model, tokens):
    progress = Counted()
    found = predict(model, tokens, LABELS, batch_tokens=50, progress=progress)
    assert progress.rows == len(found) == 23
    assert found.ids == tokens.column("id") and found.origins == tokens.column("origin")
    assert found.texts == tokens.column("text") and found.pairs is None
    assert found.gold_R.tolist() == tokens.labels_R.tolist()
    assert found.labels == LABELS and found.failed == {}
    assert found.answer_R.tolist() == found.log_probs_RL.argmax(1).tolist()
    np.testing.assert_allclose(np.exp(found.log_probs_RL).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("arch", ["bert", "roberta", "gpt2"])
def test_pairs_are_given_back_as_they_were_read(arch, folder_of):
    tokens = collect(examples(TEXTS, PAIRS), renderer_of(folder_of(arch)))
    found = predict(classifier(folder_of(arch)), tokens, LABELS, batch_tokens=99)
    assert found.texts == list(TEXTS) and found.pairs == list(PAIRS)
    assert (found.gold_R == -1).all()


def test_no_rows_have_no_answers(model, folder_of):
    tokens = collect([], renderer_of(folder_of("bert")))
    found = predict(model, tokens, LABELS, batch_tokens=9)
    assert len(found) == 0 and found.log_probs_RL.shape == (0, 3) and found.failed == {}
    assert features(model, tokens, batch_tokens=9).shape == (0, 32)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_features_are_what_the_head_reads(normalize, packed, folder_of, tokens):
    model = laid(classifier(folder_of("bert"), normalize=normalize), packed=packed)
    progress = Counted()
    found = features(model, tokens, batch_tokens=60, progress=progress)
    assert found.shape == (23, 32) and found.dtype == np.float32 and progress.rows == 23
    logits = torch.from_numpy(found) @ model.head.linear.weight.T + model.head.linear.bias
    expected = predict(model, tokens, LABELS, batch_tokens=60).log_probs_RL
    np.testing.assert_allclose(logits.log_softmax(-1).detach(), expected, rtol=1e-4, atol=1e-5)


def test_a_score_that_is_not_finite_fails_its_row_alone(folder_of):
    """Of all rows, those with the word "dog" overflow."""
    folder = folder_of("bert")
    model = bare(folder)
    tokens = collect(examples(labels=[*LABELS, None, "sad"]), renderer_of(folder))
    expected = predict(model, tokens, LABELS, batch_tokens=99)
    (dog,) = renderer_of(folder).tokenizer("dog", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.trunk.model.embeddings.word_embeddings.weight[dog] = torch.inf
    found = predict(model, tokens, LABELS, batch_tokens=99)
    assert found.failed == {"t.csv:3": NOT_FINITE}
    kept = [0, 2, 3, 4]
    assert found.origins == [f"t.csv:{row + 2}" for row in kept]
    assert found.texts == [TEXTS[row] for row in kept] and len(found.ids) == 4
    assert found.gold_R.tolist() == [0, 2, -1, 1]
    np.testing.assert_allclose(found.log_probs_RL, expected.log_probs_RL[kept], rtol=1e-5)


def test_half_precision_answers_nearly_as_float32(folder_of, tokens):
    whole = predict(bare(folder_of("llama")), tokens, LABELS, batch_tokens=99)
    model = bare(folder_of("llama"), dtype="bfloat16")
    model.head.load_state_dict(bare(folder_of("llama")).head.state_dict())
    found = predict(model, tokens, LABELS, batch_tokens=99)
    assert found.log_probs_RL.dtype == np.float32 and np.isfinite(found.log_probs_RL).all()
    assert whole.log_probs_RL.shape == found.log_probs_RL.shape
