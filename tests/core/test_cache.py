"""Cache: where what can be made again lies; and the form that settings have."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tenon.core import cache
from tenon.core.settings import Settings


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"TENON_CACHE": "/a/b"}, Path("/a/b")),
        ({"TENON_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, Path("/a/b")),
        ({"TENON_CACHE": "~/b"}, Path("/me/b")),
        ({"XDG_CACHE_HOME": "/c"}, Path("/c/tenon")),
        ({"TENON_CACHE": "", "XDG_CACHE_HOME": ""}, Path("/me/.cache/tenon")),
        ({}, Path("/me/.cache/tenon")),
    ],
)
def test_the_folder(monkeypatch, stated, expected):
    monkeypatch.setenv("HOME", "/me")
    for name in ("TENON_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    assert cache.folder() == expected


class Chair(Settings):
    legs: int = 4
    height: float = 0.5


@pytest.mark.parametrize(
    "given", [{"leg": 3}, {"legs": 3.5}, {"height": float("inf")}, {"height": float("nan")}]
)
def test_settings_refuse_what_they_do_not_know_or_cannot_hold(given):
    with pytest.raises(ValidationError):
        Chair(**given)


def test_settings_are_frozen():
    chair = Chair(legs=3)
    with pytest.raises(ValidationError, match="frozen"):
        chair.legs = 4
    assert chair == Chair(legs=3) != Chair()
