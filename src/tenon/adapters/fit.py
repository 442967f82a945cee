"""Fit: where the settings of an adapter put it in one model."""

from __future__ import annotations

from typing import NamedTuple

from peft import PeftConfig
from transformers import PreTrainedModel

from tenon.adapters import sites
from tenon.adapters.kind import KINDS
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import PlanError


class Fit(NamedTuple):
    """An adapter's place in a model.

    Args:
        places: the module names that each site stands for.
        config: what PEFT is told.
    """

    places: dict[str, tuple[str, ...]]
    config: PeftConfig


def fit(trunk: PreTrainedModel, settings: AdapterSettings) -> Fit:
    """Find the modules of `trunk` that an adapter will sit on; nothing is changed.

    Raises:
        PlanError: a site matches nothing, or the kind refuses the trunk. Every line begins with
            the setting's full name, `adapters.mood.sites`.
    """
    kind = KINDS.get(settings.kind)
    try:
        places = sites.resolve(trunk, settings.sites)
        return Fit(places, kind.config(kind.settings(**settings.own), places, trunk.config))
    except PlanError as error:
        lines = str(error).splitlines()
        prefix = f"adapters.{settings.name}."
        raise PlanError("\n".join(f"{prefix}{line}" for line in lines)) from error
