"""Method: what our own methods of PEFT have in common, and their way into its mappings."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, ClassVar

from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from tenon.core.errors import AdapterError


class Method(BaseTuner):
    """A tuner of PEFT whose layers stand around modules and change no weight of them."""

    kind: ClassVar[str]
    """Our name for it."""
    unmergeable: ClassVar[str]
    """Why no weight of the base can stand for it."""
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT reads it from the class

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        # PEFT's own also copies `weight` when it unwraps, which not every module has; devices are
        # the layer's business.
        del child
        setattr(parent, child_name, new_module)

    def _check_tied_modules(self, model: nn.Module, peft_config: PeftConfig) -> None:
        """Find nothing to tie: no weight of the base is changed, so tied ones stay equal."""

    def _check_merge_allowed(self) -> None:
        raise AdapterError(self.unmergeable)

    @contextlib.contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Generator[None]:  # noqa: ARG002 - PEFT's signature
        if kwargs.get("adapter_names") is not None:
            raise AdapterError(
                f"adapter_names: {self.kind} has no adapter per row in PEFT; without this error "
                "every row would get the active adapter. Run the rows of each adapter as a batch "
                "of their own"
            )
        yield


def enter(member: Any, config: type[PeftConfig], tuner: type[Method]) -> None:
    """Enter a method into PEFT's mappings; a second call changes nothing.

    Args:
        member: an enum's, whose value is the method's name.
        config, tuner: of the method.

    Source: `peft.utils.peft_types.register_peft_method`, which accepts PEFT's own names only.
    """
    PEFT_TYPE_TO_CONFIG_MAPPING[member] = config
    PEFT_TYPE_TO_TUNER_MAPPING[member] = tuner
    PEFT_TYPE_TO_PREFIX_MAPPING[member] = tuner.prefix
