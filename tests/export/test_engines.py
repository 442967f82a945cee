"""What is written for other engines, and the script that tells whether one answers by it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import peft
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import engines
import writers
from attached import shake
from models import LABELS, classifier, save
from tenon.core.errors import AdapterError, PlanError
from tenon.export.vllm import RANKS
from tenon.verbs.export import export

NAMES = ("vllm", "sglang")
FINE = "0.002"
"""Nats by which a tiny adapter's scores stand out: its engine computes in float32."""


def written(tmp_path, engine, arch="llama", out="out", **own):
    """Write a decoder's adapter for an engine; give its base and what was told."""
    folder = writers.causal_folder(tmp_path, arch)
    model = writers.writer(folder, **own)
    shake(model, size=0.1)
    adapter = writers.save(model, folder, tmp_path / "mood", **own)
    return folder, export(adapter, tmp_path / out, to=engine)


def served(folder, adapter=None, scale=1.0):
    """Load what an engine would: the base, and an adapter by PEFT."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is None:
        return model.eval()
    model = peft.PeftModel.from_pretrained(model, adapter).eval()
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scaling = dict.fromkeys(module.scaling, scale)
    return model


def prove(folder, url, tolerance=FINE):
    """Run the script that lies beside the files, by Python without any package."""
    run = [sys.executable, "-I", "-S", "-W", "error", folder / "conformance.py", "--url", url]
    done = subprocess.run(
        [*run, "--tolerance", tolerance], capture_output=True, text=True, timeout=60
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("engine", NAMES)
def test_the_script_tells_an_engine_that_answers_by_the_adapter_from_every_other(engine, tmp_path):
    folder, made = written(tmp_path, engine, "qwen3" if engine == "vllm" else "llama")
    out = tmp_path / "out"
    assert made.error < 1e-5 and "tenon.json" not in made.files

    def tell(model, **more):
        with engines.serving(engines.engine({"mood": model}, str(folder), **more)) as url:
            return prove(out, url)

    right = served(folder, out)
    code, words = tell(right)
    assert code == 0 and "answers 8 probes as the adapter does" in words
    for more in ({"as_ids": False}, {"listed": True}):
        code, words = tell(right, **more)
        assert code == 0, words
    code, words = tell(served(folder))
    assert code == 1 and "the base alone: the adapter is not applied" in words
    code, words = tell(served(folder, out, scale=0.5))
    assert code == 1 and "it is applied wrongly" in words


def test_where_an_engine_cannot_be_asked_or_told_nothing_is_claimed(tmp_path):
    folder, _ = written(tmp_path, "vllm")
    model = served(folder, tmp_path / "out")
    with engines.serving(engines.engine({"mood": model}, str(folder))) as url:
        code, words = prove(tmp_path / "out", url, tolerance="9")
        assert code == 2 and "cannot be told" in words
    code, words = prove(tmp_path / "out", url)
    assert code == 2 and "is the engine running there?" in words
    with engines.serving(engines.engine({"another": model}, str(folder))) as url:
        code, words = prove(tmp_path / "out", url)
    assert code == 2 and "404" in words and "no model mood" in words
    with engines.serving(lambda *_: {"choices": []}) as url:
        code, words = prove(tmp_path / "out", url)
    assert code == 2 and "expected choices[0].logprobs" in words


def test_a_key_is_taken_from_the_environment_alone(tmp_path, monkeypatch):
    folder, _ = written(tmp_path, "vllm")
    seen = []
    answer = engines.engine({"mood": served(folder, tmp_path / "out")}, str(folder))
    monkeypatch.setenv("ENGINE_API_KEY", "secret-key")
    with engines.serving(answer, seen.append) as url:
        assert prove(tmp_path / "out", url)[0] == 0
    assert {headers["Authorization"] for headers in seen} == {"Bearer secret-key"}
    assert "secret-key" not in "".join(
        path.read_text(errors="replace") for path in (tmp_path / "out").iterdir()
    )


def test_vllm_takes_a_head_of_one_layer_and_the_script_proves_it(folder_of, tmp_path):
    folder = folder_of("qwen3")
    model = classifier(folder, pooling="last", bias=False)
    made = export(save(model, folder, tmp_path / "mood"), tmp_path / "out", to="vllm")
    words = shlex.split(made.commands[0])
    told = json.loads(words[words.index("--hf-overrides") + 1])
    assert told["architectures"] == ["Qwen3ForSequenceClassification"]
    assert len(set(told["classifier_from_token"])) == len(LABELS)
    assert words[words.index("--runner") + 1] == "pooling"
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS))
    served = peft.PeftModel.from_pretrained(base, tmp_path / "out").eval()
    answer = engines.engine({"mood": served}, "base")

    def probabilities(path, body):
        return answer(path, {**body, "use_activation": None})

    for form in (answer, probabilities):
        with engines.serving(form) as url:
            assert prove(tmp_path / "out", url)[0] == 0
    for name, parameter in served.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    with engines.serving(answer) as url:
        code, words = prove(tmp_path / "out", url)
    assert code == 1 and "the base alone" in words


def test_the_rank_that_is_asked_of_vllm_is_one_that_it_has(tmp_path):
    _, made = written(tmp_path, "vllm", rank=9)
    assert "--max-lora-rank 16 " in made.commands[0]
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 9
    script = (tmp_path / "out" / "launch.sh").read_text()
    assert '--lora-modules mood="$(cd "$(dirname "$0")" && pwd)"' in script
    subprocess.run(["sh", "-n", tmp_path / "out" / "launch.sh"], check=True)
    assert max(RANKS) == 512


def test_layers_that_sglang_computes_together_all_have_matrices(tmp_path):
    folder, made = written(tmp_path, "sglang", sites=["attention.query", "mlp.in"])
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    found = {name.split(".")[-3] for name in tensors}
    assert found == {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
    assert not any(tensor.any() for name, tensor in tensors.items() if ".k_proj." in name)
    assert "--lora-target-modules gate_proj k_proj q_proj up_proj v_proj" in made.commands[0]


def test_another_kind_is_served_as_a_lora(tmp_path):
    folder, made = written(tmp_path, "vllm", kind="dora.v1")
    assert made.error < 1e-5
    model = served(folder, tmp_path / "out")
    with engines.serving(engines.engine({"mood": model}, str(folder))) as url:
        assert prove(tmp_path / "out", url)[0] == 0


@pytest.mark.parametrize(
    ("engine", "arch", "own", "why"),
    [
        ("vllm", "gpt2", {}, "vLLM takes no LoRA on gpt2"),
        ("sglang", "gpt2", {}, "and it sits on c_attn"),
        ("vllm", "llama", {"sites": ["embeddings"]}, "changes the vectors of tokens"),
        ("sglang", "llama", {"kind": "bottleneck.v1", "preset": "houlsby"}, "is no LoRA"),
    ],
)
def test_what_an_engine_would_read_wrongly_is_refused(engine, arch, own, why, tmp_path):
    with pytest.raises(AdapterError, match=why):
        written(tmp_path, engine, arch, **own)
    assert not (tmp_path / "out").exists()


def test_heads_that_an_engine_would_drop_or_misread_are_refused(folder_of, tmp_path):
    bert = folder_of("bert")
    adapter = save(classifier(bert), bert, tmp_path / "mean")
    with pytest.raises(AdapterError, match="drops the weights of a head without a word"):
        export(adapter, tmp_path / "out", to="sglang")
    with pytest.raises(AdapterError, match="this one reads mean of bert"):
        export(adapter, tmp_path / "out", to="vllm")


def test_a_rank_that_an_engine_has_not_is_refused(tmp_path):
    folder = writers.causal_folder(tmp_path, "llama")
    adapter = writers.save(writers.writer(folder, shaken=True), folder, tmp_path / "mood")
    with pytest.raises(PlanError, match="leaves nothing out already"):
        export(adapter, tmp_path / "out", to="vllm", rank=600)
