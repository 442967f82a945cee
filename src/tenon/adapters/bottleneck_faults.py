"""Faults: values of a bottleneck that mean nothing, have no effect, or contradict others.

Both the kind's settings and PEFT's config are held against this; torch is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tenon.adapters.blocks import DEFAULT, LABEL

ACTIVATIONS = ("relu", "gelu", "gelu_new", "silu", "swish", "tanh", "leakyrelu")
INITS = ("identity", "near", "bert", "mam")
LEARNED = ("learned", "channel")
NORM_NAMES = ("original_ln_before", "original_ln_after", "residual_before_ln")
IDENTITIES = {(True, True, True), (True, False, False), (False, True, True)}
"""Values of `NORM_NAMES` with which an adapter that adds nothing changes nothing."""

Values = Mapping[str, Any]


def faults(given: Values) -> Iterator[str]:
    """Yield what is wrong with the fields of a BottleneckConfig, each fault one line."""
    for rule in (_sizes, _labels, _words, _first_weights, _norms, _products):
        yield from rule(given)


def _sizes(given: Values) -> Iterator[str]:
    width, reduction = given["width"], given["reduction"]
    if (width is None) == (reduction is None):
        yield f"width is {width} and reduction is {reduction}; give one"
    if given["scale"] == 0:
        yield "scale is 0, so the adapter would add nothing; give another number"
    if given["invertible"] is not None and given["invertible"] < 1:
        yield f"invertible is {given['invertible']}; give a reduction of 1 at least"


def _labels(given: Values) -> Iterator[str]:
    reduction = given["reduction"]
    for label in reduction if isinstance(reduction, Mapping) else ():
        if not (label == DEFAULT or LABEL.fullmatch(str(label))):
            yield f'reduction: {label!r} is no layer; write "3", "decoder.3" or "{DEFAULT}"'
    for label in given["leave_out"] or ():
        if not LABEL.fullmatch(str(label)):
            yield f'leave_out: {label!r} is no layer; write 3, "3" or "decoder.3"'


def _words(given: Values) -> Iterator[str]:
    for name, known in (("activation", ACTIVATIONS), ("init", INITS)):
        if given[name] not in known:
            yield f"{name} {given[name]!r} is unknown; there are {', '.join(known)}"
    if isinstance(given["scale"], str) and given["scale"] not in LEARNED:
        yield f"scale {given['scale']!r} is unknown; give a number, {' or '.join(LEARNED)}"


def _first_weights(given: Values) -> Iterator[str]:
    if given["ln_after"] and given["init"] != "identity":
        yield (
            f"init {given['init']!r} with ln_after: a norm gives what is added the size of 1 "
            'however small it begins; take init = "identity", which begins with a norm of gain 0'
        )
    if given["phm_dim"] is not None and given["init"] not in ("identity", "near"):
        yield f'init {given["init"]!r} is none of Kronecker products; take "identity" or "near"'


def _norms(given: Values) -> Iterator[str]:
    now = tuple(given[name] for name in NORM_NAMES)
    if given["parallel"] and now[0]:
        yield (
            "original_ln_before is true with parallel placement, which reads the block's input; "
            "set original_ln_before = false or choose another preset"
        )
    if given["parallel"] or now in IDENTITIES:
        return
    told = ", ".join(
        f"{name} = {str(value).lower()}" for name, value in zip(NORM_NAMES, now, strict=True)
    )
    yield (
        f"{told} is not the identity at the start: it drops or doubles the block's residual. What "
        "works: true, true, true as pfeiffer; false, true, true as houlsby; true, false, false "
        "behind the norm"
    )


def _products(given: Values) -> Iterator[str]:
    if given["phm_dim"] is None:
        for name in ("phm_rank", "phm_shared"):
            if given[name] is not None:
                yield f"{name} has no effect without phm_dim; remove it, or set phm_dim"
    elif given["phm_dim"] < 1 or given["phm_rank"] < 1:
        yield f"phm_dim is {given['phm_dim']}, phm_rank is {given['phm_rank']}; give 1 at least"
    elif given["width"] is not None and given["width"] % given["phm_dim"]:
        yield f"phm_dim = {given['phm_dim']} does not divide width = {given['width']}; change one"
