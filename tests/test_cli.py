"""The command line: what it prints where, and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tenon
from tenon.cli import main
from tenon.core.errors import DataError

HEAVY = ("torch", "transformers", "peft", "numpy", "sklearn", "scipy", "pyarrow", "datasets")
LONG = "x" * 300
ROWS = "\n".join(
    f'"{word} number {i}",{label}'
    for i in range(12)
    for word, label in (("good", "yes"), ("bad", "no"))
)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A working folder with a labelled file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text(f"text,label\n{ROWS}\n")
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def go(*arguments):
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return go


REFUSED = (
    ["train"],
    ["no-such-command"],
    ["train", "a.csv", "--no-such-flag"],
    ["train", "a.csv", "--resume", "sometimes"],
    ["init", "none.csv"],
    ["check", "none.csv"],
    ["check", "none.toml"],
    ["plan", "none.csv"],
    ["plan", "none.toml"],
    ["plan", "words.csv", "train.epoch=3"],
    ["plan", "words.csv", "evaluate.scorers=acuracy"],
    ["plan", "words.csv", "train.epochs=many"],
    ["train", "none.csv"],
    ["train", "none.toml"],
    ["train", "words.csv", "train.epoch=3"],
    ["train", "words.csv", "--dry-run", "train.epoch=3"],
    ["sweep", "none.toml"],
    ["sweep", "words.csv", "--over", "train.epoch=1,2"],
    ["eval", "none"],
    ["eval", "average(none:0.5, nothing:0.5)"],
    ["eval", "average(none"],
    ["compare", "none", "nothing"],
    ["compose", "average(none:0.5, nothing:0.5)", "-o", "made"],
    ["predict", "none", "words.csv"],
    ["predict", "adapter", "none.jsonl"],
    ["predict", "adapter", "words.csv", "--workers", "2"],
    ["predict", "run", "words.csv"],
    ["chat", "none"],
    ["serve", "none"],
    ["serve", "adapter", "server.prot=1"],
    ["export", "none", "--out", "made"],
    ["export", "adapter", "--out", "made", "--rank", "2", "--data", "none.csv"],
    ["export", "adapter", "--check", "--out", "made"],
    ["show", "none"],
)
"""Arguments that cannot be right, whatever a model library would say of them."""


def imported_by(lists: list[list[str]], folder: Path, names: tuple[str, ...]) -> list[list[str]]:
    """Run commands one after another in one process: exit code of each, and what it imported."""
    code = (
        "import json, sys\nfrom tenon.cli import main\nseen, told = set(), []\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    try:\n        main(arguments)\n"
        "    except SystemExit as end:\n"
        f"        new = set({names!r}) & sys.modules.keys() - seen\n"
        "        told.append([str(end.code or 0), *sorted(new)])\n        seen |= new\n"
        "print(json.dumps(told), file=sys.stderr)\n"
    )
    given = [sys.executable, "-c", code, json.dumps(lists)]
    done = subprocess.run(given, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stderr.strip().splitlines()[-1])


class TestLightness:
    """What must be instant imports nothing heavy; measured by what is imported, not by time."""

    def test_the_first_page_does_without_pydantic(self, tmp_path):
        # A command's own arguments are read by typer, which takes pydantic for that.
        pages = [["--version"], ["--help"], []]
        told = imported_by(pages, tmp_path, (*HEAVY, "pydantic"))
        assert told == [["0"], ["0"], ["2"]]

    def test_help_of_a_command(self, tmp_path):
        verbs = ("train", "plan", "predict", "serve", "sweep")
        assert imported_by([[verb, "--help"] for verb in verbs], tmp_path, HEAVY) == [["0"]] * 5

    def test_what_cannot_be_right(self, project):
        for name, file in (("adapter", "tenon.json"), ("run", "plan.json")):
            (project / name).mkdir()
            (project / name / file).write_text("{}")
        told = imported_by(list(REFUSED), project, HEAVY)
        assert dict(zip(map(" ".join, REFUSED), told, strict=True)) == {
            " ".join(arguments): ["2"] for arguments in REFUSED
        }

    def test_the_package_alone(self):
        code = f"import tenon, sys; print(sorted(set({HEAVY!r}) & sys.modules.keys()))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"

    @pytest.mark.parametrize("verb", ["check", "init"])
    def test_looking_at_data_needs_no_model_library(self, project, verb):
        code = (
            "import sys\nfrom tenon.cli import main\n"
            f"try:\n    main(['{verb}', 'words.csv', '--quiet'])\n"
            "except SystemExit as end:\n"
            "    heavy = {'torch', 'transformers', 'peft'} & sys.modules.keys()\n"
            "    print(end.code or 0, *sorted(heavy))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["0"]


class TestExit:
    def test_version(self, run):
        assert run("--version") == (0, f"tenon {tenon.__version__}\n", "")

    @pytest.mark.parametrize(
        "arguments",
        [
            ("check", LONG),
            ("check", f"{LONG}.csv#train"),
            ("init", LONG),
            ("init", "words.csv", "-o", LONG),
            ("show", LONG),
            ("plan", "words.csv", f"data.test={LONG}"),
            ("plan", "words.csv", f"base={LONG}"),
            ("train", "words.csv", "-o", LONG),
            ("predict", LONG, "words.csv"),
        ],
        ids=lambda arguments: arguments[0],
    )
    def test_what_the_system_refuses_is_a_message(self, run, project, arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("tenon: ")
        assert "File name too long" in err
        assert "Traceback" not in err

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_folder_that_may_not_be_read(self, run, project):
        (project / "locked").mkdir(mode=0)
        for target in ("locked", "locked/words.csv"):
            code, _, err = run("check", target)
            assert (code, "Permission denied" in err) == (2, True)

    def test_a_users_error_is_a_message(self, run, project):
        code, out, err = run("check", "wrods.csv")
        assert (code, out) == (2, "")
        assert err.startswith("tenon: ")
        assert "words.csv" in err
        assert "Traceback" not in err

    def test_a_wrong_argument(self, run, project):
        code, out, err = run("train", "words.csv", "--epochs", "3")
        assert (code, out) == (2, "")
        assert "--epochs" in err

    @pytest.mark.parametrize(
        ("raised", "code", "said"),
        [
            (
                "tenon.core.errors.DataError('x.csv:3: odd; mend it')",
                2,
                "tenon: x.csv:3: odd; mend it",
            ),
            ("KeyboardInterrupt()", 130, "tenon: interrupted"),
            ("ZeroDivisionError('ours')", 1, "Traceback"),
        ],
    )
    def test_codes(self, raised, code, said, tmp_path):
        # The edge is what is tested here: the verb only has to raise.
        program = (
            "import sys, types, tenon, tenon.core.errors\n"
            "from tenon.cli import main\n"
            "verb = types.ModuleType('tenon.verbs.show')\n"
            f"def show(what, **_): raise {raised}\n"
            "verb.show = show\n"
            "sys.modules['tenon.verbs.show'] = verb\n"
            "main(['show', 'kinds'])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert said in done.stderr
        assert ("Traceback" in done.stderr) == (code == 1)
        assert done.stdout == ""

    def test_a_closed_pipe_is_no_traceback(self, project):
        reader, writer = os.pipe()
        os.close(reader)
        program = "from tenon.cli import main; main(['show', 'settings'])"
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


class TestOutput:
    def test_init_writes_what_it_says(self, run, project):
        code, out, err = run("init", "words.csv", "train.epochs=2")
        assert (code, err) == (0, "")
        assert out.startswith("Wrote run.toml")
        assert "\nepochs = 2" in (project / "run.toml").read_text()

    def test_init_does_not_write_over(self, run, project):
        (project / "run.toml").write_text("mine")
        code, _, err = run("init", "words.csv")
        assert code == 2
        assert "run.toml: is there already" in err
        assert (project / "run.toml").read_text() == "mine"

    def test_nothing_is_written_if_a_setting_is_wrong(self, run, project):
        code, _, err = run("init", "words.csv", "train.epochs=many")
        assert code == 2
        assert "argument train.epochs=many" in err
        assert not (project / "run.toml").exists()

    def test_quiet(self, run, project):
        assert run("check", "words.csv", "--quiet") == (0, "", "")
        assert run("init", "words.csv", "-q") == (0, "", "")

    @pytest.mark.parametrize("what", ["kinds", "settings", "scorers"])
    def test_lists_as_json(self, run, what):
        code, out, err = run("show", what, "--json")
        assert (code, err) == (0, "")
        listed = json.loads(out)
        assert len(listed) >= 2
        assert all(each["name"] for each in listed)

    def test_check_as_json(self, run, project):
        code, out, err = run("check", "words.csv", "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["rows"] == {"train": 24}

    def test_paths_are_as_the_user_sees_them(self, run, project):
        (project / "run.toml").write_text(
            'base = "nowhere"\n[data]\ntrain = "wrods.csv"\n[adapters.a]\nkind = "lora.v1"\n'
        )
        code, _, err = run("check", "run.toml")
        assert code == 2
        assert str(project) not in err

    def test_kinds_is_a_page(self, run):
        code, out, _ = run("show", "kinds")
        assert code == 0
        assert "lora.v1" in out
        assert "bottleneck.v1" in out


def test_completion_offers_settings_and_choices():
    from tenon.terminal.completion import settings

    assert settings("train.ep") == ["train.epochs="]
    choices = ("", "cosine", "linear", "constant")
    assert settings("train.schedule=") == [f"train.schedule={choice}" for choice in choices]
    assert settings("base") == ["base="]
    assert settings("nothing") == []


class TestPackage:
    def test_every_verb_is_a_function(self):
        for name in ("init", "check", "demo", "show", "predict", "load_adapter"):
            assert name in dir(tenon)

    def test_an_unknown_name(self):
        with pytest.raises(AttributeError, match="no attribute 'trian'"):
            tenon.trian  # noqa: B018

    def test_a_floor_with_the_name_of_a_verb_is_both(self):
        import tenon.plan.plan as module
        from tenon.plan import plan as same

        assert module is same
        assert tenon.plan.plan is module
        with pytest.raises(tenon.core.errors.FileError):
            tenon.plan("no-such.toml")

    def test_errors_are_the_builtins_that_one_expects(self):
        assert issubclass(DataError, ValueError)
