"""A mended copy: the same examples but for the mends, each of which is listed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults, FileError, PlanError
from tenon.data.label_names import usual_names
from tenon.data.load import guess_columns, plan_route, sniff
from tenon.data.mend import mend
from tenon.data.mended_copy import SAID, Mended
from tenon.data.mended_text import mended_text
from tenon.data.settings import DataSettings
from tenon.verbs.check import check

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCES = [
    "chat/library.jsonl", "multi_label/complaints.jsonl", "question_answering/train.json",
    "regression/alike.tsv", "summarization/minutes.jsonl", "text_generation/kitchen.jsonl",
    "token_classification/train.conll", "token_classification/zh.conll", "translation#en-de",
]  # fmt: skip
NAMES = ["card", "loan", "fee"]
CLEAN = [{"text": f"question {n} about my card", "label": NAMES[n % 3], "n": n} for n in range(60)]


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def mended(folder: Path, train: list[dict[str, object]], test=(), **settings) -> Mended:
    given = {"train": write(folder / "train.jsonl", train), **settings}
    if test:
        given["test"] = write(folder / "test.jsonl", list(test))
    return of(DataSettings.model_validate(given), folder / "out.jsonl")


def of(settings: DataSettings, out: Path) -> Mended:
    found = guess_columns(settings).columns
    route = plan_route(settings, 0)
    columns = route.task.settle(list(route.rows("train", Faults())), found, [])
    return mend(route, columns, out)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def examples(settings: DataSettings) -> list[tuple[object, ...]]:
    found = guess_columns(settings).columns
    route = plan_route(settings, 0)
    columns = route.task.settle(list(route.rows("train", Faults())), found, [])
    return [
        (example.id, example.text, example.pair, example.gold, example.turns, example.words)
        for example in route.judged("train", columns, Faults())
    ]


class TestLossless:
    @pytest.mark.parametrize("source", SOURCES)
    def test_the_copy_of_a_clean_file_gives_the_same_examples(self, source, tmp_path):
        settings = sniff(f"{EXAMPLES}/{source}")
        before = examples(settings)
        copy = of(settings, tmp_path / "out.jsonl")
        after = examples(DataSettings(task=settings.task, train=str(copy.out)))
        dropped = sum(copy.counts.get(code, 0) for code in ("duplicates", "normalised-duplicates"))
        assert before
        assert len(after) == len(before) - dropped
        if not copy.counts:
            assert after == before

    def test_rows_without_faults_keep_all_columns_and_their_order(self, tmp_path):
        copy = mended(tmp_path, CLEAN)
        assert rows(copy.out) == CLEAN
        assert rows(copy.fixes) == []
        assert (copy.rows, copy.read, copy.counts) == (60, 60, {})

    def test_mending_a_copy_again_changes_nothing(self, tmp_path):
        odd = [*CLEAN, CLEAN[0], {"text": "cafÃ© e\u0301 \u200bx", "label": "Card "}]
        copy = mended(tmp_path, odd)
        again = of(DataSettings(train=str(copy.out)), tmp_path / "again.jsonl")
        assert again.counts == {}
        assert again.out.read_bytes() == copy.out.read_bytes()


class TestMends:
    def test_each_is_done_counted_and_listed(self, tmp_path):
        odd = [
            CLEAN[3],
            {"text": "Question 4, about my CARD!", "label": CLEAN[4]["label"]},
            {"text": "cafÃ© au lait", "label": "card"},
            {"text": "zero\u200bwidth", "label": "loan"},
            {"text": "turned \u202eround", "label": "loan"},
            {"text": "de\u0301compose\u0301", "label": "fee"},
            {"text": "a name of its own", "label": " Fee "},
            {"text": "this leaks", "label": "fee"},
            {"text": "And THIS leaks...", "label": "fee"},
        ]
        copy = mended(
            tmp_path,
            [*CLEAN, *odd],
            [{"text": "this leaks", "label": "fee"}, {"text": "and this leaks", "label": "fee"}],
        )
        expected = dict.fromkeys(SAID, 1)
        del expected["blanks-around-spans"]
        assert copy.counts == expected
        listed = rows(copy.fixes)
        assert sorted(str(fix["fix"]) for fix in listed) == sorted(expected)
        assert [int(str(fix["origin"]).rpartition(":")[2]) for fix in listed] == list(range(61, 70))
        assert [row["text"] for row in rows(copy.out)[60:]] == [
            "café au lait", "zerowidth", "turned round", "décomposé", "a name of its own",
        ]  # fmt: skip
        assert rows(copy.out)[-1]["label"] == "fee"
        assert len(copy.said()) == len(expected)

    def test_a_repeat_with_another_answer_stays(self, tmp_path):
        copy = mended(tmp_path, [*CLEAN, {**CLEAN[0], "label": "loan"}])
        assert copy.rows == 61
        assert any("another answer stayed" in line for line in copy.left)

    def test_blanks_around_spans_go_and_their_places_stay_true(self, tmp_path):
        texts = [f"Anna Berg lives in Oslo since {n}" for n in range(40)]
        spans: list[object] = [[0, 9, "PER"], [19, 23, "LOC"]]
        train: list[dict[str, object]] = [{"text": text, "spans": spans} for text in texts]
        train[5] = {"text": texts[5], "spans": [[0, 10, "PER"], [18, 23, "LOC"]]}
        copy = mended(tmp_path, train, task="token-classification")
        assert copy.counts == {"blanks-around-spans": 2}
        settings = DataSettings(task="token-classification", train=str(copy.out))
        assert {example[3] for example in examples(settings)} == {examples(settings)[0][3]}
        assert rows(copy.out)[4]["spans"] == spans

    def test_spans_of_a_text_within_an_object(self, tmp_path):
        train: list[dict[str, object]] = [
            {
                "userInput": {"text": f"Anna Berg lives in Oslo since {n}"},
                "labels": [{"slot": "PER", "valueSpan": {"endIndex": 9 + (n == 3)}}],
            }
            for n in range(40)
        ]
        copy = mended(tmp_path, train, task="token-classification")
        assert copy.counts == {"blanks-around-spans": 1}
        settings = DataSettings(task="token-classification", train=str(copy.out))
        assert {example[3] for example in examples(settings)} == {examples(settings)[0][3]}

    def test_texts_whose_places_are_named_stay_as_they_are(self, tmp_path):
        text = "zero\u200bwidth Anna"
        train = [{"text": f"{text} {n}", "spans": [[11, 15, "PER"]]} for n in range(30)]
        copy = mended(tmp_path, train, task="token-classification")
        assert copy.counts == {}
        assert rows(copy.out) == train
        assert any("places of spans" in line for line in copy.left)

    def test_conversations_are_mended_within(self, tmp_path):
        turns = [
            [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"so {n}"}]
            for n in range(20)
        ]
        turns[7][1]["content"] = "cafÃ©"
        copy = mended(tmp_path, [{"messages": each} for each in turns], task="text-generation")
        assert copy.counts == {"mojibake": 1}
        assert rows(copy.out)[7]["messages"][1]["content"] == "café"  # type: ignore[index]

    def test_personal_data_is_not_listed(self, tmp_path):
        copy = mended(tmp_path, [*CLEAN, {"text": "jane.doe@example.org \u200b", "label": "fee"}])
        assert copy.counts == {"invisible-characters": 1}
        assert "jane.doe" not in copy.fixes.read_text()
        assert "jane.doe@example.org" in copy.out.read_text()

    def test_what_cannot_be_read_or_used_is_told(self, tmp_path):
        path = tmp_path / "train.jsonl"
        write(path, [*CLEAN, {"text": "", "label": "fee"}])
        path.write_text(path.read_text() + "{broken\n")
        copy = of(DataSettings(train=str(path)), tmp_path / "out.jsonl")
        assert (copy.rows, copy.read) == (61, 61)
        assert any("1 line of train cannot be read" in line for line in copy.left)
        assert any("1 row that training refuses" in line for line in copy.left)


class TestRefused:
    def test_nothing_is_written_over(self, tmp_path):
        (tmp_path / "out.jsonl").write_text("mine")
        with pytest.raises(FileError, match="is there already"):
            mended(tmp_path, CLEAN)
        assert (tmp_path / "out.jsonl").read_text() == "mine"

    def test_another_suffix(self, tmp_path):
        train = write(tmp_path / "train.jsonl", CLEAN)
        with pytest.raises(FileError, match=r"name it \.jsonl"):
            check(train, fix=tmp_path / "out.csv")

    def test_columns_that_are_not_known(self, tmp_path):
        (tmp_path / "a.csv").write_text("text,lable\nfine,yes\nbad,no\n")
        with pytest.raises(DataError, match="columns cannot be told"):
            check(str(tmp_path / "a.csv"), fix=tmp_path / "out.jsonl")
        assert not (tmp_path / "out.jsonl").exists()

    def test_several_adapters(self, tmp_path):
        train = write(tmp_path / "train.jsonl", CLEAN)
        text = f'base = "x"\n[data]\ntrain = "{train}"\n[adapters.a]\nkind = "lora.v1"\n'
        text += '[adapters.b]\nkind = "lora.v1"\n'
        (tmp_path / "run.toml").write_text(text)
        with pytest.raises(PlanError, match="several adapters"):
            check(str(tmp_path / "run.toml"), fix=tmp_path / "out.jsonl")


@given(st.text())
def test_mending_a_text_twice_is_mending_it_once(text):
    once, mends = mended_text(text)
    assert mended_text(once) == (once, ()) or "mojibake" in mends
    if not mends:
        assert once == text
    elif "mojibake" not in mends:
        assert unicodedata.normalize("NFC", once) == once


def test_right_to_left_texts_keep_their_marks():
    assert mended_text("\u202bשלום\u202c")[1] == ()


def test_names_follow_the_most_frequent():
    assert usual_names({"Refund": 9, "refund ": 2, " REFUND": 1, "loan": 3, " ": 2}) == {
        "refund ": "Refund",
        " REFUND": "Refund",
    }
