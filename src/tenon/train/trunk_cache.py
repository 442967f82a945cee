"""Trunk cache: states that leave the layers below all adapters, computed once and read ever after.

They depend on the base and the rows alone, so that epochs, seeds, trials of a sweep and adapters
that are trained together share them. Files lie under `states/` in the cache folder, by a digest of
all that decides their content; see `tenon.text.states`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor

from tenon.core import cache
from tenon.core.errors import PlanError
from tenon.core.files import digest_of, remove, sweep, waiting, write_json
from tenon.core.progress import Progress
from tenon.evaluate.predict import inference
from tenon.model.entry import Entry
from tenon.model.lower import lower_TD
from tenon.model.model import Model
from tenon.model.trunk import Trunk
from tenon.text.batch import batch
from tenon.text.order import Rows
from tenon.text.states import FILL_TOKENS, Form, Layout, States, rows_missing
from tenon.text.tokens import Tokens
from tenon.train.settings import TrainSettings

FORMAT = 1
FOLDER, ABOUT, LOCK = "states", "about.json", "lock"
PARTS = ("train", "dev")
"""What is read again and again."""
SHARE_OF_FREE = 0.5
"""Of the room on disk, what is taken unasked."""
SPARE_SHARE = 0.95
"""Of the room on disk, what is taken at most."""
UNUSED_SECONDS = 7 * 24 * 3600
"""After which a store that nobody has opened is removed when another one is made."""
WHERE = "train.trunk_cache"


@dataclass(frozen=True)
class Choice:
    """Whether the states are kept.

    Args:
        layers: how many layers that spares; 0 where nothing is kept.
        of: layers in all.
        form: of a number on disk.
        channels: of a state.
        bytes: on disk.
        why: the reason, one clause.
    """

    layers: int
    of: int
    form: Form
    channels: int
    bytes: int
    why: str

    @property
    def share(self) -> float:
        """Which share of the base's layers is spared."""
        return self.layers / self.of if self.layers else 0.0


def choose(
    settings: TrainSettings,
    entry: Entry,
    parts: Mapping[str, Tokens],
    dtype: torch.dtype,
    *,
    dropout: bool = False,
    runs: int = 1,
    stored: Callable[[Choice], int] = lambda _: 0,
) -> Choice:
    """Decide whether the states of a run's rows are kept.

    Args:
        entry: how many layers lie below its adapters.
        parts: name to tokens; those of `PARTS` count.
        dtype: in which the base computes.
        dropout: whether the base keeps its own dropout.
        runs: over the same rows.
        stored: gives how many bytes of a choice are on disk already.

    Raises:
        PlanError: it is asked for, and cannot be done or would save nothing.
    """
    wish, passes = settings.trunk_cache, settings.epochs * runs
    exact = cast(Form, str(dtype).removeprefix("torch."))
    form: Form = exact if wish in ("auto", "off", "exact") else cast(Form, wish)
    read = {name: tokens for name, tokens in parts.items() if name in PARTS}
    layouts = [Layout(Path(), rows.lengths_R, entry.channels, form) for rows in read.values()]
    size = sum(layout.total_bytes for layout in layouts)
    told = f"layers 0 to {entry.layers - 1} of {entry.of} are computed once, not {passes:,} times"
    made = Choice(entry.layers, entry.of, form, entry.channels, size, told)
    why, free = "", _free_bytes() + (stored(made) if entry.layers else 0)
    if wish == "off":
        why = "asked for"
    elif dropout:
        why = "the base keeps its own dropout, so that its states differ from pass to pass"
    elif not entry.layers:
        why = entry.why
    elif passes == 1:
        why = "every row is read once"
    elif size > (SHARE_OF_FREE if wish == "auto" else SPARE_SHARE) * free:
        why = f"it takes {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB of disk are free"
    if why and wish not in ("auto", "off"):
        raise PlanError(f'{WHERE} = "{wish}": cannot be done: {why}; leave it out')
    if why:
        return replace(made, layers=0, bytes=0, why=why)
    return made


def stored_bytes(trunk: Trunk, parts: Mapping[str, Tokens], choice: Choice, base: object) -> int:
    """Give how many bytes of a choice lie on disk already."""
    layouts = [_layout(trunk, parts[name], choice, base) for name in PARTS if name in parts]
    files = [path for layout in layouts for path in layout.paths]
    return sum(path.stat().st_size for path in files if path.is_file())


def _free_bytes() -> int:
    folder = cache.folder().absolute()
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    return shutil.disk_usage(there).free


def keep(
    model: Model,
    parts: Mapping[str, Tokens],
    choice: Choice,
    base: object,
    progress: Progress | None = None,
) -> dict[str, Tokens]:
    """Give the parts with their stored states, which are computed as far as they are not there.

    Where another process computes the same, it is waited for.

    Args:
        model: with any of the adapters, or none; its mode is left as it was.
        parts: name to tokens.
        choice: what is kept; without layers, the parts come back as they are.
        base: what identifies the base, JSON-able.
        progress: told of every row that is computed.

    Raises:
        FileError: the disk refused. What is there is whole.
    """
    if not choice.layers:
        return dict(parts)
    found = dict(parts)
    for name in PARTS:
        if name in parts and len(parts[name]):
            found[name] = _kept(model, parts[name], choice, base, (name, progress))
    return found


def _kept(
    model: Model,
    tokens: Tokens,
    choice: Choice,
    base: object,
    told: tuple[str, Progress | None],
) -> Tokens:
    layout = _layout(model.trunk, tokens, choice, base)
    about = layout.folder / ABOUT
    if layout.missing() or not about.exists():
        prune(layout.folder.parent, layout.folder)
        with waiting(layout.folder / LOCK):
            sweep(layout.folder)
            _fill(model, tokens, layout, choice.layers, *told)
            write_json(about, _told(choice, tokens, base))
    with suppress(OSError):
        about.touch()
    return replace(tokens, below=States(layout, choice.layers))


def _fill(
    model: Model,
    tokens: Tokens,
    layout: Layout,
    layers: int,
    part: str,
    progress: Progress | None,
) -> None:
    missing = layout.missing()
    if progress and missing:
        progress.start(f"states of {part}", rows_missing(layout, missing))
    advance: Callable[[int], None] = progress.advance if progress else lambda _: None
    bare = replace(tokens, below=None)

    def compute(rows: Rows) -> Tensor:
        return lower_TD(model.trunk, batch(bare, rows), layers)

    with inference(model):
        for number in missing:
            layout.write(number, compute, advance)


def _layout(trunk: Trunk, tokens: Tokens, choice: Choice, base: object) -> Layout:
    """Give where the states lie; whatever could change a number has its part in the name."""
    model: Any = trunk.model
    made_of = {
        "format": FORMAT,
        "base": base,
        "tokens": tokens.digest,
        "layers": choice.layers,
        "form": choice.form,
        "dtype": str(model.dtype),
        "device": trunk.device.type,
        "packed": trunk.packed,
        "attention": model.config._attn_implementation,  # noqa: SLF001
        "batch": FILL_TOKENS,
        "versions": [torch.__version__, transformers.__version__],
    }
    folder = cache.folder() / FOLDER / digest_of(made_of)[:32]
    return Layout(folder, tokens.lengths_R, choice.channels, choice.form)


def _told(choice: Choice, tokens: Tokens, base: object) -> dict[str, Any]:
    told = {"layers": choice.layers, "of": choice.of, "form": choice.form, "base": base}
    return {**told, "rows": len(tokens), "tokens": tokens.total, "channels": choice.channels}


def prune(folder: Path, kept: Path) -> None:
    """Remove stores that nobody has opened for a week; whoever still reads one goes on reading."""
    now = time.time()
    for store in sorted(folder.glob("*/")):
        about = store / ABOUT
        with suppress(OSError):
            last = about.stat().st_mtime if about.exists() else store.stat().st_mtime
            if store != kept and now - last > UNUSED_SECONDS:
                remove(store)
