"""Composing trained runs: written, loaded, evaluated against the parents, or refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel

from runs import project, table
from tenon.adapters import pack
from tenon.adapters.blend import ComposeSettings
from tenon.adapters.composition import Average, Stack
from tenon.cli import main
from tenon.core.errors import AdapterError, DataError, FileError, PlanError, RequestError
from tenon.evaluate.answerer import open_answerer
from tenon.verbs.compose import compose, load_composition, read_settings
from tenon.verbs.eval import evaluate
from tenon.verbs.train import train

TEXTS = ["it is of the old dog", "best good my day", "the worst bad fox river"]
BOTTLENECK = {"kind": "bottleneck.v1", "preset": "pfeiffer", "reduction": 4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, folder_of):
    """Four runs on one base: two LoRAs, a bottleneck, and one with other labels; one elsewhere."""
    root = tmp_path_factory.mktemp("runs")
    base = folder_of("bert")
    lora = {"kind": "lora.v1", "rank": 3, "alpha": 9, "rank_stabilized": True}
    made = {
        "a": {},
        "b": {"seed": 11, "adapter": lora},
        "n": {"adapter": BOTTLENECK},
    }
    for name, more in made.items():
        train(project(root / "p", base, train__epochs=2, **more), root / name)
    (root / "q").mkdir()
    for part, rows, seed in (("train", 90, 1), ("test", 30, 2)):
        (root / "q" / f"{part}.csv").write_text(table(rows, seed).replace("glad", "merry"))
    train(project(root / "q", base, train__epochs=1), root / "m")
    train(project(root / "p", folder_of("roberta"), train__epochs=1), root / "r")
    return root


@pytest.fixture
def said(runs):
    """Give a composition over the runs' folders: `average(a, b)` with the folders for the names."""

    def go(form: str, *parts: str) -> str:
        inside = ", ".join(f"{runs / part[0]}{part[1:]}" for part in parts)
        return f"{form}({inside})"

    return go


def scores(answerer, texts=TEXTS) -> np.ndarray:
    return np.array([list(answer.probabilities.values()) for answer in answerer.predict(texts)])


class TestWriting:
    def test_what_is_written_answers_as_the_composition_that_runs(self, said, tmp_path):
        composition = said("average", "a:0.7", "b:0.3")
        made = compose(composition, tmp_path / "ab", ["name=both"])
        assert made.error == 0
        held = open_answerer(made.folder)
        np.testing.assert_allclose(
            scores(held), scores(load_composition(composition)), rtol=1e-5, atol=1e-6
        )
        assert held.manifest.name == "both" and len(held.manifest.probes.logits) > 1

    def test_the_parents_are_named_by_digest(self, runs, said, tmp_path):
        made = compose(said("average", "a:2", "b:1"), tmp_path / "ab")
        parents = pack.read(made.folder).manifest.parents
        expected = [pack.digest(runs / name / "adapter") for name in "ab"]
        assert [parent.digest for parent in parents] == expected
        assert [parent.name for parent in parents] == ["mood-1", "mood-2"]
        assert str(runs) not in (made.folder / "tenon.json").read_text().replace(
            made.manifest.base.name, ""
        )
        card = (made.folder / "README.md").read_text()
        assert "| mood-1 | lora.v1 | 2 |" in card and "`average(mood-1:2, mood-2:1)`" in card

    def test_plain_peft_reads_it(self, said, folder_of, tmp_path):
        composition = said("average", "a:0.5", "b:-0.5")
        folder = compose(
            composition, tmp_path / "ab", ComposeSettings(head=composition_name(said, "a"))
        ).folder
        theirs = PeftModel.from_pretrained(
            AutoModel.from_pretrained(folder_of("bert")), folder
        ).eval()
        head = load_file(folder / "head.safetensors")
        held = open_answerer(folder)
        rows = held.renderer.tokenizer(TEXTS[0], return_tensors="pt")
        with torch.no_grad():
            hidden_TD = theirs(**rows).last_hidden_state[0]
        logits_L = head["weight"] @ hidden_TD.mean(0) + head["bias"]
        np.testing.assert_allclose(
            logits_L.softmax(0).numpy(), scores(held)[0], rtol=1e-4, atol=1e-5
        )

    def test_a_lower_rank_and_its_error(self, said, tmp_path):
        made = compose(said("average", "a:1", "b:1"), tmp_path / "ab", ["rank=2", "method=ties"])
        assert 0 < made.error < 1 and max(made.errors.values()) < 1
        assert pack.read(made.folder).settings.own["rank"] == 2
        assert made.to_json()["error"] == made.error == made.manifest.composed["error"]

    def test_the_very_adapter_at_weight_one(self, runs, said, tmp_path):
        for name in ("b", "n"):
            made = compose(said("average", f"{name}:1"), tmp_path / name)
            before = open_answerer(runs / name / "adapter")
            assert (scores(open_answerer(made.folder)) == scores(before)).all()

    def test_a_composed_adapter_is_composed_again(self, said, tmp_path):
        first = compose(said("average", "a", "b"), tmp_path / "first").folder
        again = compose(f"average({first}:2)", tmp_path / "again")
        assert again.manifest.parents[0].digest == pack.digest(first)


def composition_name(said, name: str) -> str:
    return said("average", name).removeprefix("average(").removesuffix(")")


class TestRunning:
    def test_a_mixture_of_kinds_answers(self, said):
        found = scores(load_composition(said("average", "a:0.5", "n:0.5")))
        assert found.shape == (3, 3) and np.isfinite(found).all()

    def test_an_average_of_one_is_the_adapter(self, runs, said):
        held = open_answerer(runs / "n" / "adapter")
        assert (scores(load_composition(said("average", "n:1"))) == scores(held)).all()

    def test_values_are_taken_as_well_as_text(self, runs, said):
        value = Average({str(runs / "a"): 0.5, str(runs / "n"): 0.5})
        expected = scores(load_composition(said("average", "a", "n")))
        assert (scores(load_composition(value)) == expected).all()

    def test_of_a_stack_the_last_ones_labels_are_answered(self, runs):
        held = load_composition(Stack(str(runs / "a"), str(runs / "m")))
        assert set(held.predict(TEXTS)[0].probabilities) == {"calm", "merry", "sad"}

    def test_parallel_gives_the_answers_of_each(self, runs, said):
        answers = load_composition(said("parallel", "a", "m")).predict(TEXTS)
        assert len(answers) == 3
        for name in ("a", "m"):
            alone = open_answerer(runs / name / "adapter").predict(TEXTS)
            assert [row[str(runs / name)] for row in answers] == alone

    def test_route_gives_each_row_its_own(self, runs, said):
        answers = load_composition(said("route", "a:[0 2]", "n:[1]")).predict(TEXTS)
        for row, name in enumerate("ana"):
            alone = open_answerer(runs / name / "adapter").predict([TEXTS[row]])
            for label, score in alone[0].probabilities.items():
                assert answers[row].probabilities[label] == pytest.approx(score, abs=1e-5)

    @pytest.mark.parametrize(
        ("rows", "told"), [("[0 1]", "gives text 2 to no part"), ("[0-3]", "has row 3; 3 texts")]
    )
    def test_a_route_that_does_not_fit_the_texts(self, rows, told, said):
        with pytest.raises(RequestError, match=told):
            load_composition(said("route", f"a:{rows}")).predict(TEXTS)


class TestEvaluating:
    def test_it_is_paired_with_each_of_its_adapters(self, runs, said, tmp_path):
        data = str(runs / "p" / "test.csv")
        report = evaluate(said("average", "a:0.5", "n:0.5"), data, tmp_path / "report")
        assert set(report.paired) == set(report.baselines) == {"mood-1", "mood-2"}
        for label, name in (("mood-1", "a"), ("mood-2", "n")):
            alone = evaluate(runs / name, data).metrics["test"]["accuracy"]
            assert report.baselines[label]["accuracy"] == alone
        assert (tmp_path / "report" / "report.json").is_file()
        assert report.command.startswith("tenon eval 'average(")
        assert "mood" in report.verdict

    def test_rows_that_a_parent_learned_from_are_told(self, runs, said):
        notes = evaluate(said("average", "a", "b"), runs / "p" / "train.csv").notes
        assert sum("learned from, so scores flatter" in note for note in notes) == 2

    def test_what_has_other_labels_is_not_compared(self, runs, said):
        report = evaluate(said("stack", "m", "a"), runs / "p" / "test.csv")
        assert set(report.baselines) == {"mood-2"}
        assert any("mood-1 is not compared" in note for note in report.notes)

    def test_the_head_of_a_named_one(self, runs, said):
        data = runs / "p" / "test.csv"
        report = evaluate(said("average", "a", "m"), data, head=str(runs / "a"))
        assert report.metrics["test"]["accuracy"].n == 30


WRONG = {
    "unknown name": (("average", "a:1", "zz:1"), FileError, "no such folder"),
    "other base": (("average", "a:1", "r:1"), AdapterError, "was trained on base"),
    "other labels": (("average", "a:1", "m:1"), AdapterError, "has other labels"),
    "weight": (("average", "a:x"), PlanError, "expected a weight"),
    "nested route": (("stack", "a", "b, route(c:[1])"), PlanError, "route cannot stand in it"),
    "empty": (("average",), PlanError, "is empty"),
    "duplicate": (("average", "a:1", "a:2"), PlanError, "stands twice"),
    "same folder": (("average", "a:1", "a/adapter:2"), PlanError, "are one adapter"),
    "fuse of one": (("fuse", "a"), PlanError, "fuse: has one part"),
    "stack of the same": (("stack", "a", "a"), PlanError, "stands twice"),
    "not closed": (("average", "a:1", "b:1, ("), PlanError, "expected the name"),
}


@pytest.mark.parametrize("case", WRONG, ids=[name.replace(" ", "-") for name in WRONG])
def test_a_wrong_composition_is_refused_wherever_it_is_given(case, said, runs, tmp_path):
    parts, error, told = WRONG[case]
    composition = said(parts[0], *parts[1:])
    for go in (
        lambda: compose(composition, tmp_path / "out"),
        lambda: load_composition(composition),
        lambda: evaluate(composition, runs / "p" / "test.csv"),
    ):
        with pytest.raises(error, match=told):
            go()
    assert not (tmp_path / "out").exists()


class TestRefusals:
    def test_a_bottleneck_is_no_part_of_one_adapter(self, said, tmp_path):
        with pytest.raises(AdapterError, match=r"does not add one matrix .*tenon eval 'average"):
            compose(said("average", "a:1", "n:1"), tmp_path / "out")

    def test_a_rank_above(self, said, tmp_path):
        with pytest.raises(PlanError, match="rank = 9: the sum is exact with 5"):
            compose(said("average", "a:1", "b:1"), tmp_path / "out", ["rank=9"])

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            (["methd=ties"], "methd is not a setting of compose; did you mean method"),
            (["rank=0"], "rank = 0: Input should be greater"),
            (["method=slerp"], "method = 'slerp': Input should be 'linear'"),
            (["density=2", "seed=x"], "(?s)density = 2.*seed = 'x'"),
        ],
    )
    def test_settings(self, settings, told):
        with pytest.raises(PlanError, match=told):
            read_settings(settings)

    def test_a_name_that_looks_like_a_number_is_a_name(self):
        assert read_settings(["head=1", "rank=2"]) == ComposeSettings(head="1", rank=2)

    def test_what_has_no_one_score(self, said, runs):
        for composition in (said("parallel", "a", "b"), said("route", "a:[0]")):
            with pytest.raises(PlanError, match="has no one score"):
                evaluate(composition, runs / "p" / "test.csv")

    def test_rows_have_to_be_named(self, said):
        with pytest.raises(DataError, match="is in no run; name the rows: tenon eval 'average"):
            evaluate(said("average", "a", "b"))

    def test_a_fusion_has_to_be_learned(self, said, runs):
        with pytest.raises(AdapterError, match="its attention is learned first"):
            evaluate(said("fuse", "a", "b"), runs / "p" / "test.csv")

    def test_a_head_for_an_adapter_alone(self, runs):
        with pytest.raises(PlanError, match="--head a: has no effect on an adapter alone"):
            evaluate(runs / "a", head="a")

    def test_a_place_within_a_run(self, said, runs, tmp_path):
        with pytest.raises(FileError, match="belongs to the run|lies in an adapter"):
            compose(said("average", "a", "b"), runs / "a" / "adapter" / "x")

    def test_a_trained_adapter_is_not_written_over(self, said, runs, tmp_path):
        shutil.copytree(runs / "n" / "adapter", tmp_path / "n")
        before = pack.digest(tmp_path / "n")
        with pytest.raises(FileError, match="n: holds an adapter that was trained"):
            compose(said("average", "a", "b"), tmp_path / "n")
        assert pack.digest(tmp_path / "n") == before
        compose(said("average", "a", "b"), tmp_path / "x", ["name=first"])
        again = compose(said("average", "a", "b"), tmp_path / "x", ["name=second"])
        assert pack.read(again.folder).name == "second"

    def test_another_base_at_hand(self, said, folder_of, tmp_path):
        for go in (
            lambda: compose(
                said("average", "a", "b"), tmp_path / "x", base=str(folder_of("roberta"))
            ),
            lambda: load_composition(said("average", "a", "b"), str(folder_of("roberta"))),
        ):
            with pytest.raises(AdapterError, match="was trained on base"):
                go()


def command(capsys, *arguments: str) -> tuple[int, str, str]:
    """Run a command line in this process; give its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    return ended.value.code, told.out, " ".join(told.err.split())


def test_the_command(said, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    composition = said("average", "a:0.7", "b:0.3")
    folder, data = str(tmp_path / "ab"), str(runs / "p" / "test.csv")
    code, out, err = command(capsys, "compose", composition, "rank=2", "--out", folder)
    assert code == 0, err
    assert "average(mood-1:0.7, mood-2:0.3)" in out and "cutting to rank 2 took" in out
    _, out, _ = command(capsys, "compose", composition, "--out", folder, "--json")
    assert json.loads(out)["parents"][1]["weight"] == 0.3
    code, out, err = command(capsys, "eval", composition, data)
    assert code == 0 and "mood-1" in out, err
    code, out, err = command(capsys, "compose", "average(", "--out", str(tmp_path / "no"))
    assert code == 2 and "character 9" in err
    _, out, _ = command(capsys, "show", folder)
    assert "average(mood-1:0.7, mood-2:0.3)" in out
