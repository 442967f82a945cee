"""AdapterSettings: one adapter's name, kind, sites and the kind's own settings."""

from __future__ import annotations

from typing import Any

from tenon.core.settings import Settings


class AdapterSettings(Settings):
    """What one `[adapters.NAME]` table says, resolved.

    Args:
        name: the adapter's name; letters, digits, `_` and `-`.
        kind: a registered kind, `lora.v1`.
        sites: where it sits: site names (`tenon.adapters.sites`) or patterns of module names.
        own: the kind's own settings, as validated by the kind's settings class.
        layers: the layers that it is kept to (`tenon.adapters.extent`); empty for all.
    """

    name: str
    kind: str
    sites: tuple[str, ...]
    own: dict[str, Any]
    layers: tuple[str, ...] = ()
