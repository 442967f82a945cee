"""The examples of prompts and of conversations: checked, learned and answered on a tiny base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tenon
from tenon.core.files import read_json
from tenon.data.check import check
from tenon.data.load import sniff
from tenon.plan.resolve import resolve_table
from writers import CHATML, causal_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = {"text_generation/kitchen.jsonl": ("", 48), "chat/library.jsonl": (CHATML, 24)}


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_sound_and_known_for_what_it_is(name):
    found = sniff(str(EXAMPLES / name))
    assert found.task == "text-generation"
    findings = check(found, 0)
    assert findings.rows["train"] == FILES[name][1]
    assert not findings.errors and not findings.warnings, findings.findings


@pytest.mark.parametrize("name", FILES)
def test_an_example_trains(name, tmp_path):
    template, _ = FILES[name]
    base = causal_folder(tmp_path, "llama", template)
    given = {
        "base": str(base),
        "data": {"task": "text-generation", "train": str(EXAMPLES / name), "dev": 0.25},
        "adapters": {"mood": {"kind": "lora.v1"}},
        "train": {"epochs": 2, "learning_rate": 0.01},
        # The tiny base has 64 positions, which these texts, told in letters, do not fit.
        "text": {"max_tokens": 700},
        "evaluate": {"resamples": 200},
        "model": {"device": "cpu"},
    }
    config = read_json(base / "config.json") | {"max_position_embeddings": 900}
    (base / "config.json").write_text(json.dumps(config))
    settings = read_json(base / "tokenizer_config.json") | {"model_max_length": 900}
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    run = tenon.train(resolve_table(given, tmp_path / "run.toml"), tmp_path / "run")
    first, *_, last = (point[1] for point in run.report.learning_curve["loss"])
    assert last < first
    paired = run.report.paired.get("zero_shot", {})
    assert not paired or paired["bits_per_byte"].difference < 0
    answered = tenon.load_adapter(run.adapter).predict(["Where are the books on bees?"])
    assert isinstance(answered[0].text, str)
