"""L4, L9, L11, L13 over every kind of PEFT's: resumed, routed and asked, it is the same adapter."""

from __future__ import annotations

import pytest
import torch

from attached import shake
from bases import HIDDEN
from kinds import TABLES, kind_of
from models import rows_of, trunk_of
from runs import LABELS, equal, log, settings, tokens, weights
from tenon.adapters.kind import settle
from tenon.evaluate.predict import predict
from tenon.model.attach import attach
from tenon.model.classifier import Classifier
from tenon.model.head import Head
from tenon.model.rack import Rack
from tenon.text.tokens import Tokens
from tenon.train import optim
from tenon.train.loop import Course, Loop
from tenon.train.steplog import StepLog

SETTINGS = settings(epochs=2, tokens_per_step=60, micro_batch_tokens=40)
LENGTHS = (1, 9, 4, 4, 17, 2)
DROPS = {"dropout": 0.2}
every_kind = pytest.mark.parametrize("name", TABLES)


def classifier(folder, name: str, *, drops: bool = False) -> Classifier:
    """Give a fresh classifier on bert, its adapter with dropout where the kind has it."""
    has = "dropout" in kind_of(name).settings.model_fields
    trunk = trunk_of(folder)
    own = {**TABLES[name], **(DROPS if drops and has else {})}
    held = attach(trunk, settle("mood", own), seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = Head(HIDDEN, len(LABELS), normalize=False, bias=True)
    return Classifier(trunk, held.peft, head, "mean")


@every_kind
def test_l4_resumed_it_is_the_run_that_was_never_stopped(name, folder_of, tmp_path):
    """What is drawn in a step follows from the step alone, whatever the kind draws it for."""
    folder, rows = folder_of("bert"), tokens(24)
    whole = loop_of(classifier(folder, name, drops=True), rows, tmp_path / "whole")
    middle = whole.steps // 2
    stopped = loop_of(classifier(folder, name, drops=True), rows, tmp_path / "stopped")
    stopped.model.train()
    for batches in list(stopped.batches())[:middle]:
        stopped.step(batches)
    stopped.save(StepLog(tmp_path / "stopped", 0))
    ended = whole.run()
    again = loop_of(classifier(folder, name, drops=True), rows, tmp_path / "stopped")
    again.resume()
    assert again.position == middle
    assert again.run().steps == ended.steps
    assert equal(weights(again.model), weights(whole.model))
    first, second = (
        optim.state_tensors(loop.optimizer, loop.parameters) for loop in (again, whole)
    )
    assert equal(first, second)


def loop_of(model: Classifier, rows: Tokens, run) -> Loop:
    return Loop(model, rows, Course(run, "plan", 5, SETTINGS))


@every_kind
def test_l11_predicting_in_the_midst_of_training_changes_nothing(name, folder_of):
    model, rows = classifier(folder_of("bert"), name).train(), tokens(6)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    modes = {key: module.training for key, module in model.named_modules()}
    state = torch.get_rng_state()
    first = predict(model, rows, LABELS, batch_tokens=40).log_probs_RL
    again = predict(model, rows, LABELS, batch_tokens=40).log_probs_RL
    assert (first == again).all(), "an answer is drawn, not computed"
    assert torch.equal(torch.get_rng_state(), state)
    assert {key: module.training for key, module in model.named_modules()} == modes
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


OTHERS: dict[str, object] = {
    "activation": "gelu",
    "alpha": 3,
    "b_learning_rate_ratio": 8.0,
    "block": 16,
    "blocks": 1,
    "chosen": 3,
    "cluster_seed": 7,
    "coefficients": 31,
    "decomposition": "qr",
    "depth": 1,
    "dropout": 0.5,
    "factor": 2,
    "frequencies": 31,
    "group": 4,
    "init": "gaussian",
    "initial": 0.7,
    "largest": False,
    "length": 16,
    "mask_seed": 7,
    "orthogonal": True,
    "places_seed": 7,
    "projection_seed": 7,
    "rank": 6,
    "rank_stabilized": True,
    "scale": 3.0,
    "size": 5,
    "sparsity": 0.5,
    "start": "published",
    "strength": 3,
    "subspace_rank": 2,
    "subspaces": 3,
    "variant": "road_4",
    "vectors": 9,
}
"""Of each setting, a value that is not its default."""

IDLE = {"lora.v1 mica": {"b_learning_rate_ratio"}}
"""Settings without effect, which a plan refuses (tests/plan/test_effect.py)."""


def losses(folder, name: str, run, **own) -> list[float]:
    """Give the losses of a short run, which are what the settings make of them."""
    settled = settle("mood", {**TABLES[name], **own})
    trunk = trunk_of(folder)
    held = attach(trunk, settled, seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = Head(HIDDEN, len(LABELS), normalize=False, bias=True)
    model = Classifier(trunk, held.peft, head, "mean")
    factors = kind_of(name).factors(settled.own)
    Loop(model, tokens(12), Course(run, "plan", 5, SETTINGS, factors=factors)).run()
    return [entry["loss"] for entry in log(run) if "loss" in entry]


@every_kind
def test_l13_every_setting_of_a_kind_makes_another_run(name, folder_of, tmp_path):
    folder = folder_of("bert")
    plain = losses(folder, name, tmp_path / "plain")
    own = settle("mood", TABLES[name]).own
    for setting in kind_of(name).settings.model_fields.keys() - IDLE.get(name, set()):
        value = OTHERS[setting]
        assert value != own[setting]
        told = losses(folder, name, tmp_path / setting, **{setting: value})
        assert told != plain, setting


@pytest.mark.parametrize(
    "name", [n for n in TABLES if "dropout" in kind_of(n).settings.model_fields]
)
def test_dropout_drops_out_while_training_and_only_then(name, folder_of):
    """The trunk's own dropout is off in training; an adapter's has to be on all the same."""
    model = classifier(folder_of("bert"), name, drops=True)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    rows = rows_of(LENGTHS)
    with torch.no_grad():
        asked = [model.eval().logits_BL(rows) for _ in range(2)]
        trained = [model.train().logits_BL(rows) for _ in range(2)]
    assert torch.equal(*asked)
    assert not torch.equal(*trained)


def test_pvera_draws_while_training(folder_of):
    model = classifier(folder_of("bert"), "pvera.v1")
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.5)
    rows = rows_of(LENGTHS)
    torch.manual_seed(1)
    with torch.no_grad():
        drawn = [model.train().logits_BL(rows) for _ in range(2)]
    assert not torch.equal(*drawn)


@pytest.mark.deep  # the law matrix asks the same of each kind, on two bases
@every_kind
@pytest.mark.parametrize("batches", ["packed", "padded"])
def test_l9_each_row_of_a_batch_can_have_its_own_adapter(name, batches, folder_of):
    """A kind is row-wise where a rack computes each row as its adapter would alone."""
    assert kind_of(name).rowwise
    rack = Rack(trunk_of(folder_of("bert"), batches=batches))
    for place, (owner, which) in enumerate((("a", name), ("b", "lora.v1"), ("c", name))):
        held = attach(rack.trunk, settle(owner, TABLES[which]), seed=place)
        shake(held.peft.eval(), seed=place, size=0.1)
        rack.keep(owner, TABLES[which]["kind"], held.peft)
    owners, batch = ["a", None, "b", "c", "a", "c"], rows_of([3, 7, 5, 4, 6, 2])
    with torch.no_grad():
        with rack.all() as router, router.on(rack.route(owners, batch.lengths)):
            found = rack.trunk.hidden_TD(batch).split(list(batch.lengths))
        answers = {None: rack.trunk.hidden_TD(batch).split(list(batch.lengths))}
        for owner in ("a", "b", "c"):
            with rack.only(owner):
                answers[owner] = rack.trunk.hidden_TD(batch).split(list(batch.lengths))
    for row, owner in enumerate(owners):
        torch.testing.assert_close(found[row], answers[owner][row], rtol=1e-4, atol=5e-5)
    assert not torch.allclose(answers["a"][0], answers["c"][0], atol=1e-4)
    assert not torch.allclose(answers["a"][0], answers[None][0], atol=1e-4)
