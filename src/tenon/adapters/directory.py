"""Directory: the files of an adapter's folder, opened without trust.

Only regular files are opened, each once; what is verified is what is used. Nothing is
unpickled, no link is followed, no pattern from a file is run.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import safetensors
import safetensors.torch
import torch
from peft import PeftConfig
from pydantic import ValidationError
from transformers import PreTrainedConfig

from tenon.adapters.files import CARD, CONFIG, HEAD, MANIFEST, WEIGHTS
from tenon.adapters.kind import KINDS, NAME
from tenon.adapters.manifest import FORMAT, HEADS, TASK_TYPES, Manifest, TensorSpec
from tenon.adapters.settings import AdapterSettings
from tenon.core.errors import AdapterError, Faults, FileError, PlanError
from tenon.core.files import digest_of, reading

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz")
JSON_BYTES = 64 << 20
MODULE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
BY_LAYOUT = ("target_modules", "modules_to_save", "task_type")
OF_THE_WRITER = ("peft_version", "base_model_name_or_path", "revision", "inference_mode")


def files_for(manifest: Manifest) -> set[str]:
    """Give the names of the files that the directory holds beside the manifest."""
    return {CONFIG, WEIGHTS, CARD} | ({HEAD} if manifest.layout == "trunk" else set())


def list_folder(folder: Path) -> set[str]:
    """Give the names in `folder`, hidden ones left out.

    Raises:
        AdapterError: a link, a folder, a special file or a pickle lies there.
        FileError: the folder is not there or cannot be read.
    """
    if not folder.is_dir():
        raise FileError(f"{folder}: no such folder; check the path of the adapter")
    faults = Faults()
    names: set[str] = set()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        names.add(path.name)
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            faults.add(str(path), "is a link", "copy the file itself into the folder")
        elif not stat.S_ISREG(mode):
            faults.add(str(path), "is not a regular file", "an adapter has files only; remove it")
        elif path.suffix.lower() in PICKLES:
            faults.add(
                str(path),
                "is a pickle, or may hold one, which can run any code",
                "remove it; the weights belong into safetensors",
            )
    faults.raise_if_any(AdapterError)
    return names


def read_manifest(folder: Path, names: set[str]) -> Manifest:
    """Read and check `tenon.json`.

    Raises:
        AdapterError: it is absent, damaged, of an unknown format, or names what it must not.
    """
    where = folder / MANIFEST
    if MANIFEST not in names:
        foreign = CONFIG in names
        what = "a PEFT adapter without" if foreign else "no adapter: it has no"
        raise AdapterError(
            f"{folder}: is {what} {MANIFEST}; expected a folder that `tenon train` wrote"
            + ("; take it in: tenon import" if foreign else "")
        )
    value = parse_json(where, _bytes(where, JSON_BYTES))
    if value.get("format") != FORMAT:
        raise AdapterError(
            f"{where}: format is {value.get('format')!r}, this Tenon reads {FORMAT}; "
            "upgrade Tenon, or write the adapter again"
        )
    if value.get("seal") != seal_of(value):
        raise AdapterError(
            f"{where}: has changed since it was written: it does not have the digest that it "
            "states; copy the folder again"
        )
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        lines = [f"{where}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise AdapterError("\n".join(lines)) from error
    check_manifest(manifest, str(where))
    return manifest


def seal_of(manifest: Mapping[str, Any]) -> str:
    """Give the digest of a manifest's fields, which it states in `seal`."""
    return digest_of({key: manifest[key] for key in manifest if key != "seal"})


def check_manifest(manifest: Manifest, where: str) -> None:
    """Refuse a manifest that contradicts itself.

    Raises:
        AdapterError: names, kind, labels, layout or files do not fit together; all at once.
    """
    faults = Faults()
    settings = manifest.settings
    if settings is None:
        faults.add(where, "settings are missing", "write the adapter again")
    elif (settings.name, settings.kind) != (manifest.name, manifest.kind):
        faults.add(where, "name and kind differ from those in settings", "write the adapter again")
    if not NAME.fullmatch(manifest.name):
        faults.add(
            where, f"name {manifest.name!r} is no adapter's name", "see adapters in the docs"
        )
    if manifest.kind not in KINDS.names():
        known = ", ".join(KINDS.names())
        faults.add(where, f"kind {manifest.kind!r} is unknown here", f"known are {known}")
    _check_labels(manifest, where, faults)
    faults.raise_if_any(AdapterError)


def _check_labels(manifest: Manifest, where: str, faults: Faults) -> None:
    """Check that labels and layout are those of the head."""
    if manifest.writes:
        if manifest.labels or manifest.layout != "transformers":
            what = f"the head is the base's, but labels are {manifest.labels!r}, layout is "
            faults.add(where, f"{what}{manifest.layout}", "write the adapter again")
        if manifest.prefix and not MODULE.fullmatch(manifest.prefix):
            faults.add(where, f"prefix {manifest.prefix!r} is no module's name")
        return
    if len(set(manifest.labels)) != len(manifest.labels) or not manifest.labels:
        faults.add(where, f"labels are {manifest.labels!r}", "expected at least one, each once")
    thresholds = manifest.constants.get("thresholds")
    if thresholds is not None and len(thresholds) != len(manifest.labels):
        what = f"{len(thresholds)} thresholds for {len(manifest.labels)} labels"
        faults.add(where, what, "write the adapter again")
    key = (manifest.base.model_type, manifest.pooling.mode)
    if manifest.layout == "transformers" and (key not in HEADS or manifest.pooling.normalize):
        faults.add(where, f"layout transformers does not exist for {key}", "use layout trunk")


def read_files(folder: Path, names: set[str], manifest: Manifest) -> dict[str, bytes]:
    """Read every file that the manifest lists, and prove that it is what was written.

    Raises:
        AdapterError: a file is missing, extra, changed, or has no business there; all at once.
    """
    expected = files_for(manifest)
    faults = Faults()
    for name in sorted(expected ^ set(manifest.files)):
        state = "is not listed" if name in expected else "is listed, but no file of an adapter"
        faults.add(f"{folder / MANIFEST}", f"{name!r} {state}", "write the adapter again")
    for name in sorted(expected - names):
        faults.add(str(folder / name), "is missing", "copy the whole folder")
    for name in sorted(names - expected - {MANIFEST}):
        faults.add(str(folder / name), "is not part of the adapter", "remove it")
    faults.raise_if_any(AdapterError)
    content = {name: _bytes(folder / name) for name in sorted(expected)}
    for name, data in content.items():
        found = hashlib.sha256(data).hexdigest()
        if found != manifest.files[name]:
            faults.add(
                str(folder / name),
                f"has changed since it was written (sha256 {found[:8]}…, was "
                f"{manifest.files[name][:8]}…)",
                "copy the folder again, or retrain",
            )
    faults.raise_if_any(AdapterError)
    return content


def read_tensors(
    folder: Path, content: Mapping[str, bytes], manifest: Manifest
) -> dict[str, dict[str, torch.Tensor]]:
    """Read the tensors of each file and hold them against the manifest's list.

    Raises:
        AdapterError: a tensor is missing, extra, or of another shape or format; all at once.
    """
    faults = Faults()
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name in sorted({WEIGHTS, HEAD} & set(content)):
        try:
            parts[name] = safetensors.torch.load(content[name])
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise AdapterError(f"{folder / name}: not a safetensors file ({error})") from error
        listed = manifest.tensors.get(name, {})
        found = {key: spec(tensor) for key, tensor in parts[name].items()}
        for key in sorted({*listed, *found}):
            _compare(f"{folder / name}: {key}", listed.get(key), found.get(key), faults)
    faults.raise_if_any(AdapterError)
    return parts


def _compare(
    where: str, listed: TensorSpec | None, found: TensorSpec | None, faults: Faults
) -> None:
    if found is None:
        faults.add(where, "is missing", "copy the folder again, or retrain")
    elif listed is None:
        faults.add(where, "is not in the manifest's list", "copy the folder again, or retrain")
    elif listed != found:
        faults.add(
            where,
            f"is {found.dtype} {list(found.shape)}, was {listed.dtype} {list(listed.shape)}",
            "copy the folder again, or retrain",
        )


def spec(tensor: torch.Tensor) -> TensorSpec:
    """Give a tensor's format and sizes."""
    return TensorSpec(dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))


def read_config(folder: Path, data: bytes, manifest: Manifest) -> PeftConfig:
    """Read PEFT's config, and prove that it is the one that the adapter's settings stand for.

    PEFT itself takes patterns, other methods and module names to import from this file; none of
    that gets through, as every value must be what the kind makes of the settings.

    Raises:
        AdapterError: a value differs, or the target modules are no plain list of names.
    """
    where = folder / CONFIG
    given = parse_json(where, data)
    expected = _plain(expected_config(manifest).to_dict())
    faults = Faults()
    of_sites = KINDS.get(manifest.kind).names_modules
    for key in of_sites:
        named, due = given.get(key), expected.get(key)
        if isinstance(due, dict) and (not isinstance(named, dict) or named.keys() != due.keys()):
            told = f"has {_short(named)}; the settings of {manifest.kind} have {[*due]}"
            faults.add(f"{where}: {key}", told, "write the adapter again")
            continue
        _check_modules(f"{where}: {key}", named, given.get("target_modules"), faults)
    for key in sorted({*given, *expected} - {*BY_LAYOUT, *OF_THE_WRITER, *of_sites}):
        if given.get(key) != expected.get(key) and (key in expected or given.get(key)):
            faults.add(
                str(where),
                f"{key} is {_short(given.get(key))}; the settings of {manifest.kind} make it "
                f"{_short(expected.get(key))}",
                "write the adapter again",
            )
    _check_layout(str(where), given, manifest, faults)
    faults.raise_if_any(AdapterError)
    known = {key: given[key] for key in given if key in expected and key not in OF_THE_WRITER}
    with warnings.catch_warnings():
        # what RandLoRA draws again is no secret of ours, nor news to whoever opens an adapter
        warnings.filterwarnings("ignore", "Specified to not save", UserWarning)
        return PeftConfig.from_peft_type(**{**known, "modules_to_save": None, "task_type": None})


def _check_modules(where: str, named: object, targets: object, faults: Faults) -> None:
    """Check that a field holds names of modules, each of them a target, and no pattern."""
    if isinstance(named, dict):
        for key, each in cast("dict[str, object]", named).items():
            _check_modules(f"{where}.{key}", each, targets, faults)
        return
    if not isinstance(named, list) or not all(
        isinstance(name, str) and MODULE.fullmatch(name) for name in cast(list[object], named)
    ):
        faults.add(
            where,
            f"is {_short(named)}, which may be a pattern that never ends",
            "expected a list of full module names",
        )
    elif isinstance(targets, list) and not set(named) <= set(targets):
        faults.add(where, "names modules that are no targets", "write the adapter again")


def expected_config(manifest: Manifest) -> PeftConfig:
    """Let the kind make the config of the manifest's settings, without targets.

    Raises:
        AdapterError: the kind refuses the settings.
    """
    settings = cast(AdapterSettings, manifest.settings)
    chosen = KINDS.get(settings.kind)
    base = PreTrainedConfig()
    vars(base).update(model_type=manifest.base.model_type, hidden_size=manifest.base.hidden_size)
    try:
        return chosen.config(chosen.settings(**settings.own), {}, base)
    except (ValidationError, PlanError) as error:
        raise AdapterError(f"adapter {manifest.name}: its settings are refused: {error}") from error


def _check_layout(where: str, given: Mapping[str, Any], manifest: Manifest, faults: Faults) -> None:
    head = HEADS.get((manifest.base.model_type, manifest.pooling.mode))
    expected: tuple[list[str] | None, str | None] = (None, None)
    if manifest.writes:
        expected = (None, TASK_TYPES[manifest.head])
    elif manifest.layout == "transformers" and head is not None:
        expected = ([head.name], "SEQ_CLS")
    found = (given.get("modules_to_save"), given.get("task_type"))
    if found != expected:
        faults.add(
            where,
            f"modules_to_save and task_type are {_short(found)}; layout {manifest.layout} has "
            f"{expected}",
            "write the adapter again",
        )


def parse_json(where: Path, data: bytes) -> dict[str, Any]:
    """Parse the bytes of a JSON object.

    Raises:
        AdapterError: they are not one.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{where}: not JSON ({error}); copy the folder again") from error
    if not isinstance(value, dict):
        raise AdapterError(f"{where}: holds a {type(value).__name__}; expected an object")
    return cast(dict[str, Any], value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object whose keys stand once: of two values, readers would take one each."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the key {', '.join(map(repr, twice))} stands twice in one object")
    return value


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _plain(value: object) -> dict[str, Any]:
    def listed(other: object) -> object:
        return sorted(cast(set[str], other)) if isinstance(other, set) else str(other)

    return cast(dict[str, Any], json.loads(json.dumps(value, default=listed)))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bytes(path: Path, limit: int = 0) -> bytes:
    size = path.stat().st_size
    if limit and size > limit:
        raise AdapterError(f"{path}: is {size:,} bytes; expected at most {limit:,}")
    with reading(path):
        return path.read_bytes()
