"""App: the routes of a server behind its layers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from tenon.core.errors import TenonError
from tenon.serve.http import admin, heads, health, listing, vectors, writing
from tenon.serve.http.auth import Auth
from tenon.serve.http.intake import Intake
from tenon.serve.http.journal import LOG, Journal
from tenon.serve.http.page import page
from tenon.serve.http.patience import Gone
from tenon.serve.http.refusal import INSIDE, STATUSES, Answer, Refused, answer, refused
from tenon.serve.http.service import Service

MOST_TOLD = 2_000
"""Characters of what is told of a body that is refused."""
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def routes(service: Service) -> FastAPI:
    """Give the routes without their layers."""
    told: dict[int | str, dict[str, Any]] = {
        status: {
            "description": "refused",
            "content": {"application/json": {"schema": ERROR}},
        }
        for status in STATUSES
    }
    made = FastAPI(
        title="tenon serve",
        version=version("tenonlm"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=told,
    )
    made.state.service = service
    for part in (health, listing, heads, writing, vectors, admin):
        made.include_router(part.router)
    made.add_api_route("/", _page, methods=["GET"], include_in_schema=False)
    made.add_exception_handler(TenonError, _refused)
    made.add_exception_handler(RequestValidationError, _invalid)
    made.add_exception_handler(HTTPException, _plain)
    made.add_exception_handler(Gone, _gone)
    return made


def app(service: Service) -> ASGIApp:
    """Give a server's app: journal, then auth, then intake, then the routes."""
    numbers, engine = service.telemetry, service.engine
    numbers.watch("waiting_requests", "Requests that wait for their turn.", lambda: engine.waiting)
    numbers.watch("adapters", "Adapters that may be asked.", lambda: len(engine.handles))
    numbers.watch("passes_replayed", "Passes of texts, recorded.", lambda: engine.passes.replayed)
    numbers.watch("passes_in_grids", "Passes of texts in grids.", lambda: engine.passes.grids)
    numbers.watch("passes_apart", "Other passes of texts.", lambda: engine.passes.others)
    numbers.count(
        "layer_tokens", "Tokens read, by layers computed for them.", lambda: engine.tally.computed
    )
    numbers.count(
        "layer_tokens_spared",
        "The same of layers that an equal text had gone through.",
        lambda: engine.tally.spared,
    )
    engine.watch(lambda sort, rows: numbers.batch.labels(sort).observe(rows))
    inner = Intake(routes(service), service.settings)
    return Journal(Auth(inner, service.keys, page()), service.telemetry)


async def _page() -> Response:
    """Give the page."""
    made = page()
    return Response(made.body, headers=made.headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, TenonError)  # noqa: S101 - it is registered for these
    refusal = refused(error)
    if refusal.status == 500:  # noqa: PLR2004 - an error of ours
        told = {"request": request.state.request}
        LOG.error("failed", exc_info=error, extra={"told": told})
        return _response(Refused(500, INSIDE, code="internal"))
    return _response(refusal)


async def _invalid(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)  # noqa: S101
    lines = dict.fromkeys(_told(each) for each in error.errors())
    told = "\n".join(f"{place}{what}" for place, what in lines)[:MOST_TOLD]
    return _response(Refused(400, told, param=_param(error.errors()[0]), code="invalid_body"))


def _told(fault: Any) -> tuple[str, str]:
    """Give where a fault of a body is, and what it is; a field's own fault begins with its name."""
    place = _place(fault["loc"])
    return ("" if place == "body" else f"{place}: "), str(fault["msg"])


def _param(fault: Any) -> str:
    place = _place(fault["loc"])
    return str(fault.get("ctx", {}).get("field", "")) if place == "body" else place


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    known = {
        404: "there is no such route here; GET /openapi.json has all",
        405: f"no {request.method[:16]} here",
    }
    told = known.get(error.status_code, str(error.detail))
    found = Refused(error.status_code, told, code="no_route" if error.status_code in known else "")
    return _response(found, dict(error.headers or {}))


async def _gone(request: Request, error: Exception) -> Response:
    """Give what nobody reads: the client has gone."""
    del error
    request.state.note["gone"] = True
    return _response(Refused(503, "the client has gone", code="gone"))


def _response(refusal: Refused, more: dict[str, str] | None = None) -> Response:
    made: Answer = answer(refusal, more)
    return Response(made.body, made.status, headers=made.headers)


def _place(loc: Sequence[int | str]) -> str:
    parts = [str(part)[:60] for part in loc if part != "body"]
    return ".".join(parts) or "body"
