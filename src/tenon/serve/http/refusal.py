"""Refusal: what a client is told when it gets no answer, in OpenAI's form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tenon.core.errors import (
    AdapterError,
    Busy,
    DataError,
    FileError,
    Gone,
    Late,
    RequestError,
    TenonError,
)

SORTS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}
"""What OpenAI calls an error of a status; any other is `invalid_request_error`."""
INSIDE = "an error of the server's own; its log has the cause under this request's id"
STATUSES = (400, 401, 403, 404, 408, 409, 411, 413, 415, 422, 429, 503, 504)
"""Those with which a request may be refused."""


class Refused(RequestError):
    """A request that is refused.

    Args:
        status: of HTTP.
        told: the message.
        param: the field of the request that is at fault.
        code: short name of the cause, for programs.
        retry_seconds: after which it may be asked again; 0 where that would not help.
    """

    def __init__(
        self, status: int, told: str, *, param: str = "", code: str = "", retry_seconds: float = 0
    ) -> None:
        super().__init__(told)
        self.status, self.param, self.code = status, param, code
        self.retry_seconds = retry_seconds


class Answer(NamedTuple):
    """A response that is whole.

    Args:
        status: of HTTP.
        body: its bytes.
        headers: its headers, its length among them.
    """

    status: int
    body: bytes
    headers: dict[str, str]


def refused(error: TenonError) -> Refused:
    """Give the refusal that an error of a floor below means."""
    match error:
        case Refused():
            return error
        case Busy():
            return Refused(429, str(error), code="busy", retry_seconds=error.retry_seconds)
        case Late():
            return Refused(504, str(error), code="deadline")
        case AdapterError():
            return Refused(422, str(error), code="adapter_refused")
        case FileError():
            return Refused(404, str(error), code="not_found")
        case Gone():
            return Refused(404, str(error), param="model", code="model_not_found")
        case RequestError() | DataError():
            return Refused(400, str(error), code="invalid_value")
        case _:
            return Refused(500, INSIDE, code="internal")


def told(status: int, message: str, *, param: str = "", code: str = "") -> dict[str, Any]:
    """Give an error as OpenAI's clients read it."""
    sort = SORTS.get(status, "invalid_request_error")
    inner = {"message": message, "type": sort, "param": param or None, "code": code or None}
    return {"error": inner}


def answer(refusal: Refused, more: Mapping[str, str] | None = None) -> Answer:
    """Give the whole response of a refusal.

    Args:
        more: headers besides.
    """
    text = told(refusal.status, str(refusal), param=refusal.param, code=refusal.code)
    # A message may name what no UTF-8 can hold: escaped, it is plain ASCII.
    body = json.dumps(text, ensure_ascii=True).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    if refusal.retry_seconds:
        headers["retry-after"] = str(max(1, math.ceil(refusal.retry_seconds)))
    return Answer(refusal.status, body, headers)
