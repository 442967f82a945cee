"""A sweep on a Ray cluster of two workers on this machine: what the local engine finds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

import tenon
from tenon.core.errors import FileError, MissingExtra, Occupied, PlanError, RunError
from tenon.verbs import crew
from tenon.verbs.cluster import Cluster, Worker
from tenon.verbs.crew import KNOWN
from tenon.verbs.target import searched
from tenon.verbs.trial import Trial
from verbs.test_sweep import OVER, project, result

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def two_workers():
    """A cluster of two processors, begun here."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory, folder_of) -> Path:
    return project(tmp_path_factory.mktemp("clustered"), folder_of("bert"))


@pytest.mark.slow
def test_the_cluster_finds_what_the_local_engine_finds(two_workers, plan_file, tmp_path):
    """The same values are tried, given up and chosen, and every run is bitwise the same."""
    given = {"over": OVER, "trials": 6, "at_once": 4, "seeds": 2}
    there = tenon.sweep(str(plan_file), out=tmp_path / "ray", engine="ray", **given)
    assert ray.is_initialized(), "a cluster that was there before goes on"
    here = tenon.sweep(str(plan_file), out=tmp_path / "local", **given)
    assert result(there.out) == result(here.out)
    assert not list((tmp_path / "ray").rglob("*.pkl"))


@pytest.mark.slow
def test_both_workers_have_worked_and_errors_come_back(two_workers, plan_file, tmp_path):
    space = searched(str(plan_file), ("train.epochs=1",), ["rank=1,2"], None).space
    trials = [Trial(space.plan(v), tmp_path / str(n)) for n, v in enumerate(space.grid())]
    done = []
    with Cluster(tmp_path / "shared") as made:
        results = made.run([[trial] for trial in trials], done.append)
        assert len(made.crew.workers) == 2
        assert [[each.state for each in group] for group in results] == [["complete"]] * 2
        assert len(done) == 2
        absent = Trial(space.default.model_copy(update={"base": "absent/base"}), tmp_path / "3")
        with pytest.raises(FileError, match="absent/base"):
            made.run([[absent]], done.append)
    assert made.crew.workers == []


@pytest.mark.slow
def test_a_worker_that_is_lost_is_told(two_workers, plan_file, tmp_path):
    space = searched(str(plan_file), ("train.epochs=50",), ["rank=1,2"], None).space
    with Cluster(tmp_path / "shared") as made:
        (worker,) = made._workers(1)
        trial = Trial(space.default, tmp_path / "0")
        asked = worker.run.remote(json.dumps([trial.to_json()]))
        time.sleep(0.5)
        ray.kill(worker)
        with pytest.raises(RunError, match=r"a worker is lost .*; the same command goes on"):
            made.crew.got(asked)


def test_a_worker_speaks_json(plan_file, tmp_path):
    """What Ray calls on another machine, called here."""
    space = searched(str(plan_file), ("train.epochs=1",), ["rank=1,2"], None).space
    worker = Worker(str(tmp_path / "shared"), torch.get_num_threads())
    trial = Trial(space.default, tmp_path / "0")
    told = json.loads(worker.run(json.dumps([trial.to_json()])))
    assert told["value"][0]["state"] == "complete"
    assert json.loads(worker.conclude(json.dumps(space.default.to_json()),
                                      str(tmp_path / "best"), str(trial.folder)))  # fmt: skip
    assert (tmp_path / "best" / "adapter" / "tenon.json").exists()
    damaged = tmp_path / "1"
    damaged.write_text("a file")
    told = json.loads(worker.run(json.dumps([Trial(space.default, damaged).to_json()])))
    assert KNOWN[told["error"]] in (FileError, Occupied, RunError)
    assert str(damaged) in told["what"]


def test_without_ray_the_install_line_is_told(plan_file, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "NAME", "absent_package")
    with pytest.raises(MissingExtra, match=r'pip install "tenonlm\[ray\]"'):
        tenon.sweep(str(plan_file), over=["rank=1,2"], out=tmp_path / "s", engine="ray")


def test_an_engine_that_is_none_is_refused(plan_file, tmp_path):
    with pytest.raises(PlanError, match="choose one of local, ray"):
        tenon.sweep(str(plan_file), over=["rank=1,2"], out=tmp_path / "s", engine="dask")
