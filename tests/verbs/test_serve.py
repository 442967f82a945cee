"""tenon serve: its arguments, and the whole of it as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import models
import tenon
from folders import base_folder
from tenon.core.errors import AdapterError, FileError, PlanError, RunError
from tenon.core.manual import manual
from tenon.serve.http.settings import ServerSettings
from tenon.serve.settings import EngineSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    base = base_folder(folder, "bert")
    for name, which in (("a", "lora"), ("b", "houlsby")):
        model = models.classifier(base, which)
        models.save(model, base, folder / name, which, columns={"text": "t"})
    return folder


@pytest.mark.parametrize(
    ("adapters", "settings", "more", "error", "told"),
    [
        (["a", "b"], [], {}, PlanError, "NAME="),
        (["a"], ["server.textz=3"], {}, PlanError, "did you mean server.texts?"),
        (["a"], ["texts=3"], {}, PlanError, "is no setting here"),
        (["a"], ["server.texts=0", "engine.batch_rows=x"], {}, PlanError, "server.texts"),
        (["none"], [], {}, FileError, "no such folder"),
        ([], [], {}, PlanError, "no adapter and no base"),
        (["a"], [], {"root": "none"}, FileError, "no such folder"),
        (["a"], [], {"host": "0.0.0.0"}, PlanError, "no keys"),
        (["a"], [], {"host": "no.such.host.invalid"}, PlanError, "no keys"),
        (["a"], [], {"keys": "none.toml"}, FileError, "none.toml"),
        (["bert=a"], [], {}, AdapterError, "as the base is"),
    ],
)
def test_what_is_wrong_is_told_before_it_begins(
    project, monkeypatch, adapters, settings, more, error, told
):
    monkeypatch.chdir(project)
    with pytest.raises(error, match=told.replace("?", r"\?")):
        tenon.serve(adapters, settings, port=0, **more)


def test_a_port_that_is_taken_is_told(project, monkeypatch):
    from tenon.serve.http.server import listen

    monkeypatch.chdir(project)
    with listen("127.0.0.1", 0, keys=False) as first, pytest.raises(RunError, match="--port"):
        tenon.serve(["a"], port=first.getsockname()[1])


def test_the_whole_of_it(project):
    """Begins, answers, and drains at SIGTERM with exit code 0."""
    command = [sys.executable, "-c", "from tenon.cli import main; main()", "serve", "a", "other=b",
               "server.texts=3", "--port", "0", "--root", ".", "--json"]  # fmt: skip
    log = (project / "log").open("w")
    process = subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ}
    )
    try:
        lines = []
        while "}\n" not in lines:
            lines.append(process.stdout.readline())
            assert lines[-1], (project / "log").read_text()
        opened = json.loads("".join(lines))
        asked = {"adapters": ["mood", "other"], "input": ["sad"]}
        with httpx.Client(base_url=opened["url"], verify=False, timeout=60) as client:
            answer = client.post("/v1/classify", json=asked)
            many = client.post("/v1/classify", json={**asked, "input": ["sad"] * 4})
            added = client.put("/admin/adapters/third", json={"folder": "b"})
        assert [each["adapter"] for each in answer.json()["results"]] == ["mood", "other"]
        assert many.status_code == 400
        assert added.json()["what"] == "added"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stdout.close()
        log.close()
    logged = [line for line in (project / "log").read_text().splitlines() if line.startswith("{")]
    assert [json.loads(line)["what"] for line in logged].count("request") == 3


def test_the_page_of_serving_has_every_setting():
    page = (ROOT / "docs" / "serving.md").read_text()
    for owner, kind in (("server", ServerSettings), ("engine", EngineSettings)):
        for setting in manual(kind, f"{owner}."):
            assert re.search(rf"\| `{setting.name}` \| .* \| {re.escape(setting.meaning)} \|", page)
