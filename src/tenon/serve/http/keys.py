"""Keys: who may ask what, from a file that holds digests of keys and no key."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tenon.core.errors import Faults, FileError, PlanError, did_you_mean
from tenon.core.files import reading

Scope = Literal["any", "infer", "admin", "metrics"]
ALL = "*"
DIGEST = re.compile("[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
FIELDS = ("sha256", "infer", "admin", "metrics")
KEY_BYTES = 32
LONGEST = 512
"""Bytes of what a client gives as its key; what is longer is none."""


@dataclass(frozen=True)
class Key:
    """What a key may be used for.

    Args:
        name: by which logs know it; empty for everybody, where there are no keys.
        sha256: of the key, in hex.
        infer: adapters it may ask, the base by its name among them; `*` for all.
        admin: whether it may add, replace and remove adapters.
        metrics: whether it may read metrics.
    """

    name: str
    sha256: str
    infer: frozenset[str] = frozenset()
    admin: bool = False
    metrics: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether it has a scope."""
        match scope:
            case "any":
                return True
            case "infer":
                return bool(self.infer)
            case "admin":
                return self.admin
            case "metrics":
                return self.metrics

    def may_ask(self, name: str) -> bool:
        """Whether it may ask an adapter, or the base, of that name."""
        return ALL in self.infer or name in self.infer


EVERYBODY = Key("", "", frozenset({ALL}), admin=True, metrics=True)
"""Who asks a server without keys, which listens on this machine alone."""


@dataclass(frozen=True)
class Keys:
    """The keys of a server; none at all where everybody on this machine may ask.

    Args:
        known: each with its digest.
    """

    known: tuple[Key, ...] = ()

    def find(self, given: bytes) -> Key | None:
        """Give the key that a client has, or None.

        All digests are compared, each in constant time, so that how long it takes says nothing.
        """
        digest = hashlib.sha256(given[:LONGEST]).hexdigest()
        found: Key | None = None
        for key in self.known:
            if hmac.compare_digest(key.sha256, digest) and len(given) <= LONGEST:
                found = key
        return found


def read_keys(path: Path) -> Keys:
    """Read a file of keys.

    Raises:
        FileError: it cannot be read.
        PlanError: all that is wrong with it, at once.
    """
    with reading(path):
        raw = path.read_bytes()
    try:
        table = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileError(f"{path}: is not TOML ({error}); see docs/serving.md") from error
    faults = Faults()
    for name in sorted({*table} - {"keys"}):
        faults.add(f"{path}: {name}", "is not known here", "write [keys.NAME]")
    listed: object = table.get("keys")
    if not isinstance(listed, dict) or not listed:
        faults.add(str(path), "holds no [keys.NAME]", "tenon serve --new-key NAME makes one")
        listed = {}
    named = cast("dict[str, object]", listed)
    known = tuple(_key(f"{path}: keys.{name}", name, held, faults) for name, held in named.items())
    _refuse_twins(path, known, faults)
    faults.raise_if_any(PlanError)
    return Keys(known)


def _key(where: str, name: str, held: object, faults: Faults) -> Key:
    table = cast("dict[str, Any]", held) if isinstance(held, dict) else {}
    if not isinstance(held, dict):
        faults.add(where, f"is {held!r}", "write a table: [keys.NAME]")
    if not NAME.fullmatch(name):
        faults.add(where, "is no name", "use letters, digits, - and _, a letter first")
    for field in sorted({*table} - {*FIELDS}):
        faults.add(f"{where}.{field}", "is not known", did_you_mean(field, FIELDS))
    digest: object = table.get("sha256")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        faults.add(f"{where}.sha256", f"is {digest!r}", "expected 64 hex digits in lower case")
    infer: object = table.get("infer", [])
    if not isinstance(infer, list) or not all(
        isinstance(one, str) for one in cast("list[object]", infer)
    ):
        faults.add(f"{where}.infer", f"is {infer!r}", 'expected names: ["mood"], or ["*"] for all')
        infer = []
    for field in ("admin", "metrics"):
        if not isinstance(table.get(field, False), bool):
            faults.add(f"{where}.{field}", f"is {table[field]!r}", "expected true or false")
    names = frozenset(cast("list[str]", infer))
    if not names and not table.get("admin") and not table.get("metrics"):
        faults.add(where, "may do nothing", "give infer, admin or metrics")
    flags = {field: table.get(field) is True for field in ("admin", "metrics")}
    return Key(name, str(digest), names, **flags)


def _refuse_twins(path: Path, known: Sequence[Key], faults: Faults) -> None:
    first: dict[str, str] = {}
    for key in known:
        if key.sha256 in first:
            faults.add(
                f"{path}: keys.{key.name}", f"is the key of {first[key.sha256]}", "make another"
            )
        first.setdefault(key.sha256, key.name)


@dataclass(frozen=True)
class NewKey:
    """A key that was just made.

    Args:
        key: the key; it is nowhere else.
        lines: those of it for the file of keys.
    """

    key: str
    lines: str


def new_key(name: str) -> NewKey:
    """Make a key of 256 random bits.

    Raises:
        PlanError: the name is none.
    """
    if not NAME.fullmatch(name):
        raise PlanError(f"{name!r}: is no name; use letters, digits, - and _, a letter first")
    key = secrets.token_urlsafe(KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    lines = f'[keys.{name}]\nsha256 = "{digest}"\ninfer = ["*"]\nadmin = false\nmetrics = false\n'
    return NewKey(key, lines)
