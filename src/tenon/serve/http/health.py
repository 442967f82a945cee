"""Health: whether the server lives, whether it can answer, and its numbers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from tenon.serve.http.paper import paper
from tenon.serve.http.service import service_of
from tenon.serve.http.telemetry import CONTENT_TYPE

router = APIRouter()


@router.get("/livez")
async def live() -> Response:
    """Say that the server lives."""
    return paper({"live": True})


@router.get("/readyz")
async def ready(request: Request) -> Response:
    """Say whether requests are answered; 503 before they are, and while the server drains."""
    service = service_of(request)
    told = {"ready": service.ready, "adapters": len(service.handles)}
    return paper(told, 200 if service.ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Give the server's numbers, as Prometheus reads them."""
    return Response(service_of(request).telemetry.text(), media_type=CONTENT_TYPE)
