"""Registry: names to values; third parties add theirs by an entry point."""

from __future__ import annotations

import sys

import pytest

from tenon.core.errors import PlanError
from tenon.core.registry import Registry

METADATA = "Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n"


@pytest.fixture
def kinds():
    registry = Registry("kind", "tenon.test-kinds")
    registry.add("lora.v1", 1)
    registry.add("bottleneck.v1", 2)
    return registry


def test_gives_what_was_added(kinds):
    assert kinds.get("lora.v1") == 1
    assert kinds.names() == ["bottleneck.v1", "lora.v1"]
    assert list(kinds) == [("bottleneck.v1", 2), ("lora.v1", 1)]


def test_decorates(kinds):
    @kinds.register("mine.v1")
    def mine():
        return 3

    assert kinds.get("mine.v1") is mine


def test_an_unknown_name_is_told_with_the_nearest(kinds):
    with pytest.raises(PlanError, match=r"lora\.v2 is not a kind; did you mean lora\.v1\?"):
        kinds.get("lora.v2")


def test_a_name_means_one_thing(kinds):
    with pytest.raises(ValueError, match=r"kind lora\.v1 is registered twice"):
        kinds.add("lora.v1", 5)
    value = kinds.add("twice.v1", object())
    assert kinds.add("twice.v1", value) is value


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that somebody has installed, with one kind of its own."""
    (tmp_path / "thirdparty.py").write_text("kind = 'theirs'\n")
    (tmp_path / "builtins_of_ours.py").write_text(
        "import registry_under_test\nregistry_under_test.kinds.add('ours.v1', 'ours')\n"
    )
    info = tmp_path / "thirdparty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[tenon.test-kinds]\ntheirs.v1 = thirdparty:kind\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("thirdparty", None)
    sys.modules.pop("builtins_of_ours", None)


def test_an_installed_package_adds_its_own(installed):
    registry = Registry("kind", "tenon.test-kinds")
    assert "thirdparty" not in sys.modules
    assert registry.get("theirs.v1") == "theirs"


def test_modules_are_imported_when_a_name_is_first_asked_for(installed, monkeypatch):
    holder = type(sys)("registry_under_test")
    holder.kinds = Registry("kind", "tenon.no-such-group", modules=("builtins_of_ours",))
    monkeypatch.setitem(sys.modules, "registry_under_test", holder)
    assert "builtins_of_ours" not in sys.modules
    assert holder.kinds.names() == ["ours.v1"]
