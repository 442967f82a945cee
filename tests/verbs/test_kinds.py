"""Kinds from the plan to the answer: those whose files or start need something of their own."""

from __future__ import annotations

import numpy as np
import pytest

from kinds import SMALL
from models import TEXTS, examples
from runs import project
from tenon.core.errors import PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.model.base import locate
from tenon.plan.budget import budget
from tenon.verbs.train import train

PICKED = (
    "adamss.v1",
    "ia3.v1",
    "ln_tuning.v1",
    "pvera.v1",
    "randlora.v1",
    "shira.v1",
    "unilora.v1",
)


@pytest.mark.parametrize("kind", PICKED)
def test_a_run_ends_in_an_adapter_that_answers_as_its_report_says(kind, folder_of, tmp_path):
    table = {"kind": kind, **SMALL.get(kind, {})}
    plan = project(tmp_path, folder_of("bert"), adapter=table, train__epochs=1)
    told = budget(plan, locate(plan.base), 3)
    run = train(plan, tmp_path / "run")
    held = open_answerer(run.out / "adapter")
    assert held.manifest.kind == kind
    trained = run.report.cost["trainable_parameters"]
    if kind != "adamss.v1":
        assert told.trained == trained
    assert sum(place.parameters for place in told.places) == told.adapter_parameters
    found = held.answer_examples(examples(TEXTS)).log_probs_RL
    assert found.shape == (len(TEXTS), 3) and np.isfinite(found).all() and found.std() > 0
    again = open_answerer(run.out / "adapter").answer_examples(examples()).log_probs_RL
    assert (again == found).all()


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        (
            {"kind": "c3a.v1"},
            r"mood.block: 128 does not divide .*; 16 divides all of them",
        ),
        ({"kind": "vblora.v1", "length": 5}, "adapters.mood.length: 5 does not divide the size of"),
        (
            {"kind": "road.v1"},
            r"mood.group: 64 does not divide .*; 16 divides all of them",
        ),
        ({"kind": "gralora.v1", "rank": 9, "blocks": 3}, "mood.blocks: 3 does not divide the size"),
        ({"kind": "oft.v1"}, r"adapters.mood.block: 32 does not divide .*, 48 to 32; 16 divides"),
        ({"kind": "gralora.v1", "rank": 3}, "rank is 3, which blocks = 2 does not divide"),
        ({"kind": "prefix_tuning.v1"}, "Prefix tuning .* is refused: it hands trained keys"),
        ({"kind": "ln_tuning.v1", "sites": ["mlp"]}, "mlp is no place for ln_tuning.v1; .* norms"),
        ({"kind": "ln_tuning.v1", "sites": ["*.dense"]}, r"pattern \*.dense matches no norm"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(table, cause, folder_of, tmp_path):
    with pytest.raises(PlanError, match=cause):
        train(project(tmp_path, folder_of("bert"), adapter=table), tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()
