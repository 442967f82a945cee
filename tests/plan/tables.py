"""Plan tables for tests: what a run.toml may hold, and what it may not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NEEDED: dict[str, Any] = {
    "base": "owner/base",
    "data.train": "train.csv",
    "adapters.mood.kind": "lora.v1",
}
VALID: dict[str, list[Any]] = {
    "seed": [1, 7, 2**62],
    "data.dev": [0.2, 0.5, "dev.csv", "more.zip#dev.tsv"],
    "data.test": ["test.csv", "../elsewhere/test.tsv", "hub:owner/name#test"],
    "data.columns.text": ["sentence", "0", 'odd "name"', "文本"],
    "data.labels": [["no", "yes"], ["1", "2", "3"]],
    "text.max_tokens": [1, 128],
    "text.cut": ["left"],
    "model.revision": ["main"],
    "model.dtype": ["float32", "bfloat16"],
    "model.pooling": ["mean", "cls", "pooler", "last"],
    "model.batches": ["packed", "padded"],
    "model.trunk_dropout": [True],
    "adapters.mood.rank": [4, 16],
    "adapters.mood.sites": [["mlp.in", "mlp.out"], ["encoder.layer.*.dense"]],
    "adapters.mood.layers": [["last:2"], ["4", "5"]],
    "train.epochs": [1, 12],
    "train.trunk_cache": ["off", "exact", "int8"],
    "train.tokens_per_step": [10_000, 100_000],
    "train.learning_rate": [1e-5, 0.5],
    "train.schedule": ["linear", "constant"],
    "train.warmup": [0.0, 0.5],
    "train.head_start": ["random"],
    "adapters.mood.rank_stabilized": [True],
    "train.metric": ["macro_f1"],
    "evaluate.scorers": [["accuracy"], ["macro_f1", "mcc"]],
    "evaluate.against": [["majority"]],
    "evaluate.resamples": [200, 10_000],
}
WRONG: dict[str, list[Any]] = {
    "seed": ["7", -1, 1.5, True],
    "data.train": [3, ["a.csv"]],
    "data.dev": [0.7, 0, -0.1, True, [0.1]],
    "data.columns.text": [3, ["text"]],
    "text.max_tokens": [-1, "12", 1.5],
    "text.cut": ["middle", 1],
    "model.pooling": ["max", ["mean"]],
    "model.trunk_dropout": [1, "yes"],
    "adapters.mood.rank": [0, "8", "many"],
    "adapters.mood.sites": [[], "mlp.out", [1], ["mlp.in", "mlp.in"]],
    "adapters.mood.layers": [[], "top", [True], [4, 4]],
    "train.trunk_cache": ["on", True, 8],
    "train.epochs": [0, "3", 2.5, True],
    "train.learning_rate": [-1.0, "fast", float("nan"), float("inf")],
    "train.warmup": [1.0, -0.1],
    "evaluate.level": [0.4, 1, "0.95"],
    "evaluate.scorers": [["acuracy"], [], ["mcc", "mcc"], "mcc"],
    "evaluate.resamples": [10],
}


def table_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Dotted names to nested tables."""
    table: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        here = table
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
    return table


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Some of the valid settings, always with the needed ones."""
    names = draw(st.lists(st.sampled_from(sorted(VALID)), unique=True, max_size=12))
    chosen = {name: draw(st.sampled_from(VALID[name])) for name in names}
    if "data.columns.text" in chosen:
        chosen["data.columns.label"] = "label"
    return {**NEEDED, **chosen}
