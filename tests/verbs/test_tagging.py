"""A tagged file, from the command line to answers: train, predict, eval, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from tenon.cli import main
from tenon.core.errors import DataError, RequestError
from tenon.plan.plan import Plan
from tenon.plan.resolve import resolve, resolve_table
from tenon.plan.starter import PACKAGED_BASE
from tenon.verbs.eval import evaluate
from tenon.verbs.plan import plan as preview
from tenon.verbs.predict import load_adapter, predict
from tenon.verbs.train import train

EXAMPLE = Path(__file__).parents[2] / "examples" / "token_classification"
NAMES = {"fox": "BEAST", "dog": "BEAST", "river": "PLACE", "parcel": "THING"}
WORDS = ["the", "old", "red", "is", "by", "was", "my", *NAMES, *NAMES]


def table(rows: int, seed: int, *, plain: bool = False) -> str:
    """Give sentences of known words, in which what names a thing is a span with "old" before it."""
    random = np.random.default_rng(seed)
    lines: list[str] = []
    for row in range(rows):
        before = ""
        for word in [*random.choice(WORDS, random.integers(2, 8)), str(row % 2 + 1), "fox"]:
            if plain:
                tag = "NOUN" if word in NAMES else "NUM" if word.isdigit() else "OTHER"
            else:
                tag = f"B-{NAMES[word]}" if word in NAMES else "O"
            lines.append(f"{word} {tag}")
            before = word
        assert before == "fox"
        lines.append("")
    return "\n".join(lines)


def planned(folder: Path, base: Path, *, plain: bool = False, **more: object) -> Plan:
    for name, rows, seed in (("train.conll", 90, 1), ("test.conll", 30, 2)):
        (folder / name).write_text(table(rows, seed, plain=plain))
    given: dict[str, dict[str, object] | str | int] = {
        "base": str(base),
        "seed": 7,
        "data": {
            "task": "token-classification", "train": "train.conll", "dev": 0.2,
            "test": "test.conll",
        },
        "adapters": {"names": {"kind": "lora.v1", "rank": 2}},
        "train": {"epochs": 3, "tokens_per_step": 200, "learning_rate": 1e-2},
        "evaluate": {"resamples": 200},
        "model": {"device": "cpu"},
        "text": dict(more),
    }  # fmt: skip
    return resolve_table(given, folder / "run.toml")


@pytest.fixture(scope="module")
def trained(folder_of, tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("tagging")
    plan = planned(folder, folder_of("bert"))
    return SimpleNamespace(folder=folder, run=train(plan, folder / "run"), plan=plan)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_learns_and_reports(trained):
    report = trained.run.report
    test = report.metrics["test"]
    assert list(test)[0] == "entity_f1"
    assert test["entity_f1"].value > 0.9
    assert test["entity_f1"].n == 30
    assert set(report.baselines) == {"frequent_tag", "linear_probe"}
    assert {entry["label"] for entry in report.per_class} == {"BEAST", "PLACE", "THING"}
    page = (trained.folder / "run" / "report" / "report.html").read_text()
    assert "<mark" in page and "Each type" in page
    rows = lines_of(trained.folder / "run" / "report" / "predictions.jsonl")
    assert len(rows) == 30 and all(row["gold"] is not None for row in rows)


def test_evaluating_the_run_gives_its_report(trained):
    again = evaluate(trained.folder / "run")
    assert again.metrics["test"] == trained.run.report.metrics["test"]
    assert again.paired == trained.run.report.paired


def test_other_files_of_any_form_are_judged(trained, tmp_path):
    rows = [
        {"text": "the old dog was by the river", "spans": [[8, 11, "BEAST"], [23, 28, "PLACE"]]},
        {"text": "nothing is red", "spans": []},
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    report = evaluate(trained.folder / "run", path)
    assert report.metrics["test"]["entity_f1"].n == 2
    train = evaluate(trained.folder / "run", trained.folder / "train.conll")
    assert any("learned from" in note for note in train.notes)
    strange = tmp_path / "o.conll"
    strange.write_text("fox B-BEAST\nis O\n\nriver B-PLAC\n")
    with pytest.raises(DataError, match=r"o.conll:4: label 'PLAC'.*did you mean PLACE"):
        evaluate(trained.folder / "run", strange)
    bare = tmp_path / "t.csv"
    bare.write_text("text\nthe fox\n")
    with pytest.raises(DataError, match="no spans to judge answers by"):
        evaluate(trained.folder / "run", bare)


def test_predicting_tokens_texts_and_lines_gives_the_same_spans(
    trained, tmp_path, monkeypatch, capsys
):
    text = "the old dog was by the river"
    forms = {
        "a.conll": "".join(f"{word} O\n" for word in text.split()),
        "b.jsonl": json.dumps({"tokens": text.split()}) + "\n",
        "c.jsonl": json.dumps({"text": text}) + "\n",
        "d.csv": f"id,sentence\n1,{text}\n",
    }
    found = []
    for name, body in forms.items():
        (tmp_path / name).write_text(body)
        predict(trained.folder / "run", tmp_path / name, tmp_path / f"{name}.out")
        (line,) = lines_of(tmp_path / f"{name}.out")
        assert line["gold"] is None and line["text"] == text
        found.append(line["answer"])
        predict(trained.folder / "run", tmp_path / name, tmp_path / f"{name}.parquet")
        assert [line["answer"]] == pq.read_table(tmp_path / f"{name}.parquet")["answer"].to_pylist()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{text}\n".encode())))
    predict(trained.folder / "run", "-")
    found.append(json.loads(capsys.readouterr().out)["answer"])
    assert all(answer == found[0] for answer in found)
    assert [(s["start"], s["end"], s["label"], s["text"]) for s in found[0]] == [
        (8, 11, "BEAST", "dog"), (23, 28, "PLACE", "river"),
    ]  # fmt: skip


def test_python_asks_for_texts(trained):
    adapter = load_adapter(trained.folder / "run")
    first, second = adapter.predict(["my old fox", "it is"])
    assert [(span.label, span.text) for span in first.spans] == [("BEAST", "fox")]
    assert 0.5 < first.spans[0].probability <= 1
    assert second.spans == ()
    for wrong in (["a", " "], [("a", "b")], "text", [3]):
        with pytest.raises(RequestError):
            adapter.predict(wrong)


def test_a_long_text_is_read_in_windows_and_plan_says_so(folder_of, tmp_path):
    plan = planned(tmp_path, folder_of("bert"), max_tokens=6)
    shown = preview_of(plan, tmp_path)
    assert shown.amounts["train"].windowed > 0
    assert shown.amounts["train"].rows_cut == 0
    assert sum(amount.rows for amount in shown.amounts.values()) == 120
    assert any("overlapping windows" in note for note in shown.notes)
    run = train(plan, tmp_path / "run")
    assert run.report.metrics["test"]["entity_f1"].n == 30
    assert run.report.data["rows"]["test"] == 30
    assert any(note.startswith("test: ") and "windows" in note for note in run.report.notes)


def preview_of(plan: Plan, folder: Path):
    plan.write(folder / "plan.json")
    return preview(str(folder / "plan.json"))


def test_parts_of_speech_are_tags_of_their_own(folder_of, tmp_path):
    run = train(planned(tmp_path, folder_of("bert"), plain=True), tmp_path / "run")
    assert run.report.metrics["test"]["tag_accuracy"].value > 0.95
    (answer,) = load_adapter(tmp_path / "run").predict(["the 1 fox"])
    assert [span.label for span in answer.spans] == ["OTHER", "NUM", "NOUN"]


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_decoders_tag(arch, folder_of, tmp_path):
    run = train(planned(tmp_path, folder_of(arch)), tmp_path / "run")
    assert run.report.metrics["test"]["entity_f1"].value > 0.9
    again = evaluate(tmp_path / "run")
    assert again.metrics["test"] == run.report.metrics["test"]


def test_what_a_base_cannot_read_is_told(folder_of, tmp_path):
    plan = planned(tmp_path, folder_of("bert"))
    path = tmp_path / "test.conll"
    path.write_text(path.read_text() + "\nthe O\n狗 B-BEAST\n")
    run = train(plan, tmp_path / "run")
    assert "test: 1 token stands for what the base's tokenizer does not know" in run.report.notes


@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGED_BASE.replace("-", "_")) is None,
    reason=f"{PACKAGED_BASE} is not installed",
)
def test_the_example_beats_what_is_frequent(tmp_path):
    plan = resolve(EXAMPLE / "run.toml", ["train.epochs=4", "evaluate.resamples=200"])
    report = train(plan, tmp_path / "run").report
    found, frequent = report.metrics["test"]["entity_f1"], report.baselines["frequent_tag"]
    assert found.value > 0.6 > frequent["entity_f1"].value


@pytest.mark.public_data
def test_the_chinese_example_is_read_by_characters(shared, tmp_path):
    base = shared / "models" / "tenon-small-encoder"
    arguments = [f"base={base}", "train.epochs=4", "evaluate.resamples=200"]
    report = train(resolve(EXAMPLE / "zh.toml", arguments), tmp_path / "run").report
    assert report.metrics["dev"]["entity_f1"].n > 2
    (answer,) = load_adapter(tmp_path / "run").predict(["李明在上海丢了雨伞。"])
    assert all(answer.text[s.start : s.end] == s.text for s in answer.spans)


GOOD = "Anna B-PER\nlives O\nin O\nOslo B-LOC\n\n" * 12
UNFIT = {
    "lacks.conll": (GOOD + "Bob\nruns O\n", r"lacks.conll:61: no tag follows"),
    "wide.conll": (GOOD + "New York B-LOC\n", r"wide.conll:61: 3 columns.*tabs"),
    "cut.conll": (GOOD[:-9], r"cut.conll:\d+: the last line ends.*cut short"),
    "small.conll": (GOOD.replace("B-", "b-"), r"small letters.*write B-"),
    "later.conll": (GOOD.replace("B-PER", "PER-B").replace("B-LOC", "LOC-B"), "write B-PER"),
    "open.conll": (GOOD.replace("B-", ""), r'data.columns.scheme = "plain" or "io"'),
    "none.conll": ("a O\nb O\n\n" * 9, "none of its 9 rows has a span"),
    "mixed.conll": (GOOD + "Eva S-PER\nis L-X\n", "which no one scheme has"),
    "nul.conll": (GOOD + "Bo\0b B-PER\n", r"nul.conll:61: .*NUL"),
    "slip.conll": (GOOD * 3 + "Bob X-PER\n", r"slip.conll:181: .*'X-PER'"),
    "empty.conll": ("", "empty.conll:1: the file is empty"),
    "uneven.jsonl": (
        '{"tokens": ["a", "b"], "tags": ["O", "B-X"]}\n' * 9 + '{"tokens": ["a"], "tags": []}\n',
        r"uneven.jsonl:10: 1 tokens.*0 tags",
    ),
    "outside.jsonl": (
        '{"text": "Anna", "spans": [[0, 4, "PER"]]}\n{"text": "Bo", "spans": [[0, 9, "PER"]]}\n',
        r"outside.jsonl:2: spans\[0\] reaches from 0 to 9",
    ),
    "stated.jsonl": (
        '{"text": "Hi Bo", "spans": [{"start": 4, "end": 6, "label": "PER", "text": "Bo"}]}\n',
        "stated.jsonl:1: .*count from 1; count from 0",
    ),
    "keys.jsonl": (
        '{"text": "Bo", "spans": [{"strat": 0, "end": 2, "label": "PER"}]}\n',
        "keys.jsonl:1: .*is 'strat' the start",
    ),
    "null.jsonl": (
        '{"text": "Bo", "spans": [[0, 2, "PER"]]}\n' * 3 + '{"text": "Al", "spans": null}\n',
        "null.jsonl:4: 'spans' is null; write",
    ),
    "python.csv": (
        "tokens,tags\n" + "\"['Bo', 'is']\",\"['B-PER', 'O']\"\n" * 5, "python.csv:6: .*json.dumps",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(
    name, folder_of, tmp_path, monkeypatch, capsys
):
    body, expected = UNFIT[name]
    (tmp_path / name).write_text(body)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["train", name, f"base={folder_of('bert')}", "--out", "run", "--quiet"])
    assert caught.value.code == 2
    assert re.search(expected, " ".join(capsys.readouterr().err.split()))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    with pytest.raises(SystemExit) as caught:
        main(["check", name, "--quiet"])
    assert caught.value.code == 0
