"""Train: from a plan to a run folder that is whole at every moment, and nobody else's."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from attached import TABLES
from disk import mode, names, small_disk, umask
from runs import equal, log, plan, project, table
from tenon.adapters import pack
from tenon.core import files
from tenon.core.errors import DataError, FileError, PlanError, RunError
from tenon.evaluate import baselines
from tenon.evaluate.report import Report
from tenon.plan.plan import Plan
from tenon.train import checkpoint
from tenon.verbs.train import train
from tenon.verbs.workspace import open_workspace

LEFT = {
    ".lock",
    "adapter",
    "baselines.safetensors",
    "inputs.json",
    "plan.json",
    "preflight.json",
    "report",
    "steps.jsonl",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, folder_of):
    """A project with one run that has ended; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("project")
    settled = project(folder, folder_of("bert"))
    return settled, train(settled, folder / "run")


@pytest.fixture
def copied(made, tmp_path):
    """A copy of that project: its plan and its run folder."""
    before, run = made
    shutil.copytree(run.out.parent, tmp_path / "project")
    return project(tmp_path / "project", before.base), tmp_path / "project" / "run"


def adapter_of(run) -> dict[str, torch.Tensor]:
    return {
        f"{name}:{key}": tensor
        for name in ("adapter_model.safetensors", "head.safetensors")
        for key, tensor in load_file(run / "adapter" / name).items()
    }


class Told:
    def __init__(self):
        self.stages = []

    def start(self, what, total, *, done=0):
        self.stages.append(what)

    def advance(self, n, **fields):
        pass


class TestTheRun:
    def test_its_folder_holds_what_the_design_says(self, made):
        _, run = made
        steps = {path.name for path in run.out.glob("step-*")}
        assert names(run.out) == LEFT | steps
        assert len(steps) in (2, 3)
        assert names(run.out / "report") == {
            "predictions.jsonl", "report.html", "report.json", "scores.safetensors",
        }  # fmt: skip
        assert run.adapter == run.out / "adapter"

    def test_the_report_is_the_file(self, made):
        _, run = made
        assert Report.from_json(files.read_json(run.out / "report" / "report.json")) == run.report
        assert set(run.report.metrics) == {"dev", "test"}
        assert set(run.report.baselines) == {"majority", "linear_probe"}
        assert run.report.cost["steps"] == sum("loss" in entry for entry in log(run.out))
        assert run.report.cost["seconds"] > 0
        assert run.report.data["rows"] == {"train": 64, "dev": 26, "test": 30}

    def test_the_plan_is_settled(self, made):
        given, run = made
        settled = Plan.read(run.out / "plan.json")
        assert settled.digest != given.digest
        assert settled.train.learning_rate > 0
        assert settled.model.pooling == "mean"
        assert settled.origins["train.learning_rate"] == "measured"
        assert settled.origins["train.epochs"] == "file"

    def test_the_adapter_is_that_of_the_best_step(self, made):
        _, run = made
        state = checkpoint.newest(run.out)[0]
        best = checkpoint.load(checkpoint.path_of(run.out, state.best.step))
        held = pack.read(run.adapter)
        assert torch.equal(held.head["weight"], best.weights["head.linear.weight"])
        ends = [name for name in best.weights if "lora" in name]
        assert len(ends) == len(held.weights)
        assert held.manifest.report == run.report.summary()
        assert held.manifest.labels == ("calm", "glad", "sad")

    def test_it_is_the_same_every_time(self, made, tmp_path):
        given, run = made
        again = train(given, tmp_path / "again")
        assert equal(adapter_of(again.out), adapter_of(run.out))
        assert again.report.metrics == run.report.metrics
        assert log(again.out) == log(run.out)

    def test_its_files_are_readable_by_whom_the_umask_lets(self, made, tmp_path):
        given, _ = made
        with umask(0o022):
            run = train(given, tmp_path / "run")
        unlike = {
            str(path.relative_to(run.out)): oct(mode(path))
            for path in run.out.rglob("*")
            if path.is_file() and path.name != ".lock" and mode(path) != 0o644
        }
        assert not unlike

    def test_the_same_command_again_reads_the_report(self, made):
        given, run = made
        before = {path: path.stat().st_mtime_ns for path in run.out.rglob("*")}
        told = Told()
        assert train(given, run.out, progress=told).report == run.report
        assert "train" not in told.stages
        after = {path: path.stat().st_mtime_ns for path in run.out.rglob("*")}
        assert {p for p in before if after[p] != before[p]} <= {run.out / ".lock", run.out}

    def test_a_run_killed_before_its_report_was_written_ends_as_the_whole_one(self, copied, made):
        given, run = copied
        shutil.rmtree(run / "report")
        shutil.rmtree(run / "adapter")
        again = train(given, run)
        assert again.report.metrics == made[1].report.metrics
        assert equal(adapter_of(run), adapter_of(made[1].out))

    def test_the_command_of_the_report_gives_the_run(self, made, tmp_path, monkeypatch):
        from tenon.verbs.target import order

        _, run = made
        words = run.report.command.split()
        assert words[:2] == ["tenon", "train"]
        wanted = order(words[2], [], tmp_path / "again")
        (plan,) = wanted.plans
        assert plan.digest == Plan.read(run.out / "plan.json").digest
        again = train(plan, wanted.out)
        assert equal(adapter_of(again.out), adapter_of(run.out))

    def test_settings_beside_a_plan_json_are_refused(self, made):
        from tenon.verbs.target import order, planned

        path = str(made[1].out / "plan.json")
        for call in (lambda: order(path, ["train.epochs=9"], None), lambda: planned(path, ["a=1"])):
            with pytest.raises(PlanError, match=r"plan\.json: .*settled.*run\.toml"):
                call()

    def test_moving_the_project_moves_the_run(self, made, tmp_path, folder_of):
        _, run = made
        shutil.copytree(run.out.parent, tmp_path / "elsewhere")
        moved = project(tmp_path / "elsewhere", folder_of("bert"))
        assert train(moved, tmp_path / "elsewhere" / "run").report == run.report
        fresh = train(moved, tmp_path / "elsewhere" / "fresh")
        lines = (fresh.out / "report" / "predictions.jsonl").read_text().splitlines()
        origins = [json.loads(line)["origin"] for line in lines]
        assert len(origins) == 30
        assert not [origin for origin in origins if str(run.out.parent) in origin]


class TestParts:
    def test_without_dev_the_last_step_is_the_result(self, tmp_path, folder_of):
        given = project(tmp_path, folder_of("bert"), data__dev="", train__epochs=2)
        run = train(given, tmp_path / "run")
        assert set(run.report.metrics) == {"test"}
        last, _ = checkpoint.newest(run.out)
        assert last.best is None
        assert torch.equal(
            pack.read(run.adapter).head["weight"], last.weights["head.linear.weight"]
        )

    def test_without_test_dev_is_reported_and_the_report_says_that_it_flatters(
        self, tmp_path, folder_of
    ):
        run = train(project(tmp_path, folder_of("bert"), data__test=""), tmp_path / "run")
        assert run.report.part == "dev"
        assert set(run.report.metrics) == {"dev"}
        assert any("no test part" in note for note in run.report.notes)

    def test_with_neither_nothing_is_trained(self, tmp_path, folder_of):
        given = project(tmp_path, folder_of("bert"), data__dev="", data__test="")
        with pytest.raises(PlanError, match=r"data\.dev.*data\.test.*nothing to judge"):
            train(given, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_rows_of_dev_in_a_file(self, tmp_path, folder_of):
        (tmp_path / "dev.csv").write_text(table(12, seed=3))
        given = project(tmp_path, folder_of("bert"), data__dev="dev.csv", train__epochs=1)
        assert train(given, tmp_path / "run").report.data["rows"]["dev"] == 12

    def test_rows_that_are_cut_are_counted(self, tmp_path, folder_of):
        given = project(tmp_path, folder_of("bert"), text__max_tokens=10, train__epochs=1)
        report = train(given, tmp_path / "run").report
        assert report.data["rows_cut"]["train"] == 64
        cut = report.data["tokens_cut"]["test"]
        assert f"30 of 30 rows of test were cut to 10 tokens; {cut} tokens were lost" in (
            report.notes
        )

    @pytest.mark.parametrize(("arch", "limit"), [("bert", 64), ("roberta", 62)])
    def test_the_base_says_how_long_a_row_may_be(self, tmp_path, folder_of, arch, limit):
        space = open_workspace(project(tmp_path, folder_of(arch)))
        assert space.plan.text.max_tokens == limit
        assert space.plan.origins["text.max_tokens"] == "measured"


class TestSettings:
    @pytest.mark.parametrize("which", TABLES)
    def test_every_kind_and_preset(self, tmp_path, folder_of, which):
        adapter = TABLES[which]
        given = project(tmp_path, folder_of("bert"), adapter=adapter, train__epochs=1)
        run = train(given, tmp_path / "run")
        assert pack.read(run.adapter).kind == adapter["kind"]
        assert 0 < run.report.cost["trainable_parameters"] < run.report.cost["base_parameters"]

    @pytest.mark.parametrize(
        ("arch", "pooling"),
        [("bert", "cls"), ("bert", "pooler"), ("roberta", "last"), ("llama", "mean")],
    )
    def test_pooling(self, tmp_path, folder_of, arch, pooling):
        given = project(tmp_path, folder_of(arch), train__epochs=1, model__device="cpu")
        given = given.decided({"model.pooling": pooling}, "override")
        run = train(given, tmp_path / "run")
        assert pack.read(run.adapter).manifest.pooling.mode == pooling
        assert any(note.startswith(f"pooling is {pooling}: ") for note in run.report.notes)

    @pytest.mark.parametrize("arch", ["llama", "gpt2", "t5", "qwen3"])
    def test_other_architectures(self, tmp_path, folder_of, arch):
        given = project(tmp_path, folder_of(arch), train__epochs=1)
        run = train(given, tmp_path / "run")
        held = pack.read(run.adapter)
        decoder = arch != "t5"
        assert held.manifest.pooling.mode == ("last" if decoder else "mean")
        assert bool(held.head["bias"].any()) != decoder

    def test_a_head_that_starts_at_random_learns_from_there(self, tmp_path, folder_of):
        losses = {}
        for start in ("probe", "random"):
            given = project(tmp_path, folder_of("bert"), train__epochs=1, train__head_start=start)
            run = train(given, tmp_path / start)
            losses[start] = log(run.out)[0]["loss"]
            assert "linear_probe" in run.report.baselines
        assert losses["random"] == pytest.approx(1.0986, abs=0.3), "chance, in nats, of 3 labels"
        assert losses["probe"] < losses["random"]

    def test_the_trunks_own_dropout(self, tmp_path, folder_of):
        losses = []
        for on in (False, True):
            given = project(tmp_path, folder_of("bert"), train__epochs=1)
            given = given.decided({"model.trunk_dropout": on}, "override")
            losses.append(log(train(given, tmp_path / str(on)).out)[0]["loss"])
        assert losses[0] != losses[1]

    def test_tensorboard(self, tmp_path, folder_of):
        pytest.importorskip("tensorboard")
        trackers = ["tensorboard"]
        given = project(tmp_path, folder_of("bert"), train__epochs=1, train__trackers=trackers)
        run = train(given, tmp_path / "run")
        assert list((run.out / "tensorboard").glob("events*"))
        again = train(given, tmp_path / "run", resume="never")
        assert len(list((again.out / "tensorboard").glob("events*"))) == 1

    def test_against_one_baseline(self, tmp_path, folder_of):
        against = ["majority"]
        given = project(tmp_path, folder_of("bert"), train__epochs=1, evaluate__against=against)
        assert set(train(given, tmp_path / "run").report.baselines) == {"majority"}

    def test_early_stopping_is_told(self, tmp_path, folder_of):
        given = project(
            tmp_path,
            folder_of("bert"),
            train__epochs=40,
            train__patience=1,
            train__evaluate_every=1,
        )
        run = train(given, tmp_path / "run")
        assert any(note.startswith("stopped at step ") for note in run.report.notes)
        assert run.report.cost["steps"] < 40


class TestRefusals:
    def test_a_folder_of_somebody_else_is_untouched(self, made, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("years of work")
        for resume in ("auto", "never"):
            with pytest.raises(RunError, match="mine: holds files that no run left there"):
                train(made[0], tmp_path / "mine", resume=resume)
        assert names(tmp_path / "mine") == {"thesis.tex"}

    def test_a_file_is_no_folder(self, made, tmp_path):
        (tmp_path / "out").write_text("")
        with pytest.raises(RunError, match="out: is a file"):
            train(made[0], tmp_path / "out")
        with pytest.raises(FileError, match="out.*cannot be written"):
            train(made[0], tmp_path / "out" / "run")

    def test_an_empty_folder_may_be_taken(self, made, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / ".plan.json.01234567.part").write_text("{")
        (tmp_path / "run" / ".lock").write_text("")
        train(made[0], tmp_path / "run")
        assert not [path for path in (tmp_path / "run").iterdir() if files.is_beside(path)]

    def test_another_plan_is_refused_with_what_differs(self, copied):
        given, run = copied
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        other = project(run.parent, given.base, train__epochs=4, seed=8)
        with pytest.raises(RunError) as refused:
            train(other, run)
        told = str(refused.value)
        assert "holds a run of another plan" in told
        assert "(seed was 7, is 8; train.epochs was 3, is 4)" in told
        assert "--resume never" in told
        assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before

    def test_a_run_that_took_no_step_gives_way_to_another_plan(self, tmp_path, folder_of):
        out, base = tmp_path / "run", folder_of("bert")
        wrong = project(tmp_path, base, adapter={"kind": "lora.v1", "sites": ["attention.exit"]})
        with pytest.raises(PlanError, match=r"attention\.exit is no site"):
            train(wrong, out)
        right = project(tmp_path, base, train__epochs=1)
        assert train(right, out).report.cost["steps"]
        assert Plan.read(out / "plan.json").adapter.sites == right.adapter.sites
        with pytest.raises(RunError, match="holds a run of another plan"):
            train(wrong, out)

    def test_many_differences_are_counted(self, copied):
        given, run = copied
        other = given.decided(
            {f"train.{name}": 0.25 for name in ("warmup", "weight_decay", "clip")}
            | {"train.epochs": 9, "seed": 8},
            "override",
        )
        with pytest.raises(RunError, match=r"train\.warmup was 0\.1, is 0\.25.* and 2 more\)"):
            train(other, run)

    def test_start_anew_leaves_nothing_of_the_run_before(self, copied):
        given, run = copied
        (run / "notes.txt").write_text("mine")
        (run / "adapter" / "extra").write_text("")
        other = project(run.parent, given.base, train__epochs=1)
        again = train(other, run, resume="never")
        assert Plan.read(run / "plan.json").train.epochs == 1
        assert [entry["step"] for entry in log(run) if "loss" in entry] == list(
            range(again.report.cost["steps"])
        )
        assert (run / "notes.txt").read_text() == "mine"
        assert not (run / "adapter" / "extra").exists()

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_data_that_changed_under_a_run_are_refused(self, copied, part):
        given, run = copied
        path = run.parent / f"{part}.csv"
        lines = path.read_text().splitlines()
        lines[3] = lines[3].replace(",sad", ",glad").replace(",calm", ",sad")
        lines[5] = "a " + lines[5]
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(RunError, match=r"the data have changed since.*--resume never"):
            train(given, run)
        assert train(given, run, resume="never").report

    def test_a_base_that_changed_under_a_run_is_refused(self, copied, folder_of, tmp_path):
        from safetensors.torch import save_file

        base = tmp_path / "base"
        shutil.copytree(folder_of("bert"), base)
        given = project(tmp_path / "p", base, train__epochs=1)
        train(given, tmp_path / "p" / "run")
        tensors = load_file(base / "model.safetensors")
        tensors["embeddings.word_embeddings.weight"][7, 0] += 1e-3
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(RunError, match="the base has changed since"):
            train(given, tmp_path / "p" / "run")

    def test_a_second_process_is_refused(self, copied):
        given, run = copied
        shutil.rmtree(run / "report")
        with files.locked(run / ".lock"), pytest.raises(RunError, match="another process is writ"):
            train(given, run)
        assert not (run / "report").exists()

    def test_a_plan_json_that_was_changed_by_hand(self, copied):
        given, run = copied
        value = files.read_json(run / "plan.json")
        value["seed"] = 99
        (run / "plan.json").write_text(json.dumps(value))
        with pytest.raises(PlanError, match="changed by hand"):
            train(given, run)
        assert train(given, run, resume="never").report

    def test_all_checkpoints_damaged(self, copied):
        given, run = copied
        shutil.rmtree(run / "report")
        for path in run.glob("step-*/weights.safetensors"):
            path.write_bytes(b"")
        with pytest.raises(RunError, match="no checkpoint is whole; start anew"):
            train(given, run)

    def test_the_newest_damaged_is_told_in_the_report(self, copied, made):
        given, run = copied
        shutil.rmtree(run / "report")
        newest = max(run.glob("step-*"))
        (newest / "state.json").write_bytes(b"\xff")
        again = train(given, run)
        assert any("passed over a damaged checkpoint" in note for note in again.report.notes)
        assert any(newest.name in note for note in again.report.notes)
        assert again.report.metrics == made[1].report.metrics
        assert equal(adapter_of(run), adapter_of(made[1].out))

    @pytest.mark.parametrize("place", [20, -1])
    def test_baselines_that_changed_are_refused(self, copied, place):
        given, run = copied
        shutil.rmtree(run / "report")
        path = run / baselines.NAME
        damaged = bytearray(path.read_bytes())
        damaged[place] ^= 1
        path.write_bytes(damaged)
        told = r"baselines\.safetensors: .*(remove it|--resume never)"
        with pytest.raises(FileError, match=told):
            train(given, run)
        path.unlink()
        assert train(given, run).report

    def test_a_huge_rate_is_refused_with_a_remedy(self, tmp_path, folder_of):
        given = project(
            tmp_path,
            folder_of("bert"),
            train__learning_rate=1e6,
            train__head_learning_rate=1e6,
            train__epochs=9,
            train__clip=1e30,
        )
        with pytest.raises(RunError, match=r"not finite.*ower train\.learning_rate"):
            train(given, tmp_path / "run")
        assert not (tmp_path / "run" / "adapter").exists()

    def test_a_base_that_is_not_finite_is_refused_before_anything_is_written(
        self, tmp_path, folder_of
    ):
        from safetensors.torch import save_file

        base = tmp_path / "base"
        shutil.copytree(folder_of("bert"), base)
        tensors = load_file(base / "model.safetensors")
        tensors["encoder.layer.1.output.dense.bias"][3] = float("nan")
        save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(FileError, match="base .*not finite"):
            train(project(tmp_path, base), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_data_that_cannot_be_used_leave_no_folder(self, tmp_path, folder_of):
        (tmp_path / "train.csv").write_text("text,label\na,1\nb\n")
        given = project(tmp_path, folder_of("bert"))
        with pytest.raises(DataError, match=r"train\.csv:3"):
            train(given, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_full_disk_during_a_save_then_the_same_command_goes_on(self, made, tmp_path):
        given, whole = made
        size = (max(whole.out.glob("step-*")) / "optimizer.safetensors").stat().st_size
        assert size > (whole.out / "baselines.safetensors").stat().st_size
        with small_disk(size - 1), pytest.raises(FileError, match="free some space"):
            train(given, tmp_path / "run")
        assert checkpoint.newest(tmp_path / "run") == (None, [])
        assert equal(adapter_of(train(given, tmp_path / "run").out), adapter_of(whole.out))

    def test_a_full_disk_while_the_report_is_written(self, made, copied):
        given, run = copied
        for name in ("report", "adapter"):
            shutil.rmtree(run / name)
        size = (made[1].out / "report" / "report.html").stat().st_size
        with small_disk(size - 1), pytest.raises(FileError, match="report.*free some space"):
            train(given, run)
        assert not (run / "report").exists()
        assert equal(adapter_of(train(given, run).out), adapter_of(made[1].out))

    def test_a_full_disk_while_the_baselines_are_written(self, made, tmp_path):
        with small_disk(1500), pytest.raises(FileError, match="free some space"):
            train(made[0], tmp_path / "run")
        assert not (tmp_path / "run" / baselines.NAME).exists()


class TestTheCache:
    def test_tokens_are_made_once(self, tmp_path, folder_of, monkeypatch):
        monkeypatch.setenv("TENON_CACHE", str(tmp_path / "cache"))
        given = project(tmp_path, folder_of("bert"))
        first, second = Told(), Told()
        tokens = open_workspace(given, first).tokens
        again = open_workspace(given, second).tokens
        assert [stage for stage in first.stages if stage.startswith("tokens of ")] == [
            f"tokens of {part}" for part in ("train", "dev", "test")
        ]
        assert not [stage for stage in second.stages if stage.startswith("tokens of ")]
        assert all(again[part].table.equals(tokens[part].table) for part in tokens)

    @pytest.mark.parametrize(
        "more", [{"seed": 8}, {"text__max_tokens": 9}, {"text__max_tokens": 9, "text__cut": "left"}]
    )
    def test_what_decides_them_makes_them_again(self, tmp_path, folder_of, monkeypatch, more):
        monkeypatch.setenv("TENON_CACHE", str(tmp_path / "cache"))
        open_workspace(project(tmp_path, folder_of("bert"), text__max_tokens=8))
        told = Told()
        open_workspace(project(tmp_path, folder_of("bert"), **more), told)
        assert "tokens of train" in told.stages

    def test_a_damaged_file_is_named(self, tmp_path, folder_of, monkeypatch):
        monkeypatch.setenv("TENON_CACHE", str(tmp_path / "cache"))
        given = project(tmp_path, folder_of("bert"))
        open_workspace(given)
        for path in (tmp_path / "cache" / "tokens").iterdir():
            path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(FileError, match="token file.*remove it and run again"):
            open_workspace(given)


def test_no_example_is_in_two_parts(tmp_path, folder_of):
    """L14, from the files to the tokens that are trained on; sources that overlap included."""
    rows = table(60, seed=1).splitlines()
    (tmp_path / "train.csv").write_text("\n".join([*rows, *rows[1:9]]) + "\n")
    other = table(30, seed=2).splitlines()
    (tmp_path / "test.csv").write_text("\n".join([*other, *rows[20:26]]) + "\n")
    space = open_workspace(plan(tmp_path, folder_of("bert"), data__test="test.csv"))
    ids = {part: set(tokens.column("id")) for part, tokens in space.tokens.items()}
    texts = {part: set(tokens.column("text")) for part, tokens in space.tokens.items()}
    assert set(ids) == {"train", "dev", "test"}
    assert all(ids.values())
    for held in (ids, texts):
        assert not held["train"] & held["dev"]
        assert not (held["train"] | held["dev"]) & held["test"]
    assert space.parts.dropped == 6


def test_what_the_probe_saw_of_train_is_said(folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "SAMPLE_ROWS", 20)
    run = train(project(tmp_path / "rows", folder_of("bert")), tmp_path / "rows" / "run")
    count = run.report.data["rows"]["train"]
    assert f"the linear probe saw a sample of 20 of {count} rows of train" in run.report.notes
    words = {"tokens": ["the", "red", "fox", "of", "river"], "tags": ["O", "O", "B-A", "O", "B-B"]}
    rows = [{**words, "tokens": [*words["tokens"][:-1], f"river{row}"]} for row in range(15)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tagging = {"data__task": "token-classification", "data__train": "train.jsonl"}
    found = train(plan(tmp_path, folder_of("bert"), **tagging), tmp_path / "run").report
    count = 5 * found.data["rows"]["train"]
    assert f"the linear probe saw a sample of 20 of {count} words of train" in found.notes
