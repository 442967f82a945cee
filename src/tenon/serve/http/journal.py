"""Journal: a line of JSON for each request and each event; never a text, a key or a path."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
import uuid
from typing import Any, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenon.serve.http.refusal import INSIDE, Refused, answer
from tenon.serve.http.telemetry import Telemetry
from tenon.serve.http.wire import SAFE, respond, state

LOG = logging.getLogger("tenon.serve")
OTHERS = ("uvicorn", "uvicorn.error")
GONE = 499
"""The status of a request whose client has gone, as nginx has it."""
FRAMES = 12


class Lines(logging.Formatter):
    """Writes a record as a line of JSON; of an error its type and where it was raised."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "what": record.getMessage(),
            **getattr(record, "told", {}),
        }
        if record.exc_info and record.exc_info[0]:
            # The message of an error may quote a request's text.
            line["error"] = record.exc_info[0].__name__
            line["raised"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-FRAMES:]
            ]
        return json.dumps(line, ensure_ascii=True, default=str)


def begin_log(out: TextIO = sys.stderr) -> None:
    """Let this server, and the one below it, write lines of JSON."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(Lines())
    for name in (LOG.name, *OTHERS):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").handlers = []
    logging.getLogger("uvicorn.error").propagate = True


class Journal:
    """Counts and logs each request, gives it an id, and answers for errors that nobody expects.

    Args:
        app: what is behind.
        telemetry: the numbers.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app, self.telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and write down how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, sent = time.monotonic(), _Sent(send, uuid.uuid4().hex)
        state(scope).update(request=sent.id, note={})
        with self.telemetry.open.track_inprogress():
            try:
                await self.app(scope, receive, sent)
            except Exception:  # the server's edge: one request's fault is no other's
                LOG.exception("failed", extra={"told": {"request": sent.id}})
                if not sent.status:
                    await respond(sent, answer(Refused(500, INSIDE, code="internal")))
                sent.status = 500
        self._write(scope, sent, time.monotonic() - began)

    def _write(self, scope: Scope, sent: _Sent, seconds: float) -> None:
        known = state(scope)
        route = str(getattr(scope.get("route"), "path", "other"))
        status = sent.status or GONE
        self.telemetry.requests.labels(route, str(status)).inc()
        self.telemetry.seconds.labels(route).observe(seconds)
        told = {
            "request": sent.id,
            "key": getattr(known.get("key"), "name", ""),
            "method": scope["method"] if route != "other" else "",
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": sent.bytes,
            **known["note"],
        }
        LOG.info("request", extra={"told": told})


class _Sent:
    """Sends messages on, with the headers that all responses have, and counts them.

    Args:
        send: of the server.
        id: of the request.
    """

    def __init__(self, send: Send, id: str) -> None:  # noqa: A002
        self.send, self.id = send, id
        self.status = self.bytes = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {**SAFE, "x-request-id": self.id}
            there = {name.lower() for name, _ in message.get("headers", ())}
            message = {
                **message,
                "headers": [
                    *message.get("headers", ()),
                    *((n.encode(), v.encode()) for n, v in own.items() if n.encode() not in there),
                ],
            }
        self.bytes += len(message.get("body", b""))
        await self.send(message)
