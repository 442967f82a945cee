"""Fresh: an adapter put on a model as its settings have it before anything is learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from tenon.adapters.fit import fit
from tenon.adapters.kind import KINDS
from tenon.adapters.settings import AdapterSettings
from tenon.adapters.starts import begin
from tenon.adapters.weights import put
from tenon.adapters.wrap import wrap


class Fresh(NamedTuple):
    """An adapter on a model.

    Args:
        peft: the PEFT model; its modules are the model's, wrapped in place.
        places: the module names that each site stood for.
    """

    peft: PeftModel
    places: dict[str, tuple[str, ...]]


def fresh(
    model: PreTrainedModel,
    settings: AdapterSettings,
    first: Mapping[str, Tensor] | None = None,
) -> Fresh:
    """Put a fresh adapter on `model`; what is random is drawn from torch's generator.

    Args:
        first: its first weights, where they have been computed before.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the model.
        AdapterError: `first` are not exactly the weights that the adapter has on this model, or
            a part of a fusion is not what it was when the plan was made.
    """
    places, config = fit(model, settings)
    peft = wrap(model, config)
    kind = KINDS.get(settings.kind)
    if kind.compound is not None and model.device.type != "meta":
        kind.compound.fill(peft, kind.settings(**settings.own))
    start = kind.begins_from(settings.own)
    begin(peft, start, known=first is not None)
    if first is not None:
        put(peft, first)
    return Fresh(peft, places)
