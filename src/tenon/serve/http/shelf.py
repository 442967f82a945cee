"""Shelf: names of models to adapters, or to the base, as far as a key may ask them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tenon.core.errors import nearest
from tenon.serve.handle import Handle
from tenon.serve.http.keys import Key
from tenon.serve.http.refusal import Refused
from tenon.serve.http.service import Service

PIN = re.compile("[0-9a-f]{8,64}")
NEAR = 3


def resolve(service: Service, key: Key, model: str) -> Handle | None:
    """Give the adapter that is asked for, or None for the base itself.

    Args:
        model: a name, or `name@digest`, of whose digest the first 8 hex digits are enough.

    Raises:
        Refused: 403 where the key may not ask it, whether it is here or not; 404 where it is not
            here, or is another one now, with what is near.
    """
    name, at, pin = model.partition("@")
    if not key.may_ask(name):
        told = f"the key {key.name} may not ask {name}; ask for one that may"
        raise Refused(403, told, param="model", code="out_of_scope")
    handle = service.handles.get(name)
    if handle is None and name != service.base_name:
        raise _absent(service, key, name)
    if at:
        _check_pin(service, name, handle, pin)
    return handle


def adapter(service: Service, key: Key, model: str) -> Handle:
    """Give the adapter that is asked for.

    Raises:
        Refused: as above; and 400 where it is the base, which has no head.
    """
    found = resolve(service, key, model)
    if found is None:
        told = f"{model}: is the base itself, which has no head; name an adapter"
        raise Refused(400, told, param="model", code="no_head")
    return found


def successor(service: Service, handle: Handle | None, model: str) -> Handle | None:
    """Give the adapter by which another was replaced between looking it up and asking it.

    Args:
        model: as it was asked for; one that is pinned has no successor.
    """
    now = service.handles.get(handle.name) if handle and "@" not in model else None
    return None if now is handle else now


def allowed(service: Service, key: Key) -> list[Handle]:
    """Give the adapters that a key may ask, by name."""
    return [handle for name, handle in sorted(service.handles.items()) if key.may_ask(name)]


def _check_pin(service: Service, name: str, handle: Handle | None, pin: str) -> None:
    if not PIN.fullmatch(pin):
        told = f"{name}@{pin}: the digest is no 8 to 64 hex digits in lower case"
        raise Refused(400, told, param="model", code="bad_digest")
    digest = service.digest(handle)
    if not digest.startswith(pin):
        told = f"{name}@{pin}: is not here; {name} is {name}@{digest[:12]} now"
        raise Refused(404, told, param="model", code="model_not_found")


def _absent(service: Service, key: Key, name: str) -> Refused:
    known = [handle.name for handle in allowed(service, key)]
    if key.may_ask(service.base_name):
        known.append(service.base_name)
    near = _listed(nearest(name, known, NEAR) or known)
    told = f"{name}: no such model here; {near or 'there is none that this key may ask'}"
    return Refused(404, told, param="model", code="model_not_found")


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - NEAR} more" if len(shown) > NEAR else ""
    return f"there is {', '.join(shown[:NEAR])}{more}" if shown else ""
