"""Files: what the files of an adapter's directory are called."""

from __future__ import annotations

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
HEAD = "head.safetensors"
MANIFEST = "tenon.json"
CARD = "README.md"
