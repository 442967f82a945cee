"""An adapter on the hub: in nobody's place, private, and the same bytes when it comes back."""

from __future__ import annotations

import json

import huggingface_hub.constants
import pytest

import hub_server
from hub_server import TEAM, TOKEN, USER
from models import classifier, save
from tenon.cli import main
from tenon.core.errors import FileError, PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.publish import publish

# huggingface_hub sends a file to LFS in a way that its HTTP client is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = f"{USER}/mood"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, folder_of):
    """The directory of an adapter, and nothing else."""
    folder = folder_of("bert")
    return save(classifier(folder), folder, tmp_path_factory.mktemp("adapters") / "mood")


@pytest.fixture
def store(monkeypatch, tmp_path):
    """A hub on the loopback, and the token of a user there."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # The library reads these from the environment when it is imported.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub_server.hub() as (url, store):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        place = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", place)
        yield store


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def held(store, repo=REPO):
    repository = store.repositories[repo]
    found = dict(repository.commits[repository.head])
    del found[".gitattributes"]
    return found


def test_it_is_private_whole_and_proved(store, adapter, tmp_path):
    done = publish(adapter, REPO)
    assert done.private and done.changed and store.repositories[REPO].private
    assert held(store) == files(adapter) and done.files.keys() == files(adapter).keys()
    assert done.commit == store.repositories[REPO].head and done.url.endswith(REPO)
    assert any("names the base by a folder" in note for note in done.notes)
    back = tmp_path / "back"
    back.mkdir()
    for name, data in held(store).items():
        (back / name).write_bytes(data)
    assert open_answerer(back).manifest == open_answerer(adapter).manifest


def test_the_same_again_sends_nothing(store, adapter):
    first = publish(adapter, REPO)
    store.calls.clear()
    second = publish(adapter, REPO)
    assert not second.changed and second.commit == first.commit and not store.calls


def test_a_team_is_written_to_and_anyone_may_see_it_if_so_said(store, adapter):
    done = publish(adapter, f"{TEAM}/mood", public=True)
    assert not done.private and not store.repositories[f"{TEAM}/mood"].private


@pytest.mark.parametrize(
    ("repo", "why"),
    [
        ("another/mood", "does not belong to you; your token writes to .*somebody, the-team"),
        ("mood", "is no name of a repository"),
        ("../etc/mood", "is no name of a repository"),
        (f"{USER}/", "is no name of a repository"),
    ],
)
def test_nothing_is_sent_to_what_is_not_the_users(store, adapter, repo, why):
    with pytest.raises(PlanError, match=why):
        publish(adapter, repo)
    assert not store.calls and not store.repositories


def test_what_is_there_is_kept_unless_it_is_asked_for(store, adapter):
    there = store.make(REPO, private=True)
    there.put({**there.commits[there.head], "README.md": b"mine", "model.bin": b"x"})
    with pytest.raises(PlanError, match=r"holds other files \(README.md, model.bin\)"):
        publish(adapter, REPO)
    assert not store.calls and held(store)["README.md"] == b"mine"
    done = publish(adapter, REPO, replace=True)
    assert held(store) == files(adapter)
    assert "removed from the repository: model.bin" in done.notes
    assert b"mine" in there.commits[list(there.commits)[-2]].values()


def test_a_public_repository_is_no_place_for_what_was_not_called_public(store, adapter):
    store.make(REPO, private=False)
    with pytest.raises(PlanError, match="is public; say --public"):
        publish(adapter, REPO)
    assert not store.calls
    assert not publish(adapter, REPO, public=True).private


def test_bytes_that_come_back_otherwise_are_found(store, adapter):
    store.spoils = True
    with pytest.raises(FileError, match="gives other bytes than were sent"):
        publish(adapter, REPO)


def test_without_a_token_or_with_a_wrong_one_nothing_is_sent(store, adapter, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "w" * 34)
    with pytest.raises(FileError, match=r"the hub refuses .*Invalid user token"):
        publish(adapter, REPO)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(FileError, match="there is no token of the hub"):
        publish(adapter, REPO)
    assert not store.calls


def test_a_damaged_adapter_is_not_sent(store, adapter, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name, data in files(adapter).items():
        (folder / name).write_bytes(data + (b" " if name == "README.md" else b""))
    with pytest.raises(ValueError, match=r"README.md"):
        publish(folder, REPO)
    assert not store.calls


def test_the_command_publishes_and_tells(store, adapter, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", str(adapter), "--to", "hub", "--repo", REPO, "--json"])
    said = capsys.readouterr()
    assert ended.value.code == 0 and held(store) == files(adapter)
    assert json.loads(said.out)["private"] and not said.err and TOKEN not in said.out
    with pytest.raises(SystemExit) as ended:
        main(["export", str(adapter), "--to", "hub", "--repo", REPO])
    assert ended.value.code == 0 and "nothing was sent" in capsys.readouterr().out


def test_a_hub_that_is_not_there_or_breaks_off_is_told(store, adapter, monkeypatch):
    monkeypatch.setattr(hub_server.Handler, "_json", lambda *_: 1 / 0)
    monkeypatch.setattr("socketserver.BaseServer.handle_error", lambda *_: None)
    with pytest.raises(FileError, match="the hub cannot be asked"):
        publish(adapter, REPO)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(FileError, match="the hub cannot be asked"):
        publish(adapter, REPO)
