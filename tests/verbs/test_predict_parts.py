"""Predict in portions: stopped anywhere it goes on to the same bytes; wrong rows in their place."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys

import pytest
import torch

from disk import names, small_disk
from models import classifier, save
from processes import FULL, INTERRUPT, KILL, moments, nursery
from runs import project, table
from tenon.adapters import pack
from tenon.core.errors import DataError, FileError, MissingExtra, Occupied, RequestError, RunError
from tenon.core.files import locked
from tenon.verbs import crew, questions
from tenon.verbs.clerk import Clerk, device_of, paired
from tenon.verbs.clerks import Order, Worker
from tenon.verbs.journal import NAME
from tenon.verbs.predict import load_adapter, predict
from tenon.verbs.questions import Cut, Kept, Portion, open_questions
from tenon.verbs.train import train

KILLS = int(os.environ.get("TENON_KILLS") or 4)
ROWS = 23


@pytest.fixture(scope="module")
def run(tmp_path_factory, folder_of):
    folder = tmp_path_factory.mktemp("project")
    return train(project(folder, folder_of("bert"), train__epochs=1), folder / "run")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Let a portion be five rows, so that few rows make several."""
    monkeypatch.setattr(questions, "PORTION_ROWS", 5)


@pytest.fixture
def rows(tmp_path) -> str:
    path = tmp_path / "rows.csv"
    path.write_text(table(ROWS, seed=4))
    return str(path)


class Stopping:
    """Ctrl-C, once so many rows are done."""

    def __init__(self, rows: int):
        self.left, self.begun = rows, []

    def start(self, what, total, *, done=0):
        self.begun.append((total, done))

    def advance(self, n, **fields):
        assert fields["rows_per_second"] > 0
        self.left -= n
        if self.left <= 0:
            raise KeyboardInterrupt


def stopped(run, rows, out, after: int, **given) -> None:
    """Answer rows until so many are done; what is answered whole by then stays."""
    with pytest.raises(KeyboardInterrupt):
        predict(run.out, rows, out, progress=Stopping(after), **given)


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


class TestGoingOn:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
    def test_to_the_same_bytes_whenever_it_was_stopped(self, run, rows, tmp_path, name):
        predict(run.out, rows, tmp_path / f"whole-{name}", keep="label")
        for after in (1, 6, 23):
            stopped(run, rows, tmp_path / name, after, keep="label")
            assert names(tmp_path) >= {"rows.csv"} and not (tmp_path / name).exists()
            told = Stopping(99)
            answered = predict(run.out, rows, tmp_path / name, keep="label", progress=told)
            done = (after - 1) // 5 * 5
            assert (answered.rows, answered.resumed) == (ROWS, done)
            assert told.begun == [(ROWS, done)]
            assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
            assert names(tmp_path) == {"rows.csv", name, f"whole-{name}"}
            (tmp_path / name).unlink()

    def test_portions_change_no_answer(self, run, rows, tmp_path, monkeypatch):
        predict(run.out, rows, tmp_path / "pieces.jsonl")
        monkeypatch.setattr(questions, "PORTION_ROWS", 4096)
        predict(run.out, rows, tmp_path / "whole.jsonl")
        for one, other in zip(lines(tmp_path / "pieces.jsonl"), lines(tmp_path / "whole.jsonl"),
                              strict=True):  # fmt: skip
            assert one.pop("probability") == pytest.approx(other.pop("probability"), abs=1e-5)
            assert one == other

    def test_long_texts_make_short_portions(self):
        made = list(
            Cut(5, 10).portions(questions.Row({"text": "x" * n}, "") for n in (4, 7, 1, 20))
        )
        assert [(part.number, len(part.rows)) for part in made] == [(0, 2), (1, 2)]

    def test_it_is_refused_where_something_differs(self, run, rows, tmp_path, monkeypatch):
        out = tmp_path / "a.jsonl"
        stopped(run, rows, out, 12, keep="label")
        with pytest.raises(RunError, match=r"holds 10 rows .*: --keep is text, was label; .*never"):
            predict(run.out, rows, out, keep="text")
        with pytest.raises(RunError, match=r"--faulty is keep, was stop"):
            predict(run.out, rows, out, keep="label", faulty="keep")
        monkeypatch.setattr(questions, "PORTION_ROWS", 7)
        with pytest.raises(RunError, match=r"--portion is 7, was 5;"):
            predict(run.out, rows, out, keep="label")
        monkeypatch.setattr(questions, "PORTION_ROWS", 5)
        (tmp_path / "rows.csv").write_text(table(ROWS, seed=5))
        with pytest.raises(RunError, match=r"digest of the rows is \w{12}…, was \w{12}…"):
            predict(run.out, rows, out, keep="label")
        assert len(names(tmp_path / "a.jsonl.parts")) == 4, "lock, journal and two portions stay"
        predict(run.out, rows, out, resume="never")
        assert names(tmp_path) == {"rows.csv", "a.jsonl"}

    def test_another_adapter_is_refused(self, run, rows, tmp_path, folder_of):
        out = tmp_path / "a.jsonl"
        stopped(run, rows, out, 12)
        plan = project(tmp_path / "other", folder_of("bert"), train__epochs=1, seed=8)
        with pytest.raises(RunError, match=r"adapter is \w{12}…, was \w{12}…"):
            predict(train(plan, tmp_path / "other" / "run").out, rows, out)

    def test_a_portion_that_was_changed_is_answered_again(self, run, rows, tmp_path):
        predict(run.out, rows, tmp_path / "whole.jsonl")
        out = tmp_path / "a.jsonl"
        stopped(run, rows, out, 16)
        portions = sorted(
            p for p in (tmp_path / "a.jsonl.parts").iterdir() if NAME.fullmatch(p.name)
        )
        portions[1].write_text(
            portions[1].read_text().replace("glad", "sad").replace("calm", "glad")
        )
        answered = predict(run.out, rows, out)
        assert answered.resumed == 10
        assert any(f"{portions[1].name}: had been changed" in note for note in answered.notes)
        assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()

    def test_portions_without_a_journal_are_not_trusted(self, run, rows, tmp_path):
        out = tmp_path / "a.jsonl"
        stopped(run, rows, out, 16)
        (tmp_path / "a.jsonl.parts" / "journal.json").unlink()
        assert predict(run.out, rows, out).resumed == 0

    def test_two_at_once_are_refused(self, run, rows, tmp_path):
        with locked(tmp_path / "a.jsonl.parts" / ".lock"), pytest.raises(Occupied, match="another"):
            predict(run.out, rows, tmp_path / "a.jsonl")

    def test_a_full_disk_keeps_what_was_answered(self, run, rows, tmp_path):
        out = tmp_path / "a.jsonl"
        stopped(run, rows, out, 12)
        with small_disk(600), pytest.raises(FileError, match="free some space"):
            predict(run.out, rows, out)
        assert predict(run.out, rows, out).resumed == 10


class TestFaultyRows:
    @pytest.fixture
    def bad(self, tmp_path) -> str:
        head, *body = table(ROWS, seed=4).splitlines()
        body[3], body[11] = ",glad", " ,sad"
        (tmp_path / "bad.csv").write_text("\n".join([head, *body]) + "\n")
        return str(tmp_path / "bad.csv")

    def test_they_stand_in_their_place_with_their_cause(self, run, bad, rows, tmp_path):
        predict(run.out, rows, tmp_path / "sound.jsonl", keep="label")
        answered = predict(run.out, bad, tmp_path / "a.jsonl", faulty="keep", keep="label")
        assert (answered.rows, answered.missed) == (ROWS - 2, 2)
        assert list(answered.failed) == [f"{bad}:5", f"{bad}:13"]
        found, sound = lines(tmp_path / "a.jsonl"), lines(tmp_path / "sound.jsonl")
        for place, (one, other) in enumerate(zip(found, sound, strict=True)):
            assert one["origin"].rpartition(":")[2] == str(place + 2)
            assert one["row"] == {"label": "glad"} if place == 3 else one["row"]["label"]
            if place in (3, 11):
                assert one["failed"] == answered.failed[one["origin"]] and "answer" not in one
            else:
                assert (one["id"], one["answer"]) == (other["id"], other["answer"])
        table_of = (tmp_path / "a.csv", tmp_path / "a.parquet")
        for path in table_of:
            assert predict(run.out, bad, path, faulty="keep", keep="label").missed == 2

    def test_else_nothing_is_answered(self, run, bad, tmp_path):
        with pytest.raises(DataError, match=r"bad\.csv:5[\s\S]*bad\.csv:13"):
            predict(run.out, bad, tmp_path / "a.jsonl")
        assert names(tmp_path) == {"bad.csv"}

    def test_a_file_of_nothing_else_is_refused(self, run, tmp_path):
        (tmp_path / "bad.csv").write_text("text,label\n,glad\n,sad\n")
        with pytest.raises(DataError, match=r"bad\.csv:2"):
            predict(run.out, tmp_path / "bad.csv", tmp_path / "a.jsonl", faulty="keep")

    def test_rows_that_fail_stand_in_their_place(self, folder_of, tmp_path):
        """A text of which the tokenizer leaves nothing, and a score that is not finite."""
        qwen2 = folder_of("qwen2")
        save(classifier(qwen2), qwen2, tmp_path / "mood")
        (tmp_path / "odd.csv").write_text("text,n\na day,1\n家,2\nmy dog,3\n", encoding="utf-8")
        answered = predict(tmp_path / "mood", tmp_path / "odd.csv", tmp_path / "a.jsonl", keep="n")
        found = lines(tmp_path / "a.jsonl")
        assert [line["row"]["n"] for line in found] == ["1", "2", "3"]
        assert [line.get("answer") is None for line in found] == [False, True, False]
        assert found[1]["failed"].startswith("this text has no tokens")
        assert (answered.rows, answered.missed) == (2, 1)
        assert answered.failed == {f"{tmp_path}/odd.csv:3": found[1]["failed"]}
        held = load_adapter(tmp_path / "mood")
        with torch.no_grad():
            held.model.head.linear.bias[0] = torch.nan
        asked = Portion(0, [questions.Row({"text": "a day"}, "o:1")])
        told = Clerk(held, questions.Columns(text="text"), Kept(())).answer(asked)
        assert "not finite" in json.loads(told)["failed"]

    def test_a_text_with_odd_ends_of_lines_is_one_row(self, run, tmp_path, capsys):
        odd = 'the dog\u2028 "failed"\x85 it'
        (tmp_path / "odd.jsonl").write_text(json.dumps({"text": odd}) + "\n")
        for out in (None, tmp_path / "a.csv", tmp_path / "a.jsonl"):
            assert predict(run.out, tmp_path / "odd.jsonl", out, keep="text").rows == 1
        assert json.loads(capsys.readouterr().out)["text"] == odd
        assert lines(tmp_path / "a.jsonl")[0]["row"] == {"text": odd}

    def test_rows_that_lose_tokens_are_counted(self, run, tmp_path):
        (tmp_path / "long.csv").write_text(f"text\n{'dog ' * 600}\nthe fox\n")
        answered = predict(run.out, tmp_path / "long.csv", tmp_path / "a.jsonl")
        first, second = lines(tmp_path / "a.jsonl")
        assert first["cut"] > 0 and "cut" not in second
        assert any(note.startswith("1 row lost tokens") for note in answered.notes)


class TestSettings:
    def test_columns_to_keep_must_be_there(self, run, rows, tmp_path):
        with pytest.raises(DataError, match=r"no column 'lable' to keep; did you mean label\?"):
            predict(run.out, rows, tmp_path / "a.jsonl", keep="lable,text")
        assert names(tmp_path) == {"rows.csv"}

    def test_all_columns(self, run, rows, tmp_path):
        predict(run.out, rows, tmp_path / "a.jsonl", keep="all")
        assert all(set(line["row"]) == {"text", "label"} for line in lines(tmp_path / "a.jsonl"))

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"out": "a.tsv"}, "not written as .tsv"),
            ({"out": "a.csv", "format": "parquet"}, "leave one out"),
            ({"out": "a.jsonl", "format": "xml"}, "choose one of jsonl, csv, parquet"),
            ({"format": "csv"}, "--format: needs a file"),
            ({"resume": "never"}, "--resume: needs a file"),
            ({"engine": "ray"}, "--engine: needs a file"),
            ({"out": "a.jsonl", "workers": 2}, "--workers: has no effect"),
            ({"out": "a.jsonl", "address": "auto"}, "--address: has no effect"),
            ({"out": "a.jsonl", "engine": "dask"}, "choose one of local, ray"),
            ({"out": "a.jsonl", "faulty": "drop"}, "choose one of stop, keep"),
            ({"out": "a.jsonl", "portion": -1}, "is no number of rows"),
        ],
    )
    def test_what_is_unknown_or_idle_is_refused(self, run, rows, tmp_path, given, said):
        out = given.pop("out", None)
        with pytest.raises(RequestError, match=said):
            predict(run.out, rows, out and tmp_path / out, **given)
        assert names(tmp_path) == {"rows.csv"}

    def test_standard_input_leaves_nothing_when_it_fails(self, run, tmp_path, monkeypatch):
        for typed, sound in (("a dog\n" * 12, True), ("a dog\n" * 12 + "\n", False)):
            stdin = io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8")
            monkeypatch.setattr(sys, "stdin", stdin)
            with contextlib.nullcontext() if sound else pytest.raises(DataError, match="stdin:13"):
                assert predict(run.out, "-", tmp_path / "a.csv").rows == 12
            assert names(tmp_path) == ({"a.csv"} if sound else set())
            (tmp_path / "a.csv").unlink(missing_ok=True)

    def test_without_ray_the_install_line_is_told(self, run, rows, tmp_path, monkeypatch):
        monkeypatch.setattr(crew, "NAME", "absent_package")
        with pytest.raises(MissingExtra, match=r'pip install "tenonlm\[ray\]"'):
            predict(run.out, rows, tmp_path / "a.jsonl", engine="ray")
        assert names(tmp_path) == {"rows.csv"}


def test_a_worker_speaks_json(run, rows, tmp_path):
    """What Ray calls on another machine, called here."""
    manifest = pack.read(run.adapter).manifest
    found = open_questions(rows, manifest, Kept(("label",)))
    order = Order(str(run.adapter), "", found.columns, ("label",), 1, lenient=False)
    assert Order.from_json(order.to_json()) == order
    worker = Worker(order.to_json())
    clerk = Clerk(load_adapter(run.adapter), found.columns, Kept(("label",)))
    assert json.loads(worker.device()) == {"value": device_of(clerk.answerer)}
    portion = next(Cut(ROWS).portions(found.stream()))
    told = worker.answer(json.dumps([[row.origin, row.values] for row in portion.rows]))
    assert json.loads(told)["value"] == clerk.answer(portion)
    (error,) = [json.loads(worker.answer(json.dumps([["a:1", {"text": ""}]])))]
    assert (error["error"], error["what"][:4]) == ("DataError", "a:1:")


def test_each_row_has_its_example():
    given = [questions.Row({"text": text}, f"a:{text}") for text in ("x", "", "y")]
    found = list(paired(given, questions.Columns(text="text"), "text-classification"))
    assert [(row.origin, item.origin) for row, item in found] == [(r.origin,) * 2 for r in given]


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes(run, rows, tmp_path):
    """Two workers; stopped there, the rest is answered here."""
    ray = pytest.importorskip("ray")
    predict(run.out, rows, tmp_path / "local.csv", keep="label")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        answered = predict(run.out, rows, tmp_path / "ray.csv", keep="label", engine="ray")
        assert answered.rows == ROWS
        stopped(run, rows, tmp_path / "both.csv", 12, keep="label", engine="ray")
        lost = {"base": str(tmp_path / "gone"), "engine": "ray", "workers": 1}
        with pytest.raises(FileError, match="gone"):
            predict(run.out, rows, tmp_path / "x.csv", **lost)
    finally:
        ray.shutdown()
    assert predict(run.out, rows, tmp_path / "both.csv", keep="label").resumed >= 5
    for name in ("ray.csv", "both.csv"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert names(tmp_path) == {"rows.csv", "local.csv", "ray.csv", "both.csv"}


@pytest.fixture(scope="module")
def killing(run, tmp_path_factory):
    """Give what answers sixty rows as a process of its own; a folder for each file of answers."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "rows.csv").write_text(table(60, seed=4))
    words = ["predict", str(run.out), str(folder / "rows.csv"), "--keep", "label", "--quiet"]
    cradle = nursery(folder)

    def answer(home: str, name: str, **more):
        (folder / home).mkdir(exist_ok=True)
        out = folder / home / name
        told = [*words, "--portion", "9", "--out", str(out)]
        return cradle.run(*told, watched=out.parent, **more), out

    answer("warm", "a.jsonl")
    yield answer


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_killed_at_any_moment(killing, name):
    """SIGKILL, Ctrl-C and a full disk, at any file operation or time: the same bytes at the end."""
    whole, made = killing("whole", name)
    assert whole.code == 0, whole.err
    chosen, moment = random.Random(len(name)), moments(7, whole.operations, whole.seconds)
    for _ in range(KILLS // 2):
        what = KILL if KILLS < 8 else chosen.choice([KILL, KILL, INTERRUPT, FULL])
        met = {"operation": chosen.randint(1, whole.operations)}
        ended, out = killing(
            f"met-{name}", name, what=what, **(next(moment) if what == KILL else met)
        )
        if ended.code != 0:
            assert not out.exists() or out.read_bytes() == made.read_bytes()
            ended, out = killing(f"met-{name}", name)
        assert ended.code == 0, ended.err
        assert out.read_bytes() == made.read_bytes()
        assert names(out.parent) == {name}
        out.unlink()
