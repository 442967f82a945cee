"""Baselines: majority and linear probe of the frozen base, fitted, kept, read again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from models import LABELS, bare, classifier, examples, renderer_of, tokens_of
from tenon.core.errors import FileError, RunError
from tenon.evaluate import baselines
from tenon.evaluate.baselines import NAME, SAMPLE_ROWS, fit, load
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.predict import features, predict
from tenon.model.head import Head
from tenon.text.tokens import collect

EXAM = EXAMS.get("text-classification")
WORD = {"glad": "glad glad fox", "sad": "sad old dog", "tired": "tired river day"}


def separable(folder, count, seed=0):
    """Rows whose label stands in their words."""
    random = np.random.default_rng(seed)
    labels = [LABELS[random.integers(3)] for _ in range(count)]
    texts = [" ".join(random.permutation(WORD[label].split())) for label in labels]
    return collect(examples(texts, labels=labels), renderer_of(folder))


@pytest.fixture(scope="module")
def fitted(folder_of):
    folder = folder_of("bert")
    model = bare(folder)
    tokens = {"train": separable(folder, 90), "dev": separable(folder, 30, 1)}
    tokens["test"] = separable(folder, 20, 2)
    return model, tokens, fit(EXAM, model, tokens, LABELS, seed=0, batch_tokens=200)


def test_the_probe_knows_what_the_base_shows_it(fitted):
    _, tokens, known = fitted
    assert known.fitted_rows == 90 and set(known.log_probs) == {"dev", "test"}
    for part in ("dev", "test"):
        answers = known.log_probs[part].argmax(1)
        assert (answers == tokens[part].labels_R).mean() > 0.9


def test_its_answers_are_those_of_a_head_with_its_weights(fitted):
    """So that a head that starts from the probe starts where the baseline stands."""
    model, tokens, known = fitted
    parts = [torch.from_numpy(a) for a in (known.weight_LD, known.bias_L, known.unit_D)]
    model.head.start_from(*parts)
    found = predict(model, tokens["test"], LABELS, batch_tokens=200)
    np.testing.assert_allclose(found.log_probs_RL, known.log_probs["test"], rtol=1e-3, atol=1e-4)
    features_RD = features(model, tokens["test"], batch_tokens=200)
    np.testing.assert_allclose(
        known.scores(EXAM, features_RD), known.log_probs["test"], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_a_head_without_bias_starts_near_the_probe_all_the_same(arch, folder_of):
    folder = folder_of(arch)
    model = bare(folder, "last")
    tokens = {"train": separable(folder, 90), "dev": separable(folder, 30, 1)}
    known = fit(EXAM, model, tokens, LABELS, seed=0, batch_tokens=200)
    model.head = Head(32, 3, normalize=False, bias=False)
    parts = [torch.from_numpy(a) for a in (known.weight_LD, known.bias_L, known.unit_D)]
    model.head.start_from(*parts)
    features_RD = features(model, tokens["dev"], batch_tokens=200)
    assert np.abs(features_RD @ known.unit_D - 1).mean() < 0.1
    found = predict(model, tokens["dev"], LABELS, batch_tokens=200)
    agree = (found.answer_R == known.log_probs["dev"].argmax(1)).mean()
    assert agree > 0.9


def test_the_majority_is_that_of_train(fitted):
    _, tokens, known = fitted
    counts = np.bincount(tokens["train"].labels_R, minlength=3) + 1
    np.testing.assert_allclose(np.exp(known.frequent.classes_L), counts / counts.sum(), rtol=1e-5)


def test_they_answer_the_rows_that_the_adapter_has_answered(fitted):
    model, tokens, known = fitted
    answered = predict(model, tokens["test"], LABELS, batch_tokens=200)
    kept = [row for row in range(20) if row not in (3, 7)]
    some = replace(
        answered,
        ids=[answered.ids[row] for row in kept],
        origins=[answered.origins[row] for row in kept],
        texts=[answered.texts[row] for row in kept],
        gold_R=answered.gold_R[kept],
        log_probs_RL=answered.log_probs_RL[kept],
        failed={answered.origins[row]: "broken" for row in (3, 7)},
    )
    rivals = known.predictions(EXAM, "test", some, tokens["test"])
    assert set(rivals) == {"majority", "linear_probe"}
    for rival in rivals.values():
        assert rival.origins == some.origins and rival.gold_R.tolist() == some.gold_R.tolist()
        assert rival.log_probs_RL.shape == (18, 3) and rival.failed == {}
    assert (rivals["linear_probe"].log_probs_RL == known.log_probs["test"][kept]).all()
    assert (rivals["majority"].log_probs_RL == known.frequent.classes_L).all()


def test_other_rows_than_those_fitted_are_refused(fitted):
    model, tokens, known = fitted
    answered = predict(model, tokens["dev"], LABELS, batch_tokens=200)
    with pytest.raises(RunError, match="has 20 units of test, the data has 30; start anew"):
        known.predictions(EXAM, "test", answered, tokens["dev"])


def test_what_is_saved_is_what_is_loaded(fitted, tmp_path):
    _, _, known = fitted
    assert load(tmp_path) is None
    known.save(tmp_path / "run")
    found = load(tmp_path / "run")
    for name in ("weight_LD", "bias_L", "unit_D"):
        assert (getattr(found, name) == getattr(known, name)).all()
    assert (found.frequent.classes_L == known.frequent.classes_L).all()
    assert found.frequent.names == known.frequent.names == ()
    assert found.log_probs.keys() == known.log_probs.keys()
    assert all((found.log_probs[part] == known.log_probs[part]).all() for part in known.log_probs)
    assert found.fitted_rows == known.fitted_rows
    assert [path.name for path in (tmp_path / "run").iterdir()] == [NAME]
    assert set(known.answering({}).log_probs) == set()


@pytest.mark.parametrize("damage", ["cut", "text", "lacking"])
def test_a_damaged_file_is_refused_with_the_remedy(fitted, damage, tmp_path):
    fitted[2].save(tmp_path)
    path = tmp_path / NAME
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "text":
        path.write_text("text")
    else:
        save_file({"weight": np.zeros((3, 32), np.float32)}, path)
    with pytest.raises(FileError, match=rf"^{path}: \w.*(remove it, and|start anew with)"):
        load(tmp_path)


def test_equal_seeds_give_equal_baselines(fitted):
    model, tokens, known = fitted
    again = fit(EXAM, model, tokens, LABELS, seed=0, batch_tokens=200)
    assert (again.weight_LD == known.weight_LD).all() and (again.unit_D == known.unit_D).all()


def test_without_dev_a_part_of_train_chooses(fitted):
    model, tokens, _ = fitted
    known = fit(EXAM, model, {"train": tokens["train"]}, LABELS, seed=0, batch_tokens=200)
    assert known.log_probs == {} and np.isfinite(known.weight_LD).all()


def test_of_a_large_train_part_a_seeded_sample_is_fitted(folder_of):
    few = separable(folder_of("bert"), 10)
    assert baselines._sample(few, 0) is few
    large = few.take(np.arange(SAMPLE_ROWS + 10) % 10)
    sample = baselines._sample(large, 0)
    assert len(sample) == SAMPLE_ROWS
    counts = np.unique(sample.column("origin"), return_counts=True)[1]
    assert len(counts) == 10 and (counts >= 5000 - 9).all()
    again, other = baselines._sample(large, 0), baselines._sample(large, 1)
    assert again.table.equals(sample.table) and not other.table.equals(sample.table)


def test_the_stages_are_told(folder_of):
    told: list[tuple[str, int | None]] = []

    class Told:
        def start(self, what, total, *, done=0):
            told.append((what, total))

        def advance(self, n, **fields):
            told.append(("", n))

    folder = folder_of("bert")
    tokens = {"train": tokens_of(folder, 12), "dev": tokens_of(folder, 6, 1)}
    fit(EXAM, bare(folder), tokens, LABELS, seed=0, batch_tokens=9999, progress=Told())
    assert told == [
        ("features of train", 12),
        ("", 12),
        ("features of dev", 6),
        ("", 6),
        ("linear probe", None),
    ]


def test_an_adapter_in_the_model_would_show(folder_of, fitted):
    """The baselines are of the bare base: with an adapter in it, they would be others."""
    _, tokens, known = fitted
    other = fit(EXAM, classifier(folder_of("bert")), tokens, LABELS, seed=0, batch_tokens=200)
    assert not np.allclose(other.weight_LD, known.weight_LD)
