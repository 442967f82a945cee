"""Fusion parts: the adapters of a fusion, read from their directories and put into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

from tenon.adapters import pack
from tenon.adapters.files import MANIFEST
from tenon.adapters.fingerprint import Fingerprint, refuse_other
from tenon.adapters.fusion_kind import Part
from tenon.adapters.fusion_layer import INNER, PARTS, key_of
from tenon.adapters.pack import Adapter
from tenon.adapters.weights import PEFT_NAME
from tenon.adapters.wrapped import INSIDE
from tenon.core.errors import AdapterError, Faults, FileError, PlanError, TenonError

ADAPTER = "adapter"
ENDING = ".weight"


def read_parts(folders: Sequence[str]) -> list[Part]:
    """Read the adapters of a fusion.

    Args:
        folders: of runs or adapters.

    Raises:
        PlanError: one is not there or cannot be trusted; all at once.
    """
    faults = Faults()
    found: list[Part] = []
    for given in folders:
        try:
            folder = _folder(Path(given))
            adapter = pack.read(folder)
        except TenonError as error:
            faults.add("parts", str(error))
            continue
        own = adapter.settings.model_copy(update={"name": _free(adapter.name, found)})
        found.append(Part(settings=own, digest=pack.digest(folder), folder=str(folder)))
    faults.raise_if_any(PlanError)
    return found


def _free(name: str, found: Sequence[Part]) -> str:
    """Give a part a name that none before it has: its own, or that with a number."""
    taken = {part.settings.name for part in found}
    return next(each for each in (name, *(f"{name}-{n}" for n in range(2, len(found) + 3)))
                if each not in taken)  # fmt: skip


def _folder(path: Path) -> Path:
    inside = path / ADAPTER
    if (inside / MANIFEST).is_file():
        return inside
    if not (path / MANIFEST).is_file():
        raise FileError(f"{path}: holds no adapter; name a run that has ended, or an adapter")
    return path


def refuse_other_base(parts: Iterable[Part], base: Fingerprint) -> None:
    """Refuse parts that were trained on another base.

    Raises:
        AdapterError: one was.
    """
    for part in parts:
        refuse_other(part.settings.name, _read(part).manifest.base, base)


def fill(peft: PeftModel, parts: Sequence[Part]) -> None:
    """Copy the weights of the parts into a fresh fusion.

    Raises:
        AdapterError: a part has changed since the plan was made, or does not have exactly the
            tensors that the fusion has for it; nothing has been copied.
    """
    held = get_peft_model_state_dict(peft, adapter_name=PEFT_NAME, save_embedding_layers=False)
    given: dict[str, torch.Tensor] = {}
    faults = Faults()
    for part in parts:
        _match(part, held, given, faults)
    faults.raise_if_any(AdapterError)
    set_peft_model_state_dict(peft, given, adapter_name=PEFT_NAME)


def _match(
    part: Part,
    held: Mapping[str, torch.Tensor],
    given: dict[str, torch.Tensor],
    faults: Faults,
) -> None:
    """Give the tensors of a part the names that they have in a fusion."""
    adapter = _read(part)
    here = _names(held, part.settings.name, cast(Any, adapter.config.peft_type))
    # PEFT leaves this ending out of the names of DoRA's lengths when it writes them.
    short = {key: key.removesuffix(ENDING) for key in here if key not in adapter.weights}
    here = {short.get(key, key): name for key, name in here.items()}
    for key in sorted({*here, *adapter.weights}):
        where = f"{part.settings.name}: {key}"
        if key not in here:
            faults.add(where, "the part has this tensor, the fusion does not")
        elif key not in adapter.weights:
            faults.add(where, "the fusion has this tensor, the part does not")
        elif held[here[key]].shape != adapter.weights[key].shape:
            shapes = [*adapter.weights[key].shape], [*held[here[key]].shape]
            faults.add(where, f"is {shapes[0]} in the part, {shapes[1]} here")
        else:
            given[here[key]] = adapter.weights[key]


def _names(held: Mapping[str, torch.Tensor], part: str, peft_type: Any) -> dict[str, str]:
    """Give the names of a part's tensors in its own directory, to those in the fusion."""
    tuner: Any = PEFT_TYPE_TO_TUNER_MAPPING[peft_type]
    inside = f".{PARTS}.{key_of(part)}."
    found: dict[str, str] = {}
    for key in held:
        module, mark, rest = key.partition(inside)
        if mark:
            # A module inside of a block that a part wraps lies one layer deeper.
            plain = f"{module.replace(INSIDE, '')}.{rest}"
            found[tuner._remove_adapter_name_from_key(plain, INNER)] = key  # noqa: SLF001
    return found


def _read(part: Part) -> Adapter:
    """Read a part again.

    Raises:
        AdapterError: it is not the one that the plan was made with.
    """
    folder = Path(part.folder)
    if not part.folder or pack.digest(folder) != part.digest:
        raise AdapterError(
            f"{part.folder or part.settings.name}: is not the adapter that this plan was made with "
            f"({part.digest[:8]}…); begin a new run, or put the adapter back"
        )
    return pack.read(folder)
