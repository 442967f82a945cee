"""Text generation by the whole command: train, report, predict, chat; and what is refused."""

from __future__ import annotations

import io
import json
import sys

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

import tenon
from folders import base_folder
from tenon.cli import main
from tenon.core.files import read_json
from writers import CHATML, causal_folder, pairs, write_rows

QUICK = ["train.epochs=3", "evaluate.resamples=200", "train.learning_rate=0.01", "model.device=cpu"]
TALK = [
    {"role": "system", "content": "a"},
    {"role": "user", "content": "red fox"},
    {"role": "assistant", "content": "fox red"},
    {"role": "user", "content": "old dog"},
    {"role": "assistant", "content": "dog old"},
]


def command(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code or 0


def run(capsys, *arguments, code: int = 0) -> str:
    """Run a command; give what it said."""
    ended, told = command(*arguments), capsys.readouterr()
    assert ended == code, told.err
    return told.err if code else told.out


def typed(monkeypatch, text: str | bytes) -> None:
    raw = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with data, bases, and a run of each form."""
    folder = tmp_path_factory.mktemp("project")
    write_rows(folder / "train.jsonl", pairs(80))
    write_rows(folder / "test.jsonl", pairs(30, seed=5))
    talks = [[TALK[0], *TALK[1:3], *TALK[3:]] for _ in range(60)]
    for place, talk in enumerate(talks):
        talk[1] = {**talk[1], "content": pairs(60)[place][0]}
    lines = [json.dumps({"messages": talk}) for talk in talks]
    (folder / "talks.jsonl").write_text("\n".join(lines))
    plain, chat = (causal_folder(folder, "llama", template) for template in ("", CHATML))
    for name, source, base in (("plain", "train", plain), ("chat", "talks", chat)):
        test = [f"data.test={folder / 'test.jsonl'}"] if name == "plain" else []
        words = [folder / f"{source}.jsonl", f"base={base}", *QUICK, *test]
        assert command("train", *words, "--out", folder / name, "--quiet") == 0
    return folder


def test_a_run_ends_with_a_report_against_the_base(project):
    report = read_json(project / "plain" / "report" / "report.json")
    assert list(report["metrics"]["test"]) == [
        "bits_per_byte", "perplexity", "exact_match", "rouge_l", "chrf",
    ]  # fmt: skip
    assert list(report["metrics"]["dev"]) in (["bits_per_byte", "perplexity"], [])
    assert report["outcome"] == "better", "on a base of random weights anything is"
    assert list(report["baselines"]) == ["zero_shot", "few_shot"]
    page = (project / "plain" / "report" / "report.html").read_text()
    assert "reference" in page and "Base alone" in page
    lines = (project / "plain" / "report" / "predictions.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first.keys() >= {"id", "origin", "text", "gold", "answer", "ended", "nats", "tokens"}


def test_the_adapter_is_one_of_transformers(project):
    folder = project / "plain" / "adapter"
    assert not (folder / "head.safetensors").exists()
    assert read_json(folder / "adapter_config.json")["task_type"] == "CAUSAL_LM"
    base = AutoModelForCausalLM.from_pretrained(project / "llama-plain")
    PeftModel.from_pretrained(base, folder)
    card = (folder / "README.md").read_text()
    assert "AutoModelForCausalLM" in card and "## Labels" not in card


def test_eval_gives_the_scores_of_the_run(project, capsys):
    again = json.loads(run(capsys, "eval", project / "plain", "--json"))
    first = read_json(project / "plain" / "report" / "report.json")
    for name, interval in first["metrics"]["test"].items():
        assert again["metrics"]["test"][name] == pytest.approx(interval, rel=1e-5), name
    other = run(capsys, "eval", project / "plain" / "adapter", project / "train.jsonl")
    assert "the adapter learned from" in " ".join(other.split())


def test_predict_answers_files_and_lines(project, capsys, tmp_path, monkeypatch):
    write_rows(tmp_path / "asked.jsonl", pairs(5, seed=9))
    out = tmp_path / "answers.jsonl"
    run(capsys, "predict", project / "plain", tmp_path / "asked.jsonl", "--out", out)
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["text"] for line in answers] == [ask for ask, _ in pairs(5, seed=9)]
    assert all(isinstance(line["answer"], str) for line in answers)
    typed(monkeypatch, f"{pairs(5, seed=9)[0][0]}\n{pairs(5, seed=9)[1][0]}\n")
    lines = [
        json.loads(line) for line in run(capsys, "predict", project / "plain", "-").splitlines()
    ]
    assert [line["answer"] for line in lines] == [line["answer"] for line in answers[:2]]


def test_python_answers_texts(project):
    adapter = tenon.load_adapter(project / "plain")
    first, second = adapter.predict(["red fox", "old dog"])
    assert isinstance(first.text, str) and isinstance(second.ended, bool)
    with pytest.raises(tenon.core.errors.RequestError, match="pairs of texts"):
        adapter.predict([("red", "fox")])


def test_conversations_are_learned_and_answered(project, capsys, tmp_path):
    asked = tmp_path / "asked.jsonl"
    asked.write_text("\n".join(json.dumps({"messages": talk}) for talk in (TALK, TALK[:-1])))
    lines = run(capsys, "predict", project / "chat", asked).splitlines()
    first, second = map(json.loads, lines)
    assert first["answer"] == second["answer"], "an answer that is there already is not looked at"
    assert first["text"].endswith("user: old dog")


def test_chat_remembers_streams_and_leaves_cleanly(project, capsys, monkeypatch):
    typed(monkeypatch, "old dog\n\nred fox\n")
    assert command("chat", project / "chat") == 0
    told = capsys.readouterr()
    assert "is empty; write something" in told.err
    session = tenon.chat(project / "chat")
    pieces: list[str] = []
    heard = session.say("old dog", pieces.append)
    assert "".join(pieces) == heard.adapter.text
    assert (
        told.out.splitlines()[0] == heard.adapter.text.splitlines()[0]
        if heard.adapter.text
        else True
    )
    assert session.remembers and len(session.turns["adapter"]) == 2


def test_chat_shows_the_base_beside_it(project, capsys, monkeypatch):
    typed(monkeypatch, "old dog\n")
    assert command("chat", project / "plain", "--compare") == 0
    told = capsys.readouterr()
    assert "base" in told.out and "adapter" in told.out
    assert "each line is a prompt of its own" in told.err


def test_chat_leaves_on_ctrl_c(project, capsys, monkeypatch):
    def interrupted(prompt=""):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert command("chat", project / "chat") == 0
    assert capsys.readouterr().out == "\n"


def test_a_run_goes_on_where_it_stopped_and_is_claimed(project, capsys):
    again = run(
        capsys, "train", project / "train.jsonl", f"base={project / 'llama-plain'}", *QUICK,
        f"data.test={project / 'test.jsonl'}", "--out", project / "plain",
    )  # fmt: skip
    assert "test" in again


def test_plan_and_check_know_the_task(project, capsys):
    told = run(capsys, "plan", project / "train.jsonl", f"base={project / 'llama-plain'}")
    assert (
        "text-generation" in told and "evaluate.max_new_tokens" in told and "head_start" not in told
    )
    checked = run(capsys, "check", project / "train.jsonl")
    assert "0 errors" in checked


def test_init_writes_a_plan_that_runs(project, capsys, tmp_path):
    out = tmp_path / "run.toml"
    run(capsys, "init", project / "train.jsonl", f"base={project / 'llama-plain'}", "--out", out)
    text = out.read_text()
    assert 'task = "text-generation"' in text.replace("  ", "") and "head_start" not in text
    run(capsys, "plan", out)


GOOD = {"prompt": "red fox", "completion": "fox red"}
LINES = {
    "empty prompt": ({**GOOD, "prompt": ""}, ["rows.jsonl:12", "'prompt' is empty"]),
    "blank completion": ({**GOOD, "completion": "  "}, ["rows.jsonl:12", "'completion' is blank"]),
    "null completion": ({**GOOD, "completion": None}, ["rows.jsonl:12", "'completion' is null"]),
    "no completion": ({"prompt": "a"}, ["rows.jsonl:12", "no column 'completion'"]),
    "number": ({**GOOD, "prompt": 7}, ["rows.jsonl:12", "is a number"]),
    "list": ({**GOOD, "completion": ["a"]}, ["rows.jsonl:12", "list of turns"]),
    "nul": ({**GOOD, "prompt": "a\0b"}, ["rows.jsonl:12", "NUL"]),
    "surrogate": ({**GOOD, "completion": "\ud83d"}, ["rows.jsonl:12", "surrogate"]),
    "long answer": ({**GOOD, "completion": "fox " * 80}, ["rows.jsonl:12", "never cut"]),
}
TALKS = {
    "no list": ("hi", "not a list of turns"),
    "empty list": ([], "is an empty list"),
    "unanswered": (TALK[:2], "add the answer"),
    "two users": ([TALK[1], TALK[1], TALK[2]], "like the one before it"),
    "assistant first": ([TALK[2], TALK[1], TALK[2]], "first to speak"),
    "late system": ([*TALK[1:3], TALK[0], *TALK[3:]], "not the first"),
    "unknown role": ([{**TALK[1], "role": "usr"}, TALK[2]], "no role"),
    "no content": ([{"role": "user"}, TALK[2]], "no content"),
    "tool call": ([TALK[1], {**TALK[2], "tool_calls": [{"a": 1}]}], "a call"),
    "nothing learned": ([TALK[1], {**TALK[2], "weight": 0}], "no turn of the assistant is trained"),
    "image": ([{"role": "user", "content": [{"type": "image_url"}]}, TALK[2]], "no text part"),
    "blank answer": ([TALK[1], {**TALK[2], "content": " "}], "blank"),
}


@pytest.mark.parametrize("which", LINES)
def test_a_row_that_cannot_be_learned_from_stops_the_run_with_its_line(
    which, project, capsys, tmp_path
):
    odd, said = LINES[which]
    lines = [json.dumps({**GOOD, "prompt": f"red fox {n}"}) for n in range(11)] + [json.dumps(odd)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(lines))
    base = f"base={project / 'llama-plain'}"
    more = [*QUICK, "data.dev=0.3"]
    told = run(capsys, "train", rows, base, *more, "--out", tmp_path / "run", code=2)
    assert all(part in told for part in said), told
    assert "Traceback" not in told and not (tmp_path / "run" / "plan.json").exists()


@pytest.mark.parametrize("which", TALKS)
def test_a_conversation_that_cannot_be_learned_from_stops_the_run(which, project, capsys, tmp_path):
    odd, said = TALKS[which]
    talks = [[{**TALK[1], "content": f"red fox {n}"}, TALK[2]] for n in range(11)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"messages": talk}) for talk in [*talks, odd]))
    base = f"base={project / 'llama-chat'}"
    told = run(capsys, "train", rows, base, *QUICK, "--out", tmp_path / "run", code=2)
    assert "rows.jsonl:12" in told and said in told, told


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["train.head_scale=0.3"], "trains no head"),
        (["train.head_start=random"], "trains no head"),
        (["text.cut=left"], "answers are never cut"),
        (["text.instruction=Say"], "where the prompt stands"),
        (["text.instruction={}"], "it is the prompt alone"),
        (["evaluate.extract=last_numbr"], "last_number"),
        (["evaluate.extract=regex:("], "regular expression"),
        (["evaluate.extract=last_number"], "finds nothing in the answer of this row"),
        (["evaluate.extract=strip", 'evaluate.scorers=["chrf"]'], "exact_match is not among"),
        (["evaluate.written_rows=3"], "so few rows"),
        (["evaluate.against=[\"linear_probe\"]"], "no baseline of text-generation"),
        (["train.metric=accuracy"], "no metric that dev has"),
        (["model.pooling=mean"], "reads every token for itself"),
        (["text.max_tokens=6"], "raise the limit"),
        (["text.max_tokens=9000"], "holds at most"),
        (
            ["data.task=text-classification", "data.columns.text=prompt",
             "data.columns.label=completion", "text.instruction=a {}"],
            "writes no answers",
        ),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused(settings, said, project, capsys, tmp_path):
    base = f"base={project / 'llama-plain'}"
    told = run(
        capsys, "train", project / "train.jsonl", base, *settings, "--out", tmp_path / "r", code=2
    )
    assert said in told and "Traceback" not in told, told


def test_a_base_that_cannot_write_is_refused(project, capsys, tmp_path):
    for arch, said in (("bert", "is an encoder"), ("t5", "t5 is an"), ("llama", "lm_head")):
        base = base_folder(tmp_path, arch)
        told = run(
            capsys,
            "train",
            project / "train.jsonl",
            f"base={base}",
            "--out",
            tmp_path / "r",
            code=2,
        )
        assert said in told, told
    told = run(capsys, "train", project / "train.jsonl", "--out", tmp_path / "r", code=2)
    assert "base: is not named" in told and "decoder" in told


def test_questions_that_cannot_be_asked_are_refused(project, capsys, tmp_path, monkeypatch):
    for text, said in ((b"\n", "empty"), (b"\xff\n", "UTF-8"), (b"", "no text")):
        typed(monkeypatch, text)
        assert said in run(capsys, "predict", project / "plain", "-", code=2)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"messages": TALK[:-1]}) + "\n" + json.dumps({"messages": []}))
    assert "rows.jsonl:2" in run(capsys, "predict", project / "chat", rows, code=2)


def test_an_adapter_of_another_sort_does_not_chat(project, capsys, tmp_path):
    assert "no such" in run(capsys, "chat", tmp_path / "none", code=2)


def test_a_changed_template_is_refused(project, capsys, tmp_path, monkeypatch):
    import shutil

    other = tmp_path / "base"
    shutil.copytree(project / "llama-chat", other)
    (other / "chat_template.jinja").write_text(CHATML.replace("assistant ", "bot "))
    typed(monkeypatch, "red fox\n")
    told = run(capsys, "predict", project / "chat", "-", "--base", other, code=2)
    assert "tokenizer is not" in told or "template" in told
