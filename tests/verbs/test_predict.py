"""Predict: an answer for each row, in order, or a message and nothing at all."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file

from disk import names, small_disk
from runs import LABELS, plan, project, table
from sealed import relist
from tenon.core.errors import AdapterError, DataError, FileError, RequestError
from tenon.data import reading
from tenon.verbs.predict import load_adapter, predict
from tenon.verbs.train import train

HEADER, *ROWS = table(40, seed=4).splitlines()
TEXTS = [row.rpartition(",")[0] for row in ROWS]


@pytest.fixture(scope="module")
def run(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("project")
    return train(project(folder, folder_of("bert"), train__epochs=1), folder / "run")


@pytest.fixture(scope="module")
def paired(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("pairs")
    rows = [f"dog {n},fox {n % 3},{'yes' if n % 2 else 'no'}" for n in range(40)]
    (folder / "train.csv").write_text("\n".join(["first,second,label", *rows]) + "\n")
    columns = {"text": "first", "pair": "second", "label": "label"}
    given = plan(folder, folder_of("bert"), train__epochs=1, data__columns=columns)
    return train(given, folder / "run")


@pytest.fixture
def write(tmp_path):
    def go(*rows, header=HEADER, name="rows.csv"):
        (tmp_path / name).write_text("\n".join([header, *rows]) + "\n")
        return str(tmp_path / name)

    return go


@pytest.fixture
def typed(monkeypatch):
    """Let bytes come in on standard input."""

    def go(data):
        data = data if isinstance(data, bytes) else data.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return go


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TestAnswers:
    def test_one_for_each_row_in_its_order(self, run, write, tmp_path):
        answered = predict(run.out, write(*ROWS), tmp_path / "answers.jsonl")
        found = lines(tmp_path / "answers.jsonl")
        assert [line["text"] for line in found] == TEXTS
        assert [line["origin"].rpartition(":")[2] for line in found] == [
            str(number) for number in range(2, 42)
        ]
        assert all(line["answer"] in LABELS and 0 < line["probability"] <= 1 for line in found)
        assert (answered.rows, answered.failed, answered.out) == (
            40,
            {},
            tmp_path / "answers.jsonl",
        )

    def test_they_are_those_of_the_evaluation(self, run, tmp_path):
        predict(run.out, str(run.out.parent / "test.csv"), tmp_path / "answers.jsonl")
        expected = lines(run.out / "report" / "predictions.jsonl")
        found = lines(tmp_path / "answers.jsonl")
        for name in ("id", "text", "answer"):
            assert [line[name] for line in found] == [line[name] for line in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)

    def test_they_do_not_depend_on_the_rows_beside(self, run, write, tmp_path):
        predict(run.out, write(*ROWS), tmp_path / "whole.jsonl")
        predict(run.out, write(*ROWS), tmp_path / "pieces.jsonl", portion=3)
        whole, pieces = lines(tmp_path / "whole.jsonl"), lines(tmp_path / "pieces.jsonl")
        assert [line["answer"] for line in whole] == [line["answer"] for line in pieces]
        for one, other in zip(whole, pieces, strict=True):
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)

    def test_they_are_those_that_python_gives(self, run, write, tmp_path):
        predict(run.adapter, write(*ROWS), tmp_path / "answers.jsonl")
        answers = load_adapter(run.adapter).predict(TEXTS)
        found = lines(tmp_path / "answers.jsonl")
        assert [answer.label for answer in answers] == [line["answer"] for line in found]
        for answer, line in zip(answers, found, strict=True):
            assert answer.probability == pytest.approx(line["probability"], abs=1e-5)
            assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
            assert set(answer.probabilities) == set(LABELS)

    def test_a_column_with_labels_is_not_needed_and_not_minded(self, run, write, tmp_path):
        predict(run.out, write(*ROWS), tmp_path / "with.jsonl")
        predict(run.out, write(*TEXTS, header="text"), tmp_path / "without.jsonl")
        with_labels, without = lines(tmp_path / "with.jsonl"), lines(tmp_path / "without.jsonl")
        assert [line["answer"] for line in with_labels] == [line["answer"] for line in without]

    def test_a_column_of_another_name_is_guessed_and_told(self, run, write, tmp_path):
        answered = predict(run.out, write(*TEXTS, header="sentence"), tmp_path / "a.jsonl")
        assert answered.rows == 40
        assert any("sentence" in note for note in answered.notes)

    def test_pairs(self, paired, write, tmp_path):
        rows = [f"dog {n},fox {n}" for n in range(5)]
        predict(paired.out, write(*rows, header="first,second"), tmp_path / "a.jsonl")
        found = lines(tmp_path / "a.jsonl")
        assert [line["pair"] for line in found] == [f"fox {n}" for n in range(5)]

    def test_to_standard_output(self, run, write, capsys):
        answered = predict(run.out, write(*ROWS[:3]))
        printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["text"] for line in printed] == TEXTS[:3]
        assert (answered.rows, answered.out) == (3, None)

    def test_progress_counts_rows(self, run, write, tmp_path):
        told = []

        class Bar:
            def start(self, what, total, *, done=0):
                told.append(what)

            def advance(self, n, **fields):
                told.append(n)

        path = write(*ROWS)
        predict(run.out, path, tmp_path / "a.jsonl", progress=Bar())
        assert told == [f"answers of {path}", 40]


class TestStandardInput:
    def test_one_text_a_line(self, run, typed, tmp_path):
        typed("\n".join(TEXTS) + "\r\n")
        answered = predict(run.out, "-", tmp_path / "a.jsonl")
        found = lines(tmp_path / "a.jsonl")
        assert [line["text"] for line in found] == TEXTS
        assert [line["origin"] for line in found][:2] == ["stdin:1", "stdin:2"]
        assert answered.rows == 40

    @pytest.mark.parametrize("typing", ["", "\n", "a dog\n\na fox\n"])
    def test_nothing_typed_is_told(self, run, typed, tmp_path, typing):
        typed(typing)
        with pytest.raises(DataError, match="stdin"):
            predict(run.out, "-", tmp_path / "a.jsonl")
        assert names(tmp_path) == set()

    def test_a_wrong_adapter_is_told_before_a_line_is_waited_for(self, run, typed, tmp_path):
        folder = shutil.copytree(run.out / "adapter", tmp_path / "wrong")
        held = load_file(folder / "adapter_model.safetensors")
        save_file({n: 100 * t for n, t in held.items()}, folder / "adapter_model.safetensors")
        relist(folder)
        typed("")
        with pytest.raises(AdapterError, match="gives other logits here"):
            predict(folder, "-")

    def test_bytes_that_are_not_utf8_are_told(self, run, typed, tmp_path):
        typed(b"a dog\n" + "caf\u00e9\n".encode("latin-1"))
        with pytest.raises(DataError, match=r"stdin:.*not UTF-8"):
            predict(run.out, "-", tmp_path / "a.jsonl")

    def test_half_characters_of_a_lenient_terminal_are_told(self, run, tmp_path, monkeypatch):
        data = io.BytesIO(b"a dog\ncaf\xe9\n")
        lenient = io.TextIOWrapper(data, encoding="utf-8", errors="surrogateescape")
        monkeypatch.setattr(sys, "stdin", lenient)
        with pytest.raises(DataError, match=r"stdin:2: .*not UTF-8"):
            predict(run.out, "-", tmp_path / "a.jsonl")

    def test_pairs_cannot_be_typed(self, paired, typed, tmp_path):
        typed("a dog\n")
        with pytest.raises(DataError, match=r"stdin: .*reads pairs .*trained on .* first, second"):
            predict(paired.out, "-", tmp_path / "a.jsonl")


class TestRefusals:
    def test_faulty_rows_are_all_told_and_nothing_is_written(self, run, write, tmp_path):
        rows = [*ROWS[:5], ",glad", "too,many,cells", *ROWS[5:]]
        with pytest.raises(DataError) as refused:
            predict(run.out, write(*rows), tmp_path / "answers.jsonl")
        assert "rows.csv:7" in str(refused.value)
        assert "rows.csv:8" in str(refused.value)
        assert names(tmp_path) == {"rows.csv"}

    def test_a_fault_behind_the_sample_is_told_too(self, run, write, tmp_path, monkeypatch):
        monkeypatch.setattr(reading, "SAMPLE_ROWS", 5)
        with pytest.raises(DataError, match=r"rows\.csv:42"):
            predict(run.out, write(*ROWS, ",glad"), tmp_path / "answers.jsonl")
        assert names(tmp_path) == {"rows.csv"}

    def test_no_rows(self, run, write, tmp_path):
        with pytest.raises(DataError, match="holds no rows"):
            predict(run.out, write(), tmp_path / "answers.jsonl")

    def test_singles_for_pairs_and_pairs_for_singles(self, run, paired, write, tmp_path):
        with pytest.raises(DataError, match="trained on the columns first, second"):
            predict(paired.out, write("a dog", header="text"), tmp_path / "a.jsonl")
        with pytest.raises((DataError, RequestError)):
            load_adapter(paired.out).predict(["a dog"])
        with pytest.raises((DataError, RequestError)):
            load_adapter(run.out).predict([("a dog", "a fox")])

    def test_the_file_of_the_rows_is_not_overwritten(self, run, write, tmp_path, monkeypatch):
        path = write(*ROWS)
        monkeypatch.chdir(tmp_path)
        for out in (path, "rows.csv", tmp_path / ".." / tmp_path.name / "rows.csv"):
            with pytest.raises(FileError, match=r"rows\.csv: holds the rows that are to be answer"):
                predict(run.out, path, out)
        assert (tmp_path / "rows.csv").read_text().splitlines()[1:] == ROWS

    def test_a_full_disk_leaves_the_answers_before(self, run, write, tmp_path):
        path = write(*ROWS)
        (tmp_path / "answers.jsonl").write_text("before")
        with small_disk(500), pytest.raises(FileError, match="free some space"):
            predict(run.out, path, tmp_path / "answers.jsonl")
        assert (tmp_path / "answers.jsonl").read_text() == "before"
        assert names(tmp_path) == {"rows.csv", "answers.jsonl"}

    def test_a_file_that_is_not_there(self, run, tmp_path):
        with pytest.raises(FileError, match=r"gone\.csv"):
            predict(run.out, str(tmp_path / "gone.csv"), tmp_path / "a.jsonl")
        assert names(tmp_path) == set()


def test_a_reader_that_goes_away_is_no_fault_of_ours(run, tmp_path):
    """`tenon predict ... | head -1`: no traceback."""
    (tmp_path / "rows.csv").write_text("\n".join([HEADER, *(ROWS * 60)]) + "\n")
    code = "from tenon.cli import main; main()"
    command = [sys.executable, "-c", code, "predict", str(run.out), str(tmp_path / "rows.csv")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        first = process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(60)
    assert json.loads(first)["text"] == TEXTS[0]
    assert "Traceback" not in err
