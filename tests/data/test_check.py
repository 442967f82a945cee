"""What a check finds: what was planted, counted and placed; and nothing in clean data."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import FileError
from tenon.data.check import check
from tenon.data.example import Example, content_id
from tenon.data.findings import Findings
from tenon.data.ledger import LabelNames, Ledger
from tenon.data.normal import normal
from tenon.data.oddities import ODDITIES, oddities_of
from tenon.data.sample import Sample
from tenon.data.settings import Columns, DataSettings

Pairs = list[tuple[str, str]]
NOUNS = ["card", "loan", "fee", "rate", "refund", "limit", "cheque", "branch"]
CLEAN = [(f"question {n} about my {NOUNS[n % 8]}", NOUNS[n * 7 % 8]) for n in range(160)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("check")


def write(path: Path, rows: Pairs) -> str:
    path.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    )
    return str(path)


def found(folder: Path, train: Pairs, test: Pairs | None = None, **settings) -> Findings:
    path = write(folder / "train.jsonl", train)
    other = write(folder / "test.jsonl", test) if test is not None else ""
    return check(DataSettings(train=path, test=other, **settings), seed=0)


def kinds(findings: Findings) -> set[str]:
    return {finding.code for finding in findings.findings}


class TestClean:
    def test_nothing_is_found_in_clean_data(self, tmp_path):
        findings = found(tmp_path, CLEAN)
        assert kinds(findings) == {"reading"}
        assert (findings.errors, findings.warnings) == (0, 0)
        assert findings.rows == {"train": 160}
        assert findings.refused == {}
        assert findings.labels == {"train": dict(Counter(label for _, label in CLEAN))}
        assert findings.columns == Columns(text="text", label="label")

    def test_it_is_json(self, tmp_path):
        findings = found(tmp_path, [*CLEAN, ("", "x"), ("\u202e", "y")], CLEAN[:9])
        value = json.loads(json.dumps(findings.to_json(), allow_nan=False))
        assert value["format"] == 1
        assert value["rows"] == {"train": 161, "test": 9}
        assert value["refused"] == {"train": 1}
        assert {finding["code"] for finding in value["findings"]} == kinds(findings)
        assert all(len(finding["examples"]) <= 5 for finding in value["findings"])

    def test_errors_come_first(self, tmp_path):
        findings = found(tmp_path, [*CLEAN, CLEAN[0], ("", "x")], [("new", "never")])
        order = [finding.severity for finding in findings.findings]
        assert order == sorted(order, key=["error", "warning", "note"].index)
        assert order[0] == "error"
        assert order[-1] == "note"

    def test_progress_is_told(self, tmp_path):
        path = write(tmp_path / "a.jsonl", [(f"t{n}", str(n % 2)) for n in range(25_000)])
        told: list[tuple[str, int]] = []
        check(DataSettings(train=path), 0, progress=lambda part, rows: told.append((part, rows)))
        assert told == [("train", 10_000), ("train", 20_000)]

    def test_a_missing_file_is_raised(self, tmp_path):
        with pytest.raises(FileError):
            check(DataSettings(train=str(tmp_path / "none.csv")), 0)


class TestRows:
    def test_unusable_rows_are_counted_by_kind_and_all_told(self, tmp_path):
        bad = [("", "card"), (" ", "card"), ("x", ""), ("y", " fee")]
        findings = found(tmp_path, [*CLEAN[:80], *bad, *CLEAN[80:]])
        counts = {item.code: item.count for item in findings.findings if item.severity == "error"}
        assert counts == {"empty-text": 2, "missing-label": 1, "blanks-around-label": 1}
        path = f"{tmp_path}/train.jsonl"
        assert [fault.split(": ")[0] for fault in findings.faults] == [
            f"{path}:{line}" for line in (81, 82, 83, 84)
        ]
        assert findings.of("empty-text")[0].examples == (f"{path}:81", f"{path}:82")
        assert findings.rows == {"train": 160}
        assert findings.refused == {"train": 4}

    def test_unreadable_lines_are_told_in_their_order_among_others(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_bytes(b"text,label\nfine,yes\n,no\ncaf\xe9,no\n,yes\nalone\nbad,no\n")
        findings = check(DataSettings(train=str(path)), 0)
        assert [fault.split(": ")[0] for fault in findings.faults] == [
            f"{path}:{line}" for line in (3, 4, 5, 6)
        ]
        (unreadable,) = findings.of("unreadable")
        assert unreadable.count == 2
        assert unreadable.examples == (f"{path}:4", f"{path}:6")
        assert findings.refused == {"train": 4}

    def test_a_file_that_is_none(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_bytes("text,label\nfine,yes\n".encode("utf-16"))
        findings = check(DataSettings(train=str(path)), 0)
        assert {"unreadable", "no-rows"} <= kinds(findings)
        assert "UTF-16" in findings.of("unreadable")[0].what
        path.write_bytes(b"%PDF-1.7")
        findings = check(DataSettings(train=str(path)), 0)
        assert "a PDF document" in findings.of("unreadable")[0].what

    def test_columns_that_cannot_be_told(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("text,lable\nfine,yes\nbad,no,or\n")
        findings = check(DataSettings(train=str(path)), 0)
        assert findings.columns is None
        assert 'data.columns.label = "lable"' in findings.of("columns")[0].what
        assert not findings.of("no-rows")
        assert findings.of("unreadable")[0].count == 1

    def test_a_column_that_one_file_lacks(self, tmp_path):
        path = tmp_path / "test.csv"
        path.write_text("text,lable\nfine,yes\nbad,no\n")
        train = write(tmp_path / "train.jsonl", CLEAN)
        findings = check(DataSettings(train=train, test=str(path)), 0)
        (finding,) = findings.of("columns")
        assert finding.what == f"{path}:2: no column 'label'; this row has text, lable"
        assert findings.rows == {"train": 160, "test": 0}


class TestNumber:
    """One thing is said to be one: "1 row has no label", never "1 rows have no label"."""

    def test_of_all_findings(self, tmp_path):
        odd = [("a", ""), ("", "b"), ("x ", "c"), ("\u202efee", "d"), ("q", " e"), ("same", "f")]
        findings = found(tmp_path, [*CLEAN, *odd, ("same", "g"), CLEAN[0]], [("new", "h")])
        told = [finding.what for finding in findings.findings]
        assert len([what for what in told if re.match(r"1 ", what)]) >= 5
        plural = re.compile(r"\b1 ((row|label|text|line|pair)s|\w+ (have|are|hold|stand))\b")
        assert not [what for what in told if plural.search(what)]

    def test_of_a_file_with_one_row(self, tmp_path):
        findings = found(tmp_path, [("hello", "greeting")])
        assert findings.of("one-label")[0].what == "train has the label 'greeting' alone"


class TestLabels:
    def test_one_label(self, tmp_path):
        findings = found(tmp_path, [(f"t{n}", "only") for n in range(20)])
        assert "all 20 rows of train have the label 'only'" in findings.of("one-label")[0].what

    def test_labels_that_do_not_recur(self, tmp_path):
        findings = found(tmp_path, [(f"t{n}", f"id{n}") for n in range(20)])
        assert findings.of("labels-do-not-recur")[0].severity == "error"

    def test_rare_ones(self, tmp_path):
        findings = found(tmp_path, [*CLEAN, ("a", "odd"), ("b", "odd"), ("c", "end")])
        (rare,) = findings.of("rare-labels")
        assert rare.count == 2
        assert rare.examples == ("end (1 row)", "odd (2 rows)")

    def test_unseen_and_absent_ones(self, tmp_path):
        findings = found(tmp_path, CLEAN, [("a", "card"), ("b", "crad"), ("c", "other")])
        (unseen,) = findings.of("unseen-labels")
        assert (unseen.severity, unseen.count, unseen.examples) == ("error", 2, ("crad", "other"))
        assert "did you mean 'card' by 'crad'?" in unseen.remedy
        assert findings.of("absent-labels")[0].count == 7

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("Card", "card"),
            ("card-lost", "card_lost"),
            ("top up", "topup"),
            ("overdraft", "overdraf"),
        ],
    )
    def test_two_names_for_one(self, tmp_path, first, second):
        rows = [(f"t{n}", first) for n in range(200)] + [("a", second), *CLEAN]
        (similar,) = found(tmp_path, rows).of("similar-labels")
        assert all(repr(name) in similar.examples[0] for name in (first, second))

    @pytest.mark.parametrize(
        ("first", "second"),
        [("time", "timer"), ("1", "-1"), ("class_1", "class_2"), ("yes", "no"), ("北京", "北方")],
    )
    def test_two_names_for_two(self, tmp_path, first, second):
        rows = [(f"t{n}", (first, second)[n % 2]) for n in range(200)]
        assert not found(tmp_path, rows).of("similar-labels")

    def test_an_uneven_spread(self, tmp_path):
        rows = [(f"t{n}", "few" if n < 10 else "many") for n in range(400)]
        assert (
            "'many', has 390 rows, the smallest 10"
            in found(tmp_path, rows).of("uneven-labels")[0].what
        )

    def test_rows_sorted_by_label(self, tmp_path):
        rows = sorted(CLEAN, key=lambda row: row[1])
        assert "7 changes" in found(tmp_path, rows).of("sorted-rows")[0].what
        assert not found(tmp_path, CLEAN).of("sorted-rows")

    def test_a_column_of_very_many_labels_is_cut_off(self, tmp_path):
        rows = [(f"t{n}", f"l{n // 2}") for n in range(200_100)]
        findings = found(tmp_path, rows)
        assert findings.of("too-many-labels")[0].severity == "error"
        assert len(findings.labels["train"]) == 100_001


class TestRepeats:
    words = st.sampled_from(["a", "A", "b", "B", "c", "ａ", "b ", " c"])
    lists = st.lists(st.tuples(words, st.sampled_from("xyz")), max_size=15)

    @given(lists, lists)
    def test_they_are_what_a_plain_count_says(self, folder, train, test):
        findings = found(folder, CLEAN + train, [("only here", "card"), *test])
        for part, rows in (("train", train), ("test", test)):
            exact = len(rows) - len({text for text, _ in rows})
            alike = len(rows) - len({normal(text) for text, _ in rows}) - exact
            told = {
                item.code: item.count
                for item in findings.findings
                if f" of {part} repeat" in item.what
            }
            expected = {"duplicates": exact, "normalised-duplicates": alike}
            assert told == {kind: count for kind, count in expected.items() if count}
        known = {text for text, _ in train}
        leak = sum(text in known for text, _ in test)
        alike_known = {normal(text) for text in known}
        near = sum(normal(text) in alike_known for text, _ in test) - leak
        assert sum(item.count for item in findings.of("leak")) == leak
        assert sum(item.count for item in findings.of("normalised-leak")) == near
        labels: dict[str, set[str]] = {}
        for text, label in train + test:
            labels.setdefault(text, set()).add(label)
        torn = sum(len(found) > 1 for found in labels.values())
        assert sum(item.count for item in findings.of("conflicting-labels")) == torn

    def test_where_they_stand(self, tmp_path):
        train = [*CLEAN, CLEAN[3], (CLEAN[5][0], "fee"), ("LATE  night", "fee")]
        test = [("late night", "fee"), CLEAN[9]]
        findings = found(tmp_path, train, test)
        path, other = f"{tmp_path}/train.jsonl", f"{tmp_path}/test.jsonl"
        assert findings.of("duplicates")[0].examples == (f"{path}:161", f"{path}:162")
        assert findings.of("leak")[0].examples == (f"{other}:2 = {path}:10",)
        assert findings.of("normalised-leak")[0].examples == (f"{other}:1 = {path}:163",)
        (conflict,) = findings.of("conflicting-labels")
        assert conflict.examples == (f"{path}:6 ({CLEAN[5][1]}) ≠ {path}:162 (fee)",)

    @pytest.mark.parametrize(
        ("overlap", "severity", "says"),
        [
            ("drop_from_train", "warning", "leaves these rows out of train"),
            ("keep", "warning", "measures memory"),
            ("error", "error", "refuses to train"),
        ],
    )
    def test_the_remedy_of_a_leak_follows_the_setting(self, tmp_path, overlap, severity, says):
        (leak,) = found(tmp_path, CLEAN, CLEAN[:2], overlap=overlap).of("leak")
        assert leak.severity == severity
        assert says in leak.remedy
        assert "2 of 2 (100.0 %) rows of test also stand in train" in leak.what

    def test_pairs_count_as_one(self, tmp_path):
        path = tmp_path / "a.jsonl"
        rows = [("a", "b", 1), ("a", "c", 1), ("a", "b", 0)]
        names = ("sentence1", "sentence2", "label")
        lines = (json.dumps(dict(zip(names, row, strict=True))) for row in rows)
        path.write_text("\n".join(lines) + "\n")
        findings = check(DataSettings(train=str(path)), 0)
        assert findings.of("duplicates")[0].count == 1
        assert findings.of("conflicting-labels")[0].count == 1
        assert findings.lengths[0].longest == 2

    def test_dev_stands_between(self, tmp_path):
        dev = write(tmp_path / "dev.jsonl", [CLEAN[0], ("in both", "card")])
        findings = found(tmp_path, CLEAN, [("in both", "card")], dev=dev)
        assert [item.what.split("rows of ")[1] for item in findings.of("leak")] == [
            "dev also stands in train",
            "test also stands in dev",
        ]


class TestLengths:
    def test_characters(self, tmp_path):
        findings = found(tmp_path, [("x" * n, str(n % 2)) for n in range(1, 101)])
        (lengths,) = findings.lengths
        assert (lengths.unit, lengths.rows) == ("characters", 100)
        assert (lengths.median, lengths.p95, lengths.p99, lengths.longest) == (50, 95, 99, 100)

    def lengths(self, folder: Path, rows: Pairs, limit: int) -> Findings:
        path = write(folder / "a.jsonl", rows)
        count = lambda texts: [len(text.split()) for text in texts]  # noqa: E731
        return check(DataSettings(train=path), 0, tokenizer=count, max_tokens=limit)

    def test_tokens_and_what_will_be_cut(self, tmp_path):
        rows = [("w " * n, str(n % 2)) for n in range(1, 101)]
        findings = self.lengths(tmp_path, rows, 90)
        assert (findings.lengths[1].unit, findings.lengths[1].longest) == ("tokens", 100)
        (cut,) = findings.of("cut")
        assert cut.count == 10
        assert cut.what == "10 of 100 (10.0 %) rows are longer than 90 tokens and will be cut"
        assert not self.lengths(tmp_path, rows, 100).of("cut")
        assert not self.lengths(tmp_path, rows, 0).of("cut")

    def test_of_a_sample(self, tmp_path):
        rows = [("w " * (1 + n % 4), str(n % 2)) for n in range(30_000)]
        findings = self.lengths(tmp_path, rows, 3)
        assert findings.lengths[1].rows == 20_000
        (cut,) = findings.of("cut")
        assert abs(cut.count - 7_500) < 300
        assert "so about" in cut.what


class TestSample:
    def test_it_is_seeded_and_in_order(self):
        def chosen(seed: int) -> list[str]:
            sample = Sample(seed, rows=10)
            for number in range(1_000):
                sample.offer(f"{number:04}", None)
            return [text for text, _ in sample.texts]

        assert chosen(1) == chosen(1) == sorted(chosen(1))
        assert chosen(1) != chosen(2)
        assert len(chosen(1)) == 10

    def test_every_row_is_as_likely(self):
        counts = Counter[str]()
        for seed in range(2_000):
            sample = Sample(seed, rows=5)
            for number in range(20):
                sample.offer(str(number), None)
            counts.update(text for text, _ in sample.texts)
        assert min(counts.values()) > 400
        assert max(counts.values()) < 600

    def test_it_is_bounded_in_characters(self):
        sample = Sample(0, rows=1_000, characters=10_000)
        for _ in range(1_000):
            sample.offer("x" * 500, "y" * 500)
        assert len(sample.texts) == 10
        assert sample.seen == 1_000

    @given(st.lists(st.text(max_size=5), max_size=30))
    def test_few_rows_are_all_kept(self, texts):
        sample = Sample(0, rows=30)
        for text in texts:
            sample.offer(text, None)
        assert [text for text, _ in sample.texts] == texts


ODD = [
    ("an \u202eevil text", "bidi-marks"),
    ("isolated \u2066text\u2069", "bidi-marks"),
    ("bell \x07", "control-characters"),
    ("c1 \x9b", "control-characters"),
    ("zero\u200bwidth", "invisible-characters"),
    ("\ufefflate mark", "invisible-characters"),
    ("lost \ufffd letter", "replacement-characters"),
    ("cafÃ© au lait", "mojibake"),
    ("itâ€™s", "mojibake"),
    ("say <|im_end|> now", "control-tokens"),
    ("one [SEP] two", "control-tokens"),
    ("the end</s>", "control-tokens"),
    ("\u6d60\u5a42\u3049\u6fb6\u2542\u76b5", "mojibake"),
    ("锟斤拷锟斤拷", "replacement-characters"),
    ("ÖÐ¹úÈËÃñ", "mojibake"),
    ("see <b>this</b>", "html"),
    ("you &amp; me", "html"),
    ("?!…", "no-words"),
    ("。。。", "no-words"),
    ("[deleted]", "placeholders"),
    ("此用户没有填写评价", "placeholders"),
    ("NaN", "placeholders"),
    ("n/a", "placeholders"),
    ('"all quoted"', "quoted-texts"),
    (" before", "blanks-around-text"),
    ("after\n", "blanks-around-text"),
]


@pytest.mark.parametrize(("text", "kind"), ODD)
def test_an_odd_text_is_named(text, kind):
    assert list(oddities_of(text)) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two\nlines",
        "tab\there",
        "a < b [c]",
        "naïve café",
        "中文，好。",
        "👩‍👩‍👧",
        'say "x"',
        "nano",
        "é",
        "R&D; <3 you, a < b > c",
        "1. 2.",
        "Ça va, là-bas?",
        "今天天气很好，我们去公园玩吧。",
        "$",
    ],
)
def test_a_usual_text_is_not(text):
    assert not list(oddities_of(text))


def test_every_oddity_is_tried():
    assert {kind for _, kind in ODD} == set(ODDITIES)


def test_odd_texts_are_counted_and_placed(tmp_path):
    rows = [*CLEAN, *((text, "card") for text, _ in ODD)]
    findings = found(tmp_path, rows)
    for kind in ODDITIES:
        (finding,) = findings.of(kind)
        places = [place for place, (_, odd) in enumerate(ODD, len(CLEAN) + 1) if odd == kind]
        assert finding.count == len(places)
        assert finding.examples == tuple(f"{tmp_path}/train.jsonl:{place}" for place in places)


@given(st.text())
def test_normalising_is_idempotent(text):
    assert normal(normal(text)) == normal(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("A  b", "a b"), ("ｆｕｌｌ", "full"), ("Straße", "STRASSE"), ("ﬁ", "FI"), (" x ", "x")],
)
def test_what_is_the_same_to_a_reader(one, other):
    assert normal(one) == normal(other)


def test_a_ledger_holds_some_forty_bytes_a_row_whatever_the_texts():
    """Arrays grow by an eighth at a time, so a little more than their 32 bytes are held."""
    examples = [
        Example(content_id(str(n)), f"a.csv:{n}", f"{n} " + "long " * 500, None, str(n % 3))
        for n in range(2_000)
    ]
    tracemalloc.start()
    ledger = Ledger("a.csv", LabelNames())
    for example in examples:
        ledger.add(example)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(ledger) == 2_000
    assert held < 45 * 2_000
    assert ledger.origin(1_999) == "a.csv:1999"
    assert ledger.label_counts() == {"0": 667, "1": 667, "2": 666}
