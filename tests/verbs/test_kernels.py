"""What a plan lets be recorded, and what is said of it."""

from __future__ import annotations

import pytest

import writers
from tenon.plan.resolve import resolve_table
from tenon.train.passes import unrecordable
from tenon.verbs.train import unrecorded


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({}, ""),
        ({"model": {"kernels": "plain"}}, 'model.kernels = "plain"'),
        ({"train": {"recompute": True}}, ""),
    ],
)
def test_a_plan_says_why_nothing_is_recorded(tmp_path, own, why):
    table = {
        "base": "some/base",
        "data": {"train": "a.jsonl"},
        "adapters": {"mood": {"kind": "lora.v1"}},
    }
    plan = resolve_table({**table, **own}, tmp_path / "run.toml", ())
    assert unrecorded(plan) == why


def test_a_trunk_on_a_cpu_has_nothing_to_record(tmp_path):
    model = writers.writer(writers.causal_folder(tmp_path, "llama"), adapter=False)
    assert unrecordable(model.trunk, writes=True) == "they are for CUDA"
