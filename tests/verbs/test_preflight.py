"""The preflight by the command line: what stops a run, what is told, what rate is suggested."""

from __future__ import annotations

import json

import pytest

import tenon
from runs import log, project, table
from tenon.core.errors import PlanError, RunError
from tenon.core.files import read_json
from tenon.train import checkpoint
from tenon.verbs.train import train
from verbs.test_generation import run

TOO_LOW = "train.learning_rate=2e-5"


@pytest.fixture(scope="module")
def data(tmp_path_factory, folder_of):
    """A folder with rows and a plan that a run of a second follows."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mood.csv").write_text(table(240, 1))
    (folder / "run.toml").write_text(
        f'base = "{folder_of("bert")}"\n[model]\ndevice = "cpu"\n[evaluate]\nresamples = 200\n'
        '[data]\ntrain = "mood.csv"\n[train]\nepochs = 2\n'
        '[adapters.mood]\nkind = "lora.v1"\nrank = 2\n'
    )
    return folder


class TestTrain:
    def test_a_check_that_fails_stops_the_run_before_anything_is_trained(self, data, capsys):
        out = data / "stopped"
        words = ["train", data / "run.toml", TOO_LOW, "--out", out]
        said = " ".join(run(capsys, *words, code=2).split())
        assert "preflight: learning rate: 2e-05, where 0.001 suits lora.v1" in said
        assert "; train.learning_rate=0.001, or leave it out" in said
        assert "1 of 17 checks failed, and nothing was trained; --preflight tell" in said
        assert not (out / "steps.jsonl").exists() or not log(out)
        assert not (out / "adapter").exists()
        assert [c["name"] for c in read_json(out / "preflight.json")["checks"] if not c["passed"]]

    def test_told_it_trains_and_the_report_says_so(self, data, capsys):
        out = data / "told"
        words = ["train", data / "run.toml", TOO_LOW, "--preflight", "tell", "--out", out]
        said = " ".join(run(capsys, *words).split())
        assert "preflight: 1 of 17 checks failed" in said and "learning rate" in said
        report = read_json(out / "report" / "report.json")
        (failed,) = (c for c in report["preflight"]["checks"] if not c["passed"])
        assert failed["name"] == "learning rate"
        assert any(note.startswith("preflight, learning rate: ") for note in report["notes"])

    def test_a_run_says_that_all_passed_and_names_no_path_of_this_machine(self, data, capsys):
        out = data / "passed"
        said = " ".join(run(capsys, "train", data / "run.toml", "--out", out).split())
        assert "preflight: 17 checks passed in " in said
        found = read_json(out / "report" / "report.json")["preflight"]
        assert [row["origin"] for row in found["rows"]][0].startswith("mood.csv:")
        assert str(data) not in json.dumps(found)
        assert {"text", "trained"} == found["rows"][0]["tokens"][0].keys()

    def test_it_is_not_asked_again_where_a_run_goes_on(self, tmp_path, folder_of):
        given = project(tmp_path, folder_of("bert"))
        out = tmp_path / "run"
        train(given, out)
        (out / "report" / "report.json").unlink()
        before = (out / "preflight.json").read_bytes()
        report = train(given, out).report
        assert (out / "preflight.json").read_bytes() == before
        assert report.preflight["seconds"] == json.loads(before)["seconds"]
        checkpoint.clear(out)

    def test_begun_anew_without_it_nothing_of_it_is_left(self, tmp_path, folder_of):
        given = project(tmp_path, folder_of("bert"), train__epochs=1)
        assert train(given, tmp_path / "run").report.preflight
        report = train(given, tmp_path / "run", resume="never", preflight="off").report
        assert not report.preflight and not (tmp_path / "run" / "preflight.json").exists()

    def test_by_call_it_raises_what_the_command_says(self, tmp_path, folder_of):
        given = project(tmp_path, folder_of("bert"), train__learning_rate=2e-5)
        with pytest.raises(RunError, match="learning rate: 2e-05"):
            train(given, tmp_path / "run")


class TestPlan:
    def test_every_check_has_a_line_and_rows_are_shown(self, data, capsys):
        said = run(capsys, "plan", data / "run.toml")
        assert "Preflight  17 checks passed in " in said
        for name in ("targets", "serving", "rows apart", "mean of a step", "gradient", "base"):
            assert f"✓  {name} " in said
        assert "First rows" in said and "[CLS]" in said and "⟦ → " in said

    def test_what_fails_is_told_with_its_remedy_and_is_no_error(self, data, capsys):
        said = run(capsys, "plan", data / "run.toml", TOO_LOW)
        assert "Preflight  1 of 17 checks failed" in said
        assert "✗  learning rate " in said and "train.learning_rate=0.001" in said

    def test_as_json(self, data, capsys):
        found = json.loads(run(capsys, "plan", data / "run.toml", "--json"))
        assert all(check["passed"] for check in found["preflight"]["checks"])
        assert len(found["preflight"]["rows"]) == 3 and found["rates"] is None


class TestFindLr:
    FAST = ("train.tokens_per_step=40", "train.epochs=6")

    def test_a_setting_is_suggested_and_the_curve_is_drawn(self, data, capsys):
        said = run(capsys, "plan", data / "run.toml", *self.FAST, "--find-lr")
        assert "Learning rate  loss in nats by rate" in said
        assert "the kind's own  0.001" in said and "1e-6" in said
        assert any("\u2800" < sign <= "\u28ff" for sign in said)

    def test_as_json_with_every_point(self, data, capsys):
        words = ["plan", data / "run.toml", *self.FAST, "--find-lr", "--json"]
        found = json.loads(run(capsys, *words))["rates"]
        assert len(found["rates"]) == len(found["changes"]) == len(found["smoothed"]) >= 60
        assert found["rates"][0] == pytest.approx(1e-6)
        assert found["setting"] in ("", f"train.learning_rate={found['suggestion']:g}")

    def test_too_few_steps_are_refused(self, data, capsys):
        said = run(capsys, "plan", data / "run.toml", "train.epochs=1", "--find-lr", code=2)
        said = " ".join(said.split())
        assert "--find-lr: the run has " in said and "a test of rates takes 60" in said

    def test_by_call(self, data):
        given = [*self.FAST, "seed=3"]
        first, second = (
            getattr(tenon, "plan")(str(data / "run.toml"), given, find_lr=True).rates  # noqa: B009
            for _ in range(2)
        )
        assert first == second
        with pytest.raises(PlanError):
            getattr(tenon, "plan")(str(data / "run.toml"), ["train.epochs=1"], find_lr=True)  # noqa: B009
