"""Question answering through the whole command: train, resume, predict, eval, malformed files."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tenon
from reading import squad
from tenon.cli import main
from tenon.core.errors import RequestError
from tenon.core.files import read_json

EXAMPLE = Path(__file__).parents[2] / "examples" / "question_answering"
FAST = ("train.tokens_per_step=200", "evaluate.resamples=200", "model.device=cpu")


def run(*words, code=0):
    """Run a command and check how it ends."""
    try:
        main(list(words))
        ended = 0
    except SystemExit as end:
        ended = end.code or 0
    assert ended == code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("questions")
    (home / "train.json").write_text(squad(60))
    (home / "test.json").write_text(squad(20, seed=1))
    return home


@pytest.fixture(scope="module")
def trained(folder, folder_of):
    out = folder / "run"
    data = (str(folder / "train.json"), f"data.test={folder / 'test.json'}")
    words = (f"base={folder_of('bert')}", "train.epochs=12", "adapters.mood.kind=lora.v1", *FAST)
    run("train", *data, *words, "--out", str(out), "--quiet")
    return out


def test_a_file_is_enough_and_the_adapter_beats_its_baselines(trained):
    report = read_json(trained / "report" / "report.json")
    assert report["task"] == "question-answering"
    assert set(report["baselines"]) == {"question_overlap", "linear_probe", "always_no_answer"}
    assert report["metrics"]["test"]["answer_f1"]["value"] > 0.8
    assert report["paired"]["question_overlap"]["answer_f1"]["low"] > 0
    assert report["paired"]["always_no_answer"]["answer_exact"]["low"] > 0
    assert "answer_f1" in report["learning_curve"]
    page = (trained / "report" / "report.html").read_text()
    assert "<mark" in page
    assert "Question overlap" in page
    manifest = read_json(trained / "adapter" / "tenon.json")
    assert manifest["labels"] == ["start", "end", "no answer"]
    assert manifest["text"]["answer_tokens"] == 16
    assert "leaning" in manifest["constants"]
    assert "adapter.predict([(" in (trained / "adapter" / "README.md").read_text()


def test_predictions_are_one_a_question_with_places(trained):
    lines = (trained / "report" / "predictions.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert len(entries) == 27
    assert all(entry["answer"] == "" or entry["start"] >= 0 for entry in entries)


def test_a_caller_gets_an_answer_with_its_place(trained):
    adapter = tenon.load_adapter(trained)
    context = "the red dog it is of good old day fox money parcel"
    (reply,) = adapter.predict([("what is it of?", context)])
    assert reply.answer == context[reply.start : reply.end] == "good"
    (silent,) = adapter.predict([("who was glad?", context)])
    assert (silent.answer, silent.start) == ("", None)
    assert silent.others
    with pytest.raises(RequestError, match="single texts; the adapter was trained on pairs"):
        adapter.predict(["what?"])


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "json"])
def test_other_files_are_answered(trained, tmp_path, suffix, capsys):
    rows = [("what is it of?", "the dog it is of best my day"), ("who?", "it is of bad")]
    path = tmp_path / f"ask.{suffix}"
    if suffix == "json":
        path.write_text(squad(4, seed=3))
    elif suffix == "csv":
        lines = ["question,context", *(f'"{q}","{c}"' for q, c in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        lines = [json.dumps({"question": q, "passage": c}) for q, c in rows]
        path.write_text("\n".join(lines) + "\n")
    run("predict", str(trained), str(path), "--quiet")
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == (6 if suffix == "json" else 2)
    assert all(entry["gold"] is None for entry in found)
    run("predict", str(trained), str(path), "--quiet", "--out", str(tmp_path / "a.parquet"))
    assert pq.read_table(tmp_path / "a.parquet").drop(["failed", "cut"]).to_pylist() == found


def test_eval_gives_the_figures_of_the_run_again(trained, folder, capsys):
    run("eval", str(trained), str(folder / "test.json"), "--json")
    found = json.loads(capsys.readouterr().out)
    before = read_json(trained / "report" / "report.json")
    assert found["metrics"]["test"] == before["metrics"]["test"]
    for name, scores in before["baselines"].items():
        for scorer, interval in scores.items():
            assert found["baselines"][name][scorer]["value"] == pytest.approx(interval["value"])


def test_a_run_that_has_ended_is_not_trained_again(trained, folder, folder_of):
    before = (trained / "adapter" / "tenon.json").read_bytes()
    run("train", str(trained / "plan.json"), "--out", str(trained), "--quiet")
    assert (trained / "adapter" / "tenon.json").read_bytes() == before


def test_standard_input_has_no_questions_and_contexts(trained, capsys):
    run("predict", str(trained), "-", code=2)
    assert "name a file with these" in capsys.readouterr().err


def test_without_unanswerable_questions_the_adapter_always_answers(
    folder_of, tmp_path_factory, tmp_path
):
    home = tmp_path_factory.mktemp("answerable")
    (home / "train.json").write_text(squad(30, impossible=False))
    (home / "test.json").write_text(squad(12, seed=1))
    words = (f"data.test={home / 'test.json'}", f"base={folder_of('llama')}", "train.epochs=2")
    run("train", str(home / "train.json"), *words, *FAST, "--out", str(tmp_path), "--quiet")
    report = read_json(tmp_path / "report" / "report.json")
    assert set(report["baselines"]) == {"question_overlap", "linear_probe"}
    assert any("always gives an answer" in note for note in report["notes"])
    sorts = {entry["label"]: entry["exact"]["value"] for entry in report["per_class"]}
    assert sorts["no answer"] == 0


def doc(*questions, context='"context": "It rained."', head='"title": "t"'):
    return f'{{"data": [{{{head}, "paragraphs": [{{{context}, "qas": [\n' + (
        ",\n".join(questions) + "\n]}]}]}"
    )


def ask(rest, question='"What?"', id="q1"):
    return f'{{"id": "{id}", "question": {question}, {rest}}}'


GOOD = ask('"answers": [{"text": "rained", "answer_start": 3}]', id="good")
JSONL = '{"question": "q", "context": "It rained.", "answers": '
MALFORMED = {
    "text not in the context": (
        "a.json",
        doc(GOOD, ask('"answers": [{"text": "snowed", "answer_start": 3}]')),
        ("a.json:3", "'snowed' does not stand in the context", "quote the answer"),
    ),
    "start beyond the context": (
        "a.json",
        doc(ask('"answers": [{"text": "it", "answer_start": 99}]'), GOOD),
        ("a.json:2", "answer_start is 99", "quote the answer"),
    ),
    "start elsewhere": (
        "a.json",
        doc(
            GOOD,
            ask('"answers": [{"text": "ab", "answer_start": 40}]', id="b"),
            context='"context": "ab rained ab, and then there is a long tale of rain, ab."',
        ),
        ("a.json:3", "does not stand at its start", "mend answer_start"),
    ),
    "start is text": (
        "a.json",
        doc(GOOD, ask('"answers": [{"text": "rained", "answer_start": "3"}]')),
        ("a.json:3", "answer_start of answer 1 is text", "count the characters"),
    ),
    "answers is text": (
        "a.json",
        doc(GOOD, ask('"answers": "rained"')),
        ("a.json:3", '"answers" is text', '[{"text": "...", "answer_start": 0}]'),
    ),
    "no question": (
        "a.json",
        doc(GOOD, '{"id": "x", "answers": []}'),
        ("a.json:3", 'no "question"', "add it"),
    ),
    "question is a number": (
        "a.json",
        doc(GOOD, ask('"answers": []', question="7")),
        ("a.json:3", '"question" is a number', "give the question as a text"),
    ),
    "the same id twice": (
        "a.json",
        doc(GOOD, GOOD),
        ("a.json:3", "the id 'good' is that of", "an id of its own"),
    ),
    "impossible with an answer": (
        "a.json",
        doc(GOOD, ask('"answers": [{"text": "It", "answer_start": 0}], "is_impossible": true')),
        ("a.json:3", "'is_impossible' is true, but the answer", "write false"),
    ),
    "possible without an answer": (
        "a.json",
        doc(GOOD, ask('"answers": [], "is_impossible": false')),
        ("a.json:3", "is false, but there is no answer", "write true"),
    ),
    "context is null": (
        "a.json",
        doc(GOOD, context='"context": null'),
        ("a.json:1", '"context" is null', "give the text"),
    ),
    "an empty context": (
        "a.json",
        doc(GOOD, context='"context": ""'),
        ("a.json:2", "'context' is empty", "give a text"),
    ),
    "half of a surrogate pair": (
        "a.json",
        doc(GOOD, ask('"answers": []', question='"a\\ud800"')),
        ("a.json:3", "half of a surrogate pair", "mend it"),
    ),
    "cut short": ("a.json", doc(GOOD, GOOD)[:-20], ("a.json:", "", "")),
    "no paragraphs": (
        "a.json",
        '{"data": [{"title": "t", "paragraphs": [{"context": "a", "questions": []}]}]}',
        ("a.json:1", 'no "qas"', "add it"),
    ),
    "NaN as a start": (
        "a.json",
        doc(GOOD, ask('"answers": [{"text": "It", "answer_start": NaN}]')),
        ("a.json:3", "NaN", ""),
    ),
    "not UTF-8": (
        "a.json",
        doc(GOOD, ask('"answers": []', question='"caf\xe9"')).encode("latin-1"),
        ("a.json:3", "UTF-8", "iconv"),
    ),
    "several places and no start": (
        "a.jsonl",
        f'{JSONL}["It"]}}\n{{"question": "r", "context": "It, it. It.", "answers": ["It"]}}\n',
        ("a.jsonl:2", "stands 2 times in the context", 'data.columns.several = "first"'),
    ),
    "unequal lists": (
        "a.jsonl",
        f'{JSONL}["It"]}}\n{JSONL}{{"text": ["It"], "answer_start": [0, 3]}}}}\n',
        ("a.jsonl:2", "has 1 texts, but as answer_start 2", "give each text its start"),
    ),
    "an answer that is no object": (
        "a.jsonl",
        f'{JSONL}["It"]}}\n{JSONL}[7]}}\n',
        ("a.jsonl:2", "is a number, '7', not an answer", '{"text"'),
    ),
    "answers is null": (
        "a.jsonl",
        f'{JSONL}["It"]}}\n{JSONL}null}}\n',
        ("a.jsonl:2", "'answers' is null", "empty lists"),
    ),
    "a table whose start is a word": (
        "a.csv",
        "question,context,answer,answer_start\nq,It rained.,It,0\nr,It rained.,rained,three\n",
        ("a.csv:3", "'answer_start' is text, 'three', not a whole number", "count the characters"),
    ),
    "a table without an answer in it": (
        "a.csv",
        "question,context,answer\nq,It rained.,It\nr,It rained.,snow\n",
        ("a.csv:3", "'snow' does not stand in the context", "quote the answer"),
    ),
    "a member of a document": ("a.json#data", doc(GOOD), ("a.json", "has no part 'data'", "#data")),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_told_with_its_line_and_remedy(name, tmp_path, folder_of, capsys):
    spec, content, phrases = MALFORMED[name]
    path = tmp_path / spec.partition("#")[0]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    words = ("data.task=question-answering", f"base={folder_of('bert')}")
    run("train", str(tmp_path / spec), *words, "--out", str(tmp_path / "run"), code=2)
    told = " ".join(capsys.readouterr().err.split())
    assert all(phrase in told for phrase in phrases), told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_all_faults_of_a_file_come_at_once(tmp_path, folder_of, capsys):
    wrong = [ask('"answers": [{"text": "snow", "answer_start": 0}]', id=f"w{n}") for n in range(3)]
    (tmp_path / "a.json").write_text(doc(GOOD, *wrong))
    run("train", str(tmp_path / "a.json"), f"base={folder_of('bert')}", code=2)
    told = capsys.readouterr().err
    assert all(f"a.json:{line}" in told for line in (3, 4, 5))


@pytest.mark.parametrize(
    ("setting", "phrase"),
    [
        ("text.cut=left", "text.cut"),
        ("model.pooling=mean", "model.pooling"),
        ("data.columns.label=id", "data.columns.label"),
        ("data.columns.group=titel", "no column 'titel'"),
        ('evaluate.scorers=["accuracy"]', "is no scorer of question-answering"),
        ("text.answer_tokens=-1", "text.answer_tokens"),
    ],
)
def test_a_setting_that_cannot_be_is_told(setting, phrase, folder, folder_of, capsys):
    words = ("data.task=question-answering", f"base={folder_of('bert')}", setting)
    run("plan", str(folder / "train.json"), *words, code=2)
    assert phrase in " ".join(capsys.readouterr().err.split())


def test_the_example_trains_on_a_small_slice(tmp_path, folder_of):
    document = json.loads((EXAMPLE / "train.json").read_text())
    for article in document["data"]:
        article["paragraphs"] = article["paragraphs"][:6]
    (tmp_path / "slice.json").write_text(json.dumps(document))
    words = ("data.columns.group=title", "data.dev=0.5", f"base={folder_of('bert')}", *FAST)
    out = tmp_path / "run"
    run("train", str(tmp_path / "slice.json"), *words, "train.epochs=1", "--out", str(out))
    rows = read_json(out / "report" / "report.json")["data"]["rows"]
    assert sum(rows.values()) == 4 * 6 * 4 + 4 * 3
    assert min(rows.values()) > 0


def test_the_example_is_sound(folder_of, capsys):
    run("check", str(EXAMPLE / "run.toml"), "--json")
    found = json.loads(capsys.readouterr().out)
    assert not [f for f in found["findings"] if f["severity"] != "note"]
    run("plan", str(EXAMPLE / "train.json"), f"base={folder_of('bert')}", "--quiet")
    assert (EXAMPLE / "README.md").read_text().count("tenon ") >= 4
