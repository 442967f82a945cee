"""Auth: the one layer that every request passes, whatever its route, but for liveness."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from tenon.serve.http.keys import EVERYBODY, Key, Keys
from tenon.serve.http.keys import Scope as Right
from tenon.serve.http.refusal import Answer, Refused, answer
from tenon.serve.http.wire import bearer, header, respond, state

OPEN = "/livez"
"""The only path that needs no key."""
PAGE = "/"
NEEDED: tuple[tuple[str, Right], ...] = (
    ("/admin/", "admin"),
    ("/metrics", "metrics"),
    ("/v1/", "infer"),
)
"""Beginning of a path to the scope that it needs; any key will do for others."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
CHALLENGE = {"www-authenticate": 'Bearer realm="tenon"'}


def needed(path: str) -> Right:
    """Give the scope that a path needs."""
    for begin, right in NEEDED:
        if path.startswith(begin):
            return right
    return "any"


class Auth:
    """Lets a request through whose key may ask it, and notes the key in the request's state.

    Without keys the server listens on this machine alone, and answers those who name it so: a
    page from elsewhere that makes a browser ask it is refused.

    Args:
        app: what is behind.
        keys: of the server.
        page: shown at `/` to who has no key yet; it holds nothing of this server.
    """

    def __init__(self, app: ASGIApp, keys: Keys, page: Answer) -> None:
        self.app, self.keys, self.page = app, keys, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        found = self._judged(scope)
        if isinstance(found, Key):
            state(scope)["key"] = found
            await self.app(scope, receive, send)
        elif found.status == 401 and scope["path"] == PAGE and scope["method"] == "GET":  # noqa: PLR2004
            await respond(send, self.page._replace(status=401))
        else:
            more = CHALLENGE if found.status == 401 else {}  # noqa: PLR2004 - unauthorized
            await respond(send, answer(found, {**more, "connection": "close"}))

    def _judged(self, scope: Scope) -> Key | Refused:
        path, key = scope["path"], EVERYBODY
        if path == OPEN:
            return key
        if not self.keys.known:
            return _foreign(scope) or key
        given = bearer(scope)
        found = self.keys.find(given) if given else None
        if found is None:
            told = "needs a key" if given is None else "this key is not known"
            remedy = "send it as Authorization: Bearer KEY"
            return Refused(401, f"{told}; {remedy}", code="invalid_api_key")
        right = needed(path)
        if not found.may(right):
            told = f"the key {found.name} has no right to {right} here; ask for one that has"
            return Refused(403, told, code="out_of_scope")
        return found


def _foreign(scope: Scope) -> Refused | None:
    """Refuse a request that does not name this machine, or that a page from elsewhere sends."""
    host = header(scope, b"host") or ""
    if _split(f"//{host}").hostname not in LOOPBACK:
        told = "this server has no keys and answers on this machine alone; ask 127.0.0.1"
        return Refused(403, told, code="foreign_host")
    origin = header(scope, b"origin")
    if origin is not None and _split(origin).netloc != host:
        return Refused(403, "pages of other sites may not ask here", code="foreign_origin")
    return None


def _split(url: str) -> SplitResult:
    """Give the parts of an address; none of one that is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
