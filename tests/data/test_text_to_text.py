"""Translations and summaries: rows of two texts, whatever their columns are called."""

from __future__ import annotations

import json

import pytest

from tenon.core.errors import DataError, Faults, FileError
from tenon.data.example import Row
from tenon.data.load import load, sniff
from tenon.data.reading import open_reading
from tenon.data.recognition import recognise
from tenon.data.settings import Columns
from tenon.data.task import TASKS, Tally, to_examples
from tenon.data.text_to_text import SUMMARIZATION, TRANSLATION, guess, language
from tenon.data.turn_columns import AskedColumns

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def rows(*names: str, count: int = 30) -> list[Row]:
    """Give rows of different texts in columns of such names."""
    return [
        Row({name: f"{name} {WORDS[n % 10]} {n}" for name in names}, f"a.jsonl:{n + 1}")
        for n in range(count)
    ]


def judged(values: dict[str, object], task: str = "translation", **columns: str):
    """Give the example of one row, and what is wrong with it."""
    faults, tally = Faults(), Tally()
    made = Columns(**(columns or {"source": "source", "target": "target"}))
    found = list(to_examples([Row(values, "a.jsonl:7")], made, faults, task, tally))
    return (found[0] if found else None), [str(fault) for fault in faults.kept], tally


class TestRecognition:
    @pytest.mark.parametrize(
        ("names", "task"),
        [
            (("source", "target"), "translation"),
            (("src", "tgt"), "translation"),
            (("en", "zh-CN"), "translation"),
            (("de", "en", "id_of_row"), "translation"),
            (("原文", "译文"), "translation"),
            (("document", "summary"), "summarization"),
            (("article", "highlights", "id"), "summarization"),
            (("dialogue", "summary"), "summarization"),
            (("正文", "摘要"), "summarization"),
            (("prompt", "completion"), "text-generation"),
            (("text", "label"), "text-classification"),
        ],
    )
    def test_columns_tell_the_task(self, names, task):
        made = rows(*names)
        if "label" in names:
            made = [Row({**row.values, "label": "a" if n % 2 else "b"}, row.origin)
                    for n, row in enumerate(made)]  # fmt: skip
        assert recognise(made).task == task

    def test_an_object_of_two_languages_is_a_translation(self):
        made = [
            Row({"id": n, "translation": {"en": f"a dog {n}", "de": f"ein Hund {n}"}}, f"x:{n}")
            for n in range(30)
        ]
        assert recognise(made).task == "translation"
        columns = guess(made, {}, sides=TRANSLATION).columns
        assert (columns.source, columns.target) == ("translation.en", "translation.de")
        example = next(iter(to_examples(made, columns, Faults(), "translation")))
        assert (example.text, example.gold) == ("a dog 0", ("ein Hund 0",))

    def test_a_column_source_beside_a_class_is_no_translation(self):
        made = [
            Row({"text": f"a text {n}", "source": "web", "target": "ab"[n % 2]}, f"x:{n}")
            for n in range(30)
        ]
        assert recognise(made).task == "text-classification"

    def test_languages_are_told_from_other_columns(self):
        assert [language(name) for name in ("en", "zh-CN", "pt_BR", "translation.de")] == [
            "en", "zh", "pt", "de",
        ]  # fmt: skip
        assert not any(map(language, ("id_of_row", "text", "xx", "english")))


class TestGuess:
    def test_two_readings_are_an_error_that_says_what_to_set(self):
        with pytest.raises(DataError, match=r"two readings.*data\.columns\.summary"):
            guess(rows("article", "summary", "highlights"), {}, sides=SUMMARIZATION)

    def test_the_only_two_texts_are_taken_in_their_order(self):
        found = guess(rows("0", "1"), {}, sides=TRANSLATION)
        assert (found.columns.source, found.columns.target) == ("0", "1")
        assert "only columns of texts" in found.why[0]

    def test_three_unnamed_texts_are_not_guessed(self):
        with pytest.raises(DataError, match=r"this row has 0, 1, 2; name them with data\.columns"):
            guess(rows("0", "1", "2"), {}, sides=TRANSLATION)

    def test_a_named_column_that_is_not_there_is_an_error(self):
        with pytest.raises(DataError, match="no column 'sorce'"):
            guess(rows("source", "target"), {"source": "sorce"}, sides=TRANSLATION)

    def test_named_columns_are_taken(self):
        found = guess(rows("a", "b", "c"), {"source": "c", "target": "a"}, sides=TRANSLATION)
        assert (found.columns.source, found.columns.target) == ("c", "a")


class TestJudge:
    def test_a_row_is_a_question_with_its_answer(self):
        example, faults, _ = judged({"source": "a dog", "target": "ein Hund"})
        assert not faults
        assert example.gold == ("ein Hund",)
        assert [(turn.role, turn.trained) for turn in example.turns] == [
            ("user", False), ("assistant", True),
        ]  # fmt: skip

    def test_several_references_are_kept_and_the_first_is_learned(self):
        example, _, tally = judged({"source": "a dog", "target": ["ein Hund", "der Hund"]})
        assert example.gold == ("ein Hund", "der Hund")
        assert example.turns[-1].text == "ein Hund"
        assert dict(tally) == {("row", "have several references; the first is learned"): 1}

    @pytest.mark.parametrize(
        ("values", "phrases"),
        [
            ({"source": "a"}, ("no column 'target'", "data.columns.target")),
            ({"target": "a"}, ("no column 'source'",)),
            ({"source": "", "target": "a"}, ("'source' is empty",)),
            ({"source": "a", "target": "  "}, ("'target' is blank",)),
            ({"source": None, "target": "a"}, ("'source' is null",)),
            ({"source": 7, "target": "a"}, ("'source' is a number, '7', not text",)),
            ({"source": "a", "target": []}, ("'target' is an empty list", "give a text")),
            ({"source": "a", "target": ["b", ""]}, ("'target[1]' is empty",)),
            ({"source": "a", "target": ["b", 4]}, ("'target[1]' is a number",)),
            ({"source": "a\ud800", "target": "b"}, ("half of a surrogate pair",)),
            ({"source": "a", "target": "b\0"}, ("NUL",)),
        ],
    )
    def test_what_is_wrong_is_told_with_its_line_and_a_remedy(self, values, phrases):
        example, faults, _ = judged(values)
        assert example is None and len(faults) == 1
        assert faults[0].startswith("a.jsonl:7: ") and "; " in faults[0]
        for phrase in phrases:
            assert phrase in faults[0]

    def test_all_that_is_wrong_with_a_row_comes_at_once(self):
        _, faults, _ = judged({"source": "", "target": None})
        assert len(faults) == 2

    def test_a_summary_is_of_its_text(self):
        example, faults, _ = judged(
            {"document": "long", "summary": "s"},
            "summarization",
            text="document",
            summary="summary",
        )
        assert not faults and (example.text, example.gold) == ("long", ("s",))

    def test_rows_that_wait_have_no_gold(self):
        faults = Faults()
        columns = AskedColumns(source="source")
        made = list(to_examples([Row({"source": "a"}, "x:1")], columns, faults, "translation"))
        assert not faults.count and made[0].gold is None
        assert [turn.role for turn in made[0].turns] == ["user"]

    def test_the_same_source_is_never_in_two_parts(self, tmp_path):
        lines = [{"source": f"s {n % 40}", "target": f"t {n}"} for n in range(200)]
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        parts = load(sniff(str(path)), 3)
        texts = {part: {each.text for each in parts.examples(part)} for part in parts.counts}
        assert texts["dev"] and not texts["train"] & texts["dev"]


class TestSources:
    @pytest.fixture
    def folder(self, tmp_path):
        for part, count in (("train", 50), ("val", 12), ("test", 12)):
            for code in ("en", "de"):
                lines = [f"{code} {part} {n}" for n in range(count)]
                (tmp_path / f"{part}.{code}").write_text("\n".join(lines) + "\n")
        return tmp_path

    def test_a_folder_of_parallel_files_has_its_parts(self, folder):
        found = sniff(f"{folder}#en-de")
        assert found.task == "translation"
        parts = load(found, 0)
        assert dict(parts.counts) == {"train": 50, "dev": 12, "test": 12}
        first = next(parts.examples("test"))
        assert (first.text, first.gold) == ("en test 0", ("de test 0",))
        assert first.origin == f"{folder}/test.en:1"

    def test_a_folder_without_a_direction_asks_for_one(self, folder):
        with pytest.raises(DataError, match=r"possible are de-en, en-de.*#"):
            sniff(str(folder))

    def test_a_pair_is_one_source(self, folder):
        found = sniff(f"{folder}/train.de+train.en")
        parts = load(found, 0)
        assert next(parts.examples("train")).text.startswith("de train")
        other = load(sniff(f"{folder}/train.en+train.de"), 0)
        assert parts.digest != other.digest
        (folder / "train.en").write_text("\n".join(f"new {n}" for n in range(50)) + "\n")
        assert load(found, 0).digest != parts.digest

    @pytest.mark.parametrize("spec", ["train.en+train.fr", "train.xx+train.de"])
    def test_a_missing_side_is_named(self, folder, spec):
        with pytest.raises(FileError, match="no such file"):
            sniff(f"{folder}/{spec}")

    def test_unequal_line_counts_are_told_with_the_line(self, folder):
        with (folder / "train.de").open("a") as file:
            file.write("one more\n")
        with pytest.raises(DataError, match=r"train\.en:51: the file ends after 50 lines"):
            load(sniff(f"{folder}/train.en+train.de"), 0)


class TestAdapted:
    def test_other_rows_are_read_by_the_trained_columns_or_by_a_guess(self, tmp_path):
        trained = {"source": "source", "target": "target"}
        path = tmp_path / "rows.jsonl"
        path.write_text('{"source": "a", "target": "b"}\n')
        reading = open_reading(str(path), trained, task="translation")
        assert [each.gold for each in reading.examples()] == [None]
        labelled = open_reading(str(path), trained, (), task="translation")
        assert [each.gold for each in labelled.examples()] == [("b",)]
        path.write_text('{"src": "a"}\n')
        reading = open_reading(str(path), trained, task="translation")
        assert [each.text for each in reading.examples()] == ["a"]
        assert reading.notes == ("source is column 'src'",)
        path.write_text('{"anything": "a"}\n')
        assert next(open_reading(str(path), trained, task="translation").examples()).text == "a"


def test_the_kinds_of_problems_have_words():
    for name in ("translation", "summarization"):
        task = TASKS.get(name)
        assert {f"empty_{field}" for field in (*task.inputs[0], *task.gold)} <= task.kinds.keys()
