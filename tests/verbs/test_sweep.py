"""A sweep on a tiny base: its trials are ordinary runs, its end is proved, its folder is whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import tenon
from runs import log, table
from tenon.adapters.kind import KINDS
from tenon.core.errors import MissingExtra, Occupied, PlanError, RunError
from tenon.core.files import read_json, write_json
from tenon.evaluate.sweep_page import html as sweep_page
from tenon.evaluate.swept import AS_IT_STANDS, Swept
from tenon.train import checkpoint
from tenon.verbs import search
from tenon.verbs.target import searched
from tenon.verbs.trial import FEWEST_EARLIER, Result, behind
from verbs.test_generation import command, run

PLAN = """\
base = "{base}"
seed = 7

[data]
train = "train.csv"
dev = 0.3
test = "test.csv"

[adapters.mood]
kind = "lora.v1"
rank = 2
dropout = 0.1

[train]
epochs = 2
tokens_per_step = 250

[evaluate]
resamples = 200

[model]
device = "cpu"
"""
OVER = ["learning_rate=log:1e-4..1e0", "head_start=probe,random"]
RATE, START = "train.learning_rate", "train.head_start"


def project(folder: Path, base: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.csv").write_text(table(90, 1))
    (folder / "test.csv").write_text(table(30, 2))
    (folder / "run.toml").write_text(PLAN.format(base=base))
    return folder / "run.toml"


def result(out: Path) -> dict:
    """Give all of a sweep that no clock and no place decides."""
    told = read_json(out / "sweep.json")
    for trial in told["trials"]:
        del trial["seconds"]
    del told["command"]
    runs = sorted([*(out / "trials").iterdir(), *(out / "finals").iterdir(), out / "best"])
    return {
        "told": told,
        "logs": {str(run.relative_to(out)): log(run) for run in runs},
        "adapter": (out / "best" / "adapter" / "adapter_model.safetensors").read_bytes(),
        "predictions": (out / "best" / "report" / "predictions.jsonl").read_bytes(),
    }


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory, folder_of) -> Path:
    return project(tmp_path_factory.mktemp("swept"), folder_of("bert"))


@pytest.fixture(scope="module")
def swept(plan_file):
    """A sweep of nine trials, five of which are measured by others."""
    out = plan_file.parent / "sweep"
    return tenon.sweep(str(plan_file), over=OVER, trials=9, out=out, at_once=5, seeds=2)


def test_a_trial_is_the_run_that_its_plan_gives(swept, plan_file, tmp_path):
    """Bitwise, though the trials share base, rows, tokens and baselines."""
    space = searched(str(plan_file), (), OVER, None).space
    chosen = swept.swept.trials[2]
    assert chosen.state == "complete"
    alone = tenon.train(space.plan(chosen.values), tmp_path / "alone")
    assert log(alone.out) == log(swept.out / "trials" / "2")
    metric = swept.swept.metric
    assert chosen.value == max(e["dev"][metric] for e in log(alone.out) if "dev" in e)


def test_trials_are_given_up_by_the_rule_and_no_other(swept):
    trials = swept.swept.trials
    assert len(trials) == 9
    earlier = [each.curve for each in trials[:5] if each.state == "complete"]
    assert len(earlier) >= FEWEST_EARLIER
    assert all(each.state == "complete" for each in trials[:5]), "none was there to compare with"
    states = set()
    for each in trials[5:]:
        states.add(each.state)
        shares = [share for share, _ in each.curve]
        given_up = behind(each.curve, earlier, lower=False) and shares[-1] < 1
        assert (each.state == "pruned") == given_up
        for place in range(1, len(each.curve)):
            assert not behind(each.curve[:place], earlier, lower=False)
    assert "pruned" in states


def test_only_the_winner_has_answered_test(swept):
    reports = {path.parent.parent for path in swept.out.rglob("report.json")}
    assert reports == {swept.out / "best"}
    assert {path.parent.parent for path in swept.out.rglob("predictions.jsonl")} == reports
    assert set(swept.report.metrics) == {"dev", "test"}


def test_the_winner_is_an_ordinary_run_and_adapter(swept, plan_file, capsys):
    winner = swept.swept.finalists[0]
    space = searched(str(plan_file), (), OVER, None).space
    plan = space.default if winner.number is None else space.plan(winner.values)
    again = tenon.train(plan, swept.out / "best")
    assert again.ended_before
    assert tenon.load_adapter(swept.adapter).predict(["best good day"])[0].label
    assert "Accuracy" in run(capsys, "show", swept.out / "best")


def test_finals_are_of_two_trials_and_the_plan_as_it_stands(swept):
    found = swept.swept.finalists
    assert {each.name for each in found} >= {AS_IT_STANDS}
    assert len(found) == 3
    assert all([seed for seed, _ in each.seeds] == [8, 9] for each in found)
    means = [each.mean for each in found]
    assert means == sorted(means, reverse=True)
    default = next(each for each in found if each.number is None)
    assert default.values == {RATE: 1e-3, START: "probe"}, "as it was settled"
    assert {lead.rival for lead in swept.swept.leads} == {each.name for each in found[1:]}


def test_a_fresh_seed_is_the_same_rows_in_another_order(swept):
    folders = sorted((swept.out / "finals").glob("default-seed-*"))
    inputs = [read_json(folder / "inputs.json") for folder in folders]
    trial = read_json(swept.out / "trials" / "0" / "inputs.json")
    assert [each["data"] for each in inputs] == [trial["data"]] * 2
    first, second = (log(folder) for folder in folders)
    assert [e["loss"] for e in first if "loss" in e] != [e["loss"] for e in second if "loss" in e]


def test_what_nothing_goes_on_from_is_dropped(swept):
    steps = {path.parent.name for path in swept.out.rglob("step-*")}
    assert steps == {"best"}
    assert len(list((swept.out / "shared").iterdir())) == 1, "one probe serves all trials"


def test_the_same_call_finds_it_ended(swept, plan_file):
    before = result(swept.out)
    again = tenon.sweep(str(plan_file), over=OVER, trials=9, out=swept.out, at_once=5, seeds=2)
    assert again.ended_before
    assert again.swept == swept.swept
    assert result(swept.out) == before


def test_its_pages_are_written_anew_in_another_language(swept, plan_file, tmp_path):
    out = tmp_path / "sweep"
    shutil.copytree(swept.out, out)
    given = {"over": OVER, "trials": 9, "out": out, "at_once": 5, "seeds": 2}
    made = tenon.sweep(str(plan_file), lang="zh", **given)
    tenon.show(str(out), html=tmp_path / "shown.html", lang="zh")
    for page in (made.page, out / "best" / "report" / "report.html", tmp_path / "shown.html"):
        told = page.read_text(encoding="utf-8")
        assert 'lang="zh-CN"' in told
        assert '<span lang="en"' not in told
    assert made.swept == swept.swept
    with pytest.raises(PlanError, match="--no-texts has no effect"):
        tenon.show(str(out), html=tmp_path / "shown.html", texts=False)
    with pytest.raises(PlanError, match="en and zh"):
        tenon.sweep(str(plan_file), lang="fr", **given)


def test_the_file_is_read_as_it_was_written(swept):
    assert Swept.from_json(read_json(swept.out / "sweep.json")) == swept.swept
    page = swept.page.read_text(encoding="utf-8")
    assert swept.swept.verdict in page
    assert all(f"trial {each.number}" in page for each in swept.swept.trials)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"trials": 12}, "has ended after 9 trials, and its winner has answered test"),
        ({"over": ["learning_rate=log:1e-4..1e-1", OVER[1]]}, "holds another sweep (over"),
        ({"at_once": 3}, "at_once was 5, is 3"),
        ({"seeds": 5}, "seeds was 2, is 5"),
        ({"arguments": ["train.epochs=3"]}, "its plan has other settings"),
    ],
)
def test_another_sweep_does_not_write_over_it(change, phrase, swept, plan_file):
    given = {"over": OVER, "trials": 9, "out": swept.out, "at_once": 5, "seeds": 2, **change}
    with pytest.raises(Occupied) as error:
        tenon.sweep(str(plan_file), **given)
    assert phrase in str(error.value)


def test_a_folder_of_something_else_is_left_alone(plan_file, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Occupied, match=r"holds notes.txt"):
        tenon.sweep(str(plan_file), over=OVER, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_what_only_has_the_names_of_a_sweep_is_left_alone(resume, plan_file, tmp_path):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "notes.txt").write_text("mine")
    with pytest.raises(Occupied, match=r"holds trials"):
        tenon.sweep(str(plan_file), over=OVER, out=tmp_path, resume=resume)
    assert (tmp_path / "trials" / "notes.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["trials"]


def test_a_sweep_is_shown_once_it_has_ended(swept, tmp_path, capsys):
    assert tenon.show(str(swept.out)) == swept
    assert swept.swept.verdict.split(":")[0] in run(capsys, "show", swept.out)
    out = tmp_path / "sweep"
    interrupted(swept, out, 3)
    with pytest.raises(RunError, match=r"has not ended \(3 trials until now\)"):
        tenon.show(str(out))


def interrupted(swept, out: Path, kept: int, *, part: bool = False) -> None:
    """Make of a sweep that has ended what a kill leaves after `kept` trials.

    Args:
        part: the next trial has begun and has no checkpoint yet.
    """
    shutil.copytree(swept.out, out)
    for name in ("sweep.json", "sweep.html", "finals", "best"):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    study = read_json(out / "study.json")
    batches, count = [], 0
    for batch in study["batches"]:
        if count > kept:
            break
        batches.append(batch)
        count += len(batch)
    write_json(out / "study.json", {**study, "batches": batches})
    for folder in (out / "trials").iterdir():
        number = int(folder.name)
        if number == kept and part:
            (folder / "trial.json").unlink()
        elif number >= kept:
            shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kept", "part"),
    [
        (3, True),
        (5, False),
        pytest.param(0, False, marks=pytest.mark.deep),
        pytest.param(7, True, marks=pytest.mark.deep),
    ],
)
def test_a_sweep_that_goes_on_is_the_one_that_never_stopped(kept, part, swept, plan_file, tmp_path):
    out = tmp_path / "sweep"
    interrupted(swept, out, kept, part=part)
    stamps = {n: (out / "trials" / str(n) / "trial.json").stat().st_mtime_ns for n in range(kept)}
    tenon.sweep(str(plan_file), over=OVER, trials=9, out=out, at_once=5, seeds=2)
    assert result(out) == result(swept.out)
    for number, stamp in stamps.items():
        path = out / "trials" / str(number) / "trial.json"
        assert path.stat().st_mtime_ns == stamp, "a trial that has ended is not repeated"


def test_trials_together_are_what_each_is_alone(swept, plan_file, tmp_path):
    """Up to rounding, which a rate far too high makes large. Both begin with the same values."""
    given = {"over": OVER, "trials": 5, "at_once": 5, "seeds": 0, "prune": False}
    together = tenon.sweep(str(plan_file), out=tmp_path / "s", together=5, **given)
    compared = 0
    for mine, theirs in zip(together.swept.trials, swept.swept.trials[:5], strict=True):
        assert mine.values == theirs.values
        assert mine.steps == theirs.steps
        if mine.values[RATE] > 0.1:
            continue
        compared += 1
        ours = log(together.out / "trials" / str(mine.number))
        others = log(swept.out / "trials" / str(mine.number))
        for one, other in zip(ours, others, strict=True):
            if "loss" in one:
                assert one["loss"] == pytest.approx(other["loss"], rel=2e-3)
    assert compared >= 3
    assert together.swept.outcome == "unproved"
    assert together.swept.leads == []


@pytest.mark.parametrize("together", [1, 3])
def test_a_trial_that_fails_is_told_and_the_others_go_on(together, plan_file, tmp_path):
    """A rate at which every weight overflows."""
    over = ["learning_rate=1e-3,1e-2,1e6"]
    given = ["train.schedule=constant", "train.warmup=0", "train.clip=1e30", "model.dtype=float16"]
    made = tenon.sweep(
        str(plan_file), given, over=over, trials=3, out=tmp_path / "s", at_once=3, seeds=0,
        together=together,
    )  # fmt: skip
    trials = made.swept.trials
    assert [each.state for each in trials] == ["complete", "complete", "failed"]
    assert trials[2].value is None
    assert "Lower train.learning_rate" in trials[2].reason
    assert any(note.startswith("trial 2 failed: ") for note in made.swept.notes)
    assert made.swept.finalists[0].number != 2


@pytest.fixture
def stuck():
    """A kind of a third party whose matrices never move."""
    lora = KINDS.get("lora.v1")
    still = {"lora_A": 0.0, "lora_B": 0.0}
    kind = KINDS.add("stuck.v1", replace(lora, name="stuck.v1", choose_factors=lambda _: still))
    yield kind.name
    del KINDS._entries[kind.name]


def looks(out: Path) -> list[dict]:
    return [read_json(path) for path in sorted(out.glob("shared/*/preflight-*.json"))]


def test_each_structure_is_looked_at_once_and_the_winners_stands_in_its_report(swept):
    assert len(looks(swept.out)) == 2, "nine rates and two starts of the head are two structures"
    assert all(check["passed"] for found in looks(swept.out) for check in found["checks"])
    assert {"gradient", "learning rate"} <= {c["name"] for c in swept.report.preflight["checks"]}


@pytest.mark.parametrize("together", [1, 2])
def test_a_structure_that_does_not_train_is_told_and_the_sweep_goes_on(
    together, stuck, plan_file, tmp_path
):
    over, out = [f"kind=lora.v1,{stuck}", "learning_rate=1e-3,1e-2"], tmp_path / "s"
    given = {"over": over, "trials": 4, "out": out, "seeds": 0, "together": together}
    made = tenon.sweep(str(plan_file), **given)
    kind = "adapters.mood.kind"
    for trial in made.swept.trials:
        assert (trial.state == "failed") == (trial.values[kind] == stuck)
    reasons = {trial.reason for trial in made.swept.trials if trial.state == "failed"}
    assert len(reasons) == 1
    assert reasons.pop().startswith("preflight, gradient: no gradient reaches ")
    assert len(looks(out)) == 2
    page = sweep_page(made.swept, made.report, "zh")
    assert page.count("训练前检查，梯度到达：") == 4
    assert '<span lang="en"' not in page


def test_where_all_fail_the_sweep_does(plan_file, tmp_path):
    given = ["train.warmup=0", "train.clip=1e30", "model.dtype=float16"]
    with pytest.raises(RunError, match="not one of 2 trials came to its end: ") as error:
        tenon.sweep(str(plan_file), given, over=["learning_rate=9e5,1e6"], out=tmp_path / "s")
    assert "Lower train.learning_rate" in str(error.value)
    assert not (tmp_path / "s" / "best").exists()


def test_lists_are_tried_whole(plan_file, tmp_path):
    made = tenon.sweep(
        str(plan_file), ["train.epochs=1"], over=["rank=1,2", "head_start=probe,random"],
        out=tmp_path / "s", seeds=0,
    )  # fmt: skip
    assert len(made.swept.trials) == 4
    assert any("4 trials are all that differ" in note for note in made.swept.notes)
    assert set(made.swept.importance) <= {"adapters.mood.rank", START}


def test_a_trial_that_is_the_plan_as_it_stands_is_no_rival_of_it(plan_file, tmp_path):
    made = tenon.sweep(
        str(plan_file), ["train.epochs=1"], over=["rank=1,2"], out=tmp_path / "s", seeds=2
    )
    found = {each.name: each.values for each in made.swept.finalists}
    ranks = {name: values["adapters.mood.rank"] for name, values in found.items()}
    assert ranks == {"trial 0": 1, AS_IT_STANDS: 2}
    assert len(made.swept.leads) == 1


def test_data_that_change_are_other_trials(swept, folder_of, tmp_path):
    plan_file = project(tmp_path, folder_of("bert"))
    out = tmp_path / "sweep"
    interrupted(swept, out, 3)
    study = read_json(out / "study.json")
    fresh = searched(str(plan_file), (), OVER, None).space
    write_json(out / "study.json", {**study, "digest": fresh.digest})
    (tmp_path / "train.csv").write_text(table(80, 5))
    with pytest.raises(Occupied, match="the data have changed since this sweep began"):
        tenon.sweep(str(plan_file), over=OVER, trials=9, out=out, at_once=5, seeds=2)


def test_without_optuna_nothing_is_begun(plan_file, tmp_path, monkeypatch):
    """A grid asks for nothing until its end, when it would be too late."""
    monkeypatch.setattr(search, "NAME", "absent_package")
    with pytest.raises(MissingExtra, match=r'pip install "tenonlm\[sweep\]"'):
        tenon.sweep(str(plan_file), over=["rank=1,2"], out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ([], "nothing is swept"),
        (["--over", "learning_rte=1..2"], "did you mean train.learning_rate?"),
        (["--over", "rank=2,4", "--trials", "0"], "--trials 0: is too few"),
        (["--over", "rank=2,4", "--at-once", "0"], "--at-once 0: is too few"),
        (["--over", "rank=2,4", "--seeds", "-1"], "--seeds -1: is too few"),
        (["--over", "rank=2,4", "--address", "auto"], "has no effect with --engine local"),
        (["--over", "rank=2,4", 'data.dev=""'], "a sweep compares its trials on dev"),
        (["--over", "rank=2,4", "rank=3"], "rank is not a setting"),
    ],
)
def test_what_cannot_be_swept_is_told(words, phrase, plan_file, tmp_path, capsys):
    said = run(capsys, "sweep", plan_file, *words, "--out", tmp_path / "s", code=2)
    assert phrase in " ".join(said.split())
    assert not (tmp_path / "s" / "study.json").exists()


def test_a_settled_plan_has_nothing_to_sweep(swept, capsys):
    said = run(capsys, "sweep", swept.out / "best" / "plan.json", "--over", "rank=2,4", code=2)
    assert "nothing is left to be swept" in " ".join(said.split())


def test_the_command_tells_and_prints(swept, plan_file, capsys):
    words = ["sweep", plan_file, *(w for each in OVER for w in ("--over", each)), "--trials", "9"]
    words += ["--at-once", "5", "--seeds", "2", "--out", swept.out]
    told = " ".join(run(capsys, *words).split())
    for said in ("had ended before", "Trials", "Fresh seeds", "What mattered", "Settings to take",
                 "sweep.html", "given up"):  # fmt: skip
        assert said in told
    found = json.loads(run(capsys, *words, "--json"))
    assert found["sweep"] == read_json(swept.out / "sweep.json")
    assert found["ended_before"]


def test_it_begins_anew_where_that_is_asked(plan_file, tmp_path):
    given = {"over": ["rank=1,2"], "out": tmp_path / "s", "seeds": 0}
    first = tenon.sweep(str(plan_file), ["train.epochs=1"], **given)
    again = tenon.sweep(str(plan_file), ["train.epochs=2"], resume="never", **given)
    assert not again.ended_before
    assert again.swept.trials[0].steps == 2 * first.swept.trials[0].steps


def test_a_data_file_is_enough(plan_file, folder_of, tmp_path, capsys):
    words = ["sweep", plan_file.parent / "train.csv", f"base={folder_of('bert')}", "--quiet"]
    words += ["train.epochs=1", "evaluate.resamples=200", "--over", "rank=1,2", "--seeds", "0"]
    assert command(*words, "--out", tmp_path / "s") == 0
    assert (tmp_path / "s" / "run.toml").exists()
    assert len(read_json(tmp_path / "s" / "sweep.json")["trials"]) == 2


def test_a_plan_without_dev_is_refused(plan_file, tmp_path):
    with pytest.raises(PlanError, match="compares its trials on dev"):
        tenon.sweep(str(plan_file), ['data.dev=""'], over=["rank=1,2"], out=tmp_path / "s")


def test_a_result_says_what_the_trial_cost(swept):
    for each in swept.swept.trials:
        found = Result.from_json(read_json(swept.out / "trials" / str(each.number) / "trial.json"))
        steps = [entry for entry in log(swept.out / "trials" / str(each.number)) if "loss" in entry]
        assert found.steps == each.steps == len(steps)
        assert found.tokens == sum(entry["tokens"] for entry in steps)
        assert found.parameters > 0
        assert not checkpoint.newest(swept.out / "trials" / str(each.number))[0]
