"""Two files side by side: line i with line i, or the line that has no partner."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import NamedTuple

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults, FileError
from tenon.data.parallel import parallel_members, parallel_rows, split_pair

PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}
line = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r"), min_size=1, max_size=9
).filter(str.strip)


def read(spec):
    faults, notes = Faults(), []
    return list(parallel_rows(spec, faults, notes)), faults, notes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@given(
    st.lists(st.tuples(line, line), min_size=1, max_size=8),
    st.sampled_from(sorted(PACKERS)),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_lines_are_paired_whatever_the_packing(tmp_path_factory, pairs, packed, end, ended):
    """U+2028, U+0085, form feeds and other characters that some take for line ends are text."""
    folder = tmp_path_factory.mktemp("pair")
    for side, name in enumerate(("en", "de")):
        text = end.join(pair[side] for pair in pairs) + end * ended
        (folder / f"a.{name}{packed}").write_bytes(PACKERS[packed](text.encode()))
    rows, faults, notes = read(f"{folder}/a.en{packed}+a.de{packed}")
    assert not faults.count, faults.kept
    assert [(row.values["source"], row.values["target"]) for row in rows] == pairs
    assert [row.origin for row in rows] == [
        f"{folder}/a.en{packed}:{n}" for n in range(1, len(pairs) + 1)
    ]
    assert sum("no line end" in note for note in notes) == (0 if ended else 2)


@given(st.lists(line, min_size=1, max_size=9), st.lists(line, min_size=1, max_size=9))
def test_unequal_counts_are_told_with_both_numbers(tmp_path_factory, source, target):
    folder = tmp_path_factory.mktemp("pair")
    for name, lines in (("en", source), ("de", target)):
        (folder / f"a.{name}").write_bytes("".join(f"{text}\n" for text in lines).encode())
    rows, faults, _ = read(f"{folder}/a.en+a.de")
    counts = sorted((len(source), len(target)))
    assert len(rows) == counts[0]
    if counts[0] == counts[1]:
        assert not faults.count
        return
    (fault,) = faults.kept
    short = "en" if len(source) == counts[0] else "de"
    assert fault.where == f"{folder}/a.{short}:{counts[0] + 1}"
    assert f"after {counts[0]} lines" in fault.what
    assert f"has {counts[1]};" in fault.what


class Case(NamedTuple):
    """Two files, the rows that are read nevertheless, and per fault its place and phrases."""

    title: str
    source: bytes
    target: bytes
    rows: int
    faults: tuple[tuple[str, tuple[str, ...]], ...]


TWO = b"one\ntwo\n"
NOISE = "".join(f"{n * 7919 % 10_007} {n * n % 9_973}\n" for n in range(20_000)).encode()
LONG = b"x" * (5 << 20)
CASES = (
    Case(
        "a line more in the target",
        TWO,
        b"eins\nzwei\ndrei\n",
        2,
        (
            (
                "t.en:3",
                (
                    "after 2 lines, but t.de has 3",
                    "line 3 is the first",
                    "give each line its partner",
                ),
            ),
        ),
    ),
    Case(
        "two lines more in the source",
        TWO + TWO,
        b"eins\nzwei\n",
        2,
        (("t.de:3", ("after 2 lines, but t.en has 4",)),),
    ),
    Case(
        "blank lines at the end of one",
        TWO + b"\n \n",
        b"eins\nzwei\n",
        2,
        (("t.de:3", ("has 4", "the further lines are blank: remove them from the end of t.en")),),
    ),
    Case(
        "a blank line in the source",
        b"one\n\nthree\n",
        b"eins\nzwei\ndrei\n",
        2,
        (("t.en:2", ("the line is blank, but t.de:2 is 'zwei'", "from both files")),),
    ),
    Case(
        "a line of blanks in the target",
        TWO,
        b"eins\n \t\n",
        1,
        (("t.de:2", ("blank, but t.en:2 is 'two'",)),),
    ),
    Case("a no-break space alone", TWO, "eins\n\u00a0\n".encode(), 1, (("t.de:2", ("is blank",)),)),
    Case(
        "blank on each side in turn",
        b"\ntwo\n",
        b"eins\n\n",
        0,
        (("t.en:1", ("t.de:1 is 'eins'",)), ("t.de:2", ("t.en:2 is 'two'",))),
    ),
    Case(
        "Latin-1 in the target",
        TWO,
        "eins\nfünf\n".encode("latin-1"),
        1,
        (("t.de:2", ("0xFC", "ISO-8859-1", "'fünf'", "iconv -f")),),
    ),
    Case(
        "Latin-1 in both, each told",
        "é\ntwo\n".encode("latin-1"),
        "eins\nö\n".encode("latin-1"),
        0,
        (("t.en:1", ("0xE9",)), ("t.de:2", ("0xF6",))),
    ),
    Case(
        "GB18030",
        TWO,
        "一二三四\n五六七八\n".encode("gb18030"),
        0,
        (("t.de:1", ("GB18030",)), ("t.de:2", ("GB18030",))),
    ),
    Case("UTF-16", TWO, "eins\nzwei\n".encode("utf-16"), 0, (("t.de:1", ("UTF-16", "iconv")),)),
    Case(
        "a NUL",
        b"one\nt\0wo\n",
        b"eins\nzwei\n",
        1,
        (("t.en:2", ("byte 2 of the line is NUL", "remove it")),),
    ),
    Case(
        "a line beyond the limit",
        b"one\n" + LONG + b"\n",
        b"eins\nzwei\n",
        1,
        (("t.en:2", ("4,194,304",)),),
    ),
    Case(
        "old Macintosh line ends",
        TWO,
        b"eins\rzwei\r",
        1,
        (("t.de:2", ("after 1 lines, but t.en has 2", "carriage returns (CR)")),),
    ),
    Case(
        "one file is empty",
        TWO,
        b"",
        0,
        (("t.de:1", ("after 0 lines, but t.en has 2", "line 1 is the first")),),
    ),
    Case(
        "both files are empty",
        b"",
        b"",
        0,
        (("t.en:1", ("is empty", "give a file")), ("t.de:1", ("is empty",))),
    ),
    Case(
        "a gzip cut short",
        NOISE,
        gzip.compress(NOISE)[:-2000],
        -1,
        (("t.de", ("cut short", "fetch or write it again")),),
    ),
    Case(
        "a file cut within a character",
        "eins\nzwö\n".encode(),
        "eins\nzwö".encode()[:-1],
        1,
        (("t.de:2", ("ends within a character", "cut short")),),
    ),
    Case(
        "blank, Latin-1 and unequal at once",
        b"one\ntwo\nthree\n\n",
        "\nö\n".encode("latin-1"),
        0,
        (("t.de:1", ("blank",)), ("t.de:2", ("0xF6",)), ("t.de:3", ("after 2 lines",))),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_malformed_files_are_told(case: Case, folder):
    (folder / "t.en").write_bytes(case.source)
    (folder / "t.de").write_bytes(case.target)
    rows, faults, _ = read("t.en+t.de")
    told = [(fault.where, str(fault)) for fault in faults.kept]
    assert sorted(where for where, _ in told) == sorted(where for where, _ in case.faults), told
    for where, phrases in case.faults:
        message = next(message for place, message in told if place == where)
        for phrase in phrases:
            assert phrase in message
    assert case.rows in (-1, len(rows))
    assert all(fault.remedy and not fault.remedy.endswith(".") for fault in faults.kept)


def test_lines_that_are_blank_on_both_sides_are_counted(folder):
    (folder / "a.en").write_bytes(b"one\n\n \nfour\n")
    (folder / "a.de").write_bytes(b"eins\n\n\n vier\n")
    rows, faults, notes = read("a.en+a.de")
    assert not faults.count
    assert [row.origin for row in rows] == ["a.en:1", "a.en:4"]
    assert rows[1].values == {"source": "four", "target": " vier"}
    assert "a.en: 2 lines are blank on both sides and are passed over" in notes
    assert "a.de: 1 lines begin or end with a blank, kept" in notes


def test_a_mark_and_crlf_are_accepted_and_told(folder):
    (folder / "a.en").write_bytes(b"\xef\xbb\xbfone\r\n")
    (folder / "a.de").write_bytes(b"eins\n")
    rows, faults, notes = read("a.en+a.de")
    assert not faults.count
    assert rows[0].values == {"source": "one", "target": "eins"}
    assert any("byte order mark" in note for note in notes)
    assert any("CR LF" in note for note in notes)


class TestSpec:
    def test_one_file_is_no_pair(self, folder):
        (folder / "c++.en").write_bytes(TWO)
        assert split_pair("train.csv") is None
        assert split_pair("c++.en") is None

    def test_a_bare_second_name_lies_beside_the_first(self):
        assert split_pair("data/a.en+a.de") == ("data/a.en", "data/a.de")
        assert split_pair("data/a.en+other/a.de") == ("data/a.en", "other/a.de")
        assert split_pair("a.en+a.de") == ("a.en", "a.de")

    def test_names_with_a_plus_are_told_apart_by_what_is_there(self, folder):
        for name in ("c++.en", "c++.de"):
            (folder / name).write_bytes(TWO)
        assert split_pair("c++.en+c++.de") == ("c++.en", "c++.de")

    @pytest.mark.parametrize(
        ("spec", "error", "phrases"),
        [
            ("a.en+b.de", FileError, ("b.de: no such file", "did you mean a.de?")),
            ("x.en+a.de", FileError, ("x.en: no such file", "did you mean")),
            ("a.en+a.en", DataError, ("is named twice", "other language")),
            ("a.en+", DataError, ("no pair of files", "train.en+train.de")),
            ("a.en", DataError, ("no pair of files",)),
            ("a.csv+a.de", DataError, ("a.csv: is a .csv file", "one sentence a line")),
            ("a.jsonl.gz+a.de", DataError, ("is a .jsonl file",)),
            ("a.en+sub", DataError, ("is a folder", "name two files")),
            ("zipped.en+a.de", DataError, ("zipped.en", "unpack it first")),
            ("a.en+page.de", DataError, ("a web page", "fetch the file itself")),
        ],
    )
    def test_what_is_no_pair_is_an_error(self, folder, spec, error, phrases):
        (folder / "sub").mkdir()
        for name in ("a.en", "a.de", "a.csv", "a.jsonl.gz"):
            (folder / name).write_bytes(TWO)
        (folder / "zipped.en").write_bytes(b"PK\x03\x04 and so on")
        (folder / "page.de").write_bytes(b"<html><body>")
        with pytest.raises(error) as caught:
            read(spec)
        for phrase in phrases:
            assert phrase in str(caught.value)


def made(folder, *names):
    for name in names:
        (folder / name).write_bytes(TWO)


class TestMembers:
    def test_parts_by_name(self, folder):
        made(folder, "train.en.gz", "train.de.gz", "val.en", "val.de", "README.md", "notes.txt")
        made(folder, "test_2016_flickr.en", "test_2016_flickr.de")
        assert parallel_members(".", "en-de") == {
            "test": "test_2016_flickr.en+test_2016_flickr.de",
            "train": "train.en.gz+train.de.gz",
            "dev": "val.en+val.de",
        }
        turned = parallel_members(".", "de-en")
        assert turned["dev"] == "val.de+val.en"

    def test_several_tests_keep_their_names(self, folder):
        made(folder, "test_2016.en", "test_2016.de", "test_2017.en", "test_2017.de")
        assert set(parallel_members(".", "en-de")) == {"test_2016", "test_2017"}
        made(folder, "test.en", "test.de")
        assert set(parallel_members(".", "en-de")) == {"test", "test_2016", "test_2017"}

    def test_names_that_say_the_direction(self, folder):
        made(folder, "train.tgt", "train.src")
        assert parallel_members(".") == {"train": "train.src+train.tgt"}
        assert parallel_members(".", "tgt-src") == {"train": "train.tgt+train.src"}

    def test_the_beginning_of_names(self, folder):
        (folder / "data").mkdir()
        made(folder / "data", "a.train.en", "a.train.zh-CN", "b.train.en", "b.train.zh-CN")
        found = parallel_members("data/a", "en-zh-CN")
        assert found == {"train": "data/a.train.en+data/a.train.zh-CN"}

    def test_a_folder_without_pairs(self, folder):
        made(folder, "train.csv", "test.csv", "train.txt", "README.md", "alone.en", ".en")
        assert parallel_members(".") == {}
        assert parallel_members("not/there") == {}

    @pytest.mark.parametrize(
        ("names", "direction", "phrases"),
        [
            (
                ("train.en", "train.de"),
                "",
                (".: holds files in several languages", "de-en, en-de, source first", ".#de-en"),
            ),
            (
                ("train.en", "train.de", "train.fr"),
                "",
                ("de-en, de-fr, en-de, en-fr, fr-de, fr-en",),
            ),
            (("train.en", "train.de"), "en-dee", ("no direction 'en-dee'", "say which: .#en-de")),
            (
                ("train.en", "train.de", "val.en"),
                "en-de",
                ("val.en: has no partner val.de", "add the file"),
            ),
            (("train.en", "train.en.gz", "train.de"), "en-de", ("same file twice", "keep one")),
            (
                ("val.en", "val.de", "dev.en", "dev.de"),
                "en-de",
                ("both are the dev part", "keep one"),
            ),
        ],
    )
    def test_what_is_not_clear_is_an_error(self, folder, names, direction, phrases):
        made(folder, *names)
        with pytest.raises(DataError) as caught:
            parallel_members(".", direction)
        for phrase in phrases:
            assert phrase in str(caught.value)


@pytest.mark.public_data
def test_multi30k(shared):
    folder = str(shared / "data/multi30k")
    with pytest.raises(DataError, match=f"{folder}#"):
        parallel_members(folder)
    parts = parallel_members(folder, "en-de")
    counts = {"train": 29_000, "dev": 1_014, "test": 1_000}
    assert set(parts) == set(counts)
    sides = {}
    for part, spec in parts.items():
        rows, faults, notes = read(spec)
        assert (len(rows), faults.count) == (counts[part], 0)
        assert rows[0].origin == f"{folder}/{spec.rpartition('/')[2].replace('.de', '.en')}:1"
        if part == "train":
            assert f"{folder}/train.de.gz: 40 lines begin or end with a blank, kept" in notes
        sides[part] = tuple([row.values[column] for row in rows] for column in ("source", "target"))
    for side, repeats in enumerate((9, 25)):
        train = sides["train"][side]
        assert len(train) - len(set(train)) == repeats
        assert len(set(train) & set(sides["dev"][side])) == 1
        assert not set(train) & set(sides["test"][side])
