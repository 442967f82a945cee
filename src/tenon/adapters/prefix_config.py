"""PrefixConfig: PEFT's config of a prefix inside of attention."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from peft import PeftConfig

from tenon.core.errors import PlanError

STARTS = ("identity", "published")


class PrefixType(str, Enum):  # noqa: UP042 - PEFT and transformers ask for `str` and `.value`
    """The name of the method among PEFT's types."""

    PREFIX = "PREFIX"


@dataclass
class PrefixConfig(PeftConfig):
    """PEFT's config of a prefix; its fields are what `adapter_config.json` holds.

    Args:
        target_modules: full names, or dotted ends of names, of the attention modules.
        length: P, trained key and value vectors for each key-value head.
        dropout: share of their numbers that is zeroed while training.
        start: "identity" for a trained gate of each head that begins at 0; "published" for none.
        modules_to_save: further modules that are trained and saved whole (a head).
        exclude_modules: names that `target_modules` shall not match.
        layers_to_transform, layers_pattern: read by PEFT; restrict names to layers by number.
    """

    target_modules: list[str] | set[str] | str | None = None
    length: int = 16
    dropout: float = 0.0
    start: str = "identity"
    modules_to_save: list[str] | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None

    def __post_init__(self) -> None:
        """Check the values and give the type that PEFT finds the method by.

        Raises:
            PlanError: a value that means nothing; all at once.
        """
        super().__post_init__()
        self.peft_type = cast(Any, PrefixType.PREFIX)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)
        faults: list[str] = []
        if self.length < 1:
            faults.append(f"prefix: length is {self.length}; give 1 at least")
        if not 0 <= self.dropout < 1:
            faults.append(f"prefix: dropout is {self.dropout}; give a share below 1")
        if self.start not in STARTS:
            faults.append(f"prefix: start {self.start!r} is unknown; take {' or '.join(STARTS)}")
        if faults:
            raise PlanError("\n".join(faults))
