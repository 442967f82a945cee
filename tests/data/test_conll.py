"""CoNLL files are read as what they say, and each line that says nothing is told."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import Faults
from tenon.data.conll import SENTENCE_TOKENS, conll_rows, looks_like_conll, token_origin
from tenon.data.lines import Lines
from tenon.data.streams import opened
from tenon.data.tags import scheme_of, spans_of


class Read(NamedTuple):
    """What came of a file."""

    rows: list
    faults: list
    notes: list

    @property
    def values(self):
        return [row.values for row in self.rows]


def read_file(path, member="", **named) -> Read:
    faults, notes = Faults(), []
    with opened(str(path), Path(path).name, faults, member=member) as stream:
        rows = list(conll_rows(Lines(stream, Path(path).name, faults, notes), **named))
    return Read(rows, faults.kept, notes)


@pytest.fixture
def read(tmp_path):
    def read(content, **named):
        path = tmp_path / "a.conll"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_file(path, **named)

    return read


TAB = "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n"
TWO = [
    {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
    {"tokens": ["Peter", "Blackburn"], "tags": ["B-PER", "I-PER"]},
]


class TestReads:
    @pytest.mark.parametrize(
        "content",
        [
            TAB,
            TAB.replace("\t", " "),
            TAB.replace("\t", "   "),
            TAB.replace("\n\n", "\n\t\n"),
            TAB.replace("\n\n", "\n  \n"),
            TAB.replace("\n\n", "\n\n \n\t\n\n"),
            TAB.replace("\n", "\r\n"),
            TAB.rstrip("\n"),
            "\ufeff" + TAB,
            "\n\n" + TAB + "\n\n",
            TAB.replace("\t", "\t "),
            TAB.replace("O\n", "O \n"),
            "# a comment\n" + TAB.replace("\n\n", "\n\n# sent_id = 2\n"),
            "-DOCSTART-\tO\n\n" + TAB,
            TAB.replace("\n\n", "\n-DOCSTART- -X- O\n"),
            "token\ttag\n" + TAB,
        ],
    )
    def test_the_same_two_sentences(self, read, content):
        found = read(content)
        assert not found.faults
        bare = [{name: row[name] for name in row if name != "document"} for row in found.values]
        assert bare == TWO

    def test_origins(self, read):
        found = read("# one\n\n-DOCSTART- O\n\n" + TAB)
        assert [row.origin for row in found.rows] == ["a.conll:5", "a.conll:8"]
        assert token_origin(found.rows[1], 1) == "a.conll:9"

    def test_what_was_passed_over_is_counted(self, read):
        content = "-DOCSTART-\tO\n\n# one\n" + TAB.replace("\n\n", "\n\t\n")
        assert read(content).notes == [
            "a.conll: read as CoNLL: 2 columns, separated by tabs; token is column 1, "
            "tag is column 2",
            "a.conll: 1 lines part documents (-DOCSTART- and its like) and are passed over",
            "a.conll: 1 comment lines are passed over",
            "a.conll: 1 of the lines that end sentences hold blanks or tabs",
        ]

    def test_conll_2003(self, read):
        found = read("-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\n. . O O\n")
        assert found.values == [
            {"tokens": ["EU", "."], "tags": ["B-ORG", "O"], "column 2": ["NNP", "."],
             "column 3": ["B-NP", "O"], "document": 1}
        ]  # fmt: skip

    def test_another_column_is_the_tag(self, read):
        found = read("EU NNP B-NP B-ORG\n. . O O\n", tag=2)
        assert found.values[0]["tags"] == ["NNP", "."]
        assert found.values[0]["column 4"] == ["B-ORG", "O"]

    @pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "   "])
    def test_a_token_may_hold_blanks_between_tabs(self, read, blank):
        found = read(f"New{blank}York\tB-LOC\nis\tO\nbig\tO\n")
        assert not found.faults
        assert found.values[0]["tokens"] == [f"New{blank}York", "is", "big"]

    def test_a_no_break_space_parts_no_columns(self, read):
        found = read("New\u00a0York B-LOC\nis O\n")
        assert found.values[0]["tokens"] == ["New\u00a0York", "is"]

    def test_a_hash_is_a_token_where_it_has_its_tag(self, read):
        assert read("#win\tO\n#\tO\nis\tO\n").values[0]["tokens"] == ["#win", "#", "is"]
        assert read("# O\nis O\n").values[0]["tokens"] == ["#", "is"]

    def test_a_file_of_hashtags(self, read):
        assert [row["tokens"] for row in read("#win\tO\n\n#lose\tO\n\n").values] == [
            ["#win"],
            ["#lose"],
        ]

    def test_the_borders_of_documents(self, read):
        content = "#begin document (a); part 0\n" + TAB.replace("\n\n", "\n#end document\n")
        first, second = read(content).values
        assert first == {**TWO[0], "document": 1}
        assert second["document"] > 1

    def test_sentences_know_their_document(self, read):
        border = "-DOCSTART- O\n\n"
        content = border + TAB + "\n" + border + TAB + border + "a\tO\n"
        found = [row["document"] for row in read(content).values]
        assert found == [1, 1, 2, 2, 3]
        assert not any("document" in row for row in read(TAB).values)

    def test_comments_that_look_like_rows(self, read):
        found = read("# id 0e0c domain=en\nEU _ _ B-ORG\nit _ _ O\n")
        assert not found.faults
        assert found.values[0]["tokens"] == ["EU", "it"]

    def test_aligned_columns(self, read):
        found = read("EU\t\tB-ORG\nrejects\tO\nit\t\tO\n")
        assert found.values == [{"tokens": ["EU", "rejects", "it"], "tags": ["B-ORG", "O", "O"]}]

    def test_conll_u(self, read):
        line = "{}\t{}\t_\t{}\t_\t_\t0\troot\t_\t_\n"
        content = "# sent_id = 1\n# text = vámonos al\n"
        content += line.format("1", "vamos", "VERB") + line.format("2-3", "al", "_")
        content += line.format("2", "a", "ADP") + line.format("3", "el", "DET")
        content += line.format("3.1", "x", "_")
        found = read(content)
        assert not found.faults
        assert found.values[0]["tokens"] == ["vamos", "a", "el"]
        assert found.values[0]["tags"] == ["VERB", "ADP", "DET"]
        assert [token_origin(found.rows[0], place) for place in range(3)] == [
            "a.conll:3", "a.conll:5", "a.conll:6",
        ]  # fmt: skip
        assert "a.conll: 2 lines of contractions and empty nodes are passed over" in found.notes

    def test_a_column_that_counts_the_tokens(self, read):
        found = read("1\tEU\tB-ORG\n2\tis\tO\n\n1\tIt\tO\n")
        assert found.values[0]["tokens"] == ["EU", "is"]
        assert "token is column 2, tag is column 3" in found.notes[0]

    def test_packed(self, tmp_path):
        (tmp_path / "a.conll.gz").write_bytes(gzip.compress(TAB.encode()))
        assert read_file(tmp_path / "a.conll.gz").values == TWO

    def test_a_file_without_empty_lines_is_told(self, read):
        found = read("a\tO\nb\tB-X\n" * 2_000)
        assert len(found.rows) == 1
        assert "all 4,000 tokens are one" in found.notes[-1]


def test_reading_takes_no_memory_that_grows_with_the_file(tmp_path):
    path = tmp_path / "a.conll"
    peaks = []
    for sentences in (50_000, 150_000):
        path.write_bytes(b"some\tO\nword\tB-X\n\n" * sentences)
        with opened(str(path), "a.conll", Faults()) as stream:
            tracemalloc.start()
            rows = sum(1 for _ in conll_rows(Lines(stream, "a.conll", Faults(), [])))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert rows == sentences
    assert peaks[1] < 1.5 * peaks[0]


TOKENS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)
SENTENCES = st.lists(
    st.lists(st.tuples(TOKENS, st.sampled_from(["O", "B-X", "I-X"])), min_size=1, max_size=6),
    min_size=1,
    max_size=6,
)


@given(SENTENCES, st.sampled_from("\t "), st.sampled_from(["\n", "\t\n", " \n", "\n\n"]))
def test_what_is_written_is_read(tmp_path_factory, sentences, separator, end):
    """Every token, tag and line comes back; nothing else does."""
    path = tmp_path_factory.mktemp("conll") / "a.conll"
    # The first sentence decides on nothing that a `#` or a document border would blur.
    sentences = [[("it", "O"), ("is", "O")], *sentences]
    body, lines, number = "", [], 1
    for sentence in sentences:
        lines.append(number)
        body += "".join(f"{token}{separator}{tag}\n" for token, tag in sentence) + end
        number += len(sentence) + end.count("\n")
    path.write_text(body, encoding="utf-8", newline="")
    found = read_file(path)
    assert not found.faults
    assert [list(zip(row["tokens"], row["tags"], strict=True)) for row in found.values] == sentences
    assert [row.origin for row in found.rows] == [f"a.conll:{line}" for line in lines]


PIECES = [
    "a",
    "#",
    "# b",
    "O",
    "B-X",
    "\t",
    " ",
    "\n",
    "\n\n",
    "\r",
    "\0",
    "\u2028",
    "\u3000",
    "-DOCSTART-",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_lines_are_read_or_told(tmp_path_factory, pieces):
    """A line is part of a row, or told by a fault, a note, or the fault of its sentence."""
    path = tmp_path_factory.mktemp("conll") / "a.conll"
    path.write_text("".join(pieces), encoding="utf-8", newline="")
    found = read_file(path)
    last = "".join(pieces).count("\n") + 1
    for row in found.rows:
        tokens, tags = row.values["tokens"], row.values["tags"]
        assert len(tokens) == len(tags) > 0
        assert all(text and not text.isspace() for text in (*tokens, *tags))
        assert int(token_origin(row, len(tokens) - 1).rpartition(":")[2]) <= last
    for fault in found.faults:
        assert 1 <= int(fault.where.rpartition(":")[2]) <= last
        assert fault.remedy
    assert found.rows or found.faults


GOOD = "EU\tB-ORG\nis\tO\n\n"
MALFORMED = [
    ("an empty file of separators", "\n\t\n\n", 0, [(1, ("no line holds a token",))]),
    ("a missing tag", GOOD + "it\nis\tO\n\n" + GOOD, 2, [(4, ("no tag follows", "'it'", "a tab"))]),
    ("an empty tag", GOOD + "it\t\nis\tO\n\n" + GOOD, 2, [(4, ("no tag follows", "a tab"))]),
    ("a blank tag", GOOD + "it\t \nis\tO\n\n" + GOOD, 2, [(4, ("no tag follows",))]),
    ("a blank token", GOOD + "\tO\n\n" + GOOD, 2, [(4, ("the token is blank", "leave the line"))]),
    ("a token of a no-break space", GOOD + "\u00a0\tO\n\n", 1, [(4, ("the token is blank",))]),
    ("a blank token before blanks", "EU O\nis O\n\n O\nit O\n", 1, [(4, ("token is blank",))]),
    ("an ideographic blank", "中 O\n国 O\n\n\u3000 O\n", 1, [(4, ("token is blank",))]),
    ("three columns of two", GOOD + "a\tb\tO\n\n", 1, [(4, ("3 columns", "has 2", "hold a tab"))]),
    (
        "two columns of three",
        "EU\tNNP\tO\nis\tV\tO\n\nit\tO\n\n",
        1,
        [(4, ("2 columns, but the file has 3", "all of its columns"))],
    ),
    (
        "a blank column in the middle",
        "EU\tNNP\tO\nis\tV\tO\n\nit\t\tO\n\n",
        1,
        [(4, ("column 2 of 3 is blank", "write _"))],
    ),
    (
        "blanks among tabs",
        GOOD + "New York\tO\n\nit O\n\n",
        2,
        [(6, ("no tag follows the token: 'it O'", "a tab"))],
    ),
    (
        "four blank-separated columns among tabs",
        "EU\tNNP\tO\nNew York\tNNP\tO\n\nit PRP O\n\n",
        1,
        [(4, ("no tag follows",))],
    ),
    (
        "a token with a blank among blanks",
        "EU O\nis O\n\nNew York B-LOC\n\n",
        1,
        [(4, ("3 columns", "blank-separated", "separate the columns of all lines by tabs"))],
    ),
    (
        "a comment within a sentence",
        GOOD + "it\tO\n# a comment of mine\nis\tO\n",
        1,
        [(5, ("no tag follows",))],
    ),
    (
        "a comment within a blank-separated sentence",
        "EU O\nis O\n\nit O\n# said by me\n",
        1,
        [(5, ("4 columns", "a comment stands before the first token"))],
    ),
    ("a NUL", GOOD + "i\0t\tO\n\n" + GOOD, 2, [(4, ("NUL", "remove it"))]),
    ("U+2028", GOOD + "i\u2028t\tO\n\n", 1, [(4, ("U+2028", "line end", "remove it"))]),
    ("U+0085", GOOD + "i\u0085t\tO\n\n", 1, [(4, ("U+0085",))]),
    ("a vertical tab", GOOD + "i\vt\tO\n\n", 1, [(4, ("U+000B",))]),
    ("a stray carriage return", GOOD + "it\rO\n\n", 1, [(4, ("carriage return", "line feeds"))]),
    ("a truncated last line", GOOD + "it\tO\nwa", 1, [(5, ("ends after 1 of 2", "cut short"))]),
    (
        "two readings",
        "New York\tB-LOC\nLos Angeles\tB-LOC\n",
        0,
        [(1, ("2 columns separated by tabs or 3 columns separated by blanks", "by tabs"))],
    ),
    ("only comments", "# it is\n# as\n\n# it was\n", 0, [(1, ("no line holds a token",))]),
    ("no tags at all", "EU\nrejects\n\nit\n", 0, [(1, ("no tag follows", "'EU'"))]),
    (
        "plain text",
        "It was a dark night.\nRain fell in torrents, mostly.\nWind\nblew\nhard now and then\n",
        0,
        [(1, ("no one number of columns", "plain text"))],
    ),
    (
        "all faults of one sentence",
        GOOD + "it\nis\tO\n\tO\na\tb\tc\n\n" + GOOD,
        2,
        [(4, ("no tag",)), (6, ("blank",)), (7, ("3 columns",))],
    ),
]
RAW = [
    ("Latin-1", GOOD.encode() + "café\tO\n\n".encode("latin-1"), 1, [(4, ("0xE9", "iconv"))]),
    ("UTF-16", GOOD.encode("utf-16"), 0, [(1, ("UTF-16", "iconv"))]),
    ("an endless line", GOOD.encode() + b"x" * (5 << 20), 1, [(4, ("longer than", "line feed"))]),
    (
        "a gzip cut short",
        gzip.compress(("".join(f"{n * n}\tO\n\n" for n in range(50_000))).encode())[:-2_000],
        -1,
        [(0, ("cut short",))],
    ),
]
CASES = [(title, text.encode(), *rest) for title, text, *rest in MALFORMED] + RAW


@pytest.mark.parametrize(
    ("content", "rows", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_malformed_file_is_told(read, content, rows, expected):
    found = read(content)
    places = [f"a.conll:{line}" if line else "a.conll" for line, _ in expected]
    assert [fault.where for fault in found.faults] == places, found.faults
    for fault, (_, phrases) in zip(found.faults, expected, strict=True):
        assert fault.remedy
        assert not fault.remedy.endswith(".")
        for phrase in phrases:
            assert phrase in str(fault)
    assert rows < 0 or len(found.rows) == rows


def test_the_table_is_as_long_as_it_claims():
    assert len({content for _, content, *_ in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize(("token", "tag"), [(3, 1), (1, 3), (1, 1)])
def test_columns_that_are_not_there(read, token, tag):
    found = read(GOOD, token=token, tag=tag)
    assert [fault.where for fault in found.faults] == ["a.conll:1"]
    assert "of 2 there are" in str(found.faults[0])


def test_a_sentence_without_end_is_refused_once(read):
    found = read(GOOD + "a\tO\n" * (SENTENCE_TOKENS + 500) + "\n" + GOOD)
    assert len(found.rows) == 2
    assert [fault.where for fault in found.faults] == ["a.conll:4"]
    assert "more than 100,000 lines" in str(found.faults[0])


class TestLooks:
    @pytest.mark.parametrize(
        "head",
        [
            TAB,
            TAB.replace("\t", " "),
            "\ufeff" + TAB,
            TAB + "Pet",
            "-DOCSTART- -X- O O\n\nEU NNP",
            "EU\tB-ORG\nrejects\tO\ncalls\tO\n",
            "中 B-ORG\n国 I-ORG\n人 O\n\n好 O\n",
            "We PRON\nsee VERB\nit PRON\n\nThey PRON\nsee VERB\nus PRON\n",
            "a\tO\nb\tO\n\t\nc\tO\nd\tO\n",
            "# id 1 domain=en\nEU _ _ B-ORG\nis _ _ O\n\n",
            "# text = It is\n1\tIt\t_\tPRON\t_\t_\t2\tnsubj\t_\t_\n",
            "EU\tB_ORG\nis\tO\n",
            "word\tner\nEU\tB-ORG\nis\tO\n",
            TAB * 40 + "broken\n" + TAB,
        ],
    )
    def test_conll(self, head):
        assert looks_like_conll(head)

    @pytest.mark.parametrize(
        "head",
        [
            "",
            "\n\n",
            "text,label\nfine weather,yes\nbad,no\n",
            "text,label\n\nfine weather,yes\n\nbad weather,no\n",
            "text\tlabel\nfine weather\tyes\nrain again\tno\n",
            "a fine film\t1\nno fun at all\t0\nsplendid\t1\nweak\t0\n" * 20,
            "a fine film\t1\nno fun at all\t0\n\nsplendid\t1\nweak\t0\n" * 20,
            "good\t1\nbad\t0\nfine\t1\nweak\t0\n" * 20,
            "good\t1\n\nbad\t0\n\nfine\t1\n\n" * 20,
            '{"text": "a"}\n{"text": "b"}\n',
            '[{"text": "a"}]',
            "It was a dark night.\nRain fell.\n\nWind blew hard.\n",
            "roses red\nviolets blue\n\nsugar sweet\nand you\n",
            "one\ntwo\n\nthree\n",
            "A man\tEin Mann\nA dog\tEin Hund\n\nA cat\tEine Katze\n",
            "这 家 酒店 很 好\n房间 太 小\n",
        ],
    )
    def test_not_conll(self, head):
        assert not looks_like_conll(head)


@pytest.mark.public_data
class TestPublicData:
    @pytest.mark.parametrize(
        ("name", "sentences", "tokens", "blank_ends"),
        [
            ("wnut17train.conll", 3_394, 62_730, 2_394),
            ("emerging.dev.conll", 1_009, 15_733, 0),
            ("emerging.test.annotated", 1_287, 23_394, 0),
        ],
    )
    def test_wnut17(self, shared, name, sentences, tokens, blank_ends):
        found = read_file(shared / "data" / "wnut17" / name)
        assert not found.faults
        assert len(found.rows) == sentences
        assert sum(len(row["tokens"]) for row in found.values) == tokens
        told = f"{name}: {blank_ends:,} of the lines that end sentences hold blanks or tabs"
        assert (told in found.notes) == bool(blank_ends)
        scheme = scheme_of(row["tags"] for row in found.values)
        assert (scheme.name, scheme.breaches) == ("bio", 0)

    def test_wnut17_lines(self, shared):
        path = shared / "data" / "wnut17" / "wnut17train.conll"
        lines = path.read_text(encoding="utf-8").split("\n")
        for row in read_file(path).rows[::7]:
            for place, token in enumerate(row.values["tokens"]):
                line = int(token_origin(row, place).rpartition(":")[2])
                assert lines[line - 1].split("\t")[0] == token

    def test_peopledaily(self, shared):
        path = shared / "data" / "peopledaily_ner" / "peopledaily.zip"
        found = read_file(path, "dev.txt")
        assert not found.faults
        assert len(found.rows) == 4_631
        assert sum(len(row["tokens"]) for row in found.values) == 172_601
        scheme = scheme_of(row["tags"] for row in found.values)
        assert (scheme.name, scheme.breaches) == ("bio", 11)
        assert sum(len(spans_of(row["tags"], "bio")) for row in found.values) == 6_192

    def test_what_is_conll_and_what_is_not(self, shared):
        looks = {}
        for path in sorted((shared / "data").glob("*/*")):
            if path.suffix in (".conll", ".annotated", ".tsv", ".csv", ".jsonl", ".json", ".txt"):
                with path.open("rb") as file:
                    head = file.read(1 << 16).decode("utf-8", "replace")
                looks[path.parent.name, path.name] = looks_like_conll(head)
        assert len(looks) > 15
        assert {folder for (folder, _), yes in looks.items() if yes} == {"wnut17"}
        assert sum(looks.values()) == 3
