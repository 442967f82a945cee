"""Listing: what models there are, and what each says about itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from tenon.adapters.files import CARD
from tenon.core.files import read_json, reading
from tenon.serve.handle import Handle
from tenon.serve.http.heads import ROUTES
from tenon.serve.http.paper import paper
from tenon.serve.http.refusal import Refused
from tenon.serve.http.service import Service, key_of, service_of
from tenon.serve.http.shelf import adapter, allowed, resolve

router = APIRouter()
CARD_BYTES, REPORT_BYTES = 1 << 20, 4 << 20
SANDBOX = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
"""Of pages that others wrote: nothing in them runs or asks."""


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """Give the adapters that may be asked, and the base."""
    service, key = service_of(request), key_of(request)
    found = [_entry(service, handle) for handle in allowed(service, key)]
    if key.may_ask(service.base_name):
        found.append(_base(service))
    return paper({"object": "list", "data": found})


@router.get("/v1/models/{model:path}")
async def model(request: Request, model: str) -> Response:
    """Give one adapter, or the base."""
    service = service_of(request)
    handle = resolve(service, key_of(request), model)
    return paper(_base(service) if handle is None else _entry(service, handle))


@router.get("/v1/cards/{model}")
async def card(request: Request, model: str) -> Response:
    """Give the card of an adapter: Markdown."""
    service = service_of(request)
    handle = adapter(service, key_of(request), model)
    text = await service.apart(lambda: _card(handle))
    return Response(text, media_type="text/markdown; charset=utf-8", headers=SANDBOX)


@router.get("/v1/reports/{model}")
async def report(request: Request, model: str) -> Response:
    """Give the report of the run that an adapter lies in: a page without scripts."""
    service = service_of(request)
    handle = adapter(service, key_of(request), model)
    page = await service.apart(lambda: _report(handle))
    return Response(page, media_type="text/html; charset=utf-8", headers=SANDBOX)


def _entry(service: Service, handle: Handle) -> dict[str, Any]:
    manifest = handle.manifest
    return {
        "id": handle.name,
        "object": "model",
        "created": service.began,
        "owned_by": "tenon",
        "digest": handle.digest,
        "kind": manifest.kind,
        "task": manifest.task,
        "labels": list(manifest.labels) if not manifest.writes else [],
        "pairs": bool(manifest.columns.get("pair")),
        "turns": manifest.text.units == "turns",
        "route": ROUTES.get(manifest.task, _written(manifest.text.units)),
        "base": service.base_name,
        "report": report_of(handle) is not None,
    }


def _written(units: str) -> str:
    return "/v1/chat/completions" if units == "turns" else "/v1/completions"


def _base(service: Service) -> dict[str, Any]:
    known = service.engine.fingerprint
    return {
        "id": service.base_name,
        "object": "model",
        "created": service.began,
        "owned_by": "tenon",
        "digest": known.digest,
        "kind": "base",
        "task": service.base_task,
        "labels": [],
        "pairs": False,
        "turns": service.base_route == "/v1/chat/completions",
        "route": service.base_route,
        "base": service.base_name,
        "report": False,
    }


def _card(handle: Handle) -> bytes:
    """Give the card, if it is the one that the adapter was admitted with."""
    path = handle.folder / CARD
    with reading(path):
        text = _held(path, CARD_BYTES)
    if hashlib.sha256(text).hexdigest() != handle.manifest.files.get(CARD):
        told = f"{handle.name}: its card has changed on the disk since it was admitted"
        raise Refused(409, told, code="changed")
    return text


def _report(handle: Handle) -> bytes:
    path = report_of(handle)
    if path is None:
        told = f"{handle.name}: no report lies beside it; tenon eval makes one"
        raise Refused(404, told, code="not_found")
    return _held(path, REPORT_BYTES)


def report_of(handle: Handle) -> Path | None:
    """Give the page of the report of the run that an adapter lies in, if it is of that adapter."""
    folder = handle.folder.parent / "report"
    page, values = folder / "report.html", folder / "report.json"
    plain = not any(path.is_symlink() for path in (folder, page, values))
    if not plain or not page.is_file() or not values.is_file():
        return None
    return page if _is_of(handle, values) else None


def _is_of(handle: Handle, values: Path) -> bool:
    if values.stat().st_size > REPORT_BYTES:
        return False
    told = read_json(values)
    environment: Any = told.get("environment", {}) if isinstance(told, dict) else {}
    plan = handle.manifest.plan_digest
    return bool(plan) and environment.get("plan") == plan


def _held(path: Path, most: int) -> bytes:
    with reading(path), path.open("rb") as file:
        text = file.read(most + 1)
    if path.is_symlink() or len(text) > most:
        raise Refused(404, f"{path.name}: is no plain file of at most {most:,} bytes")
    return text
