"""What an adapter can be written as is known before it is tried, and what is said comes true."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

import writers
from attached import TABLES
from models import classifier, save
from taggers import renderer_of as tag_renderer
from taggers import save as save_tagger
from taggers import tagger
from tenon.cli import main
from tenon.core.errors import AdapterError, PlanError
from tenon.export.target import TARGETS
from tenon.verbs.export import export
from tenon.verbs.exportable import exportable

CASES = ("writer", "bottleneck", "mean", "score", "tags")
YES = {
    "writer": {"gguf", "hub", "lora", "merged", "mlx", "peft", "sglang", "vllm"},
    "bottleneck": {"hub", "onnx", "peft"},
    "mean": {"hub", "lora", "merged", "onnx", "peft"},
    "score": {"hub", "lora", "merged", "onnx", "peft", "vllm"},
    "tags": {"hub", "lora", "merged", "onnx", "peft"},
}


def made(case, folder_of, tmp_path):
    """Write the adapter of a case."""
    if case == "writer":
        folder = writers.causal_folder(tmp_path, "llama")
        return writers.save(writers.writer(folder, shaken=True), folder, tmp_path / "mood")
    if case == "tags":
        folder = folder_of("bert")
        return save_tagger(tagger(folder), folder, tmp_path / "mood", "lora", tag_renderer(folder))
    arch, pooling = ("qwen3", "last") if case == "score" else ("bert", "mean")
    which = "houlsby" if case == "bottleneck" else "lora"
    folder = folder_of(arch)
    model = classifier(folder, which, pooling=pooling, bias=pooling != "last")
    return save(model, folder, tmp_path / "mood", which)


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused_in_advance_is_refused_for_that_reason(case, folder_of, tmp_path):
    adapter = made(case, folder_of, tmp_path)
    found = {each.to: each for each in exportable(adapter).targets}
    assert found.keys() == {*TARGETS.names(), "hub"}
    assert {to for to, each in found.items() if each.state == "yes"} == YES[case]
    for to, each in found.items():
        assert (each.state == "yes") == (not each.why)
        if each.state == "no":
            with pytest.raises(AdapterError) as refused:
                export(adapter, tmp_path / "out", to=to)
            assert str(refused.value).partition(": ")[2] == each.why
    assert not (tmp_path / "out").exists()


def test_a_kind_whose_matrices_alone_can_tell_is_left_open(folder_of, tmp_path, monkeypatch):
    monkeypatch.setitem(TABLES, "dora", {"kind": "dora.v1"})
    folder = folder_of("bert")
    adapter = save(classifier(folder, "dora"), folder, tmp_path / "mood", "dora")
    found = {each.to: each for each in exportable(adapter).targets}
    assert found["lora"].state == "open" and "singular values" in found["lora"].why
    assert found["merged"].state == "yes" and found["gguf"].state == "no"


def test_what_is_not_installed_is_named_with_its_extra(folder_of, tmp_path, monkeypatch):
    adapter = made("mean", folder_of, tmp_path)
    target = TARGETS.get("onnx")
    monkeypatch.setitem(
        TARGETS._entries, "onnx", SimpleNamespace(**{**vars(target), "missing": ("onnx",)})
    )
    found = {each.to: each for each in exportable(adapter).targets}
    assert found["onnx"].state == "no" and 'pip install "tenonlm[onnx]"' in found["onnx"].why


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code, capsys.readouterr()


def test_the_command_shows_it_as_a_page_and_as_json(folder_of, tmp_path, capsys):
    adapter = made("mean", folder_of, tmp_path)
    code, said = run(capsys, "export", adapter, "--check", "--json")
    assert code == 0
    told = json.loads(said.out)
    assert told["kind"] == "lora.v1" and len(told["targets"]) == len(TARGETS.names()) + 1
    code, said = run(capsys, "export", adapter, "--check")
    assert code == 0 and "SGLang drops the weights of a head" in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--to", "merged"], "--out: is missing"),
        (["--to", "hub"], "--repo: is missing"),
        (["--to", "hub", "--repo", "a/b", "--rank", "4"], "--rank: has no effect with --to hub"),
        (["--out", "x", "--repo", "a/b"], "--repo: has no effect with --to merged"),
        (["--out", "x", "--public"], "--public: has no effect with --to merged"),
        (["--check", "--out", "x"], "--out: has no effect with --check"),
        (["--check", "--replace"], "--replace: has no effect with --check"),
    ],
)
def test_flags_without_effect_are_refused(flags, why, folder_of, tmp_path, capsys):
    code, said = run(capsys, "export", tmp_path, *flags)
    assert code == 2 and why in said.err


def test_an_unknown_target_names_the_nearest(tmp_path, folder_of):
    with pytest.raises(PlanError, match="did you mean sglang"):
        export(made("mean", folder_of, tmp_path), tmp_path / "out", to="slang")
