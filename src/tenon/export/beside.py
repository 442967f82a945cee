"""Beside: what lies beside exported weights, so that texts become the ids that they were."""

from __future__ import annotations

import shutil
from pathlib import Path

from tenon.adapters.fingerprint import SLOW_TOKENIZERS, tokenizer_digest
from tenon.adapters.manifest import Manifest
from tenon.core.errors import AdapterError

TOKENIZER_FILES = ("tokenizer.json", "chat_template.jinja", *SLOW_TOKENIZERS)
OF_WRITING = "generation_config.json"


def copy_beside(base: Path, folder: Path, manifest: Manifest) -> None:
    """Copy what turns texts into ids, byte for byte, and how the base is told to write.

    Raises:
        AdapterError: the copy is not the tokenizer that the adapter was trained with.
    """
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    (folder / OF_WRITING).unlink(missing_ok=True)
    if manifest.writes and (base / OF_WRITING).is_file():
        shutil.copyfile(base / OF_WRITING, folder / OF_WRITING)
    if tokenizer_digest(folder) != manifest.base.tokenizer_digest:
        raise AdapterError(
            f"adapter {manifest.name}: the tokenizer of {base} has files that are not known here, "
            "so that a copy of it would not be whole; please report this with the base's name"
        )
