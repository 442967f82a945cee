"""Token classification: files of any form give the same examples, and tell their task."""

from __future__ import annotations

import json
import re
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.core.errors import DataError, Faults, PlanError
from tenon.data import span_values, tagging
from tenon.data.check import check
from tenon.data.example import Row
from tenon.data.load import load, sniff
from tenon.data.recognition import recognise
from tenon.data.settings import Columns, DataSettings
from tenon.data.sources import read
from tenon.data.tags import tags_of
from tenon.data.token_classification import KINDS
from tenon.plan.starter import starter

TASK = "token-classification"
SENTENCES = [
    (["Anna", "Berg", "lives", "in", "New", "York", "."], [(0, 2, "PER"), (4, 6, "LOC")]),
    (["Omar", "Li", "left"], [(0, 1, "PER"), (1, 2, "PER")]),
    (["nobody", "came"], []),
    (["Oslo"], [(0, 1, "LOC")]),
]


def conll(path: Path, scheme: str = "bio", times: int = 10, separator: str = " ") -> Path:
    """Write the sentences, each with a number, so that none repeats another."""
    lines = []
    for number in range(times):
        for tokens, spans in SENTENCES:
            tags = tags_of(spans, len(tokens), scheme)
            lines += [f"{a}{separator}{b}" for a, b in zip(tokens, tags, strict=True)]
            lines += [f"n{number}{separator}O", ""]
    path.write_text("\n".join(lines) + "\n")
    return path


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    return path


def tokens_rows(times: int = 10, tags: str = "ner_tags") -> list[dict[str, object]]:
    return [
        {"tokens": [*tokens, f"n{n}"], tags: [*tags_of(spans, len(tokens), "bio"), "O"]}
        for n in range(times)
        for tokens, spans in SENTENCES
    ]


def span_rows(times: int = 10) -> list[dict[str, object]]:
    rows = []
    for number in range(times):
        for tokens, spans in SENTENCES:
            text = " ".join([*tokens, f"n{number}"])
            places, start = [], 0
            for token in tokens:
                places.append((start, start + len(token)))
                start += len(token) + 1
            found = [[places[a][0], places[b - 1][1], label] for a, b, label in spans]
            rows.append({"text": text, "entities": found})
    return rows


def examples_of(path: Path) -> list[tuple[str, object]]:
    parts = load(sniff(str(path)), seed=0)
    return sorted((e.text, e.gold) for part in parts.counts for e in parts.examples(part))


def test_every_scheme_and_form_gives_the_same_examples(tmp_path):
    expected = examples_of(conll(tmp_path / "bio.conll"))
    assert len(expected) == 40
    for scheme in ("iob1", "bioes", "bilou", "bmes"):
        assert examples_of(conll(tmp_path / f"{scheme}.conll", scheme)) == expected, scheme
    assert examples_of(conll(tmp_path / "tabs.txt", "bio", separator="\t")) == expected
    assert examples_of(jsonl(tmp_path / "tokens.jsonl", tokens_rows())) == expected
    assert examples_of(jsonl(tmp_path / "spans.jsonl", span_rows())) == expected


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "a.iob2", "a.bioes", "a.txt", "a.train"])
def test_conll_is_told_by_name_or_content(name, tmp_path):
    assert sniff(str(conll(tmp_path / name))).task == TASK


def test_columns_of_tokens_or_of_spans_are_told(tmp_path):
    assert sniff(str(jsonl(tmp_path / "t.jsonl", tokens_rows()))).task == TASK
    assert sniff(str(jsonl(tmp_path / "s.jsonl", span_rows()))).task == TASK
    doccano = [{"text": row["text"], "label": row["entities"]} for row in span_rows()]
    assert sniff(str(jsonl(tmp_path / "d.jsonl", doccano))).task == TASK


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": f"a b {n}", "label": "x y" if n % 2 else "z"} for n in range(30)],
        [{"words": f"a b {n}", "label": "yes" if n % 2 else "no"} for n in range(30)],
        [{"sentence": f"a b {n}", "tags": "yes" if n % 2 else "no"} for n in range(30)],
        [{"text": f"a {n}", "label": n % 2, "tokens": ["a", str(n)]} for n in range(30)],
    ],
)
def test_a_text_and_its_class_stay_a_classification(rows, tmp_path):
    assert sniff(str(jsonl(tmp_path / "c.jsonl", rows))).task == "text-classification"


def test_rows_for_both_tasks_say_how_to_choose(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{**row, "label": "a" if n % 2 else "b"} for n, row in enumerate(span_rows())]
    path = jsonl(tmp_path / "both.jsonl", rows)
    with pytest.raises(DataError) as caught:
        sniff(str(path))
    for said in ("'entities'", "'label'", f"data.task={TASK}", "data.task=text-classification"):
        assert said in str(caught.value)
    for argument, task in (
        (f"data.task={TASK}", TASK),
        ("data.task=text-classification", "text-classification"),
        ("data.columns.spans=entities", TASK),
        ("data.columns.label=label", "text-classification"),
    ):
        arguments = [argument, "base=x/y"]
        assert starter(str(path), tmp_path / "run.toml", arguments).plan.data.task == task
    with pytest.raises(PlanError, match="data.task"):
        starter(str(path), tmp_path / "run.toml", ["data.task=ner", "data.columns.spans=entities"])


def test_the_plan_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = starter(str(conll(tmp_path / "a.conll")), tmp_path / "run.toml", ["base=x/y"])
    assert any(note.startswith(f"task is {TASK}: rows hold tokens") for note in made.notes)
    columns = made.plan.data.columns
    assert columns is not None
    assert columns.named() == {"tokens": "tokens", "tags": "tags"}
    assert 'task = "token-classification"' in made.text


def test_parts_are_found_in_folders_and_zips_of_conll(tmp_path):
    for name in ("train.txt", "dev.txt", "test.txt", "license.txt"):
        conll(tmp_path / name)
    (tmp_path / "license.txt").write_text("You may use this as you like, or not at all.\n")
    found = sniff(str(tmp_path))
    assert (found.task, Path(found.train).name, Path(str(found.dev)).name) == (
        TASK, "train.txt", "dev.txt",
    )  # fmt: skip
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("train.txt", "test.txt", "license.txt"):
            archive.write(tmp_path / name, f"corpus/{name}")
    found = sniff(str(tmp_path / "all.zip"))
    assert (found.task, found.test) == (TASK, f"{tmp_path / 'all.zip'}#corpus/test.txt")


@pytest.mark.parametrize(
    "names",
    [
        ("eng.train", "eng.testa", "eng.testb"),
        ("zh_msra.train.bmes", "zh_msra.dev.bmes", "zh_msra.test.bmes"),
        ("en_ewt-ud-train.conll", "en_ewt-ud-dev.conll", "en_ewt-ud-test.conll"),
    ],
)
def test_a_word_of_a_name_tells_the_part(names, tmp_path):
    for name in names:
        conll(tmp_path / name)
    found = sniff(str(tmp_path))
    assert tuple(Path(str(p)).name for p in (found.train, found.dev, found.test)) == names


@given(st.sets(st.sampled_from(["text", "label", "tokens", "tags", "spans", "pair"])))
def test_a_named_column_decides_the_task(fields):
    found = recognise(read_rows(), fields)
    if fields & {"tokens", "tags", "spans"} and not fields & {"label", "pair"}:
        assert found.task == TASK
    if fields & {"label"} and not fields & {"tokens", "tags", "spans"}:
        assert found.task != TASK


def read_rows() -> list[Row]:
    return [Row(values, f"t:{n}") for n, values in enumerate(tokens_rows(2))]


class TestFaults:
    def refusals(self, path: Path, **columns: str) -> list[str]:
        settings = sniff(str(path), TASK)
        if columns:
            settings = settings.model_copy(update={"columns": Columns(**columns)})
        with pytest.raises(DataError) as caught:
            load(settings, seed=0)
        return str(caught.value).splitlines()

    def test_all_at_once_with_their_lines(self, tmp_path):
        rows = tokens_rows()
        rows[3]["ner_tags"] = ["O"]
        rows[7]["tokens"] = ["a", ""]
        rows[9]["ner_tags"] = None
        lines = self.refusals(jsonl(tmp_path / "t.jsonl", rows))
        assert [line.split(":")[1] for line in lines] == ["4", "8", "10"]
        assert all("; " in line for line in lines)

    def test_a_slip_of_the_pen_has_its_line(self, tmp_path):
        path = conll(tmp_path / "a.conll", times=20)
        path.write_text(path.read_text() + "\nBob X-PER\nruns O\n")
        (line,) = self.refusals(path)
        assert "X-PER" in line and line.startswith(f"{path}:422: ")

    def test_a_list_of_python_is_told(self, tmp_path):
        path = tmp_path / "p.csv"
        row = "\"['Anna', 'is']\",\"['B-PER', 'O']\"\n"
        path.write_text("tokens,tags\n" + row * 5)
        assert sniff(str(path)).task == TASK
        lines = self.refusals(path)
        assert len(lines) == 10 and "json.dumps" in lines[0]

    def test_types_that_train_lacks(self, tmp_path):
        conll(tmp_path / "train.conll")
        (tmp_path / "test.conll").write_text("Bob B-PRE\nruns O\n\nOslo B-LOC\nis O\n")
        settings = DataSettings(
            task=TASK, train=str(tmp_path / "train.conll"), test=str(tmp_path / "test.conll")
        )
        with pytest.raises(DataError, match=r"test.conll:1: label 'PRE' .1 span of test.*'PER'"):
            load(settings, seed=0)


class TestCheck:
    def test_what_is_wrong_with_a_tagged_file(self, tmp_path):
        path = conll(tmp_path / "a.conll")
        text = path.read_text()
        stray = "Eva I-PER\nruns O\n\n"
        torn = text.split("\n\n")[0].replace("PER", "LOC") + "\n\n"
        path.write_text(text + stray + torn + text.split("\n\n")[1] + "\n")
        test = tmp_path / "t.conll"
        test.write_text(text.split("\n\n")[3].strip() + "\n\nBob B-ORG\nruns O\n")
        settings = DataSettings(task=TASK, train=str(path), test=str(test))
        found = check(settings, 0, tokenizer=lambda texts: [len(t) for t in texts], max_tokens=20)
        kinds = {finding.code: finding for finding in found.findings}
        assert found.labels["train"] == {"PER": 33, "LOC": 22}
        assert (
            kinds["unseen-labels"].severity == "error" and "1 span" in kinds["unseen-labels"].what
        )
        assert kinds["conflicting-labels"].count == 1
        assert kinds["duplicates"].count == 2
        assert kinds["leak"].count == 1
        broken = kinds["illegal-transitions"]
        assert broken.severity == "warning" and "I- without B-" in broken.what
        assert kinds["windows"].severity == "note" and "cut" not in kinds
        assert kinds["no-labels"].count >= 10
        assert all(len(finding.what) < 200 for finding in found.findings)

    def test_every_kind_of_problem_has_words(self, tmp_path):
        source = Path(tagging.__file__).read_text() + Path(span_values.__file__).read_text()
        named = set(re.findall(r'Problem\(\s*"(\w+)"', source))
        assert len(named) > 12
        assert named <= KINDS.keys()

    def test_notes_are_grave_only_where_spans_change(self, tmp_path):
        rows = [*span_rows(), {"text": "Anna Berg", "entities": [[0, 9, "PER"], [0, 4, "PER"]]}]
        rows.append({"text": "Oslo", "entities": [[0, 4, "LOC"], [0, 4, "LOC"]]})
        path = jsonl(tmp_path / "s.jsonl", rows)
        found = check(sniff(str(path)), 0)
        (overlapping,), (repeated,) = found.of("overlapping-spans"), found.of("repeated-spans")
        assert (overlapping.severity, repeated.severity) == ("warning", "note")
        assert overlapping.examples == (f"{path}:41",)


def test_the_example_is_sound():
    folder = Path(__file__).parents[2] / "examples" / TASK.replace("-", "_")
    faults = Faults()
    counts = {name: sum(1 for _ in read(str(folder / name), faults)) for name in (
        "train.conll", "test.conll", "zh.conll",
    )}  # fmt: skip
    assert counts == {"train.conll": 72, "test.conll": 24, "zh.conll": 30}
    assert not faults.count
    settings = DataSettings(
        task=TASK, train=str(folder / "train.conll"), test=str(folder / "test.conll")
    )
    found = check(settings, 7)
    assert found.errors == found.warnings == 0
    assert set(found.labels["train"]) == {"PERSON", "PLACE", "THING"}
