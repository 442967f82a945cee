"""Paper: a response in JSON."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response


def paper(value: dict[str, Any], status: int = 200) -> Response:
    """Give a response that holds a value."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body.encode(), status, media_type="application/json")
