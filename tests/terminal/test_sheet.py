"""Tables and quantities as a terminal shows them."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tenon.terminal.number import count, duration, share, size
from tenon.terminal.place import short
from tenon.terminal.sheet import heading, notes, page, sheet


def shown(part, width=100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(part)
    return console.file.getvalue()


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(st.lists(st.tuples(PRINTABLE, PRINTABLE), min_size=1, max_size=5))
def test_every_cell_is_shown_as_it_is(rows):
    text = shown(sheet("name", "value", rows=rows))
    for cell in (cell for row in rows for cell in row):
        assert cell in text


@pytest.mark.parametrize("text", ["[bold]x[/]", "[/red]", "[link=http://x]y", ":smile:", "[[a]]"])
def test_markup_in_data_is_text(text):
    everything = page(heading(text, text), sheet("", "", rows=[(text, text)]), notes([text]))
    assert shown(everything).count(text) == 5


@given(st.integers(20, 200))
def test_no_line_is_wider_than_the_terminal(width):
    rows = [("a" * 10, "b c " * 20, "1,000", "long/path" * 9)]
    table = sheet("name", "text", "n", "such as", rows=rows, numbers=("n",), clip="such as")
    assert all(len(line) <= width for line in shown(table, width).splitlines())


def test_numbers_stand_to_the_right():
    lines = shown(sheet("part", "rows", rows=[("a", "1"), ("b", "1,000")], numbers=("rows",)))
    assert re.search(r"a +1 *$", lines, re.M)
    ends = [len(line.rstrip()) for line in lines.splitlines()[2:4]]
    assert len(set(ends)) == 1


def test_a_table_without_heads_has_no_lines():
    assert shown(sheet("", "", rows=[("a", "b")])).split() == ["a", "b"]


def test_a_page_leaves_out_what_is_not_there():
    assert shown(page(heading("a"), None, heading("b"))).splitlines() == ["a", "", "b"]


@given(st.integers(0, 10**14))
def test_sizes_have_few_digits_and_the_right_unit(value):
    number, unit = size(value).split(" ")
    assert len(number.replace(".", "")) <= 4
    factor = 1000 ** ["B", "KB", "MB", "GB", "TB"].index(unit)
    assert float(number) * factor == pytest.approx(value, rel=0.06)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (8.25, "8.2 s"),
        (59.4, "59 s"),
        (61, "1:01 min"),
        (3600, "1:00 h"),
        (5430, "1:30 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_counts_and_shares():
    assert count(1234567) == "1,234,567"
    assert share(0.0075612) == "0.756 %"


def test_paths_below_the_working_folder_are_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short(f"{tmp_path}/a.csv:3 and {tmp_path}/b/c") == "a.csv:3 and b/c"
    assert short("/elsewhere/a.csv") == "/elsewhere/a.csv"
    monkeypatch.chdir("/")
    assert short("/a/b") == "/a/b"


def test_notes_name_files_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(notes([f"{tmp_path}/a.csv: 3 lines end in CR LF, which is accepted"]))
    assert "·  a.csv: 3 lines" in console.export_text()
