"""Wrap: an adapter put on a model by PEFT, under our own errors and without needless warnings."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from tenon.adapters.weights import PEFT_NAME
from tenon.core.errors import PlanError, TenonError

KNOWN = (
    # PEFT asks transformers under a name that transformers is about to rename.
    ("`is_gradient_checkpointing`", FutureWarning),
    # LN tuning wraps norms, whose sizes PEFT does not look up and does not need.
    ("Unsupported layer type", UserWarning),
    # That BEFT cannot be merged is what its kind says.
    ("Detected that the base layer has no bias term", UserWarning),
)


def wrap(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """Put a fresh adapter on `model`, whose modules are changed in place.

    Raises:
        PlanError: PEFT refuses the model or the settings. The model may be partly wrapped and must
            be loaded again.
    """
    # SHiRA builds sparse tensors from places that may be read from a file: torch shall check them.
    torch.sparse.check_sparse_tensor_invariants.enable()
    with warnings.catch_warnings():
        for message, category in KNOWN:
            warnings.filterwarnings("ignore", message, category)
        try:
            wrapped = get_peft_model(model, config, adapter_name=PEFT_NAME)
        except TenonError:
            raise
        except (ValueError, TypeError, NotImplementedError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            sort = str(cast(Any, config.peft_type).value)
            raise PlanError(
                f"adapters: PEFT refuses {sort} on this {model.config.model_type} model ({first}); "
                "choose other sites or settings, or lora.v1"
            ) from error
    assert isinstance(wrapped, PeftModel)  # noqa: S101 - mixed models are never asked for
    if getattr(config, "target_parameters", None) == set():
        # PEFT has written so over None on a mixture of experts; a written adapter is as was asked.
        cast(Any, config).target_parameters = None
    return wrapped
