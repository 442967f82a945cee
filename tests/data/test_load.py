"""From settings to Parts: counted, split, without overlap, or refused with every reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, FileError, PlanError
from tenon.data.load import guess_columns, load, sniff
from tenon.data.settings import Columns, DataSettings
from tenon.data.split import part_of

Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("load")


def write(path: Path, rows: Pairs) -> str:
    path.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    )
    return str(path)


def rows_of(n: int, labels: int = 3, start: int = 0) -> Pairs:
    return [(f"text {number}", f"label {number % labels}") for number in range(start, start + n)]


def texts(parts, part: str) -> list[str]:
    return [example.text for example in parts.examples(part)]


class TestParts:
    def test_a_share_of_train(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(400))
        parts = load(DataSettings(train=path, dev=0.25), seed=7)
        assert parts.columns == Columns(text="text", label="label")
        assert parts.labels == ("label 0", "label 1", "label 2")
        assert set(parts.counts) == {"train", "dev"}
        assert sum(parts.counts.values()) == 400
        assert len(texts(parts, "dev")) == parts.counts["dev"]
        for part in parts.counts:
            found = Counter(example.gold for example in parts.examples(part))
            assert found == parts.label_counts[part]
            for example in parts.examples(part):
                assert part_of(example.id, 7, 0.25) == part

    def test_files_for_all(self, tmp_path):
        settings = DataSettings(
            train=write(tmp_path / "a.jsonl", rows_of(30)),
            dev=write(tmp_path / "b.jsonl", rows_of(6, start=100)),
            test=write(tmp_path / "c.jsonl", rows_of(9, start=200)),
        )
        parts = load(settings, seed=0)
        assert parts.counts == {"train": 30, "dev": 6, "test": 9}
        assert texts(parts, "dev") == [f"text {n}" for n in range(100, 106)]
        assert parts.dropped == 0
        assert not parts.shared

    def test_no_dev(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(30))
        parts = load(DataSettings(train=path, dev=""), seed=0)
        assert parts.counts == {"train": 30}
        with pytest.raises(DataError, match="no part 'dev'"):
            parts.examples("dev")

    def test_they_can_be_read_again_and_beside_each_other(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(50))
        parts = load(DataSettings(train=path), seed=0)
        first, second = parts.examples("train"), parts.examples("train")
        assert [a == b for a, b in zip(first, second, strict=True)] == [True] * parts.counts[
            "train"
        ]

    def test_a_file_that_changes_is_noticed(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(50))
        parts = load(DataSettings(train=path, dev=""), seed=0)
        write(tmp_path / "a.jsonl", rows_of(49))
        with pytest.raises(
            DataError, match=r"has changed since it was loaded \(49 rows of train, 50"
        ):
            texts(parts, "train")

    def test_what_was_guessed_is_noted(self, tmp_path):
        parts = load(DataSettings(train=write(tmp_path / "a.jsonl", rows_of(40))), seed=0)
        assert "label is column 'label', by its name" in parts.notes

    def test_unused_members_are_told(self, tmp_path):
        path = tmp_path / "a.json"
        rows = [[text, label] for text, label in rows_of(30)]
        path.write_text(json.dumps({"train": rows, "extra": rows, "test": rows_of(9, start=40)}))
        parts = load(sniff(str(path)), seed=0)
        assert f"{path} also holds extra, which no part uses" in parts.notes


class TestOverlap:
    """L14 over whole files: whatever the rows, no inputs are in two parts."""

    words = st.sampled_from([f"w{n}" for n in range(12)])
    lists = st.lists(st.tuples(words, st.sampled_from(["a", "b"])), max_size=12)

    @given(lists, lists, lists, st.integers(0, 5))
    def test_no_inputs_are_in_two_parts(self, folder, train, dev, test, seed):
        base = [("a only", "a"), ("b only", "b"), ("b too", "b")]
        settings = DataSettings(
            train=write(folder / "a.jsonl", base + train),
            dev=write(folder / "b.jsonl", [("dev only", "a"), *dev]),
            test=write(folder / "c.jsonl", [("test only", "a"), *test]),
        )
        parts = load(settings, seed)
        ids = {part: {example.id for example in parts.examples(part)} for part in parts.counts}
        assert not ids["train"] & ids["dev"]
        assert not ids["train"] & ids["test"]
        assert not ids["dev"] & ids["test"]
        assert parts.counts["test"] == len(test) + 1
        assert parts.counts["train"] + parts.dropped == len(train) + 3
        held = {text for text, _ in dev + test}
        assert parts.dropped == sum(text in held for text, _ in train)

    @given(lists, st.integers(0, 9))
    def test_a_share_never_separates_equal_inputs(self, folder, train, seed):
        base = [(f"{label}{n}", label) for n in range(30) for label in "ab"]
        path = write(folder / "d.jsonl", base + train)
        parts = load(DataSettings(train=path, dev=0.3), seed)
        ids = {part: {example.id for example in parts.examples(part)} for part in parts.counts}
        assert not ids["train"] & ids["dev"]
        assert sum(parts.counts.values()) == len(base) + len(train)

    @given(lists, lists, st.integers(0, 9))
    def test_adding_rows_moves_none(self, folder, first, more, seed):
        base = [(f"{label}{n}", label) for n in range(30) for label in "ab"]
        before = load(DataSettings(train=write(folder / "e.jsonl", base + first), dev=0.3), seed)
        was = {part: set(texts(before, part)) for part in before.counts}
        after = load(
            DataSettings(train=write(folder / "e.jsonl", more + base + first), dev=0.3), seed
        )
        now = {part: set(texts(after, part)) for part in after.counts}
        assert was["train"] <= now["train"]
        assert was["dev"] <= now["dev"]

    def settings(self, folder: Path, overlap: str) -> DataSettings:
        shared = [("text 1", "label 1"), ("text 2", "label 2"), ("text 2", "label 2")]
        return DataSettings(
            train=write(folder / "a.jsonl", rows_of(30)),
            dev="",
            test=write(folder / "b.jsonl", [*shared, ("new", "label 0")]),
            overlap=overlap,
        )

    def test_dropped_from_train_and_counted(self, tmp_path):
        parts = load(self.settings(tmp_path, "drop_from_train"), seed=0)
        assert (parts.dropped, parts.counts) == (2, {"train": 28, "test": 4})
        assert parts.shared == {"train & test": 3}
        assert "2 rows of train are left out: their inputs also stand in test" in parts.notes
        test = list(parts.examples("test"))
        assert {example.id for example in test if example.text != "new"} == parts.shared_ids

    def test_kept_and_told(self, tmp_path):
        parts = load(self.settings(tmp_path, "keep"), seed=0)
        assert (parts.dropped, parts.counts) == (0, {"train": 30, "test": 4})
        assert "3 rows are shared by train & test and kept" in parts.notes

    def test_refused(self, tmp_path):
        with pytest.raises(DataError) as caught:
            load(self.settings(tmp_path, "error"), seed=0)
        assert str(caught.value).count("the same inputs stand in test") == 2
        assert f"{tmp_path}/a.jsonl:2: " in str(caught.value)
        assert "drop_from_train" in str(caught.value)


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "order"),
        [
            (["10", "9", "1"], ("1", "9", "10")),
            (["b", "a", "C"], ("C", "a", "b")),
            (["10", "9", "x"], ("10", "9", "x")),
            (["-1", "0.5", "1e3"], ("-1", "0.5", "1e3")),
        ],
    )
    def test_their_order(self, tmp_path, labels, order):
        rows = [(f"t{n}", label) for n, label in enumerate(labels * 5)]
        parts = load(DataSettings(train=write(tmp_path / "a.jsonl", rows), dev=""), seed=0)
        assert parts.labels == order

    def test_a_given_order(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(30))
        given = ("label 2", "label 0", "label 1")
        parts = load(DataSettings(train=path, dev="", labels=given), seed=0)
        assert parts.labels == given
        assert list(parts.label_counts["train"]) == list(given)

    def test_a_given_order_that_does_not_fit(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(30))
        given = ("label 0", "label 0", "lable 1", "label 2")
        with pytest.raises(DataError) as caught:
            load(DataSettings(train=path, dev="", labels=given), seed=0)
        message = str(caught.value)
        assert "data.labels: 'label 0' stands twice" in message
        assert "no row of train has the label 'lable 1'" in message
        assert f"{path}:2: label 'label 1' (10 rows) is not in data.labels; did you mean" in message

    def test_a_label_wholly_in_dev_stays_in_train(self, tmp_path):
        """Whatever the seed, no label is lost to the split; its texts stay together."""
        rows = [*rows_of(60, labels=2), ("rare", "once"), ("rare", "label 0")]
        path = write(tmp_path / "a.jsonl", rows)
        for seed in range(20):
            parts = load(DataSettings(train=path, dev=0.4), seed)
            assert parts.label_counts["train"]["once"] == 1
            assert texts(parts, "train").count("rare") == 2
            assert sum(parts.counts.values()) == 62

    def test_the_split_keeps_a_single_label_whole(self, tmp_path):
        rows = [*rows_of(60, labels=2), ("rare", "once")]
        path = write(tmp_path / "a.jsonl", rows)
        notes = [load(DataSettings(train=path, dev=0.4), seed).notes for seed in range(12)]
        told = sum(any("1 text stays in train that" in note for note in each) for each in notes)
        assert 0 < told < 12


REFUSALS = [
    ("one label only", [("a", "x"), ("b", "x")], "all 2 rows have the label 'x'", "two labels"),
    ("as many labels as rows", [("a", "x"), ("b", "y")], "2 rows with 2 labels", "no label recurs"),
    ("an empty text", [("", "x"), ("b", "y")], ":1: 'text' is empty", "remove the row"),
    ("no label", [("a", "x"), ("b", "")], ":2: 'label' is empty", "label the row"),
]


@pytest.mark.parametrize(("rows", "what", "remedy"), [case[1:] for case in REFUSALS])
def test_data_that_cannot_be_learned(tmp_path, rows, what, remedy):
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError) as caught:
        load(DataSettings(train=path, dev=""), seed=0)
    assert path in str(caught.value)
    assert what in str(caught.value)
    assert remedy in str(caught.value)


class TestRefusals:
    def test_all_faults_of_all_files_at_once(self, tmp_path):
        train, test = tmp_path / "a.csv", tmp_path / "b.csv"
        train.write_bytes(b"text,label\nfine,yes\n,no\nbad\ncaf\xe9,no\nx, no\n")
        test.write_bytes(b"text,label\nfine,yes,no\n")
        with pytest.raises(DataError) as caught:
            load(DataSettings(train=str(train), test=str(test)), seed=0)
        lines = str(caught.value).splitlines()
        assert [line.split(": ")[0] for line in lines] == [
            f"{test}:2",
            *(f"{train}:{number}" for number in (3, 4, 5, 6)),
        ]

    def test_an_unseen_label_is_named_with_its_nearest(self, tmp_path):
        settings = DataSettings(
            train=write(tmp_path / "a.jsonl", rows_of(30)),
            dev="",
            test=write(
                tmp_path / "b.jsonl", [("x", "label 0"), ("y", "lable 1"), ("z", "lable 1")]
            ),
        )
        with pytest.raises(DataError) as caught:
            load(settings, seed=0)
        message = str(caught.value)
        assert (
            f"{tmp_path}/b.jsonl:2: label 'lable 1' (2 rows of test) never stands in train"
            in message
        )
        assert "did you mean 'label 1'?" in message

    def test_a_column_that_a_file_lacks_is_told_once(self, tmp_path):
        test = tmp_path / "b.csv"
        test.write_text("text,lable\n" + "x,label 1\n" * 30)
        train = write(tmp_path / "a.jsonl", rows_of(30))
        with pytest.raises(DataError) as caught:
            load(DataSettings(train=train, dev="", test=str(test)), seed=0)
        assert str(caught.value) == (
            f"{test}:2: no column 'label'; this row has text, lable; "
            'set data.columns.label = "lable" or mend the row'
        )

    def test_missing_files_are_told_at_once(self, tmp_path):
        with pytest.raises(FileError) as caught:
            load(DataSettings(train=f"{tmp_path}/a.csv", test=f"{tmp_path}/b.csv"), seed=0)
        assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
            "data.train",
            "data.test",
        ]

    @pytest.mark.parametrize("share", [0.0, -0.1, 0.51, 1.0])
    def test_a_share_that_is_none(self, tmp_path, share):
        path = write(tmp_path / "a.jsonl", rows_of(30))
        with pytest.raises(PlanError, match=r"data.dev = .*no share of train.*\(0, 0.5\]"):
            load(DataSettings(train=path, dev=share), seed=0)

    def test_a_share_that_holds_out_nothing(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(4, labels=2))
        with pytest.raises(DataError, match="data.dev: the share 0.001 of 4 rows holds out none"):
            load(DataSettings(train=path, dev=0.001), seed=0)

    def test_nothing_left(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(30))
        with pytest.raises(DataError, match="no row is left to train on"):
            load(DataSettings(train=path, dev="", test=path), seed=0)

    @pytest.mark.parametrize("content", [b"", b"text,label\n", b"\n\n"])
    def test_an_empty_file(self, tmp_path, content):
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        with pytest.raises(DataError):
            load(DataSettings(train=str(path)), seed=0)
        with pytest.raises(DataError):
            load(DataSettings(train=str(path), columns=Columns(text="text", label="label")), seed=0)

    def test_no_label_column(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(30))
        with pytest.raises(DataError, match="data.columns: no label column is named"):
            load(DataSettings(train=path, columns=Columns(text="text")), seed=0)

    def test_mixed_label_types(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": "1"}\n')
        with pytest.raises(DataError, match=r"a.jsonl:2: label '1' is text, but .*:1 is a number"):
            load(DataSettings(train=str(path)), seed=0)


class TestDigest:
    def digest(self, path: str, **settings) -> str:
        seed = settings.pop("seed", 0)
        return load(DataSettings(train=path, **settings), seed).digest

    def test_it_follows_the_bytes_and_the_settings(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(60))
        before = self.digest(path)
        assert before == self.digest(path)
        assert before == self.digest(write(tmp_path / "moved.jsonl", rows_of(60)))
        others = [
            self.digest(path, seed=1),
            self.digest(path, dev=0.2),
            self.digest(path, dev=""),
            self.digest(path, overlap="keep"),
            self.digest(path, labels=("label 2", "label 1", "label 0")),
            self.digest(write(tmp_path / "b.jsonl", rows_of(61))),
        ]
        assert len({before, *others}) == 7

    def test_members_differ(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text(json.dumps({"a": rows_of(30), "b": rows_of(30)}))
        assert self.digest(f"{path}#a") != self.digest(f"{path}#b")


class TestSniff:
    def test_a_file(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(9))
        assert sniff(path) == DataSettings(train=path, dev=0.1, test="")

    def test_a_folder(self, tmp_path):
        for name in ("train", "val"):
            write(tmp_path / f"{name}.jsonl", rows_of(9))
        found = sniff(str(tmp_path))
        assert found.train == f"{tmp_path}/train.jsonl"
        assert (found.dev, found.test) == (f"{tmp_path}/val.jsonl", "")

    def test_a_folder_with_one_file(self, tmp_path):
        path = write(tmp_path / "reviews.jsonl", rows_of(9))
        assert sniff(str(tmp_path)).train == path

    def test_a_container_without_train(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text(json.dumps({"one": [], "two": []}))
        with pytest.raises(DataError, match=r"no part is named train; it has .*#one, .*#two"):
            sniff(str(path))

    def test_two_other_files_of_one_name_are_no_matter(self, tmp_path):
        for name in ("train.jsonl", "notes.jsonl", "notes.csv"):
            write(tmp_path / name, rows_of(9))
        assert sniff(str(tmp_path)).train == f"{tmp_path}/train.jsonl"

    def test_two_files_that_claim_one_part(self, tmp_path):
        for name in ("train.jsonl", "val.jsonl", "dev.jsonl"):
            write(tmp_path / name, rows_of(9))
        with pytest.raises(DataError, match="both named dev; say which: data.dev"):
            sniff(str(tmp_path))

    def test_a_folder_without_data(self, tmp_path):
        (tmp_path / "notes.txt").write_text("nothing")
        with pytest.raises(DataError, match="is a folder, not a file of rows; it holds no data"):
            sniff(str(tmp_path))

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileError):
            sniff(str(tmp_path / "none.csv"))

    def test_columns(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(9))
        assert guess_columns(sniff(path)).columns == Columns(text="text", label="label")
        given = Columns(text="label", label="text")
        assert guess_columns(DataSettings(train=path, columns=given)).columns == given
        empty = tmp_path / "b.csv"
        empty.write_bytes(b"")
        with pytest.raises(DataError, match="the file is empty"):
            guess_columns(DataSettings(train=str(empty)))
        empty.write_text("text,label\n")
        for reading in (guess_columns, lambda settings: load(settings, seed=0)):
            with pytest.raises(DataError, match=r"b\.csv: holds no row"):
                reading(DataSettings(train=str(empty)))


class TestOneReasonOnce:
    """What follows from another fault is not told beside it."""

    def lines(self, settings) -> list[str]:
        with pytest.raises(DataError) as caught:
            load(settings, seed=0)
        return str(caught.value).splitlines()

    def test_one_row(self, tmp_path):
        path = write(tmp_path / "a.jsonl", rows_of(1))
        (line,) = self.lines(DataSettings(train=path))
        assert "the only row has the label 'label 0'" in line

    def test_a_test_that_is_train_under_another_name(self, tmp_path):
        paths = [write(tmp_path / name, rows_of(30)) for name in ("a.jsonl", "b.jsonl")]
        (line,) = self.lines(DataSettings(train=paths[0], test=paths[1]))
        assert "all its 30 rows also stand in dev or test" in line

    def test_a_column_of_another_field_is_not_offered(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "a"}\n{"text": "b"}\n')
        (line,) = self.lines(
            DataSettings(train=str(path), columns=Columns(text="text", label="intent"))
        )
        assert '"text"' not in line
        assert "set data.columns.label to one of these" in line
