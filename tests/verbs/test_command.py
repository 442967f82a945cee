"""One run by the command line, from a labelled file to answers."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

import tenon
from tenon.cli import main
from tenon.plan.resolve import resolve
from tenon.terminal.page import render

PAIRS = (("refund my order", "refund"), ("track my parcel", "delivery"))
SETTINGS = (
    "train.epochs=2",
    "evaluate.resamples=200",
    "adapters.mail.kind=lora.v1",
    "adapters.mail.rank=2",
)


def rows(start, stop):
    return "text,label\n" + "".join(
        f'"{text} number {i}, please",{label}\n'
        for i in range(start, stop)
        for text, label in PAIRS
    )


def command(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code or 0


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in which one command has trained an adapter."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "mail.csv").write_text(rows(0, 40))
    (folder / "more.csv").write_text(rows(40, 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TENON_CACHE", str(folder / "cache"))
        patch.setattr(sys, "stdout", io.StringIO())
        assert command("train", "mail.csv", *SETTINGS, "data.test=more.csv", "--json") == 0
        (folder / "printed.json").write_text(sys.stdout.getvalue())
    return folder


@pytest.fixture(autouse=True)
def _here(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("TENON_CACHE", str(project / "cache"))


def test_the_run_is_where_it_should_be(project):
    run = project / "runs" / "mail"
    for name in (
        "plan.json",
        "run.toml",
        "steps.jsonl",
        "adapter/tenon.json",
        "report/report.html",
    ):
        assert (run / name).is_file()
    assert resolve(run / "run.toml").train.epochs == 2


def test_what_is_printed_is_what_is_written(project):
    printed = json.loads((project / "printed.json").read_text())
    report = json.loads((project / "runs/mail/report/report.json").read_text())
    assert printed["report"] == report
    assert report["metrics"]["test"]["accuracy"]["n"] == 40


def test_the_same_command_again_changes_nothing(project, capsys):
    before = (project / "runs/mail/report/report.json").read_bytes()
    assert command("train", "mail.csv", *SETTINGS, "data.test=more.csv", "--quiet") == 0
    assert command("train", "runs/mail/run.toml", "--quiet") == 0
    assert (project / "runs/mail/report/report.json").read_bytes() == before
    assert capsys.readouterr().out == ""


def test_another_plan_is_refused_there(capsys):
    assert command("train", "mail.csv", "train.epochs=3", "--quiet") == 2
    assert "holds a run of another plan" in capsys.readouterr().err


def test_a_setting_that_the_base_refuses_is_corrected_where_it_was(project, capsys):
    words = ["train", "mail.csv", *SETTINGS, "--out", "corrected", "--quiet"]
    assert command(*words, 'adapters.mail.sites=["attention.exit"]') == 2
    assert "attention.exit is no site" in capsys.readouterr().err
    assert "attention.exit" in (project / "corrected/run.toml").read_text()
    assert command(*words) == 0
    assert "attention.exit" not in (project / "corrected/run.toml").read_text()
    assert command("train", "corrected/run.toml", "--out", "corrected", "--quiet") == 0


def test_a_dry_run_writes_nothing(project, folder_of, capsys):
    base = f"base={folder_of('bert')}"
    assert command("train", "mail.csv", base, "--dry-run", "--out", "other", "--json") == 0
    assert json.loads(capsys.readouterr().out)["plan"]["base"]
    assert not (project / "other").exists()


def test_answers_on_standard_output_are_lines_of_json(capsys):
    assert command("predict", "runs/mail", "more.csv") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 40
    assert {line["answer"] for line in lines} == {"refund", "delivery"}


def test_answers_to_a_file(project, capsys):
    assert (
        command("predict", "runs/mail/adapter", "more.csv", "--out", "answers.jsonl", "--json") == 0
    )
    assert json.loads(capsys.readouterr().out)["rows"] == 40
    assert len((project / "answers.jsonl").read_text().splitlines()) == 40


@pytest.mark.parametrize(
    "what", ["runs/mail", "runs/mail/adapter", "runs/mail/report", "runs/mail/plan.json"]
)
def test_everything_that_is_written_can_be_shown(what, capsys):
    assert command("show", what) == 0
    assert capsys.readouterr().out.strip()
    assert command("show", what, "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_evaluating_again_gives_the_numbers_of_the_run(project, capsys):
    assert command("eval", "runs/mail", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    report = json.loads((project / "runs/mail/report/report.json").read_text())
    assert again["metrics"]["test"]["accuracy"] == report["metrics"]["test"]["accuracy"]


def test_the_same_from_python(project):
    run = tenon.train(resolve(project / "runs/mail/run.toml"), project / "runs/mail")
    console = Console(width=80, file=io.StringIO())
    console.print(render(run))
    assert run.report.verdict.split(".")[0][:40] in console.file.getvalue()


@pytest.mark.slow
def test_an_interrupt_saves_and_the_command_goes_on(project, folder_of):
    arguments = [sys.executable, "-c", "from tenon.cli import main; main()", "train", "mail.csv"]
    arguments += [f"base={folder_of('bert')}", "train.epochs=4000", "train.evaluate_every=2"]
    arguments += ["--out", "long"]
    process = subprocess.Popen(arguments, cwd=project, stderr=subprocess.PIPE, text=True)
    log = project / "long" / "steps.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert (project / "long" / "run.toml").is_file()
    assert list((project / "long").glob("step-*"))
    assert not (project / "long" / "report").exists()
