"""AdapterHub checkpoints as their format is documented, and plain torch that computes them.

The arithmetic is written down here from the papers' formulas: what Tenon makes of a checkpoint is
compared to it. Legend: D hidden, W width, R rank, L labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from bases import HIDDEN, LAYERS

NAME = "sst"
SEQ: dict[str, Any] = {
    "architecture": None,
    "mh_adapter": False,
    "output_adapter": True,
    "cross_adapter": False,
    "reduction_factor": 4,
    "non_linearity": "relu",
    "original_ln_before": True,
    "original_ln_after": True,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "leave_out": [],
    "dropout": 0.0,
    "phm_layer": False,
    "phm_dim": 4,
    "init_weights": "bert",
    "stochastic_depth": 0.0,
}
DOUBLE = {**SEQ, "mh_adapter": True, "original_ln_before": False, "non_linearity": "swish"}
PARALLEL = {**SEQ, "original_ln_before": False, "is_parallel": True, "scaling": 4.0}
BOTTLENECKS: dict[str, dict[str, Any]] = {
    "pfeiffer": SEQ,
    "houlsby": DOUBLE,
    "both-behind": {**SEQ, "mh_adapter": True},
    "behind-norm": {**SEQ, "original_ln_after": False, "residual_before_ln": False},
    "parallel": PARALLEL,
    "scaled-parallel": {**PARALLEL, "scaling": "learned"},
    "channel": {**SEQ, "scaling": "channel", "non_linearity": "gelu"},
    "norms": {**DOUBLE, "ln_before": True, "ln_after": True},
    "widths": {**SEQ, "reduction_factor": {"0": 8, "default": 2}},
    "leave-out": {**DOUBLE, "leave_out": [0]},
}
LORA: dict[str, Any] = {
    "architecture": "lora",
    "selfattn_lora": True,
    "intermediate_lora": False,
    "output_lora": False,
    "r": 4,
    "alpha": 12,
    "dropout": 0.0,
    "attn_matrices": ["q", "v"],
    "composition_mode": "add",
    "use_gating": False,
    "use_dora": False,
    "leave_out": [],
}
ACT: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "swish": functional.silu,
    "gelu": functional.gelu,
}
Tensors = dict[str, Tensor]


class Random:
    """Seeded tensors of a moderate size."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, around: float = 0.0) -> Tensor:
        """Give a tensor of a shape."""
        return around + 0.2 * torch.randn(*shape, generator=self.generator)


def bottleneck(config: dict[str, Any], layer: int, random: Random) -> Tensors:
    """Draw the tensors of one bottleneck, under AdapterHub's names behind `.adapters.NAME.`."""
    factor = config["reduction_factor"]
    if isinstance(factor, dict):
        factor = factor.get(str(layer), factor["default"])
    width, place = HIDDEN // factor, 1 if config["ln_before"] else 0
    found = {
        f"adapter_down.{place}.weight": random(width, HIDDEN),
        f"adapter_down.{place}.bias": random(width),
        "adapter_up.weight": random(HIDDEN, width),
        "adapter_up.bias": random(HIDDEN),
    }
    if config["ln_before"]:
        weight, bias = random(HIDDEN, around=1.0), random(HIDDEN)
        for name in ("adapter_norm_before", "adapter_down.0"):
            found |= {f"{name}.weight": weight.clone(), f"{name}.bias": bias.clone()}
    if config["ln_after"]:
        found["adapter_norm_after.weight"] = random(HIDDEN, around=0.3)
        found["adapter_norm_after.bias"] = random(HIDDEN)
    if config["scaling"] in ("learned", "channel"):
        found["scaling"] = random(1 if config["scaling"] == "learned" else HIDDEN, around=1.0)
    return found


def delta(x_D: Tensor, config: dict[str, Any], held: Tensors) -> Tensor:
    """Compute what a bottleneck adds: norm(s * up(act(down(norm(x)))))."""
    place = 0
    if config["ln_before"]:
        norm = held["adapter_norm_before.weight"], held["adapter_norm_before.bias"]
        x_D, place = functional.layer_norm(x_D, (HIDDEN,), *norm), 1
    down_W = x_D @ held[f"adapter_down.{place}.weight"].T + held[f"adapter_down.{place}.bias"]
    up_D = ACT[config["non_linearity"]](down_W) @ held["adapter_up.weight"].T
    up_D = (up_D + held["adapter_up.bias"]) * held.get("scaling", config["scaling"])
    if config["ln_after"]:
        norm = held["adapter_norm_after.weight"], held["adapter_norm_after.bias"]
        up_D = functional.layer_norm(up_D, (HIDDEN,), *norm)
    return up_D


def write(
    folder: Path,
    base: Path,
    model_type: str,
    config: dict[str, Any],
    tensors: Tensors,
    *,
    pickled: bool = False,
    **more: Any,
) -> Path:
    """Write a checkpoint's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "config": config,
        "hidden_size": HIDDEN,
        "model_class": "AnyAdapterModel",
        "model_name": str(base),
        "model_type": model_type,
        "name": NAME,
        "version": "adapters.1.2.0",
        **more,
    }
    (folder / "adapter_config.json").write_text(json.dumps(told))
    if pickled:
        torch.save(tensors, folder / "pytorch_adapter.bin")
    else:
        save_file(tensors, folder / "adapter.safetensors")
    return folder


def write_head(
    folder: Path, random: Random, *, layers: int = 2, pickled: bool = False, **more: Any
) -> Tensors:
    """Write a classification head of three labels beside a checkpoint; give its tensors."""
    config = {
        "head_type": "classification",
        "num_labels": 3,
        "layers": layers,
        "activation_function": "tanh",
        "label2id": {"sad": 1, "glad": 0, "tired": 2},
        "use_pooler": False,
        "bias": True,
        "dropout_prob": None,
        **more,
    }
    (folder / "head_config.json").write_text(json.dumps({"config": config, "name": NAME}))
    place, tensors = 1, Tensors()
    for layer in range(layers):
        last = layer == layers - 1
        tensors[f"heads.{NAME}.{place}.weight"] = random(3 if last else HIDDEN, HIDDEN)
        tensors[f"heads.{NAME}.{place}.bias"] = random(3 if last else HIDDEN)
        place += 2 if last else 3
    if pickled:
        torch.save(tensors, folder / "pytorch_model_head.bin")
    else:
        save_file(tensors, folder / "model_head.safetensors")
    return tensors


def head_logits(vector_D: Tensor, tensors: Tensors) -> Tensor:
    """Compute the head: linear layers with tanh between them."""
    places = sorted({int(key.split(".")[2]) for key in tensors})
    for place in places:
        weight = tensors[f"heads.{NAME}.{place}.weight"]
        vector_D = vector_D @ weight.T + tensors[f"heads.{NAME}.{place}.bias"]
        if place != places[-1]:
            vector_D = torch.tanh(vector_D)
    return vector_D


# Reference models -------------------------------------------------------------------------------


def on_bert(model: nn.Module, config: dict[str, Any], prefix: str, random: Random) -> Tensors:
    """Put bottlenecks on the output blocks of BERT and its kin; give the checkpoint's tensors."""
    found = Tensors()
    for layer, block in enumerate(model.encoder.layer):
        if layer in config["leave_out"]:
            continue
        spots = [("attention.output", block.attention.output, "mh_adapter")]
        spots += [("output", block.output, "output_adapter")]
        for name, module, location in spots:
            if config[location]:
                held = bottleneck(config, layer, random)
                at = f"{prefix}encoder.layer.{layer}.{name}.adapters.{NAME}."
                found |= {at + part: tensor for part, tensor in held.items()}
                module.forward = _bert_output(module, config, held)
    return found


def _bert_output(module: nn.Module, config: dict[str, Any], held: Tensors) -> Any:
    def forward(hidden: Tensor, input_tensor: Tensor) -> Tensor:
        h_D, x_D = module.dense(hidden), input_tensor
        if config["is_parallel"]:
            return module.LayerNorm(h_D + delta(x_D, config, held) + x_D)
        if not config["original_ln_before"]:
            return module.LayerNorm(h_D + delta(h_D, config, held) + x_D)
        z_D = module.LayerNorm(h_D + x_D)
        if not config["original_ln_after"]:
            return z_D + delta(z_D, config, held)
        return module.LayerNorm(h_D + delta(z_D, config, held) + x_D)

    return forward


def on_gpt2(model: nn.Module, config: dict[str, Any], prefix: str, random: Random) -> Tensors:
    """Put bottlenecks on GPT-2, whose blocks end in the sum with the residual."""
    found = Tensors()
    for layer, block in enumerate(model.h):
        for name, linear, location in (
            ("attention_adapters", block.attn.c_proj, "mh_adapter"),
            ("output_adapters", block.mlp.c_proj, "output_adapter"),
        ):
            if not config[location] or layer in config["leave_out"]:
                continue
            held = bottleneck(config, layer, random)
            at = f"{prefix}h.{layer}.{name}.adapters.{NAME}."
            found |= {at + part: tensor for part, tensor in held.items()}
            adds_to_sum = config["original_ln_before"]
            _add(block if adds_to_sum else linear, config, held)
    return found


def on_t5(model: nn.Module, config: dict[str, Any], prefix: str, random: Random) -> Tensors:
    """Put bottlenecks on T5; layers of the decoder count on from the encoder's."""
    found = Tensors()
    for side in ("encoder", "decoder"):
        for number, block in enumerate(getattr(model, side).block):
            layer = number + (LAYERS if side == "decoder" else 0)
            for place, sublayer in enumerate(block.layer):
                last = place == len(block.layer) - 1
                location = "output_adapter" if last else ("mh_adapter", "cross_adapter")[place]
                if not config[location]:
                    continue
                held = bottleneck(config, layer, random)
                at = f"{prefix}{side}.block.{number}.layer.{place}.adapters.{NAME}."
                found |= {at + part: tensor for part, tensor in held.items()}
                inner = sublayer.DenseReluDense if last else None
                if inner is None:
                    attends = getattr(sublayer, "SelfAttention", None)
                    inner = (attends or sublayer.EncDecAttention).o
                _add(sublayer if config["original_ln_before"] else inner, config, held)
    return found


def _add(module: nn.Module, config: dict[str, Any], held: Tensors) -> None:
    """Let a module give y + delta(y)."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + delta(output[0], config, held), *output[1:])
        return output + delta(output, config, held)

    module.register_forward_hook(hook)


def lora_on(module: nn.Module, config: dict[str, Any], random: Random, outputs: int) -> Tensors:
    """Let a linear layer give y + alpha / r * B A x."""
    rank = config["r"]
    held = {"lora_A": random(rank, HIDDEN), "lora_B": random(outputs, rank)}

    def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        more = given[0] @ held["lora_A"].T @ held["lora_B"].T
        return output + config["alpha"] / rank * more

    module.register_forward_hook(hook)
    return held
