"""How large functions and files are: a limit that is felt while writing."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def lines_of_functions(path: Path) -> dict[str, int]:
    """Every function of a file with its lines, from `def` to its last one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }


@pytest.fixture(scope="module")
def functions() -> dict[str, int]:
    found: dict[str, int] = {}
    for path in FILES:
        found |= lines_of_functions(path)
    return found


def test_there_is_something_to_count(functions):
    assert len(FILES) > 20
    assert len(functions) > 100


def test_a_file_has_at_most_400_lines():
    long = {
        str(path.relative_to(SOURCE)): lines
        for path in FILES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long, "a noun is missing here"


def test_a_function_has_at_most_60_lines(functions):
    assert not {name: lines for name, lines in functions.items() if lines > 60}


def test_most_functions_are_short(functions):
    sizes = sorted(functions.values())
    ninth = sizes[int(0.9 * len(sizes))]
    longest = sorted(functions.items(), key=lambda item: -item[1])[:20]
    assert statistics.median(sizes) <= 10, longest
    assert ninth <= 28, longest


def test_a_module_is_a_noun():
    assert not [path for path in FILES if path.stem in FORBIDDEN_NAMES]


def test_a_module_says_in_its_first_line_what_it_is():
    silent = []
    for path in FILES:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if not text.split("\n")[0].rstrip().endswith((".", ":", ";", ",")):
            silent.append(str(path.relative_to(SOURCE)))
    assert not silent


def test_the_counter_counts(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    path = tmp_path / "noun.py"
    path.write_text("def f():\n    return 1\n\n\nclass C:\n    async def g(self):\n        pass\n")
    assert lines_of_functions(path) == {"noun.py:1 f": 2, "noun.py:6 g": 2}
