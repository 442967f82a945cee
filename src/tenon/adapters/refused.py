"""Refused: the methods of PEFT that are no kind of ours, each with the reason and what to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Refused:
    """A method that is not offered.

    Args:
        name: as one would write it for a kind, without a version.
        title: its name in prose.
        why: what it would break, one clause.
        instead: a kind to take in its stead; empty where none does the same.
        peft_type: its name among PEFT's types; empty for a variant of LoRA.
    """

    name: str
    title: str
    why: str
    instead: str
    peft_type: str = ""


_METHODS = (
    Refused(
        "adalora",
        "AdaLoRA",
        "it takes ranks away while training, by running averages as large as the adapter that "
        "PEFT keeps in no state, so a run could not be resumed exactly, and its penalty is added "
        "in PEFT's own forward pass; without both it is LoRA at a higher cost",
        "lora.v1",
        "ADALORA",
    ),
    Refused(
        "adaption_prompt",
        "Adaption prompt (LLaMA-Adapter)",
        "PEFT puts an attention of its own in the place of the base's, on three model types only, "
        "which does not see where packed rows end, and cannot take it out again",
        "bottleneck.v1",
        "ADAPTION_PROMPT",
    ),
    Refused(
        "boft",
        "BOFT",
        "PEFT multiplies its butterfly factors by a CUDA kernel that is compiled on the way; where "
        "that fails it goes on with one factor, which is OFT, and cannot read an adapter that has "
        "more",
        "oft.v1",
        "BOFT",
    ),
    Refused(
        "cartridge",
        "Cartridge",
        "it is a long text pressed into a cache by asking the base questions about that text, and "
        "no task here does that",
        "",
        "CARTRIDGE",
    ),
    Refused(
        "cpt",
        "CPT",
        "it optimises the tokens of an instruction with a loss of its own, in PEFT's causal "
        "language models only",
        "lora.v1",
        "CPT",
    ),
    Refused(
        "frod",
        "FRoD",
        "it stores dense decompositions of the base's weights with the adapter, many times what "
        "is trained",
        "vera.v1",
        "FROD",
    ),
    Refused(
        "lily",
        "Lily",
        "its router takes the mean over all rows of a batch, so that a row's answer would depend "
        "on the rows beside it",
        "lora.v1",
        "LILY",
    ),
    Refused(
        "multitask_prompt_tuning",
        "Multitask prompt tuning",
        "it needs the number of a task with each row, and a prompt before each row, which packed "
        "rows have no place for",
        "lora.v1",
        "MULTITASK_PROMPT_TUNING",
    ),
    Refused(
        "osf",
        "OSF",
        "it trains whole weights, so that the adapter is as large as the base",
        "lora.v1",
        "OSF",
    ),
    Refused(
        "p_tuning",
        "P-tuning",
        "it puts trained tokens before each row inside PEFT's own forward pass, which packed rows "
        "and cached writing do not go through",
        "prefix.v1",
        "P_TUNING",
    ),
    Refused(
        "poly",
        "Poly",
        "it needs the number of a task with each row",
        "lora.v1",
        "POLY",
    ),
    Refused(
        "prefix_tuning",
        "Prefix tuning (P-tuning v2) of PEFT",
        "it hands trained keys and values to the base as a cache, inside PEFT's own forward pass; "
        "packed rows and cached writing do not go through that, T5's encoder ignores it, and "
        "encoders count positions from behind it, so that a fresh one is not the base; "
        "prefix.v1 is the method itself, computed where attention is",
        "prefix.v1",
        "PREFIX_TUNING",
    ),
    Refused(
        "prompt_tuning",
        "Prompt tuning",
        "it puts trained tokens before each row inside PEFT's own forward pass, which packed rows "
        "and cached writing do not go through",
        "prefix.v1",
        "PROMPT_TUNING",
    ),
    Refused(
        "shadow",
        "Shadow",
        "it runs a second model beside a decoder and adds a loss of its own; part of it never gets "
        "a gradient from a head",
        "bottleneck.v1",
        "SHADOW",
    ),
    Refused(
        "trainable_tokens",
        "Trainable tokens",
        "it trains the vectors of a few chosen tokens, new ones or such as the base was not "
        "taught, and no task here adds tokens; its files have no place for a head",
        "lora.v1",
        "TRAINABLE_TOKENS",
    ),
    Refused(
        "xlora",
        "X-LoRA",
        "it mixes adapters that are trained already, which is a composition and no kind",
        "lora.v1",
        "XLORA",
    ),
)
_VARIANTS = (
    Refused(
        "corda",
        "CorDA",
        "it needs the whole covariance of each layer's inputs and its inverse before, which are as "
        "large as the weights; init eva of lora.v1 needs their leading directions alone",
        "lora.v1",
    ),
    Refused(
        "lora_ga",
        "LoRA-GA",
        "it needs the gradients of whole weights before, which take the memory of full fine-tuning",
        "lora.v1",
    ),
    Refused("loftq", "LoftQ", "it starts from the error of quantising the base here", "lora.v1"),
    Refused("qalora", "QA-LoRA", "PEFT has it for GPTQ-quantised bases only", "lora.v1"),
    Refused(
        "alora",
        "aLoRA",
        "it acts from a marker in the prompt on, inside PEFT's own forward pass",
        "lora.v1",
    ),
    Refused(
        "kasa",
        "KaSA",
        "it takes the smallest part of each weight of the base away, so that a fresh one is not "
        "the base, and its two penalties are no part of a step",
        "lora.v1",
    ),
    Refused("arrow", "Arrow", "it routes between adapters that are trained already", "lora.v1"),
    Refused("monteclora", "MonteCLoRA", "its penalty is no part of a step", "lora.v1"),
    Refused("velora", "VeLoRA", "it changes what PEFT keeps for the way back", "lora.v1"),
    Refused("bdlora", "BD-LoRA", "it is made for sharding LoRA over several devices", "lora.v1"),
)
REFUSED: Mapping[str, Refused] = {each.name: each for each in (*_METHODS, *_VARIANTS)}
"""By name; the methods first, then the variants of LoRA."""

SETTINGS: Mapping[str, str] = {
    **{init: f'init = "{init}"' for init in ("pissa", "olora", "mica", "eva")},
    "rslora": "rank_stabilized = true",
    "loraplus": "b_learning_rate_ratio = 8",
    "lora_plus": "b_learning_rate_ratio = 8",
}
"""Variants of LoRA that are a setting of `lora.v1`: by name, how that is written."""
