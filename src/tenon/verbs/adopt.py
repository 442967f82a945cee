"""Adopt: an adapter of another library, imported as one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch

import tenon
from tenon.adapters import pack
from tenon.adapters.adopted import Adopted, Use, name_for
from tenon.adapters.fingerprint import Fingerprint, fingerprint
from tenon.adapters.foreign import Foreign, read_foreign
from tenon.adapters.from_hub import adopt_hub
from tenon.adapters.from_peft import adopt
from tenon.adapters.hub_heads import hub_use
from tenon.adapters.manifest import Lengths, Manifest, layout_for
from tenon.adapters.pack import Adapter
from tenon.adapters.peft_heads import use_of
from tenon.core.errors import AdapterError, FileError
from tenon.core.files import remove
from tenon.core.progress import Progress
from tenon.evaluate.answerer import open_answerer
from tenon.evaluate.ground import headed, renderer_for, tokenizer_for, trunk_for
from tenon.evaluate.imported_card import imported_card
from tenon.evaluate.probes import probe
from tenon.model.attach import restore
from tenon.model.base import Base, locate
from tenon.model.loading import writes_answers
from tenon.model.settings import ModelSettings
from tenon.model.trunk import Trunk, positions
from tenon.text.text_generation_render import WritingRenderer
from tenon.text.tokenizer import load_tokenizer, token_limit
from tenon.verbs.home import refuse_own

LONGEST = 2048
SHORTEST = 512
"""Most tokens of a row where neither base nor tokenizer says: of those that write, and others."""
ANSWER_TOKENS = 256


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Args:
        out: the adapter directory.
        manifest: of it.
        notes: what was taken for granted, and what was changed on the way.
    """

    out: Path
    manifest: Manifest
    notes: tuple[str, ...]


def import_adapter(
    source: Path | str,
    out: Path | str,
    *,
    base: str = "",
    name: str = "",
    labels: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> Imported:
    """Write an adapter of PEFT or AdapterHub as one of ours.

    The base is what the caller or the files name: that the adapter was trained on it is not known,
    and the manifest says so.

    Args:
        source: folder of the adapter.
        out: the adapter directory to write; it must not exist or be empty.
        base: folder, package or hub id of the base, where the files name another place.
        name: of the adapter, where the files name none or another.
        labels: names of its classes in the order of the head's rows, where the files have none.
        device: where its first answers are computed.

    Raises:
        AdapterError: the files are damaged or dangerous, do not fit the base, or ask for what no
            kind of ours has. Nothing is written.
        FileError: something is not there, or `out` holds files.
    """
    folder, place = Path(source), Path(out)
    _refuse_taken(place)
    if progress:
        progress.start("reading", None)
    foreign = read_foreign(folder)
    located = _base(foreign, base)
    print_of_base = fingerprint(located.folder, located.name, located.revision)
    writes = writes_answers(located)
    reader = use_of if foreign.form == "peft" else hub_use
    use = reader(foreign, print_of_base.model_type, labels, writes=writes)
    manifest = _manifest(foreign, located, print_of_base, use, name)
    adapter, notes = _adopted(foreign, located, manifest, use, ModelSettings(device=device))
    pack.write(place, adapter, card=imported_card(adapter.manifest, notes))
    try:
        open_answerer(place, base, device)
    except BaseException:
        remove(place)
        raise
    return Imported(place, pack.read(place).manifest, notes)


def _refuse_taken(out: Path) -> None:
    refuse_own(out)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise FileError(f"{out}: is not a folder; choose another --out")
    if out.is_dir() and any(out.iterdir()):
        raise FileError(f"{out}: holds files; choose another --out, or empty it")


def _base(foreign: Foreign, base: str) -> Base:
    named = base or foreign.base
    if not named:
        raise AdapterError(f"{foreign.folder}: does not name its base; name it: --base")
    revision = foreign.config.get("revision") if not base else None
    return locate(named, revision if isinstance(revision, str) else "")


def _manifest(
    foreign: Foreign, base: Base, print_of_base: Fingerprint, use: Use, name: str
) -> Manifest:
    """Give all of the manifest that is known before the base is loaded."""
    found = foreign.config.get("name") if foreign.form == "adapterhub" else None
    called = name_for(name, str(found or foreign.folder.resolve().name))
    bias = use.tensors.get("bias")
    has_bias = bias is not None and bool(bias.any())
    layout = layout_for(print_of_base.model_type, use.pooling, has_bias=has_bias)
    limit = token_limit(load_tokenizer(base.folder), 0)
    longest = LONGEST if use.head != "classes" else SHORTEST
    return Manifest(
        tenon=tenon.__version__,
        name=called,
        kind="",
        task=use.task,
        head=use.head,
        labels=use.labels,
        base=print_of_base,
        pooling=use.pooling,
        text=Lengths(max_tokens=min(limit or longest, longest)),
        constants=dict(use.constants),
        layout=layout if use.head == "classes" else "transformers",
        proven=False,
        origin=foreign.form,
    )


def _adopted(
    foreign: Foreign, base: Base, manifest: Manifest, use: Use, settings: ModelSettings
) -> tuple[Adapter, tuple[str, ...]]:
    """Put the adapter on its base, and let it answer the probes.

    Raises:
        AdapterError: it does not fit the base.
    """
    tokenizer = tokenizer_for(manifest, base)
    trunk = trunk_for([manifest], base, settings, tokenizer)
    made = _in_our_terms(foreign, manifest, trunk, use)
    _refuse_other_output(foreign, trunk)
    chosen = made.settings
    filled = _filled(manifest, trunk, made)
    adapter = Adapter(
        chosen.name, chosen.kind, chosen, made.config, made.weights, dict(use.tensors), filled
    )
    model = headed(filled, trunk, restore(trunk, adapter), adapter.head)
    renderer = renderer_for(filled, tokenizer, seq2seq=trunk.seq2seq)
    filled = filled.model_copy(update={"text": _text(filled, renderer)})
    probes = probe(filled.task, model, renderer)
    filled = filled.model_copy(update={"probes": probes})
    return replace(adapter, manifest=filled), (*foreign.notes, *use.notes, *made.notes)


def _in_our_terms(foreign: Foreign, manifest: Manifest, trunk: Trunk, use: Use) -> Adopted:
    if foreign.form == "adapterhub":
        return adopt_hub(foreign, manifest.name, trunk.model)
    return adopt(foreign, manifest.name, trunk.model, _prefix(foreign, trunk), use)


def _refuse_other_output(foreign: Foreign, trunk: Trunk) -> None:
    """Refuse a language-model head that is not the base's own, as that would be left out."""
    if trunk.whole is None or not foreign.head:
        return
    own_VD = cast(torch.Tensor, trunk.output.weight).detach().cpu()
    held = [tensor.to(own_VD.dtype) for tensor in foreign.head.values()]
    if len(held) != 1 or held[0].shape != own_VD.shape or not torch.equal(held[0], own_VD):
        raise AdapterError(
            f"{foreign.folder}: has a language-model head other than the base's own, which cannot "
            "be imported; leave its head files out, or name its own base: --base"
        )


def _prefix(foreign: Foreign, trunk: Trunk) -> str:
    """Give the trunk's name in the model that PEFT had, as its tensors tell."""
    prefix = trunk.model.base_model_prefix if trunk.whole is None else trunk.whole.base_model_prefix
    inside = {name.partition(".")[0] for name, _ in trunk.model.named_modules() if name}
    first = {key.removeprefix(pack.PEFT_PREFIX).partition(".")[0] for key in foreign.weights}
    return prefix if prefix in first and prefix not in inside else ""


def _filled(manifest: Manifest, trunk: Trunk, made: Adopted) -> Manifest:
    """Give the manifest with what the loaded base and the adapter tell."""
    limit = positions(trunk) or manifest.text.max_tokens
    text = manifest.text.model_copy(update={"max_tokens": min(limit, manifest.text.max_tokens)})
    more: dict[str, object] = {"text": text, "kind": made.settings.kind}
    if manifest.writes:
        whole = trunk.whole or trunk.model
        more["prefix"] = "" if whole is trunk.model else whole.base_model_prefix
        more["head"] = "seq2seq" if trunk.seq2seq else "language"
        answer = min(ANSWER_TOKENS, text.max_tokens // 2)
        more["text"] = text.model_copy(update={"units": "texts", "max_new_tokens": answer})
    return manifest.model_copy(update=more)


def _text(manifest: Manifest, renderer: object) -> Lengths:
    """Give how prompts are written, as the base's tokenizer decides."""
    if not isinstance(renderer, WritingRenderer):
        return manifest.text
    form = {"template": renderer.form, "template_digest": renderer.template_digest}
    return manifest.text.model_copy(update=form)
