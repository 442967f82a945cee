"""Home: an adapter is found, or it is said what is there; nothing of a run is written over."""

from __future__ import annotations

import shutil

import pytest

from disk import names
from runs import project
from sealed import reseal
from tenon.cli import main
from tenon.core.errors import DataError, FileError, RunError
from tenon.core.files import locked
from tenon.data.load import load
from tenon.train import checkpoint
from tenon.verbs.eval import evaluate
from tenon.verbs.folder import adapter_folder
from tenon.verbs.predict import predict
from tenon.verbs.train import LOCK, train

ROWS = "text,label\nan old dog,sad\na red fox,glad\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("project")
    return train(project(folder, folder_of("bert"), train__epochs=1), folder / "run")


@pytest.fixture
def unfinished(run, tmp_path):
    folder = shutil.copytree(run.out, tmp_path / "run")
    for name in ("adapter", "report"):
        shutil.rmtree(folder / name)
    return folder


def verbs(target, rows):
    yield lambda: evaluate(target)
    yield lambda: evaluate(target, rows)
    yield lambda: predict(target, rows)


class TestFinding:
    def test_a_run_and_its_adapter(self, run):
        assert adapter_folder(run.out) == adapter_folder(str(run.adapter)) == run.adapter

    @pytest.mark.parametrize("path", ["", "  "])
    def test_an_empty_path(self, path):
        for call in verbs(path, "rows.csv"):
            with pytest.raises(FileError, match="is an empty path; name the folder of a run"):
                call()

    def test_what_is_not_there(self, run):
        with pytest.raises(FileError, match=r"rum: no such folder; did you mean .*run\?"):
            adapter_folder(run.out.with_name("rum"))
        with pytest.raises(FileError, match="no such folder; `tenon train` makes a run"):
            adapter_folder(run.out / "q" / "q")

    def test_what_is_something_else(self, run, tmp_path):
        with pytest.raises(FileError, match=r"train\.csv: is a file; name the folder"):
            adapter_folder(run.out.parent / "train.csv")
        with pytest.raises(FileError, match="but holds run; name one of these"):
            adapter_folder(run.out.parent)
        with pytest.raises(FileError, match="is neither a run nor an adapter; name a folder"):
            adapter_folder(tmp_path)


class TestUnfinished:
    def test_the_command_that_ends_it_is_named(self, unfinished):
        expected = (
            rf"run: this run has not ended \(\d+ steps are saved\), so it has no adapter yet; .* "
            rf"tenon train {unfinished}/plan\.json --out {unfinished}$"
        )
        before = names(unfinished)
        for call in verbs(unfinished, "rows.csv"):
            with pytest.raises(RunError, match=expected):
                call()
        assert names(unfinished) == before

    def test_that_command_ends_it(self, unfinished, run):
        with pytest.raises(SystemExit) as ended:
            main(["train", "--quiet", str(unfinished / "plan.json"), "--out", str(unfinished)])
        assert not ended.value.code
        found = evaluate(unfinished)
        assert found.metrics["test"] == run.report.metrics["test"]

    def test_before_its_first_step(self, unfinished):
        checkpoint.clear(unfinished)
        with pytest.raises(RunError, match="has not ended, so it has no adapter"):
            adapter_folder(unfinished)

    def test_one_that_is_being_trained(self, unfinished):
        with (
            locked(unfinished / LOCK),
            pytest.raises(RunError, match=r"is being trained \(\d+ steps are saved\).*: wait"),
        ):
            adapter_folder(unfinished)


class TestWhatMustStay:
    @pytest.mark.parametrize(
        "inside",
        [
            "plan.json",
            "run.toml",
            "steps.jsonl",
            "baselines.safetensors",
            "inputs.json",
            "adapter/answers.jsonl",
            "report/predictions.jsonl",
            "step-00000003/a.jsonl",
        ],
    )
    def test_the_files_of_a_run(self, run, tmp_path, inside):
        (tmp_path / "rows.csv").write_text(ROWS)
        held = {path: path.read_bytes() for path in run.out.rglob("*") if path.is_file()}
        with pytest.raises(FileError, match=r"choose another --out"):
            predict(run.out, str(tmp_path / "rows.csv"), run.out / inside)
        assert {path: path.read_bytes() for path in held if path.is_file()} == held
        assert not (run.out / inside).exists() or run.out / inside in held

    @pytest.mark.parametrize("inside", ["report", "adapter", "adapter/report", "step-00000003"])
    def test_a_report_does_not_replace_those_of_a_run(self, run, inside):
        with pytest.raises(FileError, match="choose another --out"):
            evaluate(run.out, out=run.out / inside)
        assert (run.out / "report" / "report.json").is_file()
        assert not (run.adapter / "report").exists()

    def test_an_adapter_that_lies_alone(self, run, tmp_path):
        alone = shutil.copytree(run.adapter, tmp_path / "mood")
        (tmp_path / "rows.csv").write_text(ROWS)
        with pytest.raises(FileError, match="lies in an adapter"):
            predict(alone, str(tmp_path / "rows.csv"), alone / "answers.jsonl")

    def test_answers_may_lie_beside_them(self, run, tmp_path):
        (tmp_path / "rows.csv").write_text(ROWS)
        assert predict(run.out, str(tmp_path / "rows.csv"), run.out / "mine.jsonl").rows == 2
        (run.out / "mine.jsonl").unlink()

    def test_the_rows_that_it_was_trained_on(self, run):
        path = run.out.parent / "train.csv"
        before = path.read_bytes()
        with pytest.raises(FileError, match=r"train\.csv: holds the rows of data\.train"):
            predict(run.out, str(run.out.parent / "test.csv"), path)
        assert path.read_bytes() == before

    def test_what_is_no_plain_file(self, run, tmp_path):
        (tmp_path / "rows.csv").write_text(ROWS)
        for out, told in ((tmp_path, "is a folder"), ("/dev/null", "is no plain file")):
            with pytest.raises(FileError, match=told):
                predict(run.out, str(tmp_path / "rows.csv"), out)

    def test_a_link_to_the_rows(self, run, tmp_path):
        (tmp_path / "rows.csv").write_text(ROWS)
        (tmp_path / "link").symlink_to("rows.csv")
        with pytest.raises(FileError, match="link: holds the rows that are to be answered"):
            predict(run.out, str(tmp_path / "rows.csv"), tmp_path / "link")


def test_no_path_of_this_machine_is_in_a_report(run):
    for report in (run.report, evaluate(run.out)):
        listed = [*report.won["rows"], *report.lost["rows"], *report.surest_errors["rows"]]
        assert {row["origin"].partition(":")[0] for row in listed} == {"test.csv"}
        assert not any(str(run.out.parent) in note for note in report.notes)
        assert str(run.out.parent) not in report.title
        assert set(report.data["rows"]) >= {"test"}


def test_another_runs_plan_is_not_taken_for_its_own(run, tmp_path):
    shutil.copytree(run.out, tmp_path / "other")
    shutil.copytree(run.adapter, tmp_path / "other" / "mine")
    reseal(tmp_path / "other" / "mine", plan_digest="0" * 64)
    with pytest.raises(DataError, match="lies in no run; name the rows"):
        evaluate(tmp_path / "other" / "mine")


@pytest.mark.parametrize(("source", "told"), [("train", "learned from"), ("dev", "chosen on")])
def test_rows_that_flatter_are_told(tmp_path, folder_of, source, told):
    plan = project(tmp_path, folder_of("bert"), train__epochs=1)
    (tmp_path / "dev.csv").write_text((tmp_path / "test.csv").read_text().replace("2-", "3-"))
    plan = project(tmp_path, folder_of("bert"), train__epochs=1, data__dev="dev.csv")
    done = train(plan, tmp_path / "run")
    report = evaluate(done.out, tmp_path / f"{source}.csv")
    assert any(told in note and "flatter" in note for note in report.notes)
    assert not any("flatter" in note for note in evaluate(done.out, tmp_path / "test.csv").notes)
    assert load(plan.data, plan.seed).counts["dev"]
