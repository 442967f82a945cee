"""`tenon.train` and `tenon.plan` are verbs and floors, whatever is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

FLOOR = {"train": "tenon.train.settings", "plan": "tenon.plan.plan"}
LOOK = """
import importlib, inspect, tenon
def look():
    verb = getattr(tenon, {name!r})
    assert callable(verb)
    return list(inspect.signature(verb).parameters)
if {first!r} == "floor":
    importlib.import_module({module!r})
    before = look()
else:
    before = look()
    importlib.import_module({module!r})
assert before == look()
held = importlib.import_module({module!r})
assert tenon.{name}.{leaf} is held
print(*before)
"""


@pytest.mark.parametrize("first", ["floor", "verb"])
@pytest.mark.parametrize("name", sorted(FLOOR))
def test_both_hold(name, first):
    module = FLOOR[name]
    code = LOOK.format(name=name, module=module, leaf=module.rpartition(".")[2], first=first)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    from tenon.verbs import plan, train

    verb = {"plan": plan.plan, "train": train.train}[name]
    assert shown.stdout.split() == list(verb.__annotations__)[:-1]
