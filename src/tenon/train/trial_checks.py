"""Trial checks: what the first steps of a run reach, and at which rate."""

from __future__ import annotations

from typing import cast

from torch import nn

from tenon.core.proof import Check, failed, passed
from tenon.data.findings import counted
from tenon.train.model_checks import named
from tenon.train.optim import HEAD
from tenon.train.subject import Subject
from tenon.train.trial import layers_of

SANE = 15.0
"""How many times more or less than what suits a kind a learning rate may be. Full fine-tuning takes
a tenth to a fiftieth of LoRA's, as "LoRA Without Regret" (Schulman et al. 2025) measures."""


def learning_rate(subject: Subject) -> Check:
    """Check that the rate is of the size that suits the adapter's kind."""
    name, kind, rate = "learning rate", subject.kind, subject.settings.learning_rate
    suits = kind.learning_rate
    said = f"{rate:g}, where {suits:g} suits {kind.name}"
    if suits / SANE <= rate <= suits * SANE:
        return passed(name, said)
    if rate < suits:
        return failed(
            name,
            f"{said}: it is a rate for full fine-tuning, at which an adapter hardly learns",
            f"train.learning_rate={suits:g}, or leave it out",
        )
    return failed(
        name,
        f"{said}: losses grow at such a rate until they are not finite",
        f"lower train.learning_rate to about {suits:g}, or leave it out",
    )


def finite(subject: Subject) -> Check:
    """Check that losses and gradients of the first steps are finite."""
    name, trial = "finite", subject.trial
    dtype = str(subject.model.trunk.model.dtype).removeprefix("torch.")
    if trial.fault:
        wide = "float32" if dtype != "float16" else "bfloat16, or float32: T5 and others overflow"
        remedy = "lower train.learning_rate" if trial.losses else f"model.dtype={wide} in {dtype}"
        return failed(name, f"step {len(trial.losses) + 1}: {trial.fault}", remedy)
    if not trial.losses:
        return failed(name, "no step could be tried", "see what else is said")
    steps = " and ".join(f"{loss:.4f}" for loss in trial.losses[:2])
    return passed(name, f"losses of {steps} nats and gradients of {trial.norms[0]:.3g}, in {dtype}")


def gradient(subject: Subject) -> Check:
    """Check that a gradient reaches the adapter in each of its modules, and a step moves it."""
    name, trial = "gradient", subject.trial
    own = [each for each in trial.held if not each.startswith(HEAD)]
    if not own:
        return failed(
            name,
            "nothing of the adapter is trained",
            "let its parameters want gradients: model.set_adapter(name)",
        )
    alive = {each for each in own if each in trial.reached and each in trial.moved}
    of_layer = _by_layer(subject, own)
    dead = [
        layer
        for layer, tensors in of_layer.items()
        if not alive & set(tensors) and layer not in trial.unread
    ]
    unread = [layer for layer in trial.unread if layer in of_layer]
    if not alive or dead:
        return failed(
            name,
            f"no gradient reaches {counted(len(dead), 'module')} of {len(of_layer):,}, such as "
            f"{named([_short(layer) for layer in dead[:1]])}",
            "is something detached or computed without gradients before it? Gradient checkpointing "
            "needs use_reentrant=False, or enable_input_require_grads()",
        )
    silent = len(own) - len(alive) - sum(len(of_layer[layer]) for layer in unread)
    steps = len(trial.losses)
    said = f"{len(alive):,} of {len(own):,} tensors are reached and move within {steps} steps"
    if silent > 0:
        said += f"; {silent:,} are not reached, beside others in the same modules"
    if unread:
        said += f"; these rows do not go through {counted(len(unread), 'module')}"
    return passed(name, said)


def _by_layer(subject: Subject, own: list[str]) -> dict[str, list[str]]:
    """Give the trained tensors of each of the adapter's modules; "" for what is in none."""
    layers = sorted(layers_of(subject.model), key=len, reverse=True)
    found: dict[str, list[str]] = {}
    for tensor in own:
        layer = next((each for each in layers if tensor.startswith(f"{each}.")), "")
        found.setdefault(layer, []).append(tensor)
    return found


def _short(layer: str) -> str:
    return layer.rpartition("base_model.model.")[2]


def head(subject: Subject) -> Check | None:
    """Check that all of the head is trained, and moves."""
    name, held, trial = "head", subject.model.head, subject.trial
    if held is None:
        return None
    module = cast(nn.Module, held)
    parameters = dict(module.named_parameters())
    still = [each for each, parameter in parameters.items() if not parameter.requires_grad]
    own = [each for each in trial.held if each.startswith(HEAD)]
    dead = [each for each in own if each not in trial.reached or each not in trial.moved]
    if not still and not dead:
        amount = sum(parameter.numel() for parameter in parameters.values())
        said = f"{counted(held.linear.out_features, 'score')} from {amount:,} parameters"
        return passed(name, f"{said}, all of which are reached and move")
    why = f"frozen: {named(still)}" if still else f"no gradient moves {named(dead)}"
    return failed(
        name,
        f"does not train ({why})",
        "let its parameters want gradients; in PEFT name it in modules_to_save",
    )


def base(subject: Subject) -> Check:
    """Check that no step changes the base, and that it has no gradient."""
    name, trial = "base", subject.trial
    if not trial.base_changed and not trial.base_reached:
        return passed(name, "no bit of it changes, and it has no gradient")
    changed = f"changes in {named(trial.base_changed)}" if trial.base_changed else ""
    reached = f"has a gradient in {named(trial.base_reached)}" if trial.base_reached else ""
    return failed(
        name,
        f"{' and '.join(part for part in (changed, reached) if part)}, though it is frozen",
        "freeze it (requires_grad_(False)); its buffers are not to change while training either",
    )
