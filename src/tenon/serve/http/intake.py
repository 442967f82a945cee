"""Intake: the bodies of requests, taken in whole and within limits before anything reads them."""

from __future__ import annotations

import asyncio
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenon.serve.http.refusal import Refused, answer
from tenon.serve.http.settings import ServerSettings
from tenon.serve.http.wire import header, respond

WITHOUT = ("GET", "HEAD", "OPTIONS", "DELETE")
"""Methods whose requests have no body."""
JSON = "application/json"
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""A string, which may not end, or what opens or closes a level; each byte is looked at once."""


class Intake:
    """Takes in each body, and hands it on whole.

    Args:
        app: what is behind.
        settings: the limits.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings
        self.held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held = bytearray()
        try:
            body = await self._body(scope, receive, held)
        except Refused as refusal:
            self.held_bytes -= len(held)
            await respond(send, answer(refusal, {"connection": "close"}))
            return
        try:
            if body is not None:
                await self.app(scope, _given(body, receive), send)
        finally:
            self.held_bytes -= len(held)

    async def _body(self, scope: Scope, receive: Receive, held: bytearray) -> bytes | None:
        """Give the body; None where the client has gone."""
        if scope["method"] in WITHOUT:
            return _nothing(scope)
        _check_sort(scope)
        self._check_length(scope)
        seconds = self.settings.body_seconds
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    self._take(message.get("body", b""), held)
                    if not message.get("more_body", False):
                        break
        except TimeoutError as error:
            told = f"the body was not here within {seconds:g} seconds; send it at once"
            raise Refused(408, told, code="slow_body") from error
        if deep(held) > self.settings.json_depth:
            told = f"the body nests deeper than {self.settings.json_depth} levels; flatten it"
            raise Refused(400, told, code="too_deep")
        return bytes(held)

    def _check_length(self, scope: Scope) -> None:
        length = header(scope, b"content-length")
        digits = length[:20] if length is not None and length.isascii() else ""
        if digits.isdigit() and int(digits) > self.settings.body_bytes:
            raise self._large()

    def _take(self, chunk: bytes, held: bytearray) -> None:
        """Keep a part of a body, where there is room for it."""
        if len(held) + len(chunk) > self.settings.body_bytes:
            raise self._large()
        if self.held_bytes + len(chunk) > self.settings.bodies_bytes:
            told = "the server holds as many bytes of requests as it may; ask again"
            raise Refused(503, told, code="full", retry_seconds=1)
        held += chunk
        self.held_bytes += len(chunk)

    def _large(self) -> Refused:
        most = self.settings.body_bytes
        return Refused(413, f"the body has more than {most:,} bytes; send less", code="too_large")


def deep(body: bytes | bytearray) -> int:
    """Give how many levels of lists and objects a JSON text has; of no JSON, some number."""
    level = most = 0
    for found in TOKEN.finditer(body):
        match found[0][:1]:
            case b"[" | b"{":
                level += 1
                most = max(most, level)
            case b"]" | b"}":
                level -= 1
            case _:
                pass
    return most


def _nothing(scope: Scope) -> bytes:
    """Give the empty body of a request that has none.

    Raises:
        Refused: it has one.
    """
    length = header(scope, b"content-length") or "0"
    if length != "0" or header(scope, b"transfer-encoding") is not None:
        told = f"a {scope['method']} has no body here; leave it out"
        raise Refused(400, told, code="unexpected_body")
    return b""


def _check_sort(scope: Scope) -> None:
    sort = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if sort != JSON:
        told = f"the body is {sort or 'of no type'}; send Content-Type: {JSON}"
        raise Refused(415, told, code="not_json")
    if (coded := header(scope, b"content-encoding")) not in (None, "identity"):
        told = f"the body is packed by {coded}; send it as it is"
        raise Refused(415, told, code="encoded_body")


def _given(body: bytes, receive: Receive) -> Receive:
    """Give a body that is here already, and then what comes after it."""
    told = False

    async def give() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
