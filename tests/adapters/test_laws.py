"""What holds of every preset × architecture besides the cells of tests/laws/test_matrix.py."""

from __future__ import annotations

from functools import partial

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from attached import FAMILY, MARKS, TABLES, attach, attached, config_of, hidden, shake
from bases import ARCHITECTURES, HIDDEN, input_ids, tiny
from tenon.adapters import sites, weights
from tenon.adapters.bottleneck import BottleneckConfig
from tenon.adapters.bottleneck_layer import BottleneckLayer
from tenon.adapters.kind import settle

ALL = {**TABLES, **FAMILY}
every_kind = pytest.mark.parametrize("which", ALL)
every_arch = pytest.mark.parametrize("arch", ARCHITECTURES)


def _adapter_parameters(model):
    return [p for n, p in model.named_parameters() if any(f".{mark}" in n for mark in MARKS)]


@pytest.mark.cells
@every_kind
@every_arch
def test_saved_and_loaded_it_is_the_same_bitwise_in_ours_in_peft_and_in_transformers(
    arch, which, tmp_path
):
    model = attached(arch, which)
    shake(model)
    expected = hidden(model)
    held = weights.take(model)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    on_disk = load_file(tmp_path / "adapter_model.safetensors")
    assert {k: v.tolist() for k, v in on_disk.items()} == {k: v.tolist() for k, v in held.items()}

    ours = attached(arch, which)
    weights.put(ours, held)
    assert torch.equal(hidden(ours), expected)

    theirs = peft.PeftModel.from_pretrained(tiny(arch), tmp_path).eval()
    assert torch.equal(hidden(theirs), expected)

    plain = tiny(arch)
    plain.load_adapter(str(tmp_path))
    assert torch.equal(hidden(plain.eval()), expected)


@pytest.mark.cells
@every_kind
@pytest.mark.parametrize("arch", ["bert", "modernbert", "qwen3", "gpt2", "t5"])
def test_two_adapters_answer_each_as_alone(arch, which):
    first = attached(arch, which)
    shake(first, seed=1)
    second = attached(arch, which)
    shake(second, seed=2)
    both = attached(arch, which)
    weights.put(both, weights.take(first))
    both.add_adapter("other", config_of(tiny(arch), settle("mood", ALL[which])))
    weights.put(both, weights.take(second), "other")
    assert torch.equal(hidden(both), hidden(first))
    both.set_adapter("other")
    assert torch.equal(hidden(both.eval()), hidden(second))
    trainable = [name for name, p in both.named_parameters() if p.requires_grad]
    assert trainable and all(".other." in name or name.endswith(".other") for name in trainable)
    both.set_adapter("default")
    assert torch.equal(hidden(both), hidden(first))
    both.delete_adapter("other")
    assert torch.equal(hidden(both), hidden(first))
    assert not any("other" in name for name in both.state_dict())


@pytest.mark.cells
@every_kind
@pytest.mark.parametrize("arch", ["bert", "distilbert", "llama", "gpt2", "t5"])
def test_rows_and_packed_runs_are_treated_alike(arch, which):
    """An adapter is pointwise over tokens: [B, T, D], [1, B*T, D] and [B*T, D] give the same."""
    model = attached(arch, which)
    shake(model)
    layers = [
        m
        for m in model.modules()
        if isinstance(m, BottleneckLayer) and m.place not in ("stream", "coupled")
    ]
    if which == "lora":
        layers = [m for m in model.modules() if type(m).__module__.startswith("peft.tuners.lora")]
        layers = [m for m in layers if hasattr(m, "base_layer")]
    for layer in layers:
        width = _input_width(layer)
        inputs = [torch.randn(3, 5, size) for size in width]
        rows = layer(*inputs)
        packed = layer(*(x.reshape(1, 15, -1) for x in inputs))
        flat = layer(*(x.reshape(15, -1) for x in inputs))
        torch.testing.assert_close(packed.reshape(rows.shape), rows, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(flat.reshape(rows.shape), rows, rtol=1e-5, atol=1e-6)
    for layer in (m for m in model.modules() if isinstance(m, BottleneckLayer)):
        add = layer.delta if layer.place != "coupled" else layer.bottleneck_coupling["default"]
        add = partial(add, "default") if layer.place != "coupled" else add
        size = model.base_model.model.get_input_embeddings().embedding_dim
        x = torch.randn(3, 5, size if layer.place == "coupled" else HIDDEN)
        torch.testing.assert_close(add(x.reshape(15, -1)), add(x).reshape(15, -1))


def _input_width(layer):
    base = layer.get_base_layer()
    if hasattr(base, "dense"):
        return [base.dense.in_features, base.dense.out_features]
    first = next(p for p in base.parameters() if p.dim() == 2) if _deep(base) else base.weight
    transposed = "Conv1D" in {type(m).__name__ for m in base.modules()}
    return [first.shape[0] if transposed or first.dim() == 1 else first.shape[1]]


def _deep(base):
    return next(base.children(), None) is not None


@pytest.mark.cells
@every_kind
@every_arch
def test_on_a_bfloat16_base_the_adapter_stays_in_float32_and_starts_as_the_identity(arch, which):
    before = hidden(tiny(arch, dtype=torch.bfloat16).requires_grad_(False))
    assert before.dtype == torch.bfloat16
    model = attach(tiny(arch, dtype=torch.bfloat16), ALL[which])
    assert {p.dtype for p in _adapter_parameters(model)} == {torch.float32}
    assert torch.equal(hidden(model), before)
    shake(model)
    out = model(input_ids=input_ids()).last_hidden_state
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in _adapter_parameters(model))


@pytest.mark.cells
@every_kind
@pytest.mark.parametrize("arch", ["bert", "distilbert", "modernbert", "llama", "gpt2", "t5"])
def test_activation_checkpointing_changes_no_gradient(arch, which):
    expected, runs = _gradients(arch, attached(arch, which))
    model = attached(arch, which)
    model.base_model.model.activation_checkpointing_enable({"use_reentrant": False})
    found, runs_again = _gradients(arch, model)
    assert runs_again == 2 * runs, "nothing was recomputed"
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def _gradients(arch, model):
    """Give the gradients of one seeded step in training mode, and how often a block ran."""
    shake(model)
    model.train()
    runs = []
    block = model.base_model.model.get_submodule(sites.places(tiny(arch)).modules["layer"][0])
    inner = next(m for m in block.modules() if sites.is_linear(m))
    inner.register_forward_pre_hook(lambda *_: runs.append(1))
    torch.manual_seed(3)
    model(input_ids=input_ids()).last_hidden_state.square().sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, len(runs)


@every_kind
def test_another_base_of_the_same_shapes_takes_it_without_a_word_from_peft(which, tmp_path):
    """Why the manifest has a fingerprint: PEFT itself sees nothing wrong here."""
    model = attached("bert", which)
    shake(model)
    model.save_pretrained(tmp_path)
    other = peft.PeftModel.from_pretrained(tiny("bert", seed=9), tmp_path).eval()
    assert not torch.equal(hidden(other), hidden(model))


def test_the_config_survives_json(tmp_path):
    config = BottleneckConfig(target_modules=["a.b"], width=3, activation="tanh", scale="channel")
    config.save_pretrained(tmp_path)
    assert peft.PeftConfig.from_pretrained(tmp_path) == config


def test_safetensors_alone_are_enough(tmp_path):
    """Nothing of an adapter needs pickle: its files load with pickle's door shut."""
    model = attached("bert", "houlsby")
    held = weights.take(model)
    save_file(held, tmp_path / "w.safetensors")
    assert load_file(tmp_path / "w.safetensors").keys() == held.keys()


@pytest.mark.cells
@pytest.mark.parametrize("which", ["lora", "houlsby"])
@every_arch
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
def test_an_adapter_on_the_word_embeddings_keeps_the_same_laws(arch, which, tmp_path):
    before = hidden(tiny(arch))
    model = attached(arch, which, sites=["embeddings"])
    assert torch.equal(hidden(model), before)
    shake(model)
    model(input_ids=input_ids()).last_hidden_state.square().sum().backward()
    parameters = _adapter_parameters(model)
    assert parameters and all(p.grad.abs().max() > 0 for p in parameters)
    again = attached(arch, which, sites=["embeddings"])
    weights.put(again, weights.take(model))
    assert torch.equal(hidden(again), hidden(model))


@pytest.mark.cells
@pytest.mark.parametrize("site", ["attention.query", "attention.value", "mlp.in"])
@pytest.mark.parametrize("which", ["lora", "houlsby"])
@every_arch
def test_any_site_of_linear_layers_takes_an_adapter(arch, which, site):
    before = hidden(tiny(arch))
    model = attached(arch, which, sites=[site])
    assert torch.equal(hidden(model), before)
    shake(model)
    assert not torch.equal(hidden(model), before)


@pytest.mark.parametrize(
    "own",
    [
        {"kind": "lora.v1", "rank": 3, "alpha": 5.5, "rank_stabilized": True, "dropout": 0.1},
        {
            "kind": "bottleneck.v1",
            "width": 5,
            "ln_before": True,
            "scale": "learned",
            "dropout": 0.1,
        },
        {"kind": "bottleneck.v1", "preset": "pfeiffer", "reduction": 3.5, "activation": "gelu"},
        {"kind": "bottleneck.v1", "preset": "parallel", "width": 1, "scale": -0.5},
        {
            "kind": "bottleneck.v1",
            "preset": "pfeiffer",
            "sites": ["attention.out"],
            "original_ln_after": False,
            "residual_before_ln": False,
        },
    ],
    ids=lambda own: f"{own['kind']}-{own.get('preset', '')}",
)
def test_every_setting_survives_saving_and_the_start_is_the_identity(own, tmp_path):
    before = hidden(tiny("roberta"))
    model = attach(tiny("roberta"), own)
    assert torch.equal(hidden(model), before)
    shake(model)
    model.save_pretrained(tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny("roberta"), tmp_path).eval()
    assert torch.equal(hidden(theirs), hidden(model))
