"""Fusions of trained runs: planned, trained, resumed, asked, refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from bare import told
from runs import project
from sealed import reseal
from tenon.adapters import pack
from tenon.adapters.manifest import Manifest
from tenon.cli import main
from tenon.core.errors import AdapterError, PlanError
from tenon.evaluate.answerer import open_answerer
from tenon.plan.plan import Plan
from tenon.verbs.compose import compose, load_composition
from tenon.verbs.plan import plan as preview
from tenon.verbs.train import train

TEXTS = ["it is of the old dog", "best good my day", "the worst bad fox river"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, folder_of):
    """Two runs on one base, one on another, and the folder of a plan that fuses the two."""
    root = tmp_path_factory.mktemp("runs")
    base = folder_of("bert")
    bottleneck = {"kind": "bottleneck.v1", "preset": "pfeiffer", "reduction": 4}
    train(project(root / "p", base, train__epochs=2), root / "a")
    train(project(root / "p", base, train__epochs=2, adapter=bottleneck), root / "b")
    train(project(root / "p", folder_of("roberta"), train__epochs=1), root / "other")
    return root


def fused(root, base, *names: str, **more) -> Plan:
    own = {"kind": "fusion.v1", "parts": [str(root / name) for name in names], "size": 8}
    return project(root / "p", base, adapter=own, **more)


@pytest.fixture(scope="module")
def mixed(runs, folder_of):
    return train(fused(runs, folder_of("bert"), "a", "b", train__epochs=2), runs / "mix")


def scores(answerer):
    return [list(answer.probabilities.values()) for answer in answerer.predict(TEXTS)]


class TestTrained:
    def test_it_answers_from_its_directory_alone(self, mixed, runs, tmp_path):
        expected = scores(open_answerer(mixed.adapter))
        shutil.copytree(mixed.adapter, tmp_path / "adapter")
        for name in ("a", "b"):
            (runs / name / "adapter").rename(tmp_path / name)
        try:
            assert scores(open_answerer(tmp_path / "adapter")) == expected
        finally:
            for name in ("a", "b"):
                (tmp_path / name).rename(runs / name / "adapter")

    def test_its_parts_are_in_it_as_they_are(self, mixed, runs):
        made, part = pack.read(mixed.adapter), pack.read(runs / "a" / "adapter")
        names = [key for key in made.weights if ".fusion_parts.part_mood." in key]
        assert len(names) == len(part.weights)
        for key, tensor in part.weights.items():
            module, _, rest = key.rpartition(".lora_")
            inner = rest.replace("A.", "A.part.").replace("B.", "B.part.")
            assert torch.equal(
                made.weights[f"{module}.fusion_parts.part_mood.lora_{inner}"], tensor
            )

    def test_the_manifest_says_which_and_not_where(self, mixed, runs):
        told = json.loads((mixed.adapter / "tenon.json").read_text())
        manifest = Manifest.model_validate(told)
        parts = manifest.settings.own["parts"]
        assert [part["digest"] for part in parts] == [
            pack.digest(runs / name / "adapter") for name in ("a", "b")
        ]
        assert [part["settings"]["name"] for part in parts] == ["mood", "mood-2"]
        assert str(runs) not in json.dumps(told["settings"])

    def test_a_run_that_stopped_goes_on_bitwise(self, mixed, runs, folder_of, tmp_path):
        plan = fused(runs, folder_of("bert"), "a", "b", train__epochs=2, train__save_every=1)
        whole = train(plan, tmp_path / "whole")
        shutil.copytree(tmp_path / "whole", tmp_path / "part")
        steps = sorted((tmp_path / "part").glob("step-*"))
        for gone in (steps[-1], tmp_path / "part" / "adapter", tmp_path / "part" / "report"):
            shutil.rmtree(gone)
        again = train(plan, tmp_path / "part")
        first, second = (pack.read(each.adapter).weights for each in (whole, again))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)

    def test_plain_peft_reads_it_where_the_kind_alone_is_imported(self, mixed, runs):
        manifest = json.loads((mixed.adapter / "tenon.json").read_text())
        told(READER, manifest["base"]["name"], str(mixed.adapter))


READER = """
import sys, transformers
import tenon.adapters.fusion
from peft import PeftModel
PeftModel.from_pretrained(transformers.AutoModel.from_pretrained(sys.argv[1]), sys.argv[2])
"""


class TestPlanned:
    def test_places_and_parameters_are_told(self, runs, folder_of):
        seen = preview(str(written(runs, folder_of("bert"), "a", "b")))
        budget = seen.budget
        assert budget.fixed_parameters == sum(
            tensor.numel()
            for name in ("a", "b")
            for tensor in pack.read(runs / name / "adapter").weights.values()
        )
        assert budget.adapter_parameters > 0
        shown = {name: value for name, value, _ in seen.plan.settings()}
        assert shown["adapters.mix.parts"] == [str(runs / n / "adapter") for n in ("a", "b")]

    def test_a_part_that_is_counted_on_weights(self, runs, folder_of):
        own = {"kind": "adamss.v1", "rank": 8, "subspaces": 2}
        train(project(runs / "p", folder_of("bert"), train__epochs=1, adapter=own), runs / "adamss")
        with pytest.raises(PlanError, match="whose size is known on the weights"):
            preview(str(written(runs, folder_of("bert"), "a", "adamss")))

    def test_a_plan_is_the_same_wherever_its_parts_lie(self, runs, folder_of, tmp_path):
        shutil.copytree(runs / "a" / "adapter", tmp_path / "a")
        here = fused(runs, folder_of("bert"), "a", "b")
        own = {"kind": "fusion.v1", "parts": [str(tmp_path / "a"), str(runs / "b")], "size": 8}
        there = project(runs / "p", folder_of("bert"), adapter=own)
        assert here.digest == there.digest

    def test_every_fault_is_told_at_once(self, runs, folder_of, capsys):
        file = written(runs, folder_of("bert"), "nothing", "p")
        with pytest.raises(SystemExit) as ended:
            main(["plan", str(file), "train.epoch=3"])
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert said.count("holds no adapter") == 2 and "did you mean train.epochs?" in said


def written(root, base, *names: str):
    """Write a plan file whose parts are named relative to it."""
    parts = ", ".join(f'"../{name}"' for name in names)
    file = root / "p" / "mix.toml"
    file.write_text(
        f'base = "{base}"\n[data]\ntrain = "train.csv"\ndev = 0.2\ntest = "test.csv"\n'
        f'[adapters.mix]\nkind = "fusion.v1"\nparts = [{parts}]\nsize = 8\n'
    )
    return file


class TestRefused:
    def test_parts_of_another_base(self, runs, folder_of, tmp_path):
        plan = fused(runs, folder_of("bert"), "a", "other")
        with pytest.raises(AdapterError, match="was trained on base"):
            train(plan, tmp_path / "out")

    def test_a_part_that_has_changed_since(self, runs, folder_of, tmp_path):
        plan = fused(runs, folder_of("bert"), "a", "b")
        own = json.loads(json.dumps(plan.adapter.own))
        own["parts"][0]["digest"] = "0" * 64
        adapter = plan.adapter.model_copy(update={"own": own})
        changed = plan.model_copy(update={"adapters": (adapter,)})
        with pytest.raises(AdapterError, match="is not the adapter that this plan was made with"):
            train(changed, tmp_path / "out")

    def test_a_fusion_of_a_fusion(self, mixed, runs, folder_of):
        with pytest.raises(PlanError, match=r"is a fusion.v1 itself; name its parts"):
            fused(runs, folder_of("bert"), "a", "mix")

    def test_a_plan_over_another_base_is_refused_before_it_runs(self, runs, folder_of):
        with pytest.raises(AdapterError, match="was trained on base"):
            preview(str(written(runs, folder_of("bert"), "a", "other")))

    def test_fields_of_a_part_that_its_settings_do_not_have(self, mixed, tmp_path):
        folder = shutil.copytree(mixed.adapter, tmp_path / "adapter")
        config = json.loads((folder / "adapter_config.json").read_text())
        config["part_modules"]["mood.use_rslora"] = config["target_modules"][:1]
        (folder / "adapter_config.json").write_text(json.dumps(config))
        reseal(folder)
        with pytest.raises(AdapterError, match="part_modules"):
            pack.read(folder)

    def test_an_expression_says_how_it_is_trained(self, runs, tmp_path):
        said = f"fuse({runs / 'a'}, {runs / 'b'})"
        for refused in (lambda: load_composition(said), lambda: compose(said, tmp_path / "out")):
            with pytest.raises(AdapterError, match=r'kind = "fusion.v1"'):
                refused()
