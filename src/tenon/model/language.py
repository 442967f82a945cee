"""Language: a trunk, and the adapter on it, below the base's own language-model head."""

from __future__ import annotations

from typing import Any, cast

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from tenon.model.base import Base
from tenon.model.loading import Numbers, quiet, read_as
from tenon.model.trunk import Trunk


def language_model(base: Base, trunk: Trunk) -> PreTrainedModel | None:
    """Give the base's language model around a trunk; it shares the trunk's modules.

    Args:
        base: where the head is read from, if the trunk was loaded without it.
        trunk: of an encoder or a decoder.

    Returns:
        None where the base's files hold no such head, as those of sentence encoders.
    """
    if trunk.whole is not None:
        return trunk.whole
    with quiet():
        config: Any = AutoConfig.from_pretrained(base.folder, local_files_only=True)
    names = (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if trunk.decoder else MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    if config.model_type not in names:
        return None
    factory: Any = AutoModelForCausalLM if trunk.decoder else AutoModelForMaskedLM
    held = Numbers(trunk.model.dtype, device=trunk.device)
    whole, report = read_as(factory, base, config, held, {})
    prefix = whole.base_model_prefix
    missing = [str(name) for name in report.get("missing_keys", ())]
    if any(not name.startswith(f"{prefix}.") for name in missing) or not hasattr(whole, prefix):
        return None
    whole = cast(Any, whole.requires_grad_(requires_grad=False)).to(trunk.device).eval()
    # Last, so that nothing above is done to the adapter.
    setattr(whole, prefix, trunk.model)
    return whole
