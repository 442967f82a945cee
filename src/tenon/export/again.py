"""Again: the scores of exported files, read as other tools read them.

Legend: B texts, L classes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from tenon.adapters.files import HEAD
from tenon.adapters.manifest import Manifest
from tenon.evaluate.ground import headed, renderer_for, tokenizer_for, trunk_for
from tenon.evaluate.merged import proof_texts
from tenon.evaluate.probes import rendered, scores
from tenon.model.base import Base
from tenon.model.loading import Numbers, quiet, read_as
from tenon.model.settings import ModelSettings
from tenon.text.render import Rendered


def scores_again(
    manifest: Manifest, base: Base, settings: ModelSettings, *, adapter: Path | None = None
) -> Tensor:
    """Give the scores of the proof's texts, [B, L], from files that were just written.

    Args:
        base: folder of the weights and the tokenizer.
        settings: number format and device.
        adapter: folder of a PEFT adapter for it, as PEFT reads it; None where it is merged.
    """
    tokenizer = tokenizer_for(manifest, base)
    if manifest.layout == "transformers" and not manifest.writes:
        renderer = renderer_for(manifest, tokenizer, seq2seq=False)
        rows = rendered(renderer, *proof_texts(manifest, renderer))
        return _classified(manifest, base, settings, adapter, rows)
    trunk = trunk_for([manifest], base, settings, tokenizer)
    renderer = renderer_for(manifest, tokenizer, seq2seq=trunk.seq2seq)
    if adapter is not None:
        _read_adapter(trunk.model if trunk.whole is None else trunk.whole, adapter)
    tensors = {} if manifest.writes else load_file((adapter or base.folder) / HEAD)
    model = headed(manifest, trunk, None, tensors)
    texts, pairs = proof_texts(manifest, renderer)
    return scores(manifest.task, model, renderer, texts, pairs)


def _read_adapter(model: nn.Module, adapter: Path) -> nn.Module:
    with warnings.catch_warnings(), quiet():
        # PEFT asks transformers under a name that transformers is about to rename.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return PeftModel.from_pretrained(cast(Any, model), adapter).eval()


def _classified(
    manifest: Manifest, base: Base, settings: ModelSettings, adapter: Path | None, rows: Rendered
) -> Tensor:
    """Score rows one by one with transformers' own class."""
    with quiet(), warnings.catch_warnings():
        # The head of a bare base is fresh; the adapter brings its own.
        warnings.filterwarnings("ignore", ".*not initialized", UserWarning)
        held = Numbers(
            getattr(torch, settings.dtype), settings.quantize, torch.device(settings.device)
        )
        config = AutoConfig.from_pretrained(
            base.folder,
            num_labels=len(manifest.labels),
            local_files_only=True,
            trust_remote_code=False,
        )
        factory, asked = AutoModelForSequenceClassification, dict[str, Any]()
        model: Any = read_as(factory, base, config, held, asked)[0]
    model = model.to(settings.device)
    model = model.eval() if adapter is None else _read_adapter(model, adapter)
    typed = int(getattr(model.config, "type_vocab_size", 0) or 0) > 1
    found: list[Tensor] = []
    for place, ids in enumerate(rows.ids):
        given = {"input_ids": torch.tensor([ids], device=model.device)}
        types = rows.types[place] if rows.types else None
        if typed and types is not None:
            given["token_type_ids"] = torch.tensor([types], device=model.device)
        with torch.no_grad():
            found.append(model(**given).logits[0].float().cpu())
    return torch.stack(found)
