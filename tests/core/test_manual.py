"""The manual is read from where the settings are defined, so it cannot differ from them."""

from __future__ import annotations

from typing import Literal

import pytest

from tenon.adapters.kind import KINDS
from tenon.core.manual import manual
from tenon.core.settings import Settings
from tenon.plan.resolve import FLOORS, Top

OWNERS = [Top, *FLOORS.values(), *(kind.settings for _, kind in KINDS)]


class Inner(Settings):
    """Inside.

    Args:
        depth: how deep.
    """

    depth: int = 3


class Outer(Settings):
    """All forms of a setting.

    Args:
        needed: must be given.
        first, second: share a line that goes on
            on the next one.
        choice: one of some.
        either: a number or a word.
        flag: on or off.

    Raises:
        nothing: this is no setting.
    """

    needed: str
    first: int = 1
    second: float = 2.0
    choice: Literal["a", "b"] = "a"
    either: float | Literal["auto"] = "auto"
    flag: bool = False
    inner: Inner | None = None
    silent: tuple[str, ...] = ()


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
def test_every_setting_of_tenon_has_a_meaning(owner):
    assert not [setting.name for setting in manual(owner) if not setting.meaning]


def test_forms():
    found = {setting.name: setting for setting in manual(Outer, "outer.")}
    assert list(found) == [
        "outer.needed", "outer.first", "outer.second", "outer.choice", "outer.either", "outer.flag",
        "outer.inner.depth", "outer.silent",
    ]  # fmt: skip
    assert found["outer.needed"].required
    assert found["outer.needed"].default is None
    assert found["outer.first"].meaning == found["outer.second"].meaning
    assert found["outer.first"].meaning == "share a line that goes on on the next one."
    assert found["outer.choice"].choices == ("a", "b")
    assert found["outer.either"].choices == ()
    assert found["outer.flag"].choices == ("true", "false")
    assert found["outer.inner.depth"].default == 3
    assert found["outer.silent"].meaning == ""
