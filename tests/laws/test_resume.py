"""L4: a run that is resumed is the run that was never stopped, bit for bit, from every step."""

from __future__ import annotations

import pytest

from runs import Keeping, classifier, equal, log, settings, tokens, weights
from tenon.model.classifier import Classifier
from tenon.train import optim
from tenon.train.files import STEP
from tenon.train.loop import Course, Loop

ARCHITECTURES = ("bert", "roberta", "llama", "qwen3", "gpt2")
CASES = [
    *((arch, which) for arch in ARCHITECTURES for which in ("lora", "houlsby")),
    ("llama", "parallel"),
    ("roberta", "pfeiffer"),
    ("t5", "lora"),
]
ROWS = 24
SETTINGS = settings(
    epochs=2, save_every=1, evaluate_every=3, tokens_per_step=40, micro_batch_tokens=24
)


def score(model: Classifier) -> dict[str, float]:
    """Judge a model by its weights alone, so that it matters which of them is best."""
    return {"accuracy": sum(float(p.detach().sum()) for p in model.trainable().values())}


def loop_of(folder, which, run, trunk_dropout=False) -> Loop:
    model = classifier(folder, which, trunk_dropout=trunk_dropout)
    return Loop(model, tokens(ROWS), Course(run, "plan", 5, SETTINGS, score))


@pytest.mark.cells
@pytest.mark.parametrize(("arch", "which"), CASES)
def test_from_every_step(folder_of, tmp_path, arch, which, deep):
    """From each; but in a usual run from three on every architecture but one."""
    folder = folder_of(arch)
    whole = loop_of(folder, which, tmp_path / "whole", trunk_dropout=arch == "bert")
    course = whole.course
    keeping = Keeping(course.run, tmp_path)
    whole.course = Course(course.run, "plan", 5, SETTINGS, score, keeping)
    ended = whole.run()
    assert keeping.steps == whole.steps >= 8
    state = optim.state_tensors(whole.optimizer, whole.parameters)
    assert len({entry["loss"] for entry in log(course.run) if "loss" in entry}) == whole.steps
    some = (0, whole.steps // 2, whole.steps - 1)
    for steps in range(whole.steps) if deep or arch == ARCHITECTURES[0] else some:
        run = tmp_path / str(steps)
        again = loop_of(folder, which, run, trunk_dropout=arch == "bert")
        again.resume()
        assert again.position == steps
        resumed = again.run()
        assert equal(weights(again.model), weights(whole.model)), steps
        assert equal(optim.state_tensors(again.optimizer, again.parameters), state), steps
        assert log(run) == log(course.run)
        assert resumed.best == ended.best
        assert bytes_of(run) == bytes_of(course.run)


def bytes_of(run) -> dict[str, bytes]:
    """Give the bytes of the checkpoints of a run."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.glob("step-*/*")
        if STEP.fullmatch(path.parent.name)
    }


def test_dropout_matters_in_these_runs(folder_of, tmp_path):
    """Else they would show nothing of the state of randomness."""
    losses = []
    for seed in (5, 6):
        model = classifier(folder_of("bert"))
        loop = Loop(model, tokens(ROWS), Course(tmp_path / str(seed), "plan", 5, SETTINGS))
        loop.course = Course(tmp_path / str(seed), "plan", seed, SETTINGS)
        loop.run()
        losses.append([entry["loss"] for entry in log(tmp_path / str(seed))])
    assert losses[0][0] == losses[1][0], "the first loss is that of a fresh adapter, the identity"
    assert losses[0][1:] != losses[1][1:]
