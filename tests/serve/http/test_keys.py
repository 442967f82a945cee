"""Keys: a file of digests, and what each key may."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import FileError, PlanError
from tenon.serve.http.keys import EVERYBODY, Key, Keys, new_key, read_keys


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_new_key_is_the_key_of_its_lines(tmp_path):
    made = new_key("web")
    path = tmp_path / "keys.toml"
    path.write_text(made.lines)
    keys = read_keys(path)
    found = keys.find(made.key.encode())
    assert found is not None
    assert (found.name, found.infer, found.admin) == ("web", {"*"}, False)
    assert made.key not in made.lines
    assert new_key("web").key != made.key


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(
        'other = 1\n[keys.a]\nsha256 = "short"\ninfer = "mood"\nadmni = true\n'
        f'[keys.b]\nsha256 = "{digest("x")}"\n[keys.c]\nsha256 = "{digest("x")}"\nadmin = "yes"\n'
    )
    with pytest.raises(PlanError) as told:
        read_keys(path)
    text = str(told.value)
    for part in ("other", "keys.a.sha256", "keys.a.infer", "did you mean admin?", "may do nothing"):
        assert part in text
    assert "is the key of b" in text
    assert "keys.c.admin" in text


@pytest.mark.parametrize("text", ["", "keys = 3", "[keys]", "keys.a = 1"])
def test_a_file_without_keys_is_refused(tmp_path, text):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(PlanError):
        read_keys(path)


@pytest.mark.parametrize("raw", [b"\xff", b"[keys"])
def test_a_file_that_is_no_toml_is_refused(tmp_path, raw):
    (tmp_path / "keys.toml").write_bytes(raw)
    with pytest.raises(FileError, match="is not TOML"):
        read_keys(tmp_path / "keys.toml")


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_only_the_key_itself_is_found(key, other):
    keys = Keys((Key("a", hashlib.sha256(key).hexdigest(), frozenset({"*"})),))
    assert (keys.find(other) is not None) == (key == other and len(other) <= 512)


def test_scopes():
    key = Key("a", "", frozenset({"mood"}), metrics=True)
    assert key.may("any") and key.may("infer") and key.may("metrics") and not key.may("admin")
    assert key.may_ask("mood") and not key.may_ask("tone")
    assert not Key("b", "", admin=True).may("infer")
    assert EVERYBODY.may_ask("anything") and EVERYBODY.may("admin")
