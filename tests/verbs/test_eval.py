"""Eval: the run's own numbers again, numbers on other rows, and nobody's folder replaced."""

from __future__ import annotations

import json
import shutil

import pytest

from disk import names, small_disk
from runs import plan, project, table
from tenon.core import files
from tenon.core.errors import AdapterError, DataError, FileError, RunError
from tenon.evaluate.report import Report
from tenon.verbs.eval import evaluate
from tenon.verbs.train import train

HEADER, *ROWS = table(30, seed=2).splitlines()
PAIRED = [
    f'"the {first} dog {n}","a {second} fox",{"yes" if first == second else "no"}'
    for n in range(20)
    for first, second in (("old", "old"), ("red", "red"), ("old", "red"), ("red", "old"))
]


@pytest.fixture(scope="module")
def run(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("project")
    given = project(folder, folder_of("bert"), train__epochs=2, seed=5)
    return train(given, folder / "run")


@pytest.fixture(scope="module")
def without_test(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("project")
    return train(project(folder, folder_of("bert"), train__epochs=1, data__test=""), folder / "run")


@pytest.fixture(scope="module")
def paired(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "train.csv").write_text("\n".join(["text,pair,label", *PAIRED]) + "\n")
    columns = {"text": "text", "pair": "pair", "label": "label"}
    given = plan(folder, folder_of("bert"), train__epochs=1, data__columns=columns)
    return train(given, folder / "run")


@pytest.fixture
def write(tmp_path):
    def go(*rows, header=HEADER, name="rows.csv"):
        (tmp_path / name).write_text("\n".join([header, *rows]) + "\n")
        return str(tmp_path / name)

    return go


class TestItsOwnPart:
    @pytest.mark.parametrize("given", [lambda run: run.out, lambda run: str(run.adapter)])
    def test_the_numbers_are_those_of_the_run(self, run, given):
        report = evaluate(given(run))
        assert report.part == "test"
        assert report.metrics == {"test": run.report.metrics["test"]}
        assert report.baselines == run.report.baselines
        assert report.paired == run.report.paired
        assert report.verdict == run.report.verdict
        assert report.won == run.report.won

    def test_where_there_is_no_test_it_is_dev_and_called_so(self, without_test):
        report = evaluate(without_test.out)
        assert report.part == "dev"
        assert report.metrics == without_test.report.metrics
        assert any("no test part" in note for note in report.notes)

    def test_only_the_baselines_that_the_plan_names(self, tmp_path, folder_of):
        against = ["linear_probe"]
        given = project(tmp_path, folder_of("bert"), train__epochs=1, evaluate__against=against)
        done = train(given, tmp_path / "run")
        assert set(evaluate(done.out).baselines) == {"linear_probe"}

    def test_data_that_have_changed_since_are_told(self, tmp_path, folder_of):
        done = train(project(tmp_path, folder_of("bert"), train__epochs=1), tmp_path / "run")
        assert not any("changed since" in note for note in evaluate(done.out).notes)
        (tmp_path / "test.csv").write_text("\n".join([HEADER, *ROWS[:20]]) + "\n")
        report = evaluate(done.out)
        assert any("data have changed since the adapter was trained" in n for n in report.notes)
        assert report.metrics["test"]["accuracy"].n == 20

    def test_an_adapter_that_lies_in_no_run_needs_rows(self, run, tmp_path, write):
        shutil.copytree(run.adapter, tmp_path / "mood")
        with pytest.raises(DataError, match="mood: lies in no run; name the rows"):
            evaluate(tmp_path / "mood")
        report = evaluate(tmp_path / "mood", write(*ROWS))
        assert report.metrics["test"]["accuracy"] == run.report.metrics["test"]["accuracy"]
        assert report.baselines == {}
        assert any("no baselines" in note for note in report.notes)


class TestOtherRows:
    def test_the_same_rows_give_the_same_numbers(self, run, write):
        report = evaluate(run.out, write(*ROWS))
        assert report.metrics == {"test": run.report.metrics["test"]}
        assert report.baselines == run.report.baselines

    def test_a_few_rows_of_one_label_are_enough(self, run, write):
        rows = [row for row in ROWS if row.endswith(",sad")][:3]
        report = evaluate(run.out, write(*rows))
        assert report.metrics["test"]["accuracy"].n == 3
        assert report.data["rows"] == {"test": 3}

    def test_a_label_that_the_adapter_does_not_know(self, run, write):
        path = write(ROWS[0], "the old dog,gladd", "the fox,angry")
        with pytest.raises(DataError) as refused:
            evaluate(run.out, path)
        lines = str(refused.value).splitlines()
        assert len(lines) == 2
        assert "rows.csv:3: label 'gladd' is none of the adapter's; did you mean glad?" in lines[0]
        assert "rows.csv:4: label 'angry' is none of the adapter's" in lines[1]

    def test_columns_of_other_names_are_guessed_and_told(self, run, write):
        report = evaluate(run.out, write(*ROWS, header="sentence,class"))
        assert report.metrics["test"]["accuracy"] == run.report.metrics["test"]["accuracy"]
        assert any("sentence" in note for note in report.notes)

    def test_the_columns_of_training_are_taken_where_they_are(self, run, write):
        rows = [f"an old one,{row}" for row in ROWS]
        report = evaluate(run.out, write(*rows, header=f"sentence,{HEADER}"))
        assert report.metrics["test"]["accuracy"] == run.report.metrics["test"]["accuracy"]

    @pytest.mark.parametrize(
        ("rows", "told"),
        [
            ((), "holds no rows"),
            (("a dog", "a fox"), "no column"),
            ((",glad",), r"rows\.csv:2"),
            (("a dog,",), r"rows\.csv:2"),
        ],
    )
    def test_rows_that_cannot_be_used(self, run, write, rows, told):
        header = "text" if told == "no column" else HEADER
        with pytest.raises(DataError, match=told):
            evaluate(run.out, write(*rows, header=header))

    def test_a_file_that_is_not_there(self, run, tmp_path):
        with pytest.raises(FileError, match=r"gone\.csv"):
            evaluate(run.out, str(tmp_path / "gone.csv"))

    def test_pairs(self, paired, write):
        report = evaluate(paired.out, write(*PAIRED[:8], header="text,pair,label"))
        assert report.metrics["test"]["accuracy"].n == 8

    def test_single_texts_for_an_adapter_of_pairs(self, paired, write):
        with pytest.raises(DataError, match=r"rows\.csv:2.*trained on.*text, pair"):
            evaluate(paired.out, write("a dog,yes", "a fox,no", "a dog too,yes"))

    def test_rows_that_are_cut_are_counted(self, run, write):
        report = evaluate(run.out, write(*ROWS, f"{'a ' * 90},sad"))
        assert report.data["rows_cut"] == {"test": 1}


class TestOut:
    def test_the_files_of_a_report(self, run, tmp_path):
        report = evaluate(run.out, out=tmp_path / "deep" / "report")
        assert names(tmp_path / "deep" / "report") == {
            "report.json",
            "report.html",
            "predictions.jsonl",
            "scores.safetensors",
        }
        stored = files.read_json(tmp_path / "deep" / "report" / "report.json")
        assert Report.from_json(stored) == report
        lines = (tmp_path / "deep/report/predictions.jsonl").read_text().splitlines()
        assert len([json.loads(line) for line in lines]) == 30

    def test_a_report_may_be_replaced(self, run, tmp_path, write):
        evaluate(run.out, out=tmp_path / "report")
        evaluate(run.out, write(*ROWS[:9]), out=tmp_path / "report")
        stored = files.read_json(tmp_path / "report" / "report.json")
        assert stored["metrics"]["test"]["accuracy"]["n"] == 9

    def test_a_folder_of_somebody_else_is_untouched(self, run, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(RunError, match=r"holds thesis\.tex, which is no part of a report"):
            evaluate(run.out, out=tmp_path)
        assert names(tmp_path) == {"thesis.tex"}

    def test_a_run_is_not_replaced_by_a_report(self, run):
        before = names(run.out)
        with pytest.raises(RunError, match="no part of a report"):
            evaluate(run.out, out=run.out)
        assert names(run.out) == before

    def test_a_file_is_no_folder(self, run, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(RunError, match="out: is a file"):
            evaluate(run.out, out=tmp_path / "out")
        assert names(tmp_path) == {"out"}

    def test_a_full_disk_leaves_the_report_before(self, run, tmp_path):
        evaluate(run.out, out=tmp_path / "report")
        before = (tmp_path / "report" / "report.json").read_bytes()
        with small_disk(2000), pytest.raises(FileError, match="free some space"):
            evaluate(run.out, out=tmp_path / "report")
        assert (tmp_path / "report" / "report.json").read_bytes() == before
        assert names(tmp_path) == {"report"}

    def test_the_command_says_what_was_asked(self, run, write, tmp_path):
        path = write(*ROWS[:9], name="my rows.csv")
        report = evaluate(run.out, path, out=tmp_path / "o")
        assert report.command == f"tenon eval {run.out} '{path}' --out {tmp_path / 'o'}"


class TestRefusals:
    def test_another_base(self, run, folder_of, tmp_path):
        with pytest.raises(AdapterError, match="was trained on base"):
            evaluate(run.out, base=str(folder_of("roberta")))

    def test_a_base_that_has_moved_may_be_named(self, run, folder_of, tmp_path):
        shutil.copytree(folder_of("bert"), tmp_path / "moved")
        report = evaluate(run.out, base=str(tmp_path / "moved"))
        assert report.metrics["test"] == run.report.metrics["test"]

    def test_no_adapter(self, tmp_path):
        with pytest.raises((AdapterError, FileError), match="nothing"):
            evaluate(tmp_path / "nothing")

    def test_a_damaged_adapter(self, run, tmp_path):
        shutil.copytree(run.out, tmp_path / "run")
        path = tmp_path / "run" / "adapter" / "adapter_model.safetensors"
        damaged = bytearray(path.read_bytes())
        damaged[-1] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(AdapterError, match="adapter_model"):
            evaluate(tmp_path / "run")
