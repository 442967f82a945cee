"""Ground: a base, its tokenizer and its renderer as an adapter was trained on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenon.adapters.manifest import Lengths, Manifest
from tenon.adapters.pack import Adapter
from tenon.core.errors import AdapterError
from tenon.model import trunk as trunks
from tenon.model.attach import restore, unchanged_random_state
from tenon.model.base import Base
from tenon.model.head import Head
from tenon.model.model import Model
from tenon.model.models import model_for
from tenon.model.settings import ModelSettings
from tenon.text.render import Renderer
from tenon.text.renderers import RENDERINGS, Reading
from tenon.text.seq2seq import lead, speak
from tenon.text.tokenizer import load_tokenizer


def tokenizer_for(manifest: Manifest, base: Base) -> PreTrainedTokenizerBase:
    """Give the tokenizer of a base, which knows the languages that an adapter writes in."""
    tokenizer = load_tokenizer(base.folder)
    speak(tokenizer, manifest.text.source_language, manifest.text.target_language)
    return tokenizer


def trunk_for(
    manifests: Sequence[Manifest],
    base: Base,
    settings: ModelSettings,
    tokenizer: PreTrainedTokenizerBase,
) -> trunks.Trunk:
    """Load as much of a base as adapters need that are to answer together.

    Args:
        manifests: of adapters that all write or all read.
    """
    pooler = any(manifest.pooling.mode == "pooler" for manifest in manifests)
    writes = manifests[0].writes
    first = lead(tokenizer) if writes else ()
    return trunks.load(base, settings, pooler=pooler, writes=writes, lead=first)


def renderer_for(
    manifest: Manifest, tokenizer: PreTrainedTokenizerBase, *, seq2seq: bool
) -> Renderer:
    """Give the renderer that an adapter's rows were written by.

    Args:
        seq2seq: whether an encoder reads the prompt and a decoder writes the answer.
    """
    return _made(manifest.task, manifest.labels, manifest.text, tokenizer, seq2seq=seq2seq)


def rendered_by(
    task: str, labels: tuple[str, ...], text: Lengths, base: Base, *, seq2seq: bool
) -> Renderer:
    """Give the renderer of an adapter that will say so of itself, from the base's files.

    Args:
        text: how the adapter writes texts.
        seq2seq: whether an encoder reads the prompt and a decoder writes the answer.
    """
    tokenizer = load_tokenizer(base.folder)
    speak(tokenizer, text.source_language, text.target_language)
    return _made(task, labels, text, tokenizer, seq2seq=seq2seq)


def _made(
    task: str,
    labels: tuple[str, ...],
    text: Lengths,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seq2seq: bool,
) -> Renderer:
    reading = Reading(
        labels,
        text.max_tokens,
        text.cut,
        text.units,
        answer_tokens=text.answer_tokens,
        template=text.template or "auto",
        instruction=text.instruction,
        seq2seq=seq2seq,
    )
    return RENDERINGS.get(task).make(tokenizer, reading)


def put_on(adapter: Adapter, base: Base, settings: ModelSettings) -> tuple[Model, Renderer]:
    """Load a base and put an adapter with its head on it; with what renders its rows."""
    manifest = adapter.manifest
    tokenizer = tokenizer_for(manifest, base)
    trunk = trunk_for([manifest], base, settings, tokenizer)
    model = headed(manifest, trunk, restore(trunk, adapter), adapter.head)
    return model, renderer_for(manifest, tokenizer, seq2seq=trunk.seq2seq)


def headed(
    manifest: Manifest,
    trunk: trunks.Trunk,
    peft: PeftModel | None,
    tensors: Mapping[str, Tensor],
) -> Model:
    """Put trunk, adapter and head together, in evaluation mode.

    Args:
        peft: the PEFT model around the trunk, or None for the trunk as it is.
        tensors: `weight` [L, D] and `bias` [L] of the head; none where it is the base's own.
    """
    if manifest.writes:
        return model_for(manifest.task, trunk, peft, None, manifest.pooling.mode).eval()
    labels = len(manifest.labels)
    with unchanged_random_state():
        form = manifest.pooling
        size, scaled = trunk.hidden_size, form.normalize
        head = Head(size, labels, normalize=scaled, bias=True, dense=form.dense)
    head.put(tensors)
    head.requires_grad_(requires_grad=False)
    head.constants, head.temperature = manifest.constants, manifest.temperature
    return model_for(manifest.task, trunk, peft, head, manifest.pooling.mode).eval()


def refuse_other_template(folder: Path, manifest: Manifest, renderer: Renderer) -> None:
    """Refuse a chat template other than the one that prompts were written in for training."""
    here = str(getattr(renderer, "template_digest", ""))
    if manifest.text.template_digest != here:
        raise AdapterError(
            f"{folder}: was trained with another chat template ({manifest.text.template_digest[:8]}"
            f"…) than this base has ({here[:8] or 'none'}…); load the base it was trained on"
        )
