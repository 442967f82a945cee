"""In how many passes answers are written is foretold as they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenon.evaluate import together
from tenon.evaluate.generate import generate
from tenon.plan.plan import Plan
from tenon.plan.resolve import resolve_table
from tenon.plan.writing import writing
from tenon.text.text_generation_render import last_answer
from tenon.text.tokens import Tokens
from writers import causal_folder, examples, pairs, tokens_of, writer

NEW = 12
NEVER = (10_000,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return causal_folder(tmp_path_factory.mktemp("decoders"), "llama")


@pytest.fixture(scope="module")
def part(folder) -> Tokens:
    return tokens_of(folder, examples(pairs(40)))


def plan_of(size: int, new: int = NEW, rows: int = 0) -> Plan:
    table = {
        "base": "owner/base",
        "data": {"train": "t.jsonl", "task": "text-generation"},
        "adapters": {"mood": {"kind": "lora.v1"}},
        "evaluate": {"batch_tokens": size, "max_new_tokens": new, "written_rows": rows},
    }
    return resolve_table(table, Path("run.toml"))


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.deep), 150, 400, 9999])
def test_rows_that_are_written_together_take_as_many_passes_as_are_foretold(folder, part, size):
    """Where no answer ends before it has to."""
    model = writer(folder)
    prompts = [part.ids(row)[: last_answer(part.targets(row).tolist())] for row in range(len(part))]
    together.stay(model)
    assert not together.together_fault(model)
    generate(
        model, [each.tolist() for each in prompts],
        stop_ids=NEVER, max_new_tokens=NEW, batch_tokens=size,
    )  # fmt: skip
    took = together._LASTING[model].passes.others
    told = writing(plan_of(size), part, "cpu", together=True)
    assert told.most == pytest.approx(took, rel=0.2), (told, took)
    assert told.passes <= told.most
    padded = writing(plan_of(size), part, "cpu", together=False)
    assert padded.asked == told.asked == len(part)


@settings(max_examples=25)
@given(st.integers(1, 5000), st.integers(1, 40), st.sampled_from((0, 10, 30)), st.booleans())
def test_more_room_never_takes_more_passes(part, size, new, rows, both):
    told = [
        writing(plan_of(each, new, rows), part, "cpu", together=both) for each in (size, 2 * size)
    ]
    small, large = told
    assert large.most <= small.most
    assert large.passes <= small.passes
    for each in told:
        assert 1 <= each.rows <= each.asked <= len(part)
        assert 0 < each.passes <= each.most
        assert each.most >= new
        assert each.asked == min(rows or len(part), len(part))
        assert np.isfinite(each.passes)
