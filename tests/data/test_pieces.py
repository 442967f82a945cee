"""The pieces below the readers: bytes, lines, JSON, dialects; and every border of a chunk."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import Fault, Faults
from tenon.data import json_document, lines
from tenon.data.dialect import Dialect, dialect_of, has_header, usual_width
from tenon.data.encoding import likely_encoding, wide_encoding
from tenon.data.findings import agreed, counted, said, share_of
from tenon.data.formats import stem
from tenon.data.lines import REFUSED, Lines
from tenon.data.members import part_name
from tenon.data.places import in_order, split_place
from tenon.data.sources import read
from tenon.data.streams import Stream, opened
from tenon.data.strict_json import DEPTH, Decoder, Unreadable, kind_of, too_deep
from tenon.data.survey import label_order
from tenon.data.tables import excerpt

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pieces")


@pytest.fixture(params=[1, 2, 3, 7, 64])
def chunk(request) -> Iterator[int]:
    """Read so few bytes at a time that every border falls everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CHUNK_BYTES", request.param)
        patch.setattr(json_document, "CHUNK_BYTES", request.param)
        yield request.param


def read_all(path: Path, spec: str = "") -> tuple[list[tuple[str, dict[str, object]]], list[str]]:
    faults = Faults()
    rows = [(row.origin, row.values) for row in read(spec or str(path), faults)]
    return rows, [str(fault) for fault in faults.kept]


class TestChunks:
    """What is read does not depend on how many bytes are read at once."""

    CONTENTS = {
        "quoted.csv": 'text,label\r\n"one\r\ntwo, ""three""",a\r\nvier é,b\r\n中文,c\r\n',
        "faulty.csv": 'text,label\nalone\n"open,a\nfine,b\n\nx,y,z\n"shut"x,c\nlast,d',
        "rows.jsonl": '{"text": "é中😀"}\n\n{"a": 1, "a": 2}\n{"text": NaN}\n["x", "y"]\n"no"\n',
        "rows.json": '[ {"text": "é中😀", "n": [1]} ,\n\n {"a": "b", "a": "c"},\n 5, {"d": 1} ]\n',
        "parts.json": '{"val": [["a"]], "n": 12.5, "train": [\n["c", 1.25],\n["e\\u00e9", "f"]] }',
        "broken.json": '[{"a": 1},\n{"b": 2}\n{"c": 3}]',
        "cut.json": '[{"a": "é"},\n{"b": "中',
        "marked.json": '\ufeff[{"a": 1}]',
        "marked.csv": "\ufefftext,label\nfine,yes\n",
    }

    @pytest.mark.parametrize("name", CONTENTS)
    def test_the_rows_and_faults_are_the_same(self, folder, name, chunk):
        path = folder / name
        path.write_bytes(self.CONTENTS[name].encode())
        spec = f"{path}#train" if name == "parts.json" else ""
        found = read_all(path, spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lines, "CHUNK_BYTES", 1 << 20)
            patch.setattr(json_document, "CHUNK_BYTES", 1 << 20)
            assert found == read_all(path, spec)
        assert found[0] or found[1]

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "gb18030"])
    def test_wrong_encodings_are_the_same(self, folder, chunk, encoding):
        for name, content in (
            ("a.csv", "text,label\n这é里,yes\nfine,no\n"),
            ("a.json", '[{"a": "这é里"}]'),
        ):
            path = folder / name
            path.write_bytes(content.encode(encoding, "replace").replace(b"?", b"\xe9"))
            found = read_all(path)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(lines, "CHUNK_BYTES", 1 << 20)
                patch.setattr(json_document, "CHUNK_BYTES", 1 << 20)
                assert found[0] == read_all(path)[0]
                assert len(found[1]) == len(read_all(path)[1]) > 0

    @pytest.mark.parametrize("beyond", [-3, -2, -1, 0, 1, 2, 13])
    def test_the_cap_of_a_line_is_exact(self, folder, chunk, beyond):
        """A line, its end included, may have as many bytes as the cap, which exceeds a chunk."""
        cap = max(12, 2 * chunk)
        path = folder / "long.jsonl"
        row = json.dumps({"a": "x" * (cap + beyond - 9)}, separators=(",", ":"))
        path.write_text(f'{{"a":1}}\n{row}\n{{"a":2}}\n')
        assert len(row) + 1 == cap + beyond
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lines, "LINE_BYTES", cap)
            rows, faults = read_all(path)
        if beyond <= 0:
            assert (len(rows), faults) == (3, [])
        else:
            assert [origin.rpartition(":")[2] for origin, _ in rows] == ["1", "3"]
            assert faults[0].startswith(f"{path}:2: the line is longer than {cap} bytes")


class TestLines:
    def lines_of(self, folder: Path, content: bytes) -> tuple[list[str], Lines]:
        path = folder / "lines"
        path.write_bytes(content)
        with opened(str(path), "lines", Faults()) as stream:
            found = Lines(stream, "lines", stream._faults, [])
            return list(found), found

    @given(st.lists(texts.map(lambda text: text.replace("\n", " ")), max_size=9), st.booleans())
    def test_they_join_to_the_file(self, folder, body, ended):
        content = "\n".join(body) + ("\n" if ended else "")
        if content.startswith("\ufeff") or wide_encoding(content.encode()):
            return
        found, state = self.lines_of(folder, content.encode())
        assert "".join(found) == content
        assert state.unended == (bool(content) and not content.endswith("\n"))

    def test_a_refused_line_keeps_its_place(self, folder):
        found, state = self.lines_of(folder, b"one\nt\xffo\nthr\0e\nfour")
        assert found == ["one\n", REFUSED, REFUSED, "four"]
        assert [fault.where for fault in state.faults.kept] == ["lines:2", "lines:3"]

    def test_the_stand_in_cannot_be_smuggled_in(self, folder):
        """A line that equals the stand-in holds a NUL, and is a fault of its own."""
        found, state = self.lines_of(folder, REFUSED.encode())
        assert found == [REFUSED]
        assert state.faults.count == 1


class TestStream:
    @given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=12))
    def test_peeking_moves_nothing(self, folder, content, sizes):
        path = folder / "bytes"
        packed = gzip.compress(content, mtime=0)
        path.write_bytes(b"-" + packed)
        with opened(str(path), "bytes", Faults()) as stream:
            assert stream.read(1) == b"-"
            read_so_far = b""
            for size in sizes:
                ahead = stream.peek(size)
                read_so_far += (given := stream.read(size))
                assert ahead.startswith(given) or given.startswith(ahead)
            while more := stream.read(64):
                read_so_far += more
        assert read_so_far == packed

    @pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
    def test_a_bomb_is_read_in_bounded_memory(self, folder, pack):
        """64 MiB without a line end, packed to a few KiB, is one fault."""
        path = folder / "bomb.jsonl"
        path.write_bytes(pack(b'{"a": 1}\n' + b" " * (64 << 20)))
        tracemalloc.start()
        rows, faults = read_all(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(rows) == 1
        assert len(faults) == 1
        assert "bomb.jsonl:2: the line is longer" in faults[0]
        assert peak < 48 << 20

    def test_rows_before_damage_stand(self, folder):
        content = b"text,label\n" + b"".join(b"%d %x,yes\n" % (n, n**9) for n in range(20_000))
        path = folder / "cut.csv.gz"
        path.write_bytes(gzip.compress(content)[: len(gzip.compress(content)) // 2])
        rows, faults = read_all(path)
        assert 5_000 < len(rows) < 15_000
        assert [origin.rpartition(":")[2] for origin, _ in rows[-1:]] == [str(len(rows) + 1)]
        assert len(faults) == 1

    def test_damage_is_told_once(self):
        class Torn:
            def read1(self, size: int, /) -> bytes:
                raise EOFError

        faults = Faults()
        stream = Stream(Torn(), "a.gz", "a.gz", faults)
        assert [stream.read(5), stream.peek(5), stream.read(5)] == [b"", b"", b""]
        assert faults.count == 1
        assert stream.damaged


class TestStrictJson:
    @given(values)
    def test_it_reads_what_json_reads(self, value):
        text = json.dumps(value)
        decoder = Decoder()
        found, end = decoder.decode(text)
        assert found == value
        assert end == len(text)
        assert not decoder.taken()

    @given(st.integers(0, 200), st.text('[]{}"\\', max_size=20))
    def test_depth_is_counted_outside_of_texts(self, depth, text):
        nested = "[" * depth + json.dumps(text) + "]" * depth
        assert too_deep(nested) == (depth > DEPTH)

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ('{"a": 1, "b": {"a": 1}}', 0),
            ('{"a": 1, "a": 1}', 1),
            ('[{"a": 1, "a": 2}, {"b": 1, "b": 2}]', 2),
            ("[NaN, Infinity, -Infinity]", 3),
            ("[1e308, 1e-400]", 0),
            ("[1e309, -1e309]", 2),
        ],
    )
    def test_problems(self, text, count):
        decoder = Decoder()
        decoder.decode(text)
        assert len(decoder.taken()) == count
        assert decoder.taken() == []

    def test_what_cannot_be_held(self):
        for text in ("9" * 5_000, "[" * 100_000):
            with pytest.raises(Unreadable):
                Decoder().decode(text)
        assert Decoder().decode("9" * 4_000)[0] == int("9" * 4_000)

    @pytest.mark.parametrize(
        ("value", "name"),
        [
            (None, "null"),
            (True, "a boolean"),
            (1, "a number"),
            (math.pi, "a number"),
            ("", "text"),
            ([], "a list"),
            ({}, "an object"),
            (b"", "bytes"),
        ],
    )
    def test_names_of_types(self, value, name):
        assert kind_of(value) == name


class TestEncoding:
    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_wide_text_is_seen(self, encoding):
        assert wide_encoding("text,label\nfine,yes\n".encode(encoding)).startswith("UTF-")

    @pytest.mark.parametrize("text", ["", "a", "text,label", "中文,标签", "é" * 50, "\0\0\0\0"])
    def test_utf8_is_not_wide(self, text):
        assert wide_encoding(text.encode()) == ""

    @pytest.mark.parametrize(
        ("text", "encoding", "name"),
        [
            ("café au lait", "latin-1", "ISO-8859-1"),
            ("Größe", "latin-1", "ISO-8859-1"),
            ("it’s “fine”", "cp1252", "Windows-1252"),
            ("这家酒店很好", "gb18030", "GB18030"),
            ("房间太小,0", "gbk", "GB18030"),
        ],
    )
    def test_the_likely_encoding(self, text, encoding, name):
        assert likely_encoding(text.encode(encoding)) == name

    @given(st.binary())
    def test_a_guess_can_always_decode_or_replace(self, raw):
        assert isinstance(raw.decode(likely_encoding(raw), "replace"), str)


class TestDialect:
    @pytest.mark.parametrize(
        ("suffix", "quoting", "expected"),
        [
            ("csv", "auto", Dialect(",", quoted=True)),
            ("csv", "none", Dialect(",", quoted=False)),
            ("tsv", "auto", Dialect("\t", quoted=False)),
            ("tsv", "rfc4180", Dialect("\t", quoted=True)),
        ],
    )
    def test_by_name_and_setting(self, suffix, quoting, expected):
        assert dialect_of(suffix, quoting, []) == expected
        assert dialect_of(suffix, quoting, ["a,b\n", "c,d\n"]).quoted == expected.quoted

    def test_a_rival_must_hold_in_every_line(self):
        assert dialect_of("csv", "auto", ["a;b\n", "c;d\n"]).delimiter == ";"
        assert dialect_of("csv", "auto", ["a;b\n", "c;d;e\n"]).delimiter == ","
        assert dialect_of("csv", "auto", ["a;b,c\n", "c;d,e\n"]).delimiter == ","
        assert dialect_of("csv", "auto", ['"a;b"\n', '"c;d"\n']).delimiter == ","

    def test_commas_of_the_texts_do_not_hide_what_the_header_says(self):
        assert dialect_of("csv", "auto", ["text;label\n", "one, two, three;a\n"]).delimiter == ";"
        assert dialect_of("csv", "auto", ["text;label\n", '"one; two";a\n']).delimiter == ";"
        assert dialect_of("csv", "auto", ["text;label\n", "one, two\n"]).delimiter == ","

    def test_a_column_of_one(self):
        assert dialect_of("csv", "auto", ["text\n", "fine\n"]).delimiter == ","

    @given(
        st.lists(st.lists(st.sampled_from(["", "a", "text", "1", "x y"]), min_size=1), min_size=1)
    )
    def test_a_header_is_always_decided(self, records):
        assert has_header(records) in (True, False)
        assert usual_width(records) in {len(record) for record in records}


class TestWords:
    @pytest.mark.parametrize(
        ("name", "part"),
        [
            ("train.csv", "train"),
            ("Train.CSV", "train"),
            ("in/val.jsonl.gz", "dev"),
            ("validation", "dev"),
            ("test-00000-of-00001.parquet", "test"),
            ("train-00000-of-00002.parquet", "train-00000-of-00002"),
            ("oos_train", "oos_train"),
            ("v1.2", "v1"),
        ],
    )
    def test_parts(self, name, part):
        assert part_name(name) == part

    def test_stems(self):
        assert [stem(name) for name in ("a.csv", "b/a.csv.gz", "a", "a.b.tsv.zst")] == [
            "a",
            "a",
            "a",
            "a.b",
        ]

    def test_numbers_and_shares(self):
        assert (counted(1, "row"), counted(2_000, "row")) == ("1 row", "2,000 rows")
        assert [agreed(n, "stand") for n in (0, 1, 2)] == ["stand", "stands", "stand"]
        assert said(1, "row", "have no label") == "1 row has no label"
        assert said(1, "label", "are of another type") == "1 label is of another type"
        assert said(2, "text", "hold marks") == "2 texts hold marks"
        assert share_of(331, 1_200) == "331 of 1,200 (27.6 %)"
        assert share_of(0, 0) == "0 of 0 (0.0 %)"

    @given(st.text())
    def test_an_excerpt_is_short_and_printable(self, text):
        assert len(excerpt(text)) <= 62 + 9 * 60
        assert "\n" not in excerpt(text)
        if len(text) <= 60:
            assert excerpt(text) == repr(text.rstrip("\r\n"))

    @given(st.lists(st.integers(-99, 99).map(str), unique=True))
    def test_numbers_are_ordered_as_numbers(self, labels):
        assert [int(label) for label in label_order(labels)] == sorted(map(int, labels))

    @given(st.lists(st.text(), unique=True))
    def test_an_order_loses_no_label(self, labels):
        assert sorted(label_order(labels)) == sorted(labels)
        assert label_order(labels) == label_order(reversed(labels))


class TestPlaces:
    @pytest.mark.parametrize(
        ("where", "place"),
        [
            ("a.csv:12", ("a.csv", 12)),
            ("a.csv", ("a.csv", 0)),
            ("c:/a.csv:3", ("c:/a.csv", 3)),
            ("data.labels", ("data.labels", 0)),
            ("a.zip#b.csv:7", ("a.zip#b.csv", 7)),
        ],
    )
    def test_they_are_split(self, where, place):
        assert split_place(where) == place

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20))))
    def test_their_order(self, places):
        faults = [Fault(f"{file}:{line}" if line else file, "x") for file, line in places]
        ordered = [split_place(fault.where) for fault in in_order(faults)]
        assert sorted(ordered) == sorted(places)
        files = list(dict.fromkeys(file for file, _ in places))
        assert ordered == sorted(ordered, key=lambda place: (files.index(place[0]), place[1]))


@given(st.lists(st.lists(st.text(" ab,\"\n;'", max_size=6), min_size=2, max_size=2), min_size=1))
def test_tables_are_read_as_the_csv_module_reads_them(folder, rows):
    """An oracle: what Python's strict reader takes in, we take in, equal field by field."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows([("text", "label"), *rows])
    path = folder / "oracle.csv"
    path.write_text(file.getvalue(), newline="")
    expected = list(csv.reader(io.StringIO(file.getvalue(), newline=""), strict=True))[1:]
    found, faults = read_all(path)
    assert not faults
    assert [[row["text"], row["label"]] for _, row in found] == expected


@given(st.text(' ab,"\n', max_size=60))
def test_no_content_breaks_the_table_reader(folder, content):
    """Whatever stands in a file, each line is in a row, in a fault, or blank; nothing is raised."""
    path = folder / "any.csv"
    path.write_text(f"text,label\n{content}", newline="")
    faults = Faults()
    notes: list[str] = []
    rows = list(read(str(path), faults, notes=notes))
    places = [int(row.origin.rpartition(":")[2]) for row in rows]
    places += [split_place(fault.where)[1] for fault in faults.kept]
    assert len(places) == len(set(places)), "a line is told twice"
    filled = [line for line in content.split("\n") if line]
    assert bool(places) == bool(filled)


@given(st.binary(max_size=80))
@pytest.mark.parametrize("name", ["any.csv", "any.tsv", "any.jsonl", "any.json"])
def test_no_bytes_break_a_reader(folder, name, content):
    path = folder / name
    path.write_bytes(b"x" + content)
    faults = Faults()
    for row in read(str(path), faults):
        assert row.origin.startswith(f"{path}:")
    assert all(fault.where and fault.what and fault.remedy for fault in faults.kept)


@given(values)
def test_any_json_is_rows_or_a_fault(folder, value):
    for name in ("value.json", "value.jsonl"):
        path = folder / name
        path.write_text(json.dumps(value))
        rows, faults = read_all(path)
        listed = value if isinstance(value, list) else [value]
        assert rows or faults or value == [] or all(not row for row in listed)
