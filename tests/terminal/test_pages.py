"""Pages of values that only a finished run has: reports, adapters; and the bar while it runs."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save

from tenon.adapters.directory import spec
from tenon.adapters.fingerprint import Fingerprint
from tenon.adapters.manifest import Lengths, Manifest, Pooling, TensorSpec
from tenon.adapters.settings import AdapterSettings
from tenon.evaluate.assessment import assess
from tenon.evaluate.prediction import Predictions
from tenon.evaluate.report import Report
from tenon.evaluate.settings import BY_TASK, EvaluateSettings
from tenon.evaluate.verdict import signed
from tenon.terminal.adapter import bytes_of
from tenon.terminal.bar import Bar
from tenon.terminal.page import render, to_json
from tenon.terminal.report import PROBE, scorer_of
from tenon.verbs.check import check
from tenon.verbs.demo import Demonstration
from tenon.verbs.predict import Answered
from tenon.verbs.show import show
from tenon.verbs.train import Run

LABELS = ("no", "yes", "[/bold]")
SCORED = BY_TASK["text-classification"].scorers


def shown(value, width=110) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(render(value))
    return console.file.getvalue()


def predictions(hits: float, rows: int = 300, seed: int = 0) -> Predictions:
    """Answers of which about the share `hits` is right."""
    random = np.random.default_rng(seed)
    gold_R = random.integers(0, 3, rows).astype(np.int32)
    right_R = random.random(rows) < hits
    answer_R = np.where(right_R, gold_R, (gold_R + 1) % 3)
    probs_RL = np.full((rows, 3), 0.1)
    probs_RL[np.arange(rows), answer_R] = 0.8
    ids = [f"{row:032x}" for row in range(rows)]
    return Predictions(
        LABELS, ids, [f"a.csv:{row}" for row in range(rows)], ids, None, gold_R,
        np.log(probs_RL).astype(np.float32), {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Report:
    return assess(
        {"dev": predictions(0.9, 50), "test": predictions(0.95)},
        {"majority": {"test": predictions(0.3)}, PROBE: {"test": predictions(0.6)}},
        EvaluateSettings(scorers=SCORED, resamples=200),
        task="text-classification",
        cost={"seconds": 75.2, "tokens": 123_456, "trainable_parameters": 4_321, "peak_bytes": 5e8},
        data={},
        curve={},
        notes=["3 rows [b]were[/b] dropped"],
    )


class TestReport:
    def test_it_has_the_verdict_first(self, made):
        first = shown(made, width=1000).splitlines()[0]
        assert first.strip() == made.verdict

    def test_every_score_is_there_with_its_bounds(self, made):
        text = shown(made)
        for part, metrics in made.metrics.items():
            assert f"{part}  {next(iter(metrics.values())).n} rows" in text
        accuracy = made.metrics["test"]["accuracy"]
        assert f"{100 * accuracy.value:.1f} %" in text
        assert f"{100 * accuracy.low:.1f}–{100 * accuracy.high:.1f}" in text

    def test_baselines_stand_beside_the_leading_part_only(self, made):
        before, _, after = shown(made).partition("test  300 rows")
        assert "majority" not in before
        assert "over probe" in after
        gain = made.paired[PROBE]["accuracy"].difference
        assert f"{signed(scorer_of('accuracy'), gain)} (p < 0.001)" in after

    def test_cost_and_notes(self, made):
        text = shown(made)
        assert "1:15 min · 123,456 tokens · 4,321 parameters trained · 500 MB at most" in text
        assert "3 rows [b]were[/b] dropped" in text

    def test_it_goes_to_json(self, made):
        assert Report.from_json(json.loads(json.dumps(to_json(made)))) == made


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int8],
)
def test_a_tensor_weighs_what_it_takes_in_its_file(dtype):
    tensor = torch.ones(3, 5).to(dtype)
    written = save({"a": tensor})
    header = 8 + int.from_bytes(written[:8], "little")
    assert bytes_of(spec(tensor)) == len(written) - header == 15 * dtype.itemsize


def test_the_page_of_kinds_tells_each_preset():
    text = shown(show("kinds"), width=200)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for begin in (
        "decided by the preset houlsby pfeiffer parallel",
        "sites attention.out, mlp.out mlp.out mlp.out",
        "reduction 16 16 4",
        "activation swish relu relu",
    ):
        assert any(line.startswith(begin) for line in lines), begin
    assert "sites by preset" in lines
    assert any(line.startswith("activation by preset") for line in lines)
    assert "sites linear" in lines


def test_the_page_of_an_adapter():
    base = Fingerprint(
        name="owner/base", revision="main", model_type="bert", hidden_size=4, digest="d" * 64,
        tokenizer_digest="t" * 64, tensors={},
    )  # fmt: skip
    manifest = Manifest(
        tenon="0.1.0",
        name="mood",
        kind="lora.v1",
        settings=AdapterSettings(name="mood", kind="lora.v1", sites=("mlp",), own={"rank": 8}),
        labels=LABELS,
        base=base,
        pooling=Pooling(mode="mean", normalize=True),
        text=Lengths(max_tokens=512),
        report={"verdict": "better"},
        tensors={"head.safetensors": {"weight": TensorSpec(dtype="float32", shape=(3, 4))}},
    )
    text = shown(manifest)
    expected = """mood|lora.v1|owner/base@main|mean, scaled to length 1|no, yes, [/bold]
        |512 tokens|12 parameters, 48 B|better|rank"""
    for said in expected.split("|"):
        assert said.strip() in text


def test_the_page_of_the_demo(made, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "a b,x\nc d,y\n" * 9 + ",x\n")
    findings = check(str(tmp_path / "rows.csv"))
    runs = (Run(tmp_path / "first", made), Run(tmp_path / "second", made))
    demonstration = Demonstration(findings, runs, ("lora.v1", "bottleneck.v1"))
    text = shown(demonstration, width=80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "1 row has an empty or blank text" in text
    accuracy = f"{100 * made.metrics['test']['accuracy'].value:.1f} %"
    probe = f"{100 * made.baselines[PROBE]['accuracy'].value:.1f} %"
    line = next(line for line in text.splitlines() if line.strip().startswith("Accuracy"))
    assert re.findall(r"[0-9.]+ %", line) == [probe, accuracy, accuracy]
    assert text.count("4,321") == 2
    assert "bottleneck.v1" in text
    assert json.dumps(to_json(demonstration))


def test_the_page_of_a_run_and_of_answers(made, tmp_path):
    text = shown(Run(tmp_path, made), width=200)
    assert str(tmp_path / "adapter") in text
    assert str(tmp_path / "report" / "report.html") in text
    view = shown(
        Answered(1_200, {"a.csv:3": "too [b]odd"}, tmp_path / "out.jsonl", ["by its name"], 1, 64),
        width=200,
    )
    assert "1,200 rows answered" in view
    assert "a.csv:3: too [b]odd" in view
    assert "by its name" in view
    assert str(tmp_path / "out.jsonl") in view


class TestBar:
    def bar(self, *, terminal: bool):
        return Bar(Console(width=140, file=io.StringIO(), force_terminal=terminal))

    def test_on_a_pipe_each_stage_is_one_line(self):
        bar = self.bar(terminal=False)
        with bar:
            bar.start("reading [b]a.csv", None)
            bar.advance(10)
            bar.start("train", 100, done=50)
            bar.advance(1, loss=0.5)
        assert bar.console.file.getvalue().splitlines() == ["reading [b]a.csv", "train"]

    def test_it_counts_and_says(self):
        bar = self.bar(terminal=True)
        with bar:
            bar.advance(3)
            bar.start("train", 1_000, done=500)
            bar.advance(10, loss=0.5, tokens_per_second=12_345.0)
            bar.advance(0, dev=0.9, unknown=1.0)
            (task,) = bar.progress.tasks
            assert (task.completed, task.total) == (510, 1_000)
            assert task.fields["said"] == "loss 0.500 · dev 0.900 · 12,345 tokens/s"
            assert task.time_remaining is None or task.time_remaining >= 0

    def test_a_new_stage_ends_the_one_before_it(self):
        bar = self.bar(terminal=True)
        with bar:
            bar.start("a", 10)
            bar.advance(4)
            bar.start("b", None)
            bar.advance(7)
        assert [task.finished for task in bar.progress.tasks] == [True, True]
        assert [task.completed for task in bar.progress.tasks] == [10, 7]
        assert "b" in bar.console.file.getvalue()

    def test_an_interrupted_stage_does_not_look_done(self):
        bar = self.bar(terminal=True)
        with pytest.raises(KeyboardInterrupt), bar:
            bar.start("train", 10)
            bar.advance(4)
            raise KeyboardInterrupt
        assert not bar.progress.tasks[0].finished


def test_a_value_without_a_page_says_itself():
    assert shown(3).strip() == "3"
    assert to_json({"a": (1, None, 2.5)}) == {"a": [1, None, 2.5]}
