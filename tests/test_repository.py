"""What may lie in the repository: no machine's paths, nothing large, nothing left for later."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LARGEST_BYTES = 1_000_000
TEXT = {".cfg", ".csv", ".html", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ".j2", ""}
# Written in pieces, so that this file does not hold what it looks for.
MACHINE = re.compile(r"/(?:work|home|root|Users|opt)/" + r"[A-Za-z]|[A-Z]:\\\\" + "Users")
LATER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def listed() -> list[Path]:
    """Files that are committed or would be: tracked, and untracked ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout, so there is no list of what belongs to it")
    names = done.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return listed()


def lines_with(files: list[Path], pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in files:
        if path.suffix not in TEXT:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


def test_no_file_is_large(files):
    assert not [path for path in files if path.stat().st_size > LARGEST_BYTES]


def test_no_path_of_one_machine(files):
    assert not lines_with(files, MACHINE)


def test_nothing_is_left_for_later(files):
    assert not lines_with(files, LATER)


def test_the_patterns_find_what_they_look_for(tmp_path):
    path = tmp_path / "note.md"
    lines = ["see /ho" + "me/ann/x", "TO" + "DO: more", "the home of /usr/bin is fine"]
    path.write_text("\n".join(lines))
    assert [len(list(filter(p.search, lines))) for p in (MACHINE, LATER)] == [1, 1]


def test_constraints_pin_what_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[name.lower().replace("_", "-")] = version
    wanted = project["dependencies"] + [
        need for extra in project["optional-dependencies"].values() for need in extra
    ]
    names = {re.split(r"[\[<>=~ ]", need)[0].lower().replace("_", "-") for need in wanted}
    assert names - {"tenonlm"} <= set(pinned)
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pinned.values())
    assert pinned["torch"] == "2.13.0"


def test_both_readmes_tell_the_same_commands():
    texts = [ROOT / name for name in ("README.md", "README.zh-CN.md")]
    commands = [
        [
            line.split("  #")[0].strip()
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith(("$ ", "make ", "tenon ", "pip ", "git "))
        ]
        for path in texts
    ]
    assert commands[0]
    assert commands[0] == commands[1]
