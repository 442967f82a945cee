"""Every format gives the same rows, with the line that each begins in."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults, FileError
from tenon.data.members import members
from tenon.data.sources import Source, read

# A NUL or a lone surrogate is a fault.
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
)
words = st.text("abcdefgh é中😀,;\"'|", min_size=1, max_size=12).filter(lambda word: word.strip())
row_lists = st.lists(st.tuples(texts, words), min_size=1, max_size=8)
PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trips")


def rows_of(path: Path | str, **how) -> list[dict[str, object]]:
    faults = Faults()
    rows = [row.values for row in read(str(path), faults, **how)]
    assert not faults.count, [str(fault) for fault in faults.kept]
    return rows


def notes_of(path: Path) -> str:
    notes: list[str] = []
    list(read(str(path), Faults(), notes=notes))
    return "\n".join(notes)


def as_csv(rows, end="\r\n", **dialect) -> bytes:
    file = io.StringIO(newline="")
    if any("\r" in field for row in rows for field in row):
        dialect["quoting"] = csv.QUOTE_ALL  # csv.writer itself forgets to quote a lone CR
    writer = csv.writer(file, lineterminator=end, **dialect)
    writer.writerows([("text", "label"), *rows])
    return file.getvalue().encode()


class TestRoundTrips:
    """What the standard writers write is read back, whatever is in it."""

    @given(rows=row_lists, end=st.sampled_from(["\n", "\r\n"]), all_quoted=st.booleans())
    def test_csv(self, folder, rows, end, all_quoted):
        quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
        path = folder / "a.csv"
        path.write_bytes(as_csv(rows, end, quoting=quoting))
        assert rows_of(path) == [{"text": text, "label": label} for text, label in rows]

    @given(rows=row_lists)
    def test_quoted_tsv(self, folder, rows):
        path = folder / "a.tsv"
        path.write_bytes(as_csv(rows, delimiter="\t"))
        found = rows_of(path, quoting="rfc4180")
        assert found == [{"text": text, "label": label} for text, label in rows]

    @given(rows=row_lists)
    def test_literal_tsv(self, folder, rows):
        clean = [
            ("".join(" " if character in "\t\r\n" else character for character in text), label)
            for text, label in rows
        ]
        path = folder / "b.tsv"
        lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in clean)]
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        assert rows_of(path) == [{"text": text, "label": label} for text, label in clean]

    @given(rows=row_lists, ascii_only=st.booleans())
    def test_jsonl(self, folder, rows, ascii_only):
        path = folder / "a.jsonl"
        objects = [{"text": text, "label": label} for text, label in rows]
        lines = (json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in objects)
        path.write_bytes("".join(lines).encode())
        assert rows_of(path) == objects

    @given(rows=row_lists, indent=st.sampled_from([None, 0, 2]), packer=st.sampled_from([*PACKERS]))
    def test_json(self, folder, rows, indent, packer):
        path = folder / f"a.json{packer}"
        objects = [{"text": text, "label": label} for text, label in rows]
        path.write_bytes(PACKERS[packer](json.dumps(objects, indent=indent).encode()))
        assert rows_of(path) == objects

    @given(rows=row_lists)
    def test_json_lists_of_fields(self, folder, rows):
        path = folder / "b.json"
        path.write_text(json.dumps({"train": rows, "val": []}))
        assert rows_of(f"{path}#train") == [{"0": text, "1": label} for text, label in rows]
        assert rows_of(f"{path}#val") == []

    @given(rows=row_lists)
    def test_parquet(self, folder, rows):
        path = folder / "a.parquet"
        objects = [{"text": text, "label": label} for text, label in rows]
        pq.write_table(pa.Table.from_pylist(objects), path)
        assert rows_of(path) == objects

    @given(rows=row_lists)
    def test_a_zip_member(self, folder, rows):
        path = folder / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("in/train.csv", as_csv(rows))
        expected = [{"text": text, "label": label} for text, label in rows]
        assert rows_of(path) == rows_of(f"{path}#train") == rows_of(f"{path}#train.csv") == expected
        assert rows_of(f"{path}#in/train.csv") == expected


class TestOrigins:
    """The origin is the line in which a row begins."""

    @given(rows=row_lists)
    def test_of_csv(self, tmp_path_factory, rows):
        path = tmp_path_factory.getbasetemp() / "origins.csv"
        path.write_bytes(as_csv(rows, "\n"))
        lines = path.read_bytes().decode().split("\n")
        for row, (text, label) in zip(read(str(path), Faults()), rows, strict=True):
            number = int(row.origin.rpartition(":")[2])
            following = "\n".join(lines[number - 1 :]) + "\n"
            reader = csv.reader(io.StringIO(following, newline=""), strict=True)
            assert next(reader) == [text, label]

    def test_after_a_text_of_many_lines(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text('text,label\n"one\n\ntwo",a\nthree,b\n\nfour,c\n')
        origins = [row.origin for row in read(str(path), Faults())]
        assert origins == [f"{path}:2", f"{path}:5", f"{path}:7"]
        assert "1 blank lines" in notes_of(path)

    @pytest.mark.parametrize("indent", [None, 1])
    def test_of_a_document(self, tmp_path, indent):
        path = tmp_path / "a.json"
        rows = [{"n": 7_000 + number} for number in range(50)]
        path.write_text(json.dumps({"other": [1], "train": rows}, indent=indent))
        lines = path.read_text().split("\n")
        for row, value in zip(read(f"{path}#train", Faults()), rows, strict=True):
            where, _, number = row.origin.rpartition(":")
            assert where == str(path)
            following = lines[int(number) - 1 : int(number) + 2]
            assert str(value["n"]) in "".join(following)

    def test_of_lines_across_chunks(self, tmp_path):
        """A file of several chunks keeps its count; so do lines after the look ahead."""
        path = tmp_path / "a.csv"
        line = "x" * 997
        path.write_text("text,label\n" + "".join(f"{line}{n % 10},a\n" for n in range(3_000)))
        rows = list(read(str(path), Faults()))
        assert [int(row.origin.rpartition(":")[2]) for row in rows] == list(range(2, 3_002))
        assert all(row.values["text"] == f"{line}{n % 10}" for n, row in enumerate(rows))

    @given(
        kinds=st.lists(st.sampled_from(["good", "short", "long", "latin", "nul"]), min_size=1),
        last=st.booleans(),
    )
    def test_every_fault_once_with_its_line(self, tmp_path_factory, kinds, last):
        path = tmp_path_factory.getbasetemp() / "faults.csv"
        content = {
            "good": b"fine,yes",
            "short": b"fine",
            "long": b"fine,yes,no",
            "latin": b"caf\xe9,yes",
            "nul": b"fi\0ne,yes",
        }
        body = b"\n".join([b"text,label", *(content[kind] for kind in kinds)])
        path.write_bytes(body + (b"\n" if last else b""))
        faults = Faults()
        rows = list(read(str(path), faults))
        expected = [f"{path}:{n}" for n, kind in enumerate(kinds, 2) if kind != "good"]
        assert sorted(fault.where for fault in faults.kept) == sorted(expected)
        assert len(rows) == kinds.count("good")

    @given(kinds=st.lists(st.sampled_from(["good", "cut", "twice", "nan", "text", "blank"])))
    def test_every_fault_of_jsonl_once_with_its_line(self, tmp_path_factory, kinds):
        path = tmp_path_factory.getbasetemp() / "faults.jsonl"
        content = {
            "good": '{"text": "a", "label": 1}',
            "cut": '{"text": "a", "la',
            "twice": '{"text": "a", "text": "b"}',
            "nan": '{"text": NaN}',
            "text": '"a"',
            "blank": "",
        }
        lines = ["{}", *(content[kind] for kind in kinds)]
        path.write_text("".join(f"{line}\n" for line in lines))
        faults = Faults()
        rows = list(read(str(path), faults))
        expected = [
            f"{path}:{n}" for n, kind in enumerate(kinds, 2) if kind not in ("good", "blank")
        ]
        assert [fault.where for fault in faults.kept] == expected
        assert len(rows) == kinds.count("good") + 1


class TestFormats:
    """The content decides where the name says nothing, and packing by its first bytes."""

    @pytest.mark.parametrize("packer", PACKERS)
    def test_packing_is_seen_whatever_the_name(self, tmp_path, packer):
        path = tmp_path / "rows.jsonl"
        path.write_bytes(PACKERS[packer](b'{"a": 1}\n{"a": 2}\n'))
        assert rows_of(path) == [{"a": 1}, {"a": 2}]

    def test_frames_and_members_in_a_row(self, tmp_path):
        for suffix in ("gz", "xz", "zst", "bz2"):
            packer = PACKERS[f".{suffix}"]
            path = tmp_path / f"rows.jsonl.{suffix}"
            path.write_bytes(packer(b'{"a": 1}\n') + packer(b'{"a": 2}\n'))
            assert rows_of(path) == [{"a": 1}, {"a": 2}]

    def test_json_lines_named_json(self, tmp_path):
        path = tmp_path / "rows.json"
        path.write_text('{"a": 1}\n{"a": 2}\n')
        assert rows_of(path) == [{"a": 1}, {"a": 2}]

    def test_a_document_named_jsonl(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        path.write_text('[{"a": 1},\n{"a": 2}]\n')
        assert rows_of(path) == [{"a": 1}, {"a": 2}]
        path.write_text('[{"a": 1}, {"a": 2}]\n')
        assert rows_of(path) == [{"a": 1}, {"a": 2}]

    def test_lists_of_fields_in_lines(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        path.write_text('["fine", "yes"]\n["bad", "no"]\n')
        assert rows_of(path) == [{"0": "fine", "1": "yes"}, {"0": "bad", "1": "no"}]

    @pytest.mark.parametrize(
        ("content", "rows"),
        [
            ('{"a": 1}\n{"a": 2}\n', 2),
            ('[{"a": 1}]', 1),
            ("text\tlabel\nfine\tyes\n", 1),
        ],
    )
    def test_a_name_without_suffix(self, tmp_path, content, rows):
        path = tmp_path / "rows"
        path.write_text(content)
        assert len(rows_of(path)) == rows

    def test_a_name_and_content_that_say_nothing(self, tmp_path):
        path = tmp_path / "rows.txt"
        path.write_text("a line of text\n")
        with pytest.raises(DataError, match=r"rows.txt: the format cannot be told.*\.csv"):
            rows_of(path)

    def test_a_byte_order_mark_is_accepted_and_told(self, tmp_path):
        for name, content in (
            ("a.csv", "text,label\nfine,yes\n"),
            ("a.json", '[{"text": "fine"}]'),
        ):
            path = tmp_path / name
            path.write_text(content, encoding="utf-8-sig")
            assert rows_of(path)[0]["text"] == "fine"
            assert "byte order mark" in notes_of(path)

    def test_line_ends_are_counted(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_bytes(b"text,label\r\nfine,yes\r\nbad,no")
        assert rows_of(path) == [{"text": "fine", "label": "yes"}, {"text": "bad", "label": "no"}]
        assert "2 lines end in CR LF" in notes_of(path)
        assert "the last line has no line end" in notes_of(path)

    def test_line_separators_of_unicode_are_text(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("text,label\none\u2028two\x85three,yes\n")
        assert rows_of(path) == [{"text": "one\u2028two\x85three", "label": "yes"}]

    @pytest.mark.parametrize("separator", [";", "|", "\t"])
    def test_other_separators_of_csv_are_told(self, tmp_path, separator):
        path = tmp_path / "a.csv"
        path.write_text(f"text{separator}label\nfine{separator}yes\nbad{separator}no\n")
        assert rows_of(path) == [{"text": "fine", "label": "yes"}, {"text": "bad", "label": "no"}]
        assert f"separated by {separator!r}" in notes_of(path)

    def test_a_literal_quotation_mark_in_tsv_is_text(self, tmp_path):
        path = tmp_path / "a.tsv"
        path.write_text('text\tlabel\n"open\t1\nshut"\t0\n')
        assert [row["text"] for row in rows_of(path)] == ['"open', 'shut"']

    def test_numbers_within_json_keep_their_types(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"a": 1, "b": "1", "c": true, "d": 1.5, "e": null, "f": [1]}\n')
        assert rows_of(path) == [{"a": 1, "b": "1", "c": True, "d": 1.5, "e": None, "f": [1]}]


class TestHeaders:
    """A header is told from a row, and which was found is said."""

    @pytest.mark.parametrize(
        "header",
        [
            "text,label",
            "Sentence,Polarity",
            "内容,标签",
            "id,category",
            "utterance,kind",
            ",text,label",
        ],
    )
    def test_a_header_is_seen(self, tmp_path, header):
        path = tmp_path / "a.csv"
        fields = header.count(",") + 1
        path.write_text(
            f"{header}\n" + "".join(f"{','.join(['x' * n] * fields)}\n" for n in (1, 2))
        )
        assert list(rows_of(path)[0]) == header.split(",")
        assert "not a header" not in notes_of(path)

    @pytest.mark.parametrize(
        "lines",
        [
            ["a fine film\t1", "a bad film\t0"],
            ["fine\tpos", "bad\tneg", "great\tpos"],
            ["Is this a question?\tyes", "so it is\tno"],
            ["这家酒店很好，下次再来。\t好", "房间太小\t坏"],
            [f"{'long ' * 20}\tx", "short\ty"],
        ],
    )
    def test_a_first_row_is_not_taken_for_a_header(self, tmp_path, lines):
        path = tmp_path / "a.tsv"
        path.write_text("\n".join(lines) + "\n")
        rows = rows_of(path)
        assert len(rows) == len(lines)
        assert list(rows[0]) == ["0", "1"]
        assert "the first line is a row, not a header; columns are 0, 1" in notes_of(path)

    def test_a_header_of_numbers_is_one(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("0,1\nfine,yes\n")
        assert rows_of(path) == [{"0": "fine", "1": "yes"}]

    def test_blanks_around_names_are_left_out_and_told(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("text, label\nfine,yes\n")
        assert rows_of(path) == [{"text": "fine", "label": "yes"}]
        assert "blanks around column names" in notes_of(path)

    def test_without_a_header_the_usual_width_counts(self, tmp_path):
        path = tmp_path / "a.tsv"
        path.write_text("one\ttwo\t1\n" + "text\t0\n" * 5)
        faults = Faults()
        assert len(list(read(str(path), faults))) == 5
        assert [fault.where for fault in faults.kept] == [f"{path}:1"]


class TestSpecs:
    def test_parse(self, tmp_path, monkeypatch):
        assert Source.parse("a.csv") == Source("a.csv")
        assert Source.parse("a.zip#b.json#train") == Source("a.zip", "b.json#train")
        assert Source.parse("hub:o/n#test") == Source("o/n", "test", hub=True)
        assert Source.parse("hub:o/n/c") == Source("o/n/c", hub=True)
        monkeypatch.chdir(tmp_path)
        Path("a#b.csv").write_text("text,label\n")
        assert Source.parse("a#b.csv") == Source("a#b.csv")

    @pytest.mark.parametrize("spec", ["a.csv", "a.zip#b.json#train", "hub:o/n#test", "hub:o/n/c"])
    def test_the_text_form_is_the_spec(self, spec):
        assert str(Source.parse(spec)) == spec

    @pytest.mark.parametrize("spec", ["", "  ", "hub:", "hub:name", "hub:a/b/c/d", "hub:/x"])
    def test_what_is_no_spec(self, spec):
        with pytest.raises(FileError):
            Source.parse(spec)

    def test_a_missing_file_offers_its_neighbour(self, tmp_path):
        (tmp_path / "train.csv").write_text("x")
        with pytest.raises(FileError, match=r"trian.csv: no such file.*did you mean .*train\.csv"):
            read(str(tmp_path / "trian.csv"), Faults())
        with pytest.raises(FileError, match="check the path"):
            read(str(tmp_path / "nowhere" / "x.csv"), Faults())

    def test_a_part_of_a_plain_file(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("text,label\nfine,yes\n")
        with pytest.raises(DataError, match="a csv file has no part 'train'"):
            rows_of(f"{path}#train")
        path = tmp_path / "a.json"
        path.write_text('[{"a": 1}]')
        faults = Faults()
        assert not list(read(f"{path}#train", faults))
        assert "without a part 'train'" in str(faults.kept[0])

    def test_a_list_that_is_not_there(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text('{"train": [{"a": 1}], "n": 3}')
        faults = Faults()
        assert not list(read(f"{path}#test", faults))
        assert "no list 'test'" in str(faults.kept[0])
        assert "holds train" in str(faults.kept[0])

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(DataError, match="is a folder.*no data file"):
            rows_of(tmp_path)
        (tmp_path / "train.csv").write_text("text,label\nfine,yes\n")
        with pytest.raises(DataError, match=r"is a folder.*train\.csv"):
            rows_of(tmp_path)


class TestZip:
    def make(self, path: Path, **files: str) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name.replace("__", "/").replace("_", "."), content)
        return path

    def test_members(self, tmp_path):
        path = self.make(
            tmp_path / "a.zip", in__val_tsv="a\t1\n", in__train_tsv="a\t1\n", README_md="x"
        )
        assert members(str(path)) == {
            "dev": f"{path}#in/val.tsv",
            "train": f"{path}#in/train.tsv",
        }

    def test_an_unknown_member_offers_the_nearest(self, tmp_path):
        path = self.make(tmp_path / "a.zip", train_tsv="a\t1\n", test_tsv="a\t1\n")
        with pytest.raises(DataError, match="did you mean train.tsv"):
            rows_of(f"{path}#trian.tsv")
        with pytest.raises(DataError, match="name one of its members"):
            rows_of(path)

    def test_two_members_of_one_name(self, tmp_path):
        path = self.make(tmp_path / "a.zip", a__train_tsv="a\t1\n", b__train_tsv="a\t1\n")
        with pytest.raises(DataError, match="both named train"):
            members(str(path))
        with pytest.raises(DataError, match="name one of its members"):
            rows_of(f"{path}#train")

    def test_what_macos_adds_is_no_member(self, tmp_path):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._train.csv", "\0\1")
            archive.writestr("train.csv", "text,label\nfine,yes\n")
        assert len(rows_of(path)) == 1

    def test_json_within_a_zip(self, tmp_path):
        path = self.make(
            tmp_path / "a.zip", data_json='{"train": [["a", "b"]], "valid": [["c", "d"]]}'
        )
        assert members(str(path)) == {
            "train": f"{path}#data.json#train",
            "dev": f"{path}#data.json#valid",
        }
        assert rows_of(f"{path}#data.json#valid") == [{"0": "c", "1": "d"}]

    def test_an_excel_workbook(self, tmp_path):
        path = tmp_path / "a.xlsx"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("[Content_Types].xml", "x")
        with pytest.raises(DataError, match="Excel.*CSV UTF-8"):
            rows_of(path)

    def test_a_damaged_zip(self, tmp_path):
        path = self.make(tmp_path / "a.zip", train_csv="text,label\n" + "fine,yes\n" * 2_000)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(DataError, match="zip file is damaged"):
            rows_of(path)

    def test_an_encrypted_member(self, tmp_path):
        path = self.make(tmp_path / "a.zip", train_csv="text,label\nfine,yes\n")
        raw = bytearray(path.read_bytes())
        raw[6] |= 1
        raw[raw.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(raw)
        with pytest.raises(DataError, match="cannot be unpacked.*encrypted"):
            rows_of(path)


class TestMembers:
    def test_of_a_document(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text('{"oos_val": [["a", "b"]], "validation": [], "n": {}, "train": []}')
        assert members(str(path)) == {
            "oos_val": f"{path}#oos_val",
            "dev": f"{path}#validation",
            "train": f"{path}#train",
        }

    def test_of_a_folder(self, tmp_path):
        for name in ("train.jsonl", "valid.jsonl.gz", "test-00000-of-00001.parquet", "notes.md"):
            (tmp_path / name).write_bytes(b"")
        assert members(str(tmp_path)) == {
            "train": f"{tmp_path}/train.jsonl",
            "dev": f"{tmp_path}/valid.jsonl.gz",
            "test": f"{tmp_path}/test-00000-of-00001.parquet",
        }

    def test_two_files_of_one_part(self, tmp_path):
        for name in ("val.csv", "dev.csv"):
            (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match="both named dev; say which"):
            members(str(tmp_path))

    @pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "b.parquet"])
    def test_a_single_table_has_none(self, tmp_path, name):
        path = tmp_path / name
        path.write_bytes(b'[{"a": 1}]' if name == "a.json" else b'{"a": 1}\n')
        if name == "b.parquet":
            pq.write_table(pa.Table.from_pylist([{"a": 1}]), path)
        assert members(str(path)) == {}

    def test_a_broken_document_is_told(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text('{"train": [["a", "b"]\n')
        with pytest.raises(DataError, match="cut short"):
            members(str(path))

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileError):
            members(str(tmp_path / "none"))


class TestColumnar:
    def test_class_numbers_become_names(self, tmp_path):
        names = {"_type": "ClassLabel", "names": ["no", "yes"]}
        metadata = {"huggingface": json.dumps({"info": {"features": {"label": names}}})}
        table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1]})
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
        labels = [row["label"] for row in rows_of(tmp_path / "a.parquet")]
        assert labels == ["yes", "no", None]
        assert "read as their 2 class names" in notes_of(tmp_path / "a.parquet")

    def test_damage(self, tmp_path):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": ["a"] * 1_000}), path)
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(DataError, match="Parquet file is damaged"):
            rows_of(path)

    def test_a_member_of_a_parquet_file(self, tmp_path):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": ["a"]}), path)
        with pytest.raises(DataError, match="no part 'train'"):
            rows_of(f"{path}#train")

    def test_a_saved_data_set(self, tmp_path):
        datasets = pytest.importorskip("datasets", reason="extra hub is not installed")
        labels = datasets.ClassLabel(names=["no", "yes"])
        features = datasets.Features({"text": datasets.Value("string"), "label": labels})
        train = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
        both = datasets.DatasetDict({"train": train, "validation": train.select([0])})
        both.save_to_disk(str(tmp_path / "both"))
        train.save_to_disk(str(tmp_path / "one"))
        assert members(str(tmp_path / "both")) == {
            "train": f"{tmp_path}/both#train",
            "dev": f"{tmp_path}/both#validation",
        }
        expected = [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}]
        assert rows_of(f"{tmp_path}/both#train") == rows_of(tmp_path / "one") == expected
        with pytest.raises(DataError, match="several parts.*train, validation"):
            rows_of(tmp_path / "both")
        with pytest.raises(DataError, match="did you mean train"):
            rows_of(f"{tmp_path}/both#trian")
        with pytest.raises(DataError, match="one table, without a part"):
            rows_of(f"{tmp_path}/one#train")

    def test_the_hub_out_of_reach(self):
        pytest.importorskip("datasets", reason="extra hub is not installed")
        with pytest.raises(FileError, match=r"hub:nobody/nothing-here: cannot be loaded .*network"):
            rows_of("hub:nobody/nothing-here#train")

    def test_without_the_extra(self, tmp_path):
        """In a process that cannot import `datasets`, the message says what to install."""
        program = (
            "import sys; sys.modules['datasets'] = None\n"
            "from tenon.core.errors import Faults, MissingExtra\n"
            "from tenon.data.sources import read\n"
            "try: list(read('hub:a/b#train', Faults()))\n"
            "except MissingExtra as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert (
            'needs datasets, which is not installed; run: pip install "tenonlm[hub]"' in done.stdout
        )


def test_reading_takes_no_more_memory_for_more_rows(tmp_path):
    """The peak of memory, once a chunk is full, grows by less than a tenth of what a file grows."""
    peaks = []
    for rows in (40_000, 100_000):
        path = tmp_path / f"{rows}.csv"
        line = "some words that make up a text of usual length for a message,label\n"
        path.write_text("text,label\n" + line * rows)
        tracemalloc.start()
        assert sum(1 for _ in read(str(path), Faults())) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.1 * 60_000 * len(line)
