"""Write docs/settings.md from what Tenon says of its settings, kinds and sites.

python docs/make_settings.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import tenon
from tenon.adapters.architectures import SITES
from tenon.adapters.kind import Kind
from tenon.core.files import write_text
from tenon.core.manual import Setting
from tenon.plan.planfile import toml

PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

[All pages](index.md). This page is written by `docs/make_settings.py` from what `tenon show
settings` and `tenon show kinds` say; it is not edited by hand.

A setting stands in `run.toml` under its table, or on a command line as `key=value` with its full
name: `tenon train run.toml train.epochs=5`. A setting that is left out has the default of this
page. Where the default is 0, `"auto"` or empty and the meaning says that the data, the base or the
kind decides, the value is found before the run starts; `tenon plan` shows it. A setting that is
not known, or that would have no effect in its plan, is refused."""
ADAPTER = """## `[adapters.NAME]`

A plan file has one such table or several. `kind` names the kind and `sites` the places; the other
settings are the kind's. Tables within it (`[adapters.NAME.data]`, and likewise `text`, `train` and
`evaluate`) say what holds for this adapter instead of the file's own tables of these names. Several
adapters are trained side by side, each into a run folder of its own, `runs/NAME`. [The
kinds](kinds.md) are compared on a page of their own. `sites` is a list of site names, or of globs
over the names of the modules that the kind can sit on, most often linear layers. If it is left out,
the kind decides. `layers` keeps an adapter of any kind to some layers of the base: `"last:2"` means
the last two of each stack, `[4, 5]` those of these numbers, from 0, and `["decoder.3"]` one of the
decoder; all where it is left out. Where only the last layers have adapters, what is below them is
computed once ([performance](performance.md))."""
PRESETS = """A setting that is given replaces the preset's; `width` replaces `reduction`. The three
last rows hold for bases that normalise after each block (BERT and its kin). In the others, presets
with `original_ln_before` read the sum of the MLP's output and the residual, and add to it."""
PLACES = """## Sites

A site name means the same on every architecture. `attention` and `cross` stand for their four sites
and `mlp` for its three, as far as the base has them; `linear` stands for all eleven, and `norms` is
every normalisation layer of the base. `attention.core` is the attention module around
`attention.query`, `cross.core` the one around `cross.query`, and `core` stands for both. In an
encoder-decoder `attention` is the self-attention of both stacks and `cross` the attention of the
decoder to the encoder's output; `encoder.attention` or `decoder.mlp.out` is a site of one stack
alone. Where a base computes query, key and value in one layer (GPT-2, Phi-3, Falcon, GPT-NeoX,
ModernBERT), each of the three names stands for that layer, once. A mixture of experts that keeps
its experts together in one tensor (Qwen3-MoE) has no `mlp`, as no kind of this release can sit on
such a tensor; `linear` is then its attention. On an embedding that also serves as the head of the
language model, an adapter changes what is read, not the head.

The tables give the ends of the module names for the model types that Tenon knows; `#` is a layer's
number. In other models the linear layers are told apart by their place and shape, and `tenon plan`
shows what was found. The head is trained with every adapter and is no site. No kind of this release
can be put on `layer`."""


def page() -> str:
    """Give the page's text."""
    return (
        "\n\n".join([HEAD, *_floors(), ADAPTER, *map(_kind, tenon.show("kinds")), *_sites()]) + "\n"
    )


def _floors() -> Iterable[str]:
    groups: dict[str, list[Setting]] = {}
    for setting in tenon.show("settings"):
        table, dot, _ = setting.name.partition(".")
        groups.setdefault(table if dot else "", []).append(setting)
    for table, settings in groups.items():
        yield f"## `[{table}]`" if table else "## Above all tables"
        yield _settings(settings)


def _kind(kind: Kind) -> str:
    sites = "by preset" if kind.presets else _code(kind.default_sites)
    parts = [
        f"### `{kind.name}`: {kind.title}",
        f"{kind.summary} Source: {kind.paper}.",
        f"Learning rate where none is given: {kind.learning_rate:g} ({kind.rate_source}). "
        f"Can be merged: {'yes' if kind.mergeable else 'no'}, {kind.mergeable_why}. "
        f"Sites where none are given: {sites}.",
    ]
    if kind.manual():
        parts.append(_settings(kind.manual()))
    if kind.presets:
        parts += [f"#### Presets of `{kind.name}`\n\n{PRESETS}", _presets(kind)]
    return "\n\n".join(parts)


def _settings(settings: Sequence[Setting]) -> str:
    rows = [(f"`{s.name}`", _default(s), _meaning(s)) for s in settings]
    return _table(("setting", "default", "meaning"), rows)


def _default(setting: Setting) -> str:
    if setting.required:
        return "must be given"
    if setting.by_preset:
        return "by preset"
    return "" if setting.default is None else f"`{toml(setting.default)}`"


def _meaning(setting: Setting) -> str:
    meaning = setting.meaning.rstrip(".")
    if setting.choices and setting.choices != ("true", "false"):
        meaning += f". One of {_code(setting.choices)}"
    return meaning


def _presets(kind: Kind) -> str:
    """Give a row for each name that a preset decides, a column for each preset."""
    decided = kind.by_preset()
    names = dict.fromkeys(name for values in decided.values() for name in values)
    rows = [
        (f"`{name}`", *(_decided(values.get(name)) for values in decided.values()))
        for name in names
    ]
    return _table(("setting", *(f"`{preset}`" for preset in decided)), rows)


def _decided(value: object) -> str:
    if isinstance(value, tuple):
        return _code(map(str, value))
    return "not used" if value is None else f"`{toml(value)}`"


def _sites() -> Iterable[str]:
    """Yield a table for each group of model types whose modules have the same names."""
    yield PLACES
    groups: dict[str, list[str]] = {}
    for model_type, patterns in SITES.items():
        rows = [(f"`{site}`", _code(found)) for site, found in patterns.items()]
        groups.setdefault(_table(("site", "modules"), rows), []).append(model_type)
    for table, model_types in groups.items():
        yield f"### {', '.join(model_types)}"
        yield table


def _code(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


if __name__ == "__main__":
    write_text(PAGE, page())
