"""Preflight: it passes wherever an adapter can be trained, and leaves everything as it was."""

from __future__ import annotations

import pytest
import torch

from flights import subject
from grounds import grounds
from lawbook import part_of
from laws.test_untouched import assert_same, state
from matrix import TABLES, cells, expected
from runs import log, project
from tenon.core.files import read_json
from tenon.train.preflight import CHECKS
from tenon.train.untouched import base_sums, untouched
from tenon.verbs.together import train_together
from tenon.verbs.train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
]


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        part = part_of(metafunc.config)
        chosen = [cell for cell in cells(part) if "put on" not in expected(cell)]
        if part is not None:
            # One family a row, each another one than the row's before it.
            rows = {cell.row: cell for cell in sorted(chosen, key=lambda cell: hash_of(cell))}
            chosen = [rows[row] for row in TABLES if row in rows]
        metafunc.parametrize("cell", chosen, ids=str)


def hash_of(cell) -> int:
    """Give a number that is the same in every process."""
    return sum(place * ord(letter) for place, letter in enumerate(str(cell), 1)) % 101


@pytest.fixture(scope="module")
def ground_of(tmp_path_factory):
    return grounds(tmp_path_factory.mktemp("grounds"))


def test_each_check_passes_and_nothing_has_changed(cell, ground_of):
    looked_at = subject(cell, ground_of(cell.family))
    model = looked_at.model.train()
    for parameter in list(model.trainable().values())[:3]:
        parameter.grad = torch.full_like(parameter, 0.5)
    before = state(model)
    found = [check(looked_at) for check in CHECKS]
    assert not [(check.name, check.what) for check in found if check and not check.passed]
    assert {check.name for check in found if check} >= {"sites", "saved", "gradient", "base"}
    assert_same(state(model), before)


@pytest.mark.parametrize(
    "adapter",
    [
        {"kind": "lora.v1", "rank": 2, "dropout": 0.1},
        {"kind": "lora.v1", "rank": 2, "init": "pissa"},
        pytest.param(
            {"kind": "bottleneck.v1", "reduction": 4, "dropout": 0.1}, marks=pytest.mark.deep
        ),
        pytest.param({"kind": "vera.v1", "rank": 4, "dropout": 0.1}, marks=pytest.mark.deep),
        pytest.param({"kind": "dora.v1", "rank": 2}, marks=pytest.mark.deep),
        pytest.param({"kind": "prefix.v1", "length": 3}, marks=pytest.mark.deep),
    ],
    ids=lambda table: "-".join(str(value) for value in table.values()),
)
def test_a_run_with_it_is_the_run_without(adapter, tmp_path, folder_of):
    plan = project(tmp_path, folder_of("bert"), adapter=adapter, train__epochs=2)
    runs = {manner: train(plan, tmp_path / manner, preflight=manner) for manner in ("stop", "off")}
    looked, plain = (run.out for run in runs.values())
    assert log(looked) == log(plain)
    for name in ("adapter/adapter_model.safetensors", "report/predictions.jsonl"):
        assert (looked / name).read_bytes() == (plain / name).read_bytes(), name
    assert runs["stop"].report.preflight["checks"]
    assert not runs["off"].report.preflight and not (plain / "preflight.json").exists()


def test_runs_side_by_side_are_looked_at_one_by_one(tmp_path, folder_of):
    one = project(tmp_path, folder_of("bert"), train__epochs=1)
    named = one.adapter.model_copy(update={"name": "size"})
    two = one.model_copy(update={"adapters": (named,), "seed": 3})
    made = {
        manner: train_together([one, two], tmp_path / manner, preflight=manner)
        for manner in ("stop", "off")
    }
    for name in ("mood", "size"):
        looked, plain = (tmp_path / manner / name for manner in ("stop", "off"))
        assert log(looked) == log(plain)
        kept = read_json(looked / "preflight.json")
        assert all(check["passed"] for check in kept["checks"])
        found = [runs.runs[name].report for runs in made.values()]
        assert found[0].preflight["checks"] == kept["checks"] and not found[1].preflight


def test_what_is_tried_is_taken_back_after_an_error(ground_of):
    looked_at = subject(next(c for c in cells() if str(c) == "lora.v1-bert"), ground_of("bert"))
    model = looked_at.model
    before, sums = state(model), base_sums(model)
    with pytest.raises(KeyError), untouched(model):
        model.eval()
        for parameter in model.trainable().values():
            parameter.data.add_(1.0)
            parameter.requires_grad = False
            parameter.grad = torch.zeros_like(parameter)
        torch.rand(3)
        raise KeyError
    assert_same(state(model), before)
    assert base_sums(model) == sums


def test_a_single_bit_of_the_base_is_seen(ground_of):
    looked_at = subject(next(c for c in cells() if str(c) == "lora.v1-bert"), ground_of("bert"))
    sums = base_sums(looked_at.model)
    assert len(sums) > 10
    weight = looked_at.model.trunk.model.embeddings.word_embeddings.weight
    weight.data.view(torch.int32)[3, 5] ^= 1
    after = base_sums(looked_at.model)
    assert [name for name in sums if after[name] != sums[name]] == [
        name for name in sums if name.endswith("word_embeddings.weight")
    ]
