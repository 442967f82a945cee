"""Joined: LoRA of several ranks, scales and places over one tiny decoder, trained in step."""

from __future__ import annotations

import torch

import writers
from attached import shake
from tenon.adapters.kind import settle
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.rack import Rack
from tenon.model.settings import ModelSettings
from tenon.model.trunk import load
from tenon.model.writer import Writer
from tenon.train.joint import Joint
from tenon.train.loop import Course, Loop

TABLES = {
    "a": {"rank": 4},
    "b": {"rank": 2, "alpha": 7, "sites": ["attention.query", "mlp.out"]},
    "c": {"rank": 4, "rank_stabilized": True, "sites": ["attention", "mlp"]},
}
"""Adapters of several ranks, scales and places."""


def racked(folder, tables=TABLES, **settings):
    """Give a trunk with LoRA away from its first weights, and of each the model and parameters.

    Args:
        settings: of the base.
    """
    made = ModelSettings(**{"device": "cpu", **settings})
    rack = Rack(load(locate(str(folder)), made, writes=True))
    models, trained = {}, {}
    for number, (name, table) in enumerate(tables.items()):
        held = attach(rack.trunk, settle(name, {"kind": "lora.v1", **table}), seed=number)
        models[name] = Writer(rack.trunk, held.peft).train()
        shake(models[name], seed=number, size=0.1)
        trained[name] = models[name].trainable()
        rack.keep(name, table.get("kind", "lora.v1"), held.peft)
    return rack, models, trained


def taken(trained) -> dict[str, torch.Tensor]:
    """Give all gradients, and clear them."""
    found = {
        f"{name} {key}": p.grad.clone() for name, held in trained.items() for key, p in held.items()
    }
    for held in trained.values():
        for parameter in held.values():
            parameter.grad = None
    return found


def joint_of(folder, out, tables=TABLES, *, unrecorded="", sizes=False, **settings) -> Joint:
    """Give runs of several adapters in step.

    Args:
        unrecorded: why passes are not to be recorded.
        sizes: lay batches out in sizes in any case.
        settings: of the base.
    """
    rack, models, _ = racked(folder, tables, **settings)
    loops = {}
    for number, (name, model) in enumerate(models.items()):
        given = writers.examples(writers.pairs(12 + 6 * number, seed=number))
        rules = writers.settings(learning_rate=1e-3, epochs=1)
        course = Course(out / name, "p", number, rules, unrecorded=unrecorded)
        with rack.only(name):
            loops[name] = Loop(model, writers.tokens_of(folder, given), course)
    return Joint(rack, loops, sizes=sizes)


def weights(joint) -> dict[str, torch.Tensor]:
    return {
        f"{name} {key}": p.detach().clone()
        for name, loop in joint.loops.items()
        for key, p in loop.parameters.items()
    }
