"""Alike: what adapters must have in common to be composed, and whose head answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch

from tenon.adapters.composition import (
    Average,
    Composition,
    Fuse,
    Parallel,
    Route,
    Stack,
    text,
)
from tenon.adapters.fingerprint import differences
from tenon.adapters.manifest import Lengths, Manifest
from tenon.adapters.pack import Adapter
from tenon.core.errors import AdapterError, Faults, did_you_mean

FUSED = 'train it: kind = "fusion.v1" with these adapters as its parts, in a plan file'
READ_ALIKE = ("cut", "units", "template", "template_digest", "instruction")
SPOKEN_ALIKE = ("source_language", "target_language")


class Answering(NamedTuple):
    """What turns the hidden states of a composition into answers.

    Args:
        lead: the adapter whose manifest says how texts are read and answers are given.
        head: `weight` [L, D] and `bias` [L]; empty where it is the base's own.
    """

    lead: str
    head: dict[str, torch.Tensor]


def coefficients(composition: Composition) -> dict[str, float]:
    """Give what each adapter's change is multiplied by, where changes are only added.

    Raises:
        AdapterError: the composition is more than a sum of changes.
    """
    match composition:
        case str():
            return {composition: 1.0}
        case Stack(parts=parts):
            return _summed([(coefficients(part), 1.0) for part in parts])
        case Average(weighted=weighted):
            return _summed([(coefficients(part), weight) for part, weight in weighted])
        case Parallel():
            why = "it gives several answers for a row"
        case Route():
            why = "which adapter a row takes is no weight"
        case Fuse():
            raise AdapterError(
                f"{text(composition)}: its attention weighs each token for itself, and is learned "
                f"first: {FUSED}"
            )
    raise AdapterError(
        f"{text(composition)}: cannot be written as one adapter: {why}; name its parts"
    )


def answering(composition: Composition) -> tuple[str, ...]:
    """Give the adapters whose heads make up the answer: of a stack, those of its last part."""
    match composition:
        case str():
            return (composition,)
        case Stack(parts=parts):
            return answering(parts[-1])
        case _:
            found = [name for part in composition.parts for name in answering(part)]
            return tuple(dict.fromkeys(found))


def refuse_unlike(
    composition: Composition, manifests: Mapping[str, Manifest], head: str = ""
) -> None:
    """Refuse to compose adapters that do not belong together.

    Args:
        composition: over the adapters.
        manifests: of the adapters, by the names that the composition has for them.
        head: the adapter whose head is taken; with it, labels may differ.

    Raises:
        AdapterError: they are of other bases; or those whose answers count differ in task, labels,
            pooling or how texts are read; all that differs is told.
    """
    faults = Faults()
    first, *others = manifests
    for name in others:
        _check_base(first, name, manifests, faults)
    if head and head not in manifests:
        faults.add(
            f"head = {head!r}", "is no adapter of this composition", did_you_mean(head, manifests)
        )
    lead, *rest = answering(composition)
    free = bool(head) or isinstance(composition, Parallel)
    for name in rest:
        _check_answers(lead, name, manifests, faults, labels=not free)
    faults.raise_if_any(AdapterError)


def _check_base(first: str, name: str, manifests: Mapping[str, Manifest], faults: Faults) -> None:
    ours, theirs = manifests[first].base, manifests[name].base
    found = differences(ours, theirs)
    if found:
        faults.add(
            text(name),
            f"was trained on base {theirs.name} ({theirs.digest[:4]}…), {text(first)} on "
            f"{ours.name} ({ours.digest[:4]}…; {found[0]})",
            "adapters can be composed over one base only; retrain one of them",
        )


def _check_answers(
    lead: str, name: str, manifests: Mapping[str, Manifest], faults: Faults, *, labels: bool
) -> None:
    ours, theirs = manifests[lead], manifests[name]
    pairs: list[tuple[str, object, object]] = [
        ("task", theirs.task, ours.task),
        ("pooling", theirs.pooling, ours.pooling),
    ]
    pairs += [
        (f"text.{field}", getattr(theirs.text, field), getattr(ours.text, field))
        for field in (*READ_ALIKE, *SPOKEN_ALIKE)
    ]
    for what, here, there in pairs:
        if here != there:
            other = f"{what} is {_short(here)}, that of {text(lead)} is {_short(there)}"
            faults.add(text(name), other, "compose adapters of one task, read the same way")
    if labels and theirs.labels != ours.labels:
        faults.add(text(name), _other_labels(lead, ours, theirs), f"or take one: head={text(lead)}")


def _other_labels(lead: str, ours: Manifest, theirs: Manifest) -> str:
    if set(ours.labels) == set(theirs.labels):
        what = "has the same labels in another order"
    else:
        odd = sorted(set(ours.labels) ^ set(theirs.labels))
        what = f"has other labels ({', '.join(odd[:4])}{', …' if len(odd) > 4 else ''})"  # noqa: PLR2004
    return f"{what} than {text(lead)}, so that their heads cannot be averaged"


def longest(lead: Manifest, others: Collection[Manifest]) -> Lengths:
    """Give how texts are read, as long as the longest that any of the adapters reads."""
    fields = ("max_tokens", "max_new_tokens", "answer_tokens")
    most = {name: max(getattr(each.text, name) for each in others) for name in fields}
    return lead.text.model_copy(update=most)


def answer_of(composition: Composition, adapters: Mapping[str, Adapter], head: str) -> Answering:
    """Give the head of a composition that gives one answer: of a stack, its last part's.

    Args:
        composition: whose adapters were found alike.
        adapters: by the names that the composition has for them.
        head: the adapter whose head is taken as it is; empty for the weighted mean.

    Raises:
        AdapterError: the heads cannot be averaged.
    """
    names = answering(composition)
    lead = head or names[0]
    if len(names) == 1 or head or adapters[lead].manifest.writes:
        return Answering(lead, dict(adapters[lead].head))
    for name in names[1:]:
        if adapters[name].manifest.constants != adapters[lead].manifest.constants:
            raise AdapterError(
                f"{text(name)}: turns scores into answers by other {_constants(adapters[name])} "
                f"than {text(lead)}, so that their heads cannot be averaged; take one of them: "
                f"head={text(lead)}"
            )
    return Answering(lead, _mean(composition, adapters))


def _mean(composition: Composition, adapters: Mapping[str, Adapter]) -> dict[str, torch.Tensor]:
    """Give the mean of heads, by the weights of the average that they stand in."""
    if isinstance(composition, str):
        return dict(adapters[composition].head)
    if isinstance(composition, Stack):
        return _mean(composition.parts[-1], adapters)
    weighted = composition.weighted if isinstance(composition, Average) else ()
    total = sum(weight for _, weight in weighted)
    negative = [text(part) for part, weight in weighted if weight < 0]
    if negative or not weighted:
        raise AdapterError(
            f"{text(composition)}: has a negative weight ({', '.join(negative)}), with which heads "
            "have no mean; take the head of one: head=NAME"
        )
    heads = [(_mean(part, adapters), weight / total) for part, weight in weighted]
    return {
        key: torch.stack([held[key].double() * share for held, share in heads]).sum(0).float()
        for key in heads[0][0]
    }


def _constants(adapter: Adapter) -> str:
    return " and ".join(adapter.manifest.constants) or "rules"


def _summed(parts: list[tuple[dict[str, float], float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for inner, weight in parts:
        for name, held in inner.items():
            found[name] = found.get(name, 0.0) + weight * held
    return found


def _short(value: object) -> str:
    shown = getattr(value, "mode", value)
    return repr(shown)[:40]
