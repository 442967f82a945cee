"""Admin: the routes that add, replace and remove adapters while the server runs."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import APIRouter, Request, Response

from tenon.adapters.files import MANIFEST
from tenon.adapters.kind import NAME
from tenon.core.errors import RequestError, TenonError
from tenon.serve.handle import Handle
from tenon.serve.http.body import FolderBody
from tenon.serve.http.journal import LOG
from tenon.serve.http.paper import paper
from tenon.serve.http.refusal import Refused, refused
from tenon.serve.http.service import Service, note, service_of

router = APIRouter()
PART = re.compile(r"[^\x00-\x1f/\\:]{1,255}")
ADAPTER = "adapter"
"""The folder of a run that holds its adapter."""


@router.get("/admin/adapters")
async def listed(request: Request) -> Response:
    """Give the adapters that are here."""
    service = service_of(request)
    data = [told(service, handle) for _, handle in sorted(service.handles.items())]
    return paper({"object": "list", "data": data})


@router.put("/admin/adapters/{name}")
async def put(request: Request, name: str, body: FolderBody) -> Response:
    """Add an adapter, or replace the one of this name, once it is proved; the old one drains."""
    service = service_of(request)
    check_name(service, name)
    folder = await service.apart(lambda: under(service.root, body.folder))
    before = service.handles.get(name)
    try:
        handle = await service.changing(lambda: service.engine.add(name, folder))
    except TenonError as error:
        raise _without(service.root, error) from error
    what = "added" if before is None else "kept" if before is handle else "replaced"
    LOG.info(what, extra={"told": {"adapter": handle.pinned}})
    note(request, adapters=[handle.pinned])
    return paper({"object": "adapter", "what": what, **told(service, handle)}, 200)


@router.delete("/admin/adapters/{name}")
async def delete(request: Request, name: str) -> Response:
    """Remove an adapter; what was asked of it before is still answered."""
    service = service_of(request)
    handle = service.handles.get(name)
    if handle is None:
        raise Refused(404, f"{name[:64]}: no such adapter here", code="not_found")
    try:
        await service.changing(lambda: service.engine.remove(name))
    except RequestError as error:
        raise Refused(404, str(error), code="not_found") from error
    LOG.info("removed", extra={"told": {"adapter": handle.pinned}})
    return paper({"object": "adapter", "what": "removed", **told(service, handle)})


def told(service: Service, handle: Handle) -> dict[str, Any]:
    """Give what an admin is told of an adapter; its folder, where it lies under the root."""
    inside = service.root is not None and handle.folder.is_relative_to(service.root)
    folder = str(handle.folder.relative_to(service.root)) if inside and service.root else None
    manifest = handle.manifest
    return {
        "name": handle.name,
        "digest": handle.digest,
        "task": manifest.task,
        "kind": manifest.kind,
        "folder": folder,
    }


def check_name(service: Service, name: str) -> None:
    """Refuse a name that cannot be asked for.

    Raises:
        Refused: it is no name, or the base's.
    """
    if not NAME.fullmatch(name):
        remedy = "use letters, digits, - and _, a letter first, 64 at most"
        raise Refused(400, f"{name[:64]!r}: is no name; {remedy}", param="name", code="bad_name")
    if name == service.base_name:
        told = f"{name}: is the base's name; choose another"
        raise Refused(409, told, param="name", code="bad_name")


def under(root: Path | None, folder: str) -> Path:
    """Give the adapter directory of a folder under the served root, or of the run there.

    Args:
        root: resolved.
        folder: its path below, with / between the parts; a client's word.

    Raises:
        Refused: there is no root, the path leaves it or goes through a link, or no adapter is
            there.
    """
    if root is None:
        told = "this server was started without --root, so that nothing can be added"
        raise Refused(409, told, code="no_root")
    parts = PurePosixPath(folder).parts
    if not parts or any(part == ".." or not PART.fullmatch(part) for part in parts):
        told = "folder: is no path below the served root; write it with /, without a beginning / "
        raise Refused(400, f"{told}and without ..", param="folder", code="bad_folder")
    path = root
    for part in parts:
        path /= part
        if path.is_symlink():
            told = f"folder: {part[:64]!r} is a link, and none is followed"
            raise Refused(400, told, param="folder", code="bad_folder")
    inner = path / ADAPTER
    if not (path / MANIFEST).is_file() and inner.is_dir() and not inner.is_symlink():
        path = inner
    if path.resolve() != path or not (path / MANIFEST).is_file():
        told = "folder: holds no adapter; name a folder that tenon train wrote"
        raise Refused(404, told, param="folder", code="not_found")
    return path


def _without(root: Path | None, error: TenonError) -> Refused:
    """Give the refusal of an error whose message names paths below the root only."""
    made = refused(error)
    told = str(made).replace(f"{root}/", "")
    return Refused(
        made.status, told, code=made.code, param="folder", retry_seconds=made.retry_seconds
    )
