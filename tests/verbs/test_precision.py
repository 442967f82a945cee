"""Precision: what decides the number format of a base on a CPU, and that a run keeps it."""

from __future__ import annotations

import math
import shutil
from io import StringIO

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from runs import equal, log, project
from tenon.adapters import pack
from tenon.core.errors import Occupied, PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.model import halves
from tenon.plan.plan import Plan
from tenon.terminal.preview import preview_page
from tenon.verbs import precision
from tenon.verbs.plan import plan as preview
from tenon.verbs.precision import Tried, compared, open_run
from tenon.verbs.predict import load_adapter
from tenon.verbs.together import train_together
from tenon.verbs.train import train

TOP = {"kind": "lora.v1", "rank": 2}
RATE = {"train__head_learning_rate": 0.01}
"""Otherwise measured on the base as it was loaded first."""


@pytest.fixture
def able(tmp_path, monkeypatch):
    """A processor that says it can."""
    (tmp_path / "cpuinfo").write_text("flags\t\t: avx512_bf16\n")
    monkeypatch.setattr(halves, "CPUINFO", tmp_path / "cpuinfo")


@pytest.fixture
def fast(able, monkeypatch):
    """There, runs of any length are worth a probe, and bfloat16 is as fast as is wanted."""
    monkeypatch.setattr(precision, "WORK", 0.0)
    monkeypatch.setattr(precision, "FASTER", math.inf)


@pytest.fixture
def slow(fast, monkeypatch):
    """There, nothing is fast enough."""
    monkeypatch.setattr(precision, "FASTER", 0.0)


def trained(run) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


class TestWithoutAProbe:
    def test_a_short_run_is_in_float32(self, able, folder_of, tmp_path):
        space = open_run(project(tmp_path, folder_of("bert")))
        assert space.precision == "float32: the run is too short for another format to pay"
        assert space.trunk.model.dtype == torch.float32

    def test_a_processor_without_instructions(self, fast, folder_of, tmp_path):
        halves.CPUINFO.write_text("flags\t\t: avx2\n")
        space = open_run(project(tmp_path, folder_of("bert")))
        assert "neither avx512_bf16 nor amx_bf16" in space.precision
        assert space.plan.model.dtype == "float32"

    def test_a_start_that_is_computed_is_in_float32(self, fast, folder_of, tmp_path):
        adapter = {"kind": "lora.v1", "rank": 2, "init": "pissa"}
        space = open_run(project(tmp_path, folder_of("bert"), adapter=adapter))
        assert "first weights are computed" in space.precision
        assert space.plan.model.dtype == "float32"

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_what_is_asked_for_is_done(self, fast, folder_of, tmp_path, dtype):
        space = open_run(project(tmp_path, folder_of("bert"), model__dtype=dtype))
        assert space.precision == ""
        assert space.plan.model.dtype == dtype

    def test_a_large_base_is_not_probed(self, fast, monkeypatch, folder_of, tmp_path):
        monkeypatch.setattr(precision, "MOST_PARAMETERS", 10)
        space = open_run(project(tmp_path, folder_of("bert")))
        assert "too large to be probed" in space.precision


class TestAProbe:
    @pytest.mark.parametrize("arch", ["bert", "qwen3"])
    def test_finds_halves_near_on_tiny_bases(self, fast, folder_of, tmp_path, arch):
        space = open_run(project(tmp_path, folder_of(arch)))
        assert space.precision.startswith("bfloat16: probed, a step in bfloat16 takes ")
        assert space.trunk.model.dtype == torch.bfloat16
        assert space.plan.model.dtype == space.measured.dtype == "bfloat16"
        assert space.plan.origins["model.dtype"] == "measured"
        assert not any(p.requires_grad for p in space.trunk.model.parameters())

    def test_leaves_no_trace_in_float32(self, slow, folder_of, tmp_path):
        found = train(project(tmp_path, folder_of("bert")), tmp_path / "found")
        given = project(tmp_path, folder_of("bert"), model__dtype="float32")
        assert equal(trained(found), trained(train(given, tmp_path / "given")))
        assert log(found.out) == log(tmp_path / "given")
        assert not any("number format" in note for note in found.report.notes)

    @pytest.mark.parametrize("which", ["lora.v1", "bottleneck.v1"])
    def test_leaves_no_trace_in_bfloat16(self, fast, folder_of, tmp_path, which):
        asked = {**RATE, "adapter": {"kind": which, "dropout": 0.1}}
        found = train(project(tmp_path, folder_of("bert"), **asked), tmp_path / "found")
        given = project(tmp_path, folder_of("bert"), model__dtype="bfloat16", **asked)
        assert equal(trained(found), trained(train(given, tmp_path / "given")))
        assert log(found.out) == log(tmp_path / "given")
        assert any(note.startswith("number format: bfloat16") for note in found.report.notes)

    def test_is_told_by_a_plan(self, fast, folder_of, tmp_path):
        made = project(tmp_path, folder_of("bert"))
        text = f'base = "{made.base}"\n[data]\ntrain = "train.csv"\ntest = "test.csv"\n'
        text += '[adapters.mood]\nkind = "lora.v1"\n[model]\ndevice = "cpu"\n'
        (tmp_path / "run.toml").write_text(text)
        made = preview(str(tmp_path / "run.toml"))
        told = made.to_json()
        assert "adapter's gradients have cosine" in told["precision"]
        assert told["plan"]["model"]["dtype"] == "bfloat16"
        console = Console(width=400, record=True, file=StringIO())
        console.print(preview_page(made))
        lines = [line.split() for line in console.export_text().splitlines()]
        row = next(line for line in lines if line[:2] == ["number", "format"])
        assert row[2:] == told["precision"].split()


class TestARunKeepsItsFormat:
    def test_when_it_goes_on(self, fast, monkeypatch, folder_of, tmp_path):
        made = project(tmp_path, folder_of("bert"))
        whole = train(made, tmp_path / "run")
        before = trained(whole)
        for left in ("adapter", "report"):
            shutil.rmtree(tmp_path / "run" / left)
        monkeypatch.setattr(precision, "FASTER", 0.0)
        again = train(made, tmp_path / "run")
        assert Plan.read(tmp_path / "run" / "plan.json").model.dtype == "bfloat16"
        assert equal(trained(again), before)
        assert "number format: bfloat16: as the run began" in again.report.notes

    def test_unless_it_starts_anew(self, fast, monkeypatch, folder_of, tmp_path):
        made = project(tmp_path, folder_of("bert"), train__epochs=1)
        train(made, tmp_path / "run")
        monkeypatch.setattr(precision, "FASTER", 0.0)
        train(made, tmp_path / "run", resume="never")
        assert Plan.read(tmp_path / "run" / "plan.json").model.dtype == "float32"

    def test_when_it_goes_on_beside_others(self, fast, folder_of, tmp_path):
        plans = [
            project(tmp_path, folder_of("bert"), train__epochs=1, adapters={name: TOP})
            for name in ("one", "two")
        ]
        before = trained(train(plans[1], tmp_path / "runs" / "two"))
        runs = train_together(plans, tmp_path / "runs").runs
        assert runs["two"].ended_before
        assert equal(trained(runs["two"]), before)
        for name in ("one", "two"):
            held = Plan.read(tmp_path / "runs" / name / "plan.json").model.dtype
            assert held == "bfloat16"

    def test_others_in_another_are_refused_beside_it(self, fast, folder_of, tmp_path):
        plans = [
            project(tmp_path, folder_of("bert"), adapters={name: TOP}, model__dtype=dtype)
            for name, dtype in (("one", "float32"), ("two", "bfloat16"))
        ]
        with pytest.raises(PlanError, match="model.dtype: is bfloat16 and float32"):
            train_together(plans, tmp_path / "runs")

    def test_another_that_is_asked_for_is_another_plan(self, fast, folder_of, tmp_path):
        train(project(tmp_path, folder_of("bert"), train__epochs=1), tmp_path / "run")
        other = project(tmp_path, folder_of("bert"), train__epochs=1, model__dtype="float32")
        with pytest.raises(Occupied, match="model.dtype was 'bfloat16', is 'float32'"):
            train(other, tmp_path / "run")

    def test_and_so_does_its_adapter(self, fast, folder_of, tmp_path):
        run = train(project(tmp_path, folder_of("bert"), train__epochs=1), tmp_path / "run")
        assert pack.read(run.adapter).manifest.probes.dtype == "bfloat16"
        held = load_adapter(run.adapter, device="cpu").model.trunk.model.dtype
        assert held == torch.bfloat16
        assert open_answerer(run.adapter, device="cpu").model.trunk.model.dtype == torch.float32
        halves.CPUINFO.write_text("flags\t\t: avx2\n")
        held = load_adapter(run.adapter, device="cpu").model.trunk.model.dtype
        assert held == torch.float32


GRADIENT = torch.tensor([1.0, -2.0, 0.5])


class TestWhatIsNearEnough:
    @pytest.mark.parametrize(
        ("half", "fits"),
        [
            (Tried(2.0, GRADIENT, 0.6), True),
            (Tried(2.0, 3 * GRADIENT, 0.6), True),
            (Tried(2.019, GRADIENT, 0.84), True),
            (Tried(2.0, GRADIENT, 0.86), False),
            (Tried(2.021, GRADIENT, 0.6), False),
            (Tried(1.979, GRADIENT, 0.6), False),
            (Tried(2.0, -GRADIENT, 0.6), False),
            (Tried(2.0, GRADIENT + torch.tensor([0.5, 0.0, 0.0]), 0.6), False),
            (Tried(2.0, torch.zeros(3), 0.6), False),
            (Tried(math.nan, GRADIENT, 0.6), False),
            (Tried(math.inf, GRADIENT, 0.6), False),
            (Tried(2.0, GRADIENT * math.nan, 0.6), False),
        ],
    )
    def test_it_is_faster_with_the_same_loss_and_direction(self, half, fits):
        assert compared(Tried(2.0, GRADIENT, 1.0), half).fits is fits
