"""`tenon.train` and `tenon.plan` are verbs and floors, whatever is imported first."""

from __future__ import annotations

import json

import pytest

from bare import told

FLOOR = {"train": "tenon.train.settings", "plan": "tenon.plan.plan"}
LOOK = """
import importlib, inspect, json, sys
name, module, first = sys.argv[1:]
import tenon
def look():
    verb = getattr(tenon, name)
    assert callable(verb)
    return list(inspect.signature(verb).parameters)
if first == "floor":
    importlib.import_module(module)
    before = look()
else:
    before = look()
    importlib.import_module(module)
assert before == look()
held = importlib.import_module(module)
assert getattr(getattr(tenon, name), module.rpartition(".")[2]) is held
print(json.dumps(before))
"""
"""Run in a process of its own, in which nothing of Tenon is imported yet."""


@pytest.mark.parametrize("first", ["floor", "verb"])
@pytest.mark.parametrize("name", sorted(FLOOR))
def test_both_hold(name, first):
    from tenon.verbs import plan, train

    verb = {"plan": plan.plan, "train": train.train}[name]
    shown = json.loads(told(LOOK, name, FLOOR[name], first).splitlines()[-1])
    assert shown == list(verb.__annotations__)[:-1]
