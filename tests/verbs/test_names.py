"""`tenon.train` and `tenon.plan` are verbs and floors, whatever is imported first."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FLOOR = {"train": "tenon.train.settings", "plan": "tenon.plan.plan"}
LOOK = """
import importlib, inspect, json, os, sys
import peft, torch, transformers
def looked(name, module, first):
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
    print(json.dumps([name, first, before]), flush=True)
for case in json.loads(sys.argv[1]):
    pid = os.fork()
    if not pid:
        looked(*case)
        os._exit(0)
    assert not os.waitpid(pid, 0)[1], case
"""
"""Each case is looked at in a process of its own, forked before any of Tenon is imported."""


@pytest.fixture(scope="module")
def shown():
    """What each order of imports shows, by name and by what came first."""
    cases = [(name, module, first) for name, module in FLOOR.items() for first in ("floor", "verb")]
    command = [sys.executable, "-c", LOOK, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {(name, first): held for name, first, held in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("first", ["floor", "verb"])
@pytest.mark.parametrize("name", sorted(FLOOR))
def test_both_hold(name, first, shown):
    from tenon.verbs import plan, train

    verb = {"plan": plan.plan, "train": train.train}[name]
    assert shown[name, first] == list(verb.__annotations__)[:-1]
