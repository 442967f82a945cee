"""Malformed files: name, bytes, rows that are read nevertheless, and what the faults say.

Each fault is a line number (0 where the file as a whole is meant) and phrases of its message.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import NamedTuple

import zstandard

Expected = tuple[int, tuple[str, ...]]


class Case(NamedTuple):
    """One malformed file."""

    title: str
    name: str
    content: bytes
    rows: int
    faults: tuple[Expected, ...]
    quoting: str = "auto"


HEAD = b"text,label\n"
GOOD = b"fine weather,yes\n"
JSON_GOOD = b'{"text": "fine", "label": "yes"}\n'
LONG = b"x" * (5 << 20)
NOISE = bytes((n * 7919 + n * n * 31) % 251 for n in range(40_000)).hex().encode()
PACKABLE = HEAD + b"".join(b"%d %s,yes\n" % (n, NOISE[n * 7 : n * 7 + 60]) for n in range(5_000))

TABLES = (
    Case("an empty file", "a.csv", b"", 0, ((1, ("empty", "give a file")),)),
    Case(
        "too many fields",
        "a.csv",
        HEAD + GOOD + b"one, two,no\n" + GOOD,
        2,
        ((3, ("3 fields", "2 columns (text, label)", "'one, two,no'", "within quotation marks")),),
    ),
    Case(
        "too few fields",
        "a.csv",
        HEAD + b"alone\n" + GOOD,
        1,
        ((2, ("1 field,", "2 columns", "give the row all")),),
    ),
    Case(
        "three bad rows, each told",
        "a.csv",
        HEAD + b"a\n" + GOOD + b"b\n" + GOOD + b"c,d,e\n" + GOOD,
        3,
        ((2, ("1 field",)), (4, ("1 field",)), (6, ("3 fields",))),
    ),
    Case(
        "a truncated last line",
        "a.csv",
        HEAD + GOOD + b"half a ro",
        1,
        ((3, ("the last line ends after 1 of 2 columns", "cut short")),),
    ),
    Case(
        "a truncated last line within quotation marks",
        "a.csv",
        HEAD + GOOD + b'"half a ro',
        1,
        ((3, ("ends within a quoted field", "cut short")),),
    ),
    Case(
        "a quotation mark that never closes",
        "a.csv",
        HEAD + GOOD + b'"open,no\n' + GOOD * 3,
        4,
        ((3, ("opens here and is never closed", "'\"open,no'", 'data.quoting = "none"')),),
    ),
    Case(
        "a quotation mark that closes in a later row",
        "a.csv",
        HEAD + b'"open,no\n' + GOOD + b'"shut, well",no\n' + GOOD,
        3,
        ((2, ("neither ends its field nor is doubled", "double a mark")),),
    ),
    Case(
        "a quotation that swallows a row and spoils the count",
        "a.csv",
        HEAD + b'"open,no\n' + GOOD + b'shut","no",more\n' + GOOD,
        2,
        ((2, ("quotation mark closes only 2 lines further down",)), (4, ("3 fields",))),
    ),
    Case(
        "a quotation mark within quotation marks",
        "a.csv",
        HEAD + b'"say "hello" now",yes\n' + GOOD,
        1,
        ((2, ("neither ends its field nor is doubled", '("")')),),
    ),
    Case(
        "a blank before the quotation mark",
        "a.csv",
        b"id,text,label\n" + b'1, "one, two",no\n' + b"2,fine,yes\n",
        1,
        ((2, ("4 fields", "remove the blank between ',' and the quotation mark")),),
    ),
    Case(
        "a duplicate column name",
        "a.csv",
        b"text,label,label\na,b,c\n",
        0,
        ((1, ("the header names 'label' twice", "its own name")),),
    ),
    Case(
        "a NUL",
        "a.csv",
        HEAD + GOOD + b"da\0mage,no\n" + GOOD,
        2,
        ((3, ("byte 3 of the line is NUL", "remove it")),),
    ),
    Case(
        "old Macintosh line ends",
        "a.csv",
        b"text,label\rfine,yes\rbad,no\r",
        0,
        ((1, ("carriage return (CR)", "line feeds")),),
    ),
    Case(
        "doubled carriage returns",
        "a.csv",
        b"text,label\nfine,yes\r\r\nbad,no\n",
        1,
        ((2, ("carriage return (CR)",)),),
    ),
    Case(
        "Latin-1",
        "a.csv",
        HEAD + GOOD + "café,no\n".encode("latin-1") + GOOD,
        2,
        ((3, ("byte 4 of the line is 0xE9", "not UTF-8", "ISO-8859-1", "'café", "iconv -f")),),
    ),
    Case(
        "Windows-1252",
        "a.csv",
        HEAD + "it’s,no\n".encode("cp1252") + GOOD,
        1,
        ((2, ("0x92", "Windows-1252", "it’s")),),
    ),
    Case(
        "GB18030",
        "a.tsv",
        "text\tlabel\n这家酒店很好\t1\n房间太小\t0\n".encode("gb18030"),
        0,
        ((2, ("GB18030", "这家酒店很好", "iconv -f GB18030")), (3, ("房间太小",))),
    ),
    Case(
        "UTF-16 with a mark",
        "a.csv",
        "text,label\nfine,yes\n".encode("utf-16"),
        0,
        ((1, ("byte 1", "UTF-16", "iconv -f UTF-16")),),
    ),
    Case(
        "UTF-16 without a mark",
        "a.csv",
        "text,label\nfine,yes\n".encode("utf-16-le"),
        0,
        ((1, ("UTF-16LE",)),),
    ),
    Case(
        "UTF-16, big end first",
        "a.tsv",
        "text\tlabel\nfine\tyes\n".encode("utf-16-be"),
        0,
        ((1, ("UTF-16BE",)),),
    ),
    Case("UTF-32", "a.csv", "text,label\nfine,yes\n".encode("utf-32"), 0, ((1, ("UTF-32",)),)),
    Case(
        "a file that ends within a character",
        "a.csv",
        HEAD + GOOD + "fine,cafés\n".encode()[:-3],
        1,
        ((3, ("ends within a character", "0xC3", "cut short")),),
    ),
    Case(
        "a line beyond the limit",
        "a.csv",
        HEAD + GOOD + LONG + b",no\n" + GOOD,
        2,
        ((3, ("longer than 4,194,304 bytes", "line feed")),),
    ),
    Case(
        "a tab within a text",
        "a.tsv",
        b"text\tlabel\nfine\tyes\none\ttwo\tno\n",
        1,
        ((3, ("3 fields", "no field may hold '\\t'")),),
    ),
    Case(
        "a line break within a TSV text",
        "a.tsv",
        b"text\tlabel\nfine\tyes\none\ntwo\tno\n",
        2,
        ((3, ("1 field", "line breaks in texts", "rfc4180")),),
    ),
    Case(
        "a CSV that quotes nothing",
        "a.csv",
        HEAD + b'5" screen, big,no\n' + b'"odd,yes\n' + GOOD,
        2,
        ((2, ("3 fields", "no field may hold ','")),),
        "none",
    ),
)
PACKED = (
    Case(
        "a gzip cut short", "a.csv.gz", gzip.compress(PACKABLE)[:-2000], -1, ((0, ("cut short",)),)
    ),
    Case(
        "an xz cut short", "a.csv.xz", lzma.compress(PACKABLE)[:-2000], -1, ((0, ("cut short",)),)
    ),
    Case(
        "a bz2 cut short", "a.csv.bz2", bz2.compress(PACKABLE)[:-2000], -1, ((0, ("cut short",)),)
    ),
    Case(
        "a zst cut short",
        "a.csv.zst",
        zstandard.compress(PACKABLE)[:-2000],
        -1,
        ((0, ("cut short", "rows before the damage were read")),),
    ),
    Case(
        "a damaged gzip",
        "a.csv.gz",
        gzip.compress(PACKABLE)[:-8] + b"\1\2\3\4" + gzip.compress(PACKABLE)[-4:],
        -1,
        ((0, ("damaged", "CRC")),),
    ),
)
JSON_LINES = (
    Case(
        "a truncated last line",
        "a.jsonl",
        JSON_GOOD * 2 + b'{"text": "fi',
        2,
        ((3, ("last line ends within a row", "cut short")),),
    ),
    Case(
        "no JSON at all in a line",
        "a.jsonl",
        JSON_GOOD + b"what?\n" + JSON_GOOD,
        2,
        ((2, ("column 1: not JSON", "'what?'")),),
    ),
    Case(
        "Python's quotation marks",
        "a.jsonl",
        JSON_GOOD + b"{'text': 'fine'}\n" + JSON_GOOD,
        2,
        ((2, ("column 2", "double marks", "json.dumps")),),
    ),
    Case(
        "Python's names",
        "a.jsonl",
        JSON_GOOD + b'{"text": None}\n',
        1,
        ((2, ("column 10", "true, false or null")),),
    ),
    Case(
        "a comma before the bracket",
        "a.jsonl",
        JSON_GOOD + b'{"text": "fine",}\n',
        1,
        ((2, ("not JSON", "remove the comma")),),
    ),
    Case(
        "a raw tab in a text",
        "a.jsonl",
        JSON_GOOD + b'{"text": "a\tb"}\n',
        1,
        ((2, ("control character", r"as \n or \t")),),
    ),
    Case(
        "a wrong escape",
        "a.jsonl",
        JSON_GOOD + b'{"text": "C:\\data"}\n',
        1,
        ((2, ("escape", "backslash")),),
    ),
    Case(
        "a duplicate key",
        "a.jsonl",
        JSON_GOOD + b'{"text": "a", "text": "b", "label": "no"}\n' + JSON_GOOD,
        2,
        ((2, ("the key 'text' stands twice", "keep one")),),
    ),
    Case(
        "NaN",
        "a.jsonl",
        JSON_GOOD + b'{"text": "a", "label": NaN}\n' + JSON_GOOD,
        2,
        ((2, ("NaN is not JSON", "write null")),),
    ),
    Case("Infinity", "a.jsonl", b'{"text": "a", "label": -Infinity}\n', 0, ((1, ("-Infinity",)),)),
    Case("a number too large", "a.jsonl", b'{"x": 1e999}\n', 0, ((1, ("1e999", "float64")),)),
    Case(
        "a number of many digits",
        "a.jsonl",
        b'{"x": ' + b"9" * 5000 + b"}\n" + JSON_GOOD,
        1,
        ((1, ("4,300 digits",)),),
    ),
    Case(
        "two objects on a line",
        "a.jsonl",
        JSON_GOOD + b'{"a": 1}{"a": 2}\n' + JSON_GOOD,
        2,
        ((2, ("two values stand on one line", "its own line")),),
    ),
    Case(
        "a comma after the object",
        "a.jsonl",
        JSON_GOOD + b'{"a": 1},\n',
        1,
        ((2, ("column 9: ',' follows the row", "remove it")),),
    ),
    Case(
        "a text for a row", "a.jsonl", JSON_GOOD + b'"fine"\n', 1, ((2, ("is text", "not a row")),)
    ),
    Case("a number for a row", "a.jsonl", JSON_GOOD + b"17\n", 1, ((2, ("is a number", "17")),)),
    Case("null for a row", "a.jsonl", JSON_GOOD + b"null\n", 1, ((2, ("is null",)),)),
    Case(
        "depth beyond the limit",
        "a.jsonl",
        JSON_GOOD + b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}\n" + JSON_GOOD,
        2,
        ((2, ("nested deeper than 64", "flat")),),
    ),
    Case(
        "depth beyond the interpreter's",
        "a.jsonl",
        JSON_GOOD + b"[" * 100_000 + b"\n" + JSON_GOOD,
        2,
        ((2, ("nested deeper than 64",)),),
    ),
    Case("a NUL", "a.jsonl", JSON_GOOD + b'{"te\0xt": 1}\n', 1, ((2, ("byte 5", "NUL")),)),
    Case(
        "Latin-1",
        "a.jsonl",
        JSON_GOOD + '{"text": "é"}\n'.encode("latin-1") + JSON_GOOD,
        2,
        ((2, ("byte 11", "0xE9", "ISO-8859-1")),),
    ),
    Case(
        "a line beyond the limit",
        "a.jsonl",
        JSON_GOOD + b'{"text": "' + LONG + b'"}\n' + JSON_GOOD,
        2,
        ((2, ("4,194,304",)),),
    ),
    Case(
        "a document of many lines",
        "a.jsonl",
        b'{\n  "text": "fine",\n  "label": "yes"\n}\n',
        0,
        ((1, ("one object without a list of rows",)),),
    ),
)
DOCUMENTS = (
    Case(
        "a truncated document",
        "a.json",
        b'[{"text": "a"},\n {"text": "b"},\n {"te',
        2,
        ((3, ("ends before its brackets are closed", "cut short")),),
    ),
    Case(
        "a document without its closing bracket",
        "a.json",
        b'[{"text": "a"},\n {"text": "b"}\n',
        2,
        ((3, ("ends before its brackets are closed",)),),
    ),
    Case(
        "a missing comma",
        "a.json",
        b'[\n{"text": "a"}\n{"text": "b"}\n]',
        1,
        ((3, ("',' is expected", "nothing after this place")),),
    ),
    Case(
        "a syntax fault within a row",
        "a.json",
        b'[\n{"text": "a"},\n{"text" "b"},\n{"text": "c"}]',
        1,
        ((3, ("column 9: not JSON", "nothing after this place")),),
    ),
    Case(
        "a comma before the closing bracket",
        "a.json",
        b'[\n{"text": "a"},\n]',
        1,
        ((3, ("comma stands before the closing bracket", "remove it")),),
    ),
    Case(
        "a duplicate key and a NaN, each in its line",
        "a.json",
        b'[\n{"a": 1, "a": 2},\n{"a": NaN},\n{"a": 3}\n]',
        1,
        ((2, ("'a' stands twice",)), (3, ("NaN",))),
    ),
    Case(
        "a row that is none",
        "a.json",
        b'[{"a": 1},\n"b",\n{"a": 2}]',
        2,
        ((2, ("text", "where a row is expected")),),
    ),
    Case(
        "columns for rows", "a.json", b'["a",\n"b"]', 0, ((1, ("one list per column", "records")),)
    ),
    Case(
        "an object that is one row",
        "a.json",
        b'{"text": "a", "label": "b"}',
        0,
        ((1, ("without a list of rows", "write a list")),),
    ),
    Case(
        "several lists",
        "a.json",
        b'{"train": [], "test": []}',
        0,
        ((1, ("several lists", "train, test", "a.json#train")),),
    ),
    Case(
        "a list twice",
        "a.json",
        b'{"train": [],\n "train": []}',
        0,
        ((2, ("the key 'train' stands twice",)),),
    ),
    Case(
        "two documents",
        "a.json",
        b'[{"a": 1}]\n[{"a": 2}]\n',
        1,
        ((2, ("follows the end of the document", ".jsonl")),),
    ),
    Case(
        "depth beyond the limit",
        "a.json",
        b'[{"a": 1},\n{"a": ' + b"[" * 70 + b"]" * 70 + b"}]",
        1,
        ((2, ("nested deeper than 64",)),),
    ),
    Case(
        "depth beyond the interpreter's",
        "a.json",
        b'[{"a": 1},\n{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        1,
        ((2, ("nested deeper than 64",)),),
    ),
    Case(
        "Latin-1",
        "a.json",
        b'[{"a": 1},\n' + '{"a": "é"}]'.encode("latin-1"),
        0,
        ((2, ("byte 8 of the line is 0xE9", "ISO-8859-1")),),
    ),
    Case("UTF-16", "a.json", '[{"a": 1}]'.encode("utf-16"), 0, ((1, ("UTF-16",)),)),
    Case("no JSON", "a.json", b"what?", 0, ((1, ("a list or object is expected", "'what?'")),)),
    Case(
        "a row beyond the limit",
        "a.json",
        b'[{"a": 1},\n{"a": "' + LONG + b'"}]',
        1,
        ((2, ("longer than 4,194,304 bytes",)),),
    ),
)
CASES = (*TABLES, *PACKED, *JSON_LINES, *DOCUMENTS)
