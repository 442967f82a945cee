"""GGUF: a LoRA in the layout that llama.cpp reads beside a base in GGUF.

Both matrices of a module lie under llama.cpp's name of its weight, with `.lora_a` [R, I] and
`.lora_b` [O, R] behind it. Of llama and mistral, whose rotations turn neighbouring inputs there and
the two halves of a head here, the outputs of query and key change places, as in the base's file.
Source: llama.cpp, convert_lora_to_gguf.py and src/llama-adapter.cpp; the names are the `gguf`
package's. Legend: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tenon.adapters.delta import Delta, deltas
from tenon.adapters.files import CARD
from tenon.adapters.pack import Adapter
from tenon.adapters.portable import plain
from tenon.core.errors import AdapterError
from tenon.evaluate.reader_card import reader_card
from tenon.export.by_hand import scores_by_hand
from tenon.export.case import Case, no_writer
from tenon.export.draft import draft, near
from tenon.export.expected import SCRIPT, expected, write_conformance
from tenon.export.target import TARGETS, Order, Target, Written

FILE = "adapter.gguf"
SERVE = "llama-server -m base.gguf --lora "
URL = "http://127.0.0.1:8080"
LORA = "lora"
ENDS = (".lora_a", ".lora_b")
WEIGHT = ".weight"
OTHERWISE = (
    "; export it with --to merged --out DIR, then: python convert_hf_to_gguf.py DIR --outfile "
    "model.gguf (of llama.cpp)"
)


class Known(NamedTuple):
    """A model type of which the layout is known.

    Args:
        architecture: as llama.cpp names it.
        prefix: of the trunk's names in the whole model.
        turned: whether the outputs of query and key change places.
    """

    architecture: str
    prefix: str = "model."
    turned: bool = False


KNOWN = {
    "gemma3_text": Known("gemma3"),
    "gpt2": Known("gpt2", "transformer."),
    "llama": Known("llama", turned=True),
    "mistral": Known("llama", turned=True),
    "phi3": Known("phi3"),
    "qwen2": Known("qwen2"),
    "qwen3": Known("qwen3"),
    "qwen3_moe": Known("qwen3moe"),
}
QUERY, KEY = re.compile(r".*\.q_proj"), re.compile(r".*\.k_proj")


class Layout:
    """What the tensors of an adapter of one base are called, and how their rows lie.

    Args:
        model_type: of the base; one of `KNOWN`.
        config: of the base.
    """

    def __init__(self, model_type: str, config: dict[str, Any]) -> None:
        import gguf

        self.known = KNOWN[model_type]
        self.heads = int(config.get("num_attention_heads") or config.get("n_head") or 1)
        self.key_heads = int(config.get("num_key_value_heads") or self.heads)
        layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 0)
        names = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        self.names = gguf.get_tensor_name_map(names[self.known.architecture], layers)

    def name(self, module: str) -> str:
        """Give llama.cpp's name of a module's weight; empty where it has none."""
        asked = f"{self.known.prefix}{module}{WEIGHT}"
        return self.names.get_name(asked, try_suffixes=(WEIGHT,)) or ""

    def rows(self, module: str, outputs: int) -> Tensor:
        """Give, for each output as llama.cpp has them, which it is in the base's own order, [O]."""
        places_O = torch.arange(outputs)
        if not self.known.turned or not (QUERY.fullmatch(module) or KEY.fullmatch(module)):
            return places_O
        heads = self.heads if QUERY.fullmatch(module) else self.key_heads
        # Of each head, input i of the first half goes before input i of the second.
        return places_O.view(heads, 2, outputs // heads // 2).transpose(1, 2).flatten()


def refuses(case: Case) -> str:
    """Say why llama.cpp cannot take an adapter as it is; empty where nothing speaks against it."""
    if why := no_writer(case, "llama.cpp"):
        return why
    if case.model_type not in KNOWN:
        return f"llama.cpp's layout of {case.model_type} is not known here{OTHERWISE}"
    return ""


def write(order: Order, folder: Path) -> Written:
    """Write the adapter in GGUF, read it again, and add what is there to the base by hand.

    Raises:
        AdapterError: llama.cpp has no name for a module, the adapter cannot be made a plain LoRA,
            or the file holds something else than it.
        PlanError: the wanted rank has no effect.
    """
    asked = expected(order.answerer)
    drafted = draft(order)
    adapter, config = drafted.made.adapter, order.answerer.model.trunk.model.config
    layout = Layout(adapter.manifest.base.model_type, config.to_dict())
    _write(adapter, layout, drafted.made.rank, folder / FILE)
    added = read(folder / FILE, adapter, layout)
    found_BL = scores_by_hand(adapter.manifest, order.base, drafted.settings, added)
    error = near(drafted, found_BL)
    base = shlex.quote(str(order.base.folder))
    convert = f"python convert_hf_to_gguf.py {base} --outfile base.gguf"
    told = reader_card(
        order.answerer.manifest,
        drafted.made,
        drafted.proof,
        error,
        "llama.cpp",
        "gguf",
        (convert, f"{SERVE}{FILE}", f"python {SCRIPT} --url {URL}"),
    )
    (folder / CARD).write_text(told, "utf-8")
    write_conformance(asked, "llama.cpp", adapter.name, folder)
    file, script = (shlex.quote(str(order.out.resolve() / name)) for name in (FILE, SCRIPT))
    commands = (convert, f"{SERVE}{file}", f"python {script} --url {URL}")
    return Written(drafted.proof, error, "llama.cpp's --lora", commands=commands)


def _write(adapter: Adapter, layout: Layout, rank: int, path: Path) -> None:
    import gguf

    named = _named(adapter, layout)
    writer = gguf.GGUFWriter(path, layout.known.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(adapter.name)
    writer.add_string(gguf.Keys.Adapter.TYPE, LORA)
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    for module, (name, delta) in named.items():
        up_OR = delta.up_OR[layout.rows(module, len(delta.up_OR))]
        for end, matrix in zip(ENDS, (delta.down_RI, up_OR), strict=True):
            writer.add_tensor(f"{name}{end}", matrix.float().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _named(adapter: Adapter, layout: Layout) -> dict[str, tuple[str, Delta]]:
    """Give each module's name in llama.cpp and what is added to it.

    Raises:
        AdapterError: it has no name for one.
    """
    found = {plain(key): (layout.name(plain(key)), delta) for key, delta in deltas(adapter).items()}
    lost = sorted(module for module, (name, _) in found.items() if not name)
    if lost:
        raise AdapterError(
            f"adapter {adapter.name}: llama.cpp has no tensor for {lost[0]} of "
            f"{adapter.manifest.base.model_type}{OTHERWISE}"
        )
    return found


def read(path: Path, adapter: Adapter, layout: Layout) -> dict[str, Tensor]:
    """Give what a file adds to each module, [O, I] in the base's own order.

    Raises:
        AdapterError: it is no LoRA in GGUF, or holds other modules than the adapter.
    """
    import gguf

    reader: Any = gguf.GGUFReader(path)
    held = {tensor.name: torch.from_numpy(tensor.data.copy()).double() for tensor in reader.tensors}
    told = {key: reader.get_field(key).contents() for key in reader.fields if "." in key}
    sort = told.get("general.type"), told.get("adapter.type"), told.get("general.architecture")
    named = {name: module for module, (name, _) in _named(adapter, layout).items()}
    wanted = {f"{name}{end}" for name in named for end in ENDS}
    if sort != ("adapter", LORA, layout.known.architecture) or held.keys() != wanted:
        raise AdapterError(
            f"{path}: does not hold what was written; nothing was kept. Please report this"
        )
    added: dict[str, Tensor] = {}
    for name, module in named.items():
        down_RI, up_OR = (held[f"{name}{end}"] for end in ENDS)
        factor = float(told["adapter.lora.alpha"]) / len(down_RI)
        turned_OI = factor * up_OR @ down_RI
        added[module] = torch.empty_like(turned_OI)
        added[module][layout.rows(module, len(turned_OI))] = turned_OI
    return added


TARGETS.add(
    "gguf",
    Target(
        name="gguf",
        summary="a LoRA in GGUF, for llama.cpp",
        keeps_format=False,
        ranked=True,
        measures=False,
        write=write,
        refuses=refuses,
        needs=("gguf",),
        extra="gguf",
    ),
)
