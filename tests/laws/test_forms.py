"""The laws of adapters, for several labels a row and for numbers: L1, L2, L4, L5 and L7."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as cases
from hypothesis import strategies as st

from attached import KIND_NAMES, TABLES, WIDE
from formed import (
    FORMS,
    NAMES,
    NUMBER,
    SEVERAL,
    bare,
    formed,
    renderer_of,
    rows_of,
    save,
    tokens_of,
)
from runs import equal, log, settings, weights
from sealed import write_sealed
from tenon.adapters import pack
from tenon.adapters.kind import settle
from tenon.core.errors import AdapterError
from tenon.core.files import read_json
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.exam import EXAMS
from tenon.evaluate.settings import EvaluateSettings
from tenon.model.attach import attach
from tenon.model.classifier import Classifier
from tenon.model.models import model_for
from tenon.text.batch import batch
from tenon.text.order import micro_batches
from tenon.text.tokens import Tokens, collect
from tenon.train.loop import Course, Loop

ARCHITECTURES = ("bert", "llama")
TOLERANCE = 3e-5
"""Of the largest value of each gradient; the gradients of several labels partly cancel."""
METRIC = {SEVERAL: "label_micro_f1", NUMBER: "pearson"}


def every(tokens: Tokens):
    return batch(tokens, np.arange(len(tokens)))


def laid(model: Classifier, *, packed: bool) -> Classifier:
    model.trunk = replace(model.trunk, packed=packed)
    return model


def logits(model: Classifier, tokens: Tokens) -> dict[str, torch.Tensor]:
    """Give the scores of all rows, packed and padded."""
    with torch.no_grad():
        return {str(way): laid(model, packed=way).logits_BL(every(tokens)) for way in (True, False)}


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("form", FORMS)
def test_a_fresh_adapter_changes_no_logit(form, arch, which, folder_of):
    before, tokens = bare(folder_of(arch), form), tokens_of(folder_of(arch), form)
    expected = logits(before, tokens)
    held = attach(before.trunk, settle("mood", TABLES[which]), seed=1)
    fresh = model_for(form, before.trunk, held.peft, before.head, "mean").eval()
    found = logits(fresh, tokens)
    assert all(torch.equal(found[way], expected[way]) for way in expected)
    assert found["True"].std() > 0


def looped(folder, form, which, run, **more) -> Loop:
    # wide enough that not every unit of a rectified bottleneck is silent
    model = formed(folder, form, which, shaken=False, dropout=0.1, **WIDE[which])
    tokens, exam = tokens_of(folder, form, 24), EXAMS.get(form)
    own = settings(epochs=2, save_every=1, tokens_per_step=90, metric=METRIC[form], **more)

    def score(judged) -> dict[str, float]:
        answers = exam.answer(judged, tokens, NAMES[form], batch_tokens=100)
        exam.tune(judged, answers, EVALUATE)
        return {METRIC[form]: sum(float(p.detach().sum()) for p in judged.trainable().values())}

    return Loop(model, tokens, Course(run, "plan", 5, own, score))


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("form", FORMS)
def test_training_changes_adapter_and_head_alone(form, arch, which, folder_of, tmp_path):
    loop = looped(folder_of(arch), form, which, tmp_path)
    trained = {id(p) for p in loop.model.trainable().values()}
    frozen = {n: p for n, p in loop.model.named_parameters() if id(p) not in trained}
    before = {name: p.detach().clone() for name, p in frozen.items()}
    first = weights(loop.model)
    loop.run()
    assert before and all(torch.equal(frozen[name], p) for name, p in before.items())
    changed = {name for name, p in weights(loop.model).items() if not torch.equal(p, first[name])}
    assert changed == set(first)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("form", FORMS)
def test_a_resumed_run_is_the_run(form, arch, folder_of, tmp_path):
    whole = looped(folder_of(arch), form, "lora", tmp_path / "whole")
    whole.course = replace(whole.course, progress=Keeping(tmp_path / "whole", tmp_path / "part"))
    whole.run()
    assert whole.steps > 3
    again = looped(folder_of(arch), form, "lora", tmp_path / "part")
    again.resume()
    assert again.position == 2
    again.run()
    assert equal(weights(again.model), weights(whole.model))
    assert log(tmp_path / "part") == log(tmp_path / "whole")


class Keeping:
    """Keep a copy of the run folder as a kill in the third step would leave it."""

    def __init__(self, run, copy):
        self.run, self.copy, self.steps = run, copy, 0

    def start(self, what, total, *, done=0):
        pass

    def advance(self, n, **fields):
        self.steps += n
        if n and self.steps == 3:
            shutil.copytree(self.run, self.copy)


def gradients(model: Classifier, batches) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad(set_to_none=True)
    rows = sum(model.targets(part) for part in batches)
    loss = sum(model.nats(part) for part in batches) / rows
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.trainable().items()}
    return {**found, "loss": loss.detach()}


def assert_close(found, expected) -> None:
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        size = max(float(value.abs().max()), 1e-3 * largest)
        assert float((found[name] - value).abs().max()) <= TOLERANCE * size, name


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("form", FORMS)
@cases(max_examples=4)
@given(seed=st.integers(0, 99), room=st.integers(1, 60))
def test_packing_and_micro_batches_change_nothing(form, arch, which, folder_of, seed, room):
    model = MODELS.setdefault(
        (form, arch, which), formed(folder_of(arch), form, which, dropout=0.0)
    )
    known, unknown = rows_of(form, 6, seed), rows_of(form, 2, seed + 1, gold=False)
    tokens = collect([*known, *unknown], renderer_of(folder_of(arch), form))
    whole = [every(tokens)]
    assert model.targets(whole[0]) == 6
    expected = gradients(laid(model, packed=False), whole)
    assert_close(gradients(laid(model, packed=True), whole), expected)
    parts = [batch(tokens, rows) for rows in micro_batches(np.arange(8), tokens.lengths_R, room)]
    assert_close(gradients(model, parts), expected)


@pytest.mark.cells
@pytest.mark.parametrize("which", KIND_NAMES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_answers_as_before(form, arch, which, folder_of, tmp_path):
    folder, exam = folder_of(arch), EXAMS.get(form)
    model, tokens = formed(folder, form, which), tokens_of(folder, form)
    expected = exam.answer(model, tokens, NAMES[form], batch_tokens=100)
    written = save(model, form, folder, tmp_path / "adapter", which)
    answerer = open_answerer(written, str(folder), "cpu")
    assert answerer.model.head.constants == model.head.constants
    found = answerer.answer(tokens, batch_tokens=100)
    if form == SEVERAL:
        assert (found.log_probs_RL == expected.log_probs_RL).all()
        assert found.thresholds == expected.thresholds == (0.3, 0.5, 0.7)
        assert (found.answers_RL == expected.answers_RL).all()
    else:
        assert (found.answer_R == expected.answer_R).all()
        assert found.answer_R.std() > 0
    again = pack.write(tmp_path / "again", pack.read(written), card="# mood")
    assert pack.read(again).manifest.constants == model.head.constants


def test_thresholds_are_as_many_as_labels(folder_of, tmp_path):
    folder = folder_of("bert")
    written = save(formed(folder, SEVERAL), SEVERAL, folder, tmp_path / "adapter")
    table = read_json(written / "tenon.json")
    table["constants"]["thresholds"] = [0.5, 0.5]
    write_sealed(written / "tenon.json", table)
    with pytest.raises(AdapterError, match="2 thresholds for 3 labels; write the adapter again"):
        pack.read(written)


MODELS: dict[tuple[str, str, str], Classifier] = {}
EVALUATE = EvaluateSettings()
