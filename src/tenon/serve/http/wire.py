"""Wire: what stands in the header of a request, and how a whole response is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import Scope, Send

from tenon.serve.http.refusal import Answer

Headers = Sequence[tuple[bytes, bytes]]
SAFE = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Headers that every response has."""


def header(scope: Scope, name: bytes) -> str | None:
    """Give the only header of a name; None where there is none, or several.

    Args:
        name: in lower case.
    """
    found = [value for each, value in scope["headers"] if each == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def bearer(scope: Scope) -> bytes | None:
    """Give what a request has as its key; None where it has none, or several."""
    sort, _, token = (header(scope, b"authorization") or "").partition(" ")
    return token.strip().encode("latin-1") or None if sort.lower() == "bearer" else None


def state(scope: Scope) -> dict[str, Any]:
    """Give what the layers of the server know of a request."""
    return scope.setdefault("state", {})


async def respond(send: Send, answer: Answer) -> None:
    """Send a response that is whole."""
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
