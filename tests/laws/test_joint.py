"""L6: adapters that are trained together are what each is alone."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from attached import TABLES
from models import LABELS, TEXTS, examples, renderer_of, trunk_of
from tenon.adapters.kind import settle
from tenon.core.errors import RunError
from tenon.model.attach import attach
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.rack import Rack
from tenon.model.tagger import Tagger
from tenon.text.render import ClassRenderer
from tenon.text.tokenizer import load_tokenizer
from tenon.text.tokens import collect
from tenon.train.joint import Joint
from tenon.train.loop import Course, Loop
from tenon.train.settings import TrainSettings

RULES = {
    "a": {"learning_rate": 1e-2, "head_learning_rate": 1e-2, "epochs": 2, "tokens_per_step": 70},
    "b": {"learning_rate": 3e-3, "head_learning_rate": 5e-3, "epochs": 3, "tokens_per_step": 40},
    "c": {"learning_rate": 5e-3, "head_learning_rate": 1e-3, "epochs": 1, "tokens_per_step": 90},
}
KINDS = {"a": "lora", "b": "houlsby", "c": "pfeiffer"}
CLASSES = {"a": LABELS, "b": ("yes", "no"), "c": LABELS}


def tokens_of(folder, name: str):
    """Give the rows of one adapter, which are no other's."""
    random = np.random.default_rng(ord(name))
    words = " ".join(TEXTS).split()
    texts = [" ".join(random.choice(words, random.integers(2, 9))) for _ in range(24)]
    labels = [CLASSES[name][n % len(CLASSES[name])] for n in range(24)]
    if name == "c":  # a tagger: a class for each token
        made = collect(examples(texts, labels=labels), renderer_of(folder))
        return _tagged(made)
    renderer = ClassRenderer(load_tokenizer(folder), CLASSES[name], 48, "right")
    return collect(examples(texts, labels=labels), renderer)


def _tagged(tokens):
    import pyarrow as pa

    targets = [[float(n % 3) for n in range(length)] for length in tokens.lengths_R.tolist()]
    place = tokens.table.schema.get_field_index("targets")
    cells = pa.array(targets, pa.list_(pa.float32()))
    table = tokens.table.set_column(place, "targets", cells)
    return replace(tokens, table=table)


class Training:
    """A trunk with some adapters, and a run for each."""

    def __init__(self, folder, out, names, *, dropout: float, batches: str = "auto", **more):
        self.rack = Rack(trunk_of(folder, batches=batches))
        self.loops = {}
        for name in names:
            table = {**TABLES[KINDS[name]], "dropout": dropout}
            held = attach(self.rack.trunk, settle(name, table), seed=ord(name))
            with torch.random.fork_rng():
                torch.manual_seed(ord(name))
                head = Head(
                    self.rack.trunk.hidden_size, len(CLASSES[name]), normalize=False, bias=True
                )
            made = Tagger(self.rack.trunk, held.peft, head) if name == "c" else Classifier(
                self.rack.trunk, held.peft, head, "mean"
            )  # fmt: skip
            rules = TrainSettings(**{"micro_batch_tokens": 30, **RULES[name], **more})
            course = Course(out / name, f"plan {name}", ord(name), rules)
            self.loops[name] = Loop(made, tokens_of(folder, name), course)
            self.rack.keep(name, TABLES[KINDS[name]]["kind"], held.peft)

    def resume(self):
        for loop in self.loops.values():
            loop.resume()
        return self

    def run(self):
        return Joint(self.rack, self.loops).run()

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        return {
            name: {key: p.detach().clone() for key, p in loop.parameters.items()}
            for name, loop in self.loops.items()
        }


def alone(folder, out, name, **more) -> dict[str, torch.Tensor]:
    """Train one adapter by the ordinary loop."""
    made = Training(folder, out, [name], **more)
    with made.rack.only(name):
        made.loops[name].run()
    return made.weights()[name]


def differ(first, second) -> float:
    assert first.keys() == second.keys()
    return max(
        float((first[key] - second[key]).abs().max() / second[key].abs().max().clamp_min(1e-3))
        for key in first
    )


@pytest.mark.parametrize(
    ("arch", "batches", "dropout"),
    [
        ("bert", "packed", 0.0),
        ("bert", "packed", 0.2),
        ("llama", "packed", 0.2),
        ("bert", "padded", 0.0),  # dropout draws for padding as well, of which there is other
    ],
)
def test_l6_together_is_alone(arch, batches, dropout, folder_of, tmp_path):
    """Up to rounding: the trunk's own products are taken over more rows."""
    folder = folder_of(arch)
    how = {"dropout": dropout, "batches": batches}
    together = Training(folder, tmp_path / "together", "abc", **how)
    before = together.weights()
    ended = together.run()
    steps = {name: done.steps for name, done in ended.items()}
    assert len(set(steps.values())) == 3, "they end at different times"
    for name, found in together.weights().items():
        expected = alone(folder, tmp_path / "alone", name, **how)
        assert differ(found, expected) < 2e-3, name
        assert differ(before[name], expected) > 1e-2, "it has learned"


def test_one_alone_in_a_rack_is_bitwise_the_ordinary_run(folder_of, tmp_path):
    folder = folder_of("bert")
    together = Training(folder, tmp_path / "rack", "a", dropout=0.2)
    together.run()
    expected = alone(folder, tmp_path / "alone", "a", dropout=0.2)
    assert differ(together.weights()["a"], expected) == 0.0


def test_l4_resumed_together_is_the_run_that_was_never_stopped(folder_of, tmp_path):
    """Bitwise, from checkpoints of different steps, with different ends."""
    folder, out = folder_of("bert"), tmp_path / "runs"
    whole = Training(folder, out, "abc", dropout=0.1, save_every=1)
    copies = {}
    step = Joint.step

    class Watched(Joint):
        def step(self, steps):
            found = step(self, steps)
            count = len(copies)
            copies[count] = tmp_path / "copies" / str(count)
            return found

        def _took(self, results, seconds):
            super()._took(results, seconds)
            shutil.copytree(out, tmp_path / "copies" / str(len(copies) - 1))

    Watched(whole.rack, whole.loops).run()
    for stopped in (0, len(copies) // 2, len(copies) - 2):
        again = Training(folder, copies[stopped], "abc", dropout=0.1, save_every=1).resume()
        assert sum(loop.position for loop in again.loops.values()) > 0
        again.run()
        for name, found in again.weights().items():
            assert differ(found, whole.weights()[name]) == 0.0, (stopped, name)


def test_a_run_that_was_begun_together_goes_on_alone(folder_of, tmp_path):
    folder = folder_of("bert")
    made = Training(folder, tmp_path / "runs", "ab", dropout=0.0, save_every=1)
    joint = Joint(made.rack, made.loops)
    joint.going = {}
    batches = {name: next(loop.batches()) for name, loop in made.loops.items()}
    joint.step(batches)
    for loop in made.loops.values():
        loop.save(loop.log())
    rest = Training(folder, tmp_path / "runs", ["a"], dropout=0.0, save_every=1).resume()
    assert rest.loops["a"].position == 1
    with rest.rack.only("a"):
        rest.loops["a"].run()
    expected = alone(folder, tmp_path / "alone", "a", dropout=0.0)
    assert differ(rest.weights()["a"], expected) < 2e-3


def test_a_loss_that_is_not_finite_names_its_adapter_and_updates_nobody(folder_of, tmp_path):
    made = Training(folder_of("bert"), tmp_path, "ab", dropout=0.0)
    with torch.no_grad():
        next(iter(made.loops["b"].parameters.values())).fill_(float("nan"))
    before = made.weights()["a"]
    with pytest.raises(RunError, match=r"adapter b: loss nan.*nothing was updated"):
        made.run()
    assert differ(made.weights()["a"], before) == 0.0
    assert all(p.grad is None for loop in made.loops.values() for p in loop.parameters.values())


def test_one_that_is_given_up_leaves_the_others_as_they_are(folder_of, tmp_path):
    """Its last step is its own; those beside it go on to what each is alone."""
    folder = folder_of("bert")
    made = Training(
        folder, tmp_path / "together", "ab", dropout=0.0, evaluate_every=1, metric="accuracy"
    )
    loop = made.loops["b"]
    loop.course = replace(
        loop.course, score=lambda _: {"accuracy": 0.5}, hopeless=lambda seen: len(seen) >= 2
    )
    ended = made.run()
    assert ended["b"].given_up
    assert ended["b"].steps == 2 < loop.steps
    assert not ended["a"].given_up
    expected = alone(folder, tmp_path / "alone", "a", dropout=0.0)
    assert differ(made.weights()["a"], expected) < 2e-3
