"""Loading: a base's files to the model of transformers that they hold, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    MT5EncoderModel,
    PreTrainedModel,
    T5EncoderModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.utils import logging as transformers_logging

from tenon.core.errors import FileError, PlanError
from tenon.model.base import Base, refuse_damaged
from tenon.model.quantization import NONE, way

CPU = torch.device("cpu")
ENCODERS: dict[str, Any] = {"t5": T5EncoderModel, "mt5": MT5EncoderModel}
"""Encoder-decoders whose encoder reads texts by itself."""
POOLERS = {"bert", "roberta", "xlm-roberta", "camembert", "mpnet"}


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a base are held.

    Args:
        dtype: their format.
        quantize: how its linear layers are held, a name of `SCHEMES`; a base that is stored
            quantised is held as it is stored.
        device: where it will compute.
    """

    dtype: torch.dtype
    quantize: str = NONE
    device: torch.device = CPU


def read(base: Base, numbers: Numbers, *, pooler: bool, writes: bool) -> PreTrainedModel:
    """Give the model of a base, on the CPU; what bitsandbytes quantises is on its device already.

    Args:
        pooler: with its trained pooler.
        writes: with its language-model head.

    Raises:
        FileError: the folder is not a model that transformers can load whole.
        PlanError: it has no such pooler or head, or cannot be quantised so.
        MissingExtra: a package that quantises is not installed.
    """
    transformers_logging.disable_progress_bar()
    config = _config(base)
    options: dict[str, Any] = {} if pooler or writes else _without_pooler(config.model_type)
    factory = _writing_factory(base, config) if writes else _reading_factory(base, config)
    refuse_damaged(base.folder)
    model, report = read_as(factory, base, config, numbers, options)
    _refuse_missing(base, report, pooler=pooler)
    if writes:
        # The base's own settings may ask for sampling; what is written here is decided here.
        model.generation_config = GenerationConfig()
    if pooler and not _has_pooler(model):
        raise PlanError(
            f'model.pooling = "pooler": base {base.name} ({config.model_type}) has no pooler; '
            'use "mean", "cls" or "last"'
        )
    return model


def read_as(
    factory: Any, base: Base, config: Any, numbers: Numbers, options: Mapping[str, Any]
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Let a class of transformers read a base.

    Args:
        factory: the class.
        options: of its own.

    Returns:
        The model, and what transformers says of tensors that are missing.

    Raises:
        FileError: transformers cannot load it.
        PlanError: it cannot be quantised so.
        MissingExtra: a package that quantises is not installed.
    """
    asked = way(
        base.name,
        config,
        numbers.quantize,
        numbers.device,
        lambda: _empty(factory, config, options),
    )
    with _loading(base), quiet():
        model, report = factory.from_pretrained(
            base.folder,
            config=config,
            dtype=numbers.dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **options,
            **(asked.options if asked else {}),
        )
    if asked:
        asked.hold(model, numbers.dtype)
    return model, report


def _empty(factory: Any, config: Any, options: Mapping[str, Any]) -> nn.Module:
    """Give a base without numbers: every tensor has a shape and no data."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]), quiet():
        if hasattr(factory, "from_config"):
            return factory.from_config(config, **options)
        return factory(config)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let transformers say errors only."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _reading_factory(base: Base, config: Any) -> Any:
    """Give the class that loads a base for what reads its hidden states."""
    if config.model_type in ENCODERS:
        return ENCODERS[config.model_type]
    if config.is_encoder_decoder:
        raise PlanError(
            f"base {base.name}: {config.model_type} is an encoder-decoder, which writes texts: "
            "translation, summarization, text-generation; for other tasks use an encoder, a "
            "decoder, or t5 (its encoder)"
        )
    return AutoModel


def _writing_factory(base: Base, config: Any) -> Any:
    """Give the class that loads a base with its language-model head.

    Raises:
        PlanError: the base is an encoder, which cannot write.
    """
    if (
        config.is_encoder_decoder
        and config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    ):
        return AutoModelForSeq2SeqLM
    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.is_encoder_decoder or not known or (masked and not config.is_decoder):
        sort = "encoder-decoder of another sort" if config.is_encoder_decoder else "encoder"
        raise PlanError(
            f"base {base.name}: {config.model_type} is an {sort}; answers are written by a decoder "
            "with its language-model head, such as qwen3, llama or gpt2, or by an encoder-decoder, "
            "such as t5, bart or mbart"
        )
    return AutoModelForCausalLM


def writes_answers(base: Base) -> bool:
    """Whether a base has a language-model head with which it can write.

    Raises:
        FileError: transformers does not know its config.
    """
    try:
        _writing_factory(base, _config(base))
    except PlanError:
        return False
    return True


def _config(base: Base) -> Any:
    with _loading(base):
        return AutoConfig.from_pretrained(
            base.folder, local_files_only=True, trust_remote_code=False
        )


@contextlib.contextmanager
def _loading(base: Base) -> Iterator[None]:
    """Turn what transformers raises over a damaged or unknown base into a FileError."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FileError(
            f"base {base.name}: transformers cannot load it ({first}); download or copy the base "
            "again, or take another"
        ) from error


def _without_pooler(model_type: str) -> dict[str, Any]:
    return {"add_pooling_layer": False} if model_type in POOLERS else {}


def _has_pooler(model: nn.Module) -> bool:
    """Whether the base has a pooler that reads hidden states, as BERT's does."""
    return type(getattr(model, "pooler", None)).__name__.endswith("Pooler")


def _refuse_missing(base: Base, report: dict[str, Any], *, pooler: bool) -> None:
    """Refuse a base whose files lack some of its tensors, but for a pooler that is not used."""
    absent = [str(name) for name in report.get("missing_keys", ())]
    missing = sorted(name for name in absent if pooler or not name.startswith("pooler."))
    if not missing:
        return
    if pooler and all("pooler" in name for name in missing):
        raise PlanError(
            f'model.pooling = "pooler": base {base.name} has no trained pooler '
            f'({", ".join(missing)} are not in its weights); use "mean" or "cls"'
        )
    shown = ", ".join(missing[:3])
    raise FileError(
        f"base {base.name}: {len(missing)} tensors of the model are not in its weights "
        f"({shown}); is the download whole, and is it this architecture?"
    )
