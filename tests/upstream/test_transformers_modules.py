"""What the adapters floor leans on in the modules of transformers' models."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.integrations import peft as integration

from bases import HIDDEN, input_ids, tiny
from tenon.adapters.bottleneck_places import POST_NORM
from tenon.adapters.manifest import HEADS

KIND = "adapters/bottleneck_places.py"
BERTS = ("bert", "roberta", "xlm-roberta", "electra")


@pytest.mark.parametrize("arch", BERTS)
def test_a_berts_output_takes_its_residual_and_norms_the_sum(arch):
    output = tiny(arch).encoder.layer[0].output
    assert list(inspect.signature(output.forward).parameters) == [
        "hidden_states",
        "input_tensor",
    ], "bottleneck_placement.place_of knows such a module by the name input_tensor; adapt it"
    h, x = torch.randn(2, 48), torch.randn(2, HIDDEN)
    expected = output.LayerNorm(output.dense(h) + x)
    assert torch.equal(output(h, x), expected), f"{KIND}: parallel and pfeiffer rest on this sum"


@pytest.mark.parametrize("arch", [*BERTS, "distilbert"])
def test_the_norm_of_the_table_takes_in_the_residual_and_closes_the_block(arch):
    """The norm's input minus the linear layer's output is the block's residual."""
    trunk = tiny(arch)
    seen: dict[str, torch.Tensor] = {}

    def record(name):
        def hook(_module, inputs, output):
            seen[f"{name}.in"], seen[f"{name}.out"] = inputs[0], output

        return hook

    modules = dict(trunk.named_modules())
    pairs = []
    for name in modules:
        for end, norm in POST_NORM[arch].items():
            if name.endswith(f".{end}"):
                pairs.append((name, name.removesuffix(end) + norm))
    assert len(pairs) == 4, f"{KIND}: POST_NORM no longer finds two norms in each block of {arch}"
    for linear, norm in pairs:
        assert isinstance(modules[norm], nn.LayerNorm)
        modules[linear].register_forward_hook(record(linear))
        modules[norm].register_forward_hook(record(norm))
    with torch.no_grad():
        trunk(input_ids=input_ids())
    for first, second in zip(pairs, pairs[1:], strict=False):
        residual = seen[f"{second[1]}.in"] - seen[f"{second[0]}.out"]
        torch.testing.assert_close(residual, seen[f"{first[1]}.out"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "mlp"),
    [
        ("distilbert", "transformer.layer.0.ffn"),
        ("modernbert", "layers.0.mlp"),
        ("llama", "layers.0.mlp"),
        ("mistral", "layers.0.mlp"),
        ("qwen2", "layers.0.mlp"),
        ("qwen3", "layers.0.mlp"),
        ("gpt2", "h.0.mlp"),
        ("t5", "encoder.block.0.layer.1.DenseReluDense"),
    ],
)
def test_an_mlp_takes_one_tensor_and_gives_one(arch, mlp):
    module = tiny(arch).get_submodule(mlp)
    required = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is parameter.empty
    ]
    assert len(required) == 1, f"bottleneck_layer: parallel wraps {mlp}, which takes {required}"
    assert module(torch.randn(2, 3, HIDDEN)).shape == (2, 3, HIDDEN)


@pytest.mark.parametrize(("arch", "pooling"), sorted(HEADS))
def test_the_head_classes_are_one_linear_layer_under_the_names_of_the_table(arch, pooling):
    head = HEADS[arch, pooling]
    config = tiny(arch).config
    config.num_labels = 3
    model = AutoModelForSequenceClassification.from_config(config)
    linear = getattr(model, head.name)
    assert isinstance(linear, nn.Linear), f"adapters/manifest.py: HEADS has another {arch}"
    assert (linear.bias is not None) == head.has_bias
    assert model.base_model_prefix == head.prefix and hasattr(model, head.prefix)


def test_transformers_knows_adapter_tensors_by_the_lower_cased_type():
    source = inspect.getsource(integration.PeftAdapterMixin.load_adapter)
    assert "peft_type.value.lower()" in source, (
        "adapters/bottleneck_config.py: BottleneckType is an Enum for this line alone; look again"
    )


@pytest.mark.parametrize("arch", ["bert", "gpt2", "llama", "t5", "electra"])
def test_a_trunk_has_word_embeddings_and_no_output_head(arch):
    trunk = tiny(arch)
    assert isinstance(trunk.get_input_embeddings(), nn.Embedding)
    assert trunk.get_output_embeddings() is None, (
        "adapters/bottleneck.py: uncouple_head looks for the head by this"
    )


def test_gpt2_adds_its_positions_before_a_dropout_that_the_first_block_reads():
    trunk = tiny("gpt2")
    seen = {}
    trunk.drop.register_forward_hook(lambda _m, i, out: seen.update(sum=i[0], out=out))
    trunk.h[0].register_forward_pre_hook(lambda _m, i: seen.update(block=i[0]))
    ids = input_ids()
    trunk(input_ids=ids)
    positions = trunk.wpe.weight[: ids.shape[1]]
    torch.testing.assert_close(seen["sum"], trunk.wte(ids) + positions)
    assert torch.equal(seen["out"], seen["block"]), f"{KIND}: SUMMED has another place for gpt2"


def test_t5_reads_the_format_of_its_last_layer_through_the_adapter():
    """`wo.weight.dtype`: a wrapped layer has to show its base's weight."""
    from attached import attached

    model = attached("t5", "houlsby").base_model.model
    wo = model.encoder.block[0].layer[1].DenseReluDense.wo
    assert wo.weight is wo.base_layer.weight
