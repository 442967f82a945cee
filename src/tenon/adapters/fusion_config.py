"""FusionConfig: PEFT's config of a fusion, which holds those of the adapters that it mixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from peft import PeftConfig

OF_THE_WRITER = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_version",
    "revision",
    "task_type",
)
"""Fields of a part's config that say nothing of what it computes."""


class FusionType(str, Enum):  # noqa: UP042 - PEFT and transformers ask for `str` and `.value`
    """The name of the method among PEFT's types."""

    FUSION = "FUSION"


@dataclass
class FusionConfig(PeftConfig):
    """PEFT's config of a fusion; its fields are what `adapter_config.json` holds.

    Args:
        target_modules: full names, or dotted ends of names, of all modules that a part wraps.
        parts: name of each part to the fields of its own PEFT config, names of modules left out.
        part_modules: `part.field` to the names of modules that the field of the part's config has.
        size: A, units of query and key.
        value: whether the mixture passes through a trained matrix.
        dropout: share of the attention's weights that is zeroed while training.
        modules_to_save: further modules that are trained and saved whole (a head).
        exclude_modules: names that `target_modules` shall not match.
        layers_to_transform, layers_pattern: read by PEFT; restrict names to layers by number.
    """

    target_modules: list[str] | set[str] | str | None = None
    parts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    part_modules: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    size: int = 64
    value: bool = True
    dropout: float = 0.0
    modules_to_save: list[str] | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Give the type that PEFT finds the method by."""
        super().__post_init__()
        self.peft_type = cast(Any, FusionType.FUSION)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)

    def part(self, name: str) -> PeftConfig:
        """Make the PEFT config of a part."""
        modules = {
            key.partition(".")[2]: [*names]
            for key, names in self.part_modules.items()
            if key.partition(".")[0] == name
        }
        fields: dict[str, Any] = {**self.parts[name], **modules}
        return PeftConfig.from_peft_type(**fields)


def parted(
    name: str, config: PeftConfig, of_modules: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Give the fields of a part's config, and apart from them its names of modules.

    Args:
        name: the part's.
        config: of the part.
        of_modules: the fields that hold names of modules.
    """
    given = {key: _plain(value) for key, value in cast(Any, config.to_dict()).items()}
    named = {key: cast("list[str]", given.pop(key) or []) for key in of_modules}
    apart = {f"{name}.{key}": sorted(held) for key, held in named.items()}
    return {key: given[key] for key in given if key not in OF_THE_WRITER}, apart


def _plain(value: Any) -> Any:
    """Give a value as JSON gives it back."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(cast("set[str]", value))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value
