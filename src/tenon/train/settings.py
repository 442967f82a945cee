"""TrainSettings: how an adapter is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tenon.core.settings import Settings

TrunkCache = Literal["auto", "off", "exact", "bfloat16", "int8"]
LARGEST = 1e6
"""Above every rate or decay of use, and far below what a float32 can hold."""


class TrainSettings(Settings):
    """Length, size of a step, optimizer, stopping and checkpoints.

    Args:
        epochs: passes over the train part.
        tokens_per_step: real tokens from which one optimizer step is made; 0 lets the data decide.
        micro_batch_tokens: real tokens computed at once; larger steps are made of several; left
            out, it is the whole step on a GPU, and less wherever memory asks for it.
        trunk_cache: keep the states of the layers that lie below all adapters on disk, so that they
            are computed once for all epochs, seeds and trials: "exact" in the base's number format,
            "bfloat16" and "int8" in less room and rounded; "auto" is "exact" where that is possible
            and saves work.
        recompute: keep one state a block of the base instead of all that gradients need, and
            compute the rest again on the way back (activation checkpointing): less memory, the same
            gradients, and for all blocks a third to three quarters more time; true for all, or how
            many, counted from the lowest that computes gradients; "auto" takes as many as memory
            asks for, where that is faster than fewer tokens at once.
        learning_rate: peak rate of the adapter's weights; 0 takes the kind's default.
        head_learning_rate: peak rate of the head; 0 takes the default.
        schedule: form of the learning rate after the warm-up.
        warmup: share of all steps over which the rate rises from 0.
        weight_decay: AdamW's decoupled decay, on matrices only.
        clip: largest gradient norm; larger gradients are scaled down to it.
        head_start: where the head's weights begin.
        head_scale: factor on the linear probe's weights where the head starts from it; below 1 it
            leaves loss for the adapter to learn from.
        patience: evaluations without gain on dev after which training stops; 0 never stops early.
        evaluate_every: steps between evaluations on dev; 0 means once an epoch.
        save_every: steps between checkpoints; 0 means at every evaluation.
        metric: the dev metric that chooses the best checkpoint; the task's where left out.
        trackers: where the numbers of each step go besides `steps.jsonl`.
    """

    epochs: int = Field(default=3, ge=1)
    tokens_per_step: int = Field(default=0, ge=0)
    micro_batch_tokens: int = Field(default=8192, ge=1)
    trunk_cache: TrunkCache = "auto"
    recompute: bool | Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    learning_rate: float = Field(default=0.0, ge=0, le=LARGEST)
    head_learning_rate: float = Field(default=0.0, ge=0, le=LARGEST)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0, le=LARGEST)
    clip: float = Field(default=1.0, gt=0)
    head_start: Literal["probe", "random"] = "probe"
    head_scale: float = Field(default=0.5, gt=0, le=1)
    patience: int = Field(default=0, ge=0)
    evaluate_every: int = Field(default=0, ge=0)
    save_every: int = Field(default=0, ge=0)
    metric: str = ""
    trackers: tuple[Literal["tensorboard"], ...] = ()
