"""Encoder-decoders and models with their heads: every preset, on every side, through every door."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from attached import FAMILY, shake
from bases import HIDDEN, input_ids
from tenon.adapters.bottleneck import BottleneckConfig, layers_of
from tenon.adapters.bottleneck_placement import FIRST_OF_MLP
from tenon.adapters.names import is_name
from tenon.core.errors import PlanError
from whole import ENCODER_DECODERS, adapted, logits, put_on, whole

every_preset = pytest.mark.parametrize("which", sorted(FAMILY))
on_encoder_decoders = pytest.mark.parametrize("arch", ENCODER_DECODERS)


def of(model):
    return {layer.module: layer for layer in layers_of(model)}


@pytest.mark.cells
@every_preset
@on_encoder_decoders
def test_a_fresh_adapter_is_the_identity_and_a_moved_one_is_not(arch, which):
    before = logits(whole(arch))
    model = adapted(arch, which)
    assert torch.equal(logits(model), before)
    shake(model)
    moved = logits(model)
    assert moved.isfinite().all() and not torch.equal(moved, before)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)
    bare = model.unload()
    assert torch.equal(logits(bare), before)
    assert sorted(bare.state_dict()) == sorted(whole(arch).state_dict())


@pytest.mark.cells
@every_preset
@on_encoder_decoders
def test_gradients_reach_every_tensor_and_training_leaves_the_base_as_it_was(arch, which):
    before = {name: tensor.clone() for name, tensor in whole(arch).state_dict().items()}
    model = adapted(arch, which)
    shake(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters)
    model(input_ids=input_ids(), labels=input_ids(seed=1)).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in parameters)
    optimizer.step()
    after = model.unload().state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.cells
@every_preset
@on_encoder_decoders
def test_it_is_saved_and_loaded_bitwise_in_peft_and_in_transformers(arch, which, tmp_path):
    model = adapted(arch, which)
    shake(model)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    theirs = peft.PeftModel.from_pretrained(whole(arch), tmp_path).eval()
    assert torch.equal(logits(theirs), logits(model))
    plain = whole(arch)
    plain.load_adapter(str(tmp_path))
    assert torch.equal(logits(plain.eval()), logits(model))


@pytest.mark.cells
@every_preset
@pytest.mark.parametrize("arch", [*ENCODER_DECODERS, "llama", "gpt2"])
def test_activation_checkpointing_changes_no_gradient(arch, which):
    """Bitwise; torch's older, reentrant way adds up in another order."""
    expected = gradients(adapted(arch, which))
    for reentrant, tolerance in ((False, 0.0), (True, 1e-5)):
        model = adapted(arch, which)
        model.base_model.model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
        found = gradients(model)
        assert expected.keys() == found.keys()
        for name, gradient in expected.items():
            error = (found[name] - gradient).norm() / gradient.norm()
            assert error <= tolerance, (name, reentrant)


def gradients(model):
    shake(model)
    model.train()
    torch.manual_seed(3)
    model(input_ids=input_ids(), labels=input_ids(seed=1), use_cache=False).loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.cells
@every_preset
@pytest.mark.parametrize("arch", [*ENCODER_DECODERS, "llama", "gpt2"])
def test_it_writes_with_a_cache_what_it_writes_without(arch, which):
    model = adapted(arch, which)
    shake(model, size=0.1)
    options = {"max_new_tokens": 5, "do_sample": False, "min_new_tokens": 5}
    with_cache = model.generate(input_ids=input_ids(), use_cache=True, **options)
    without = model.generate(input_ids=input_ids(), use_cache=False, **options)
    assert torch.equal(with_cache, without)


@pytest.mark.cells
@every_preset
@on_encoder_decoders
def test_on_a_bfloat16_base_it_stays_in_float32(arch, which):
    before = logits(whole(arch, dtype=torch.bfloat16))
    model = put_on(whole(arch, dtype=torch.bfloat16), FAMILY[which])
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert torch.equal(logits(model), before)
    shake(model)
    model(input_ids=input_ids(), labels=input_ids(seed=1)).loss.backward()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad.dtype == torch.float32 for grad in grads)


# Sides -------------------------------------------------------------------------------------------

SIDES = {
    "t5": {
        "encoder self-attention": "encoder.block.1.layer.0.SelfAttention.o",
        "decoder self-attention": "decoder.block.1.layer.0.SelfAttention.o",
        "cross-attention": "decoder.block.1.layer.1.EncDecAttention.o",
        "encoder mlp": "encoder.block.1.layer.1.DenseReluDense.wo",
        "decoder mlp": "decoder.block.1.layer.2.DenseReluDense.wo",
    },
    "bart": {
        "encoder self-attention": "model.encoder.layers.1.self_attn.out_proj",
        "decoder self-attention": "model.decoder.layers.1.self_attn.out_proj",
        "cross-attention": "model.decoder.layers.1.encoder_attn.out_proj",
        "encoder mlp": "model.encoder.layers.1.fc2",
        "decoder mlp": "model.decoder.layers.1.fc2",
    },
}


@pytest.mark.cells
@pytest.mark.parametrize("side", SIDES["t5"])
@pytest.mark.parametrize("preset", ["houlsby", "pfeiffer", "adapterplus"])
@on_encoder_decoders
def test_each_side_can_have_an_adapter_of_its_own(arch, preset, side):
    """The adapter's place is beside the named linear layer, whatever the preset wraps for it."""
    linear = SIDES[arch][side]
    model = put_on(whole(arch), {**FAMILY[preset], "sites": [linear]})
    ((name, layer),) = of(model).items()
    if preset == "houlsby":
        assert name == linear and layer.place == "after"
    elif arch == "t5":
        assert linear.startswith(f"{name}.") and layer.place == "stream"
    else:
        norms = {"self_attn.out_proj": "self_attn_layer_norm", "fc2": "final_layer_norm"}
        norms["encoder_attn.out_proj"] = "encoder_attn_layer_norm"
        assert name in {linear.replace(end, norm) for end, norm in norms.items()}
        assert isinstance(layer.base_layer, nn.LayerNorm)
    seen = {}
    shake(model)
    layer.register_forward_hook(lambda _m, i, out: seen.update(x=i[0], out=out))
    layer.base_layer.register_forward_hook(lambda _m, _i, out: seen.update(base=out))
    logits(model)
    y = seen["base"][0] if isinstance(seen["base"], tuple) else seen["base"]
    out = seen["out"][0] if isinstance(seen["out"], tuple) else seen["out"]
    if layer.place == "around":
        total = seen["x"] + layer.delta("default", layer.base_layer(seen["x"]))
        y, expected = None, layer.base_layer(total)
    else:
        expected = y + layer.delta("default", y)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@on_encoder_decoders
def test_houlsby_sits_on_all_sides_at_once(arch):
    sites = [site for site in ("attention.out", "cross.out", "mlp.out") if is_name(site)]
    names = set(of(adapted(arch, "houlsby", sites=sites)))
    assert set(SIDES[arch].values()) <= names
    assert len(names) == 2 * (2 + 3)


def test_beside_an_mlp_that_lies_open_the_input_is_read_at_its_first_layer():
    model = adapted("bart", "parallel")
    shake(model)
    layer = of(model)["model.decoder.layers.1.fc2"]
    assert layer.place == "across"
    block = model.base_model.model.model.decoder.layers[1]
    seen = {}
    block.fc1.register_forward_hook(lambda _m, i, _o: seen.update(x=i[0]))
    layer.register_forward_hook(lambda _m, i, out: seen.update(h=i[0], out=out))
    logits(model)
    expected = layer.base_layer(seen["h"]) + layer.delta("default", seen["x"])
    torch.testing.assert_close(seen["out"], expected, rtol=1e-5, atol=1e-5)
    assert layer.input_D is None, "nothing is held longer than a forward pass"
    with model.disable_adapter():
        logits(model)
    assert layer.input_D is None


def test_the_hook_goes_when_the_adapter_goes():
    model = adapted("bart", "parallel")
    fc1 = model.base_model.model.model.encoder.layers[0].fc1
    assert len(fc1._forward_pre_hooks) == 1
    model.unload()
    assert not fc1._forward_pre_hooks


def test_parallel_across_needs_the_name_of_the_first_layer():
    config = BottleneckConfig(target_modules=["fc1"], width=2, parallel=True)
    with pytest.raises(PlanError, match="wraps a whole MLP"):
        peft.get_peft_model(whole("bart"), config)
    assert FIRST_OF_MLP == {"fc2": "fc1", "ffn_output": "ffn"}


def test_adapters_of_different_reach_are_refused_on_one_model():
    model = adapted("llama", "pfeiffer")
    config = BottleneckConfig(target_modules=["mlp.down_proj"], width=2)
    with pytest.raises(PlanError, match="placed otherwise around model.layers.0.mlp.down_proj"):
        model.add_adapter("other", config)
    assert all("other" not in layer.configs for layer in layers_of(model))


# Trainer -----------------------------------------------------------------------------------------


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, row):
        ids = input_ids(1, 6, seed=row)[0]
        return {"input_ids": ids, "labels": ids}


@pytest.mark.cells
@pytest.mark.parametrize("which", ["compacter", "mad-x", "adapterplus", "scaled-parallel"])
@pytest.mark.parametrize("arch", ["llama", "bart"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_transformers_trainer_trains_it_and_writes_what_peft_reads(arch, which, tmp_path):
    model = adapted(arch, which)
    before = {n: p.clone() for n, p in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows())
    trainer.train()
    trainer.save_model(str(tmp_path / "out"))
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == parameter.requires_grad, name
    theirs = peft.PeftModel.from_pretrained(whole(arch), tmp_path / "out").eval()
    assert torch.equal(logits(theirs), logits(model.eval()))
    assert logits(model).shape[-1] > HIDDEN
