"""Train as a process: beside another one, launched by others, and over a run that has ended."""

from __future__ import annotations

import json
import shutil

import pytest

from commanded import Project
from processes import STOP, nursery


@pytest.fixture(scope="module")
def project(tmp_path_factory, folder_of):
    """A project, with one run in it, `whole`, that was never disturbed."""
    folder = tmp_path_factory.mktemp("processes")
    cradle = nursery(folder)
    made = Project(folder / "project", folder_of("bert"), "lora", cradle)
    made.train("warm", "--quiet")
    made.whole = made.train("whole", "--quiet")
    assert made.whole.code == 0, made.whole.err
    yield made


def contents(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestTwoAtOnce:
    @pytest.mark.parametrize("share", [0.35, 0.9])
    def test_the_second_is_refused_and_the_first_goes_on_undisturbed(self, project, share):
        name = f"shared-{share}"
        moment = int(share * project.whole.operations)
        stopped = project.train(name, "--quiet", what=STOP, operation=moment)
        assert stopped.err == "stopped"
        home = project.folder / name
        before = contents(home / "run")
        assert str(home / "run" / "plan.json") in before
        base = f"base={json.loads((home / 'run' / 'plan.json').read_text())['base']}"
        for target, options in (
            ("run.toml", []),
            ("run.toml", ["--resume", "never"]),
            ("train.csv", [base, "train.epochs=9"]),
            ("train.csv", [base, "--resume", "never"]),
        ):
            second = project.train(name, *options, "--quiet", target=target)
            assert second.code == 2
            assert "another process is writing this run; wait for it" in second.err
            assert second.err.count("\n") == 1
            assert contents(home / "run") == before
        ended = project.cradle.go_on()
        assert ended.code == 0, ended.err
        assert project.result(name) == project.result("whole")
        assert not project.remains(name)

    def test_what_is_refused_for_another_plan_leaves_no_plan_file(self, project):
        base = json.loads((project.folder / "whole/run/plan.json").read_text())["base"]
        before = contents(project.folder / "whole/run")
        ended = project.train("whole", f"base={base}", "--quiet", target="train.csv")
        assert (ended.code, "holds a run of another plan" in ended.err) == (2, True)
        assert contents(project.folder / "whole/run") == before


class TestLaunchers:
    @pytest.mark.parametrize(
        "name", ["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"]
    )
    def test_several_processes_are_refused_before_anything_is_written(self, project, name):
        ended = project.train("launched", environment={name: "2"})
        assert ended.code == 2
        assert ended.err.splitlines()[-1].startswith(f"tenon: {name} = 2: this is one of 2 ")
        assert "one process only" in ended.err
        assert not (project.folder / "launched").exists()

    def test_one_process_of_a_launcher_trains_as_any_other_whatever_it_says(self, project):
        said = {
            "WORLD_SIZE": "1",
            "ACCELERATE_MIXED_PRECISION": "bf16",
            "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
        }
        ended = project.train("single", "--quiet", environment=said)
        assert ended.code == 0, ended.err
        assert project.result("single") == project.result("whole")
        shutil.rmtree(project.folder / "single")


class TestAgain:
    def test_a_run_that_has_ended_says_so(self, project):
        before = contents(project.folder / "whole/run")
        ended = project.train("whole")
        assert ended.code == 0, ended.err
        assert "run: had ended before; nothing was trained now. --resume never" in " ".join(
            ended.out.split()
        )
        assert "adapter" in ended.out
        assert "report.html" in ended.out
        assert contents(project.folder / "whole/run") == before

    def test_and_in_json(self, project):
        said = json.loads(project.train("whole", "--json").out)
        assert said["ended_before"] is True
        first = json.loads(project.train("first", "--json").out)
        assert first["ended_before"] is False

    def test_a_run_that_ends_now_does_not_say_so(self, project):
        ended = project.train("fresh")
        assert ended.code == 0, ended.err
        assert "had ended before" not in ended.out
        assert "report.html" in ended.out
