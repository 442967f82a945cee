"""Serve: adapters answer over HTTP, many over one base, until the process is told to end."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from tenon.adapters.kind import NAME
from tenon.core.errors import (
    AdapterError,
    Faults,
    FileError,
    MissingExtra,
    PlanError,
    TenonError,
    did_you_mean,
)
from tenon.core.progress import Progress
from tenon.core.settings import Settings
from tenon.plan.override import Override, parse
from tenon.verbs.folder import adapter_folder

if TYPE_CHECKING:
    from tenon.adapters.manifest import Manifest
    from tenon.serve.engine import Engine
    from tenon.serve.http.service import Service

PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
OWNERS = ("server", "engine")
"""What a setting's name begins with."""
T = TypeVar("T", bound=Settings)


@dataclass(frozen=True)
class Opened:
    """A server that answers.

    Args:
        url: where.
        base: by which the base itself is asked.
        adapters: those it began with.
        keys: how many it has; 0 answers everybody on this machine.
        root: folder from which adapters may be added; None for nothing.
    """

    url: str
    base: str
    adapters: tuple[Manifest, ...]
    keys: int
    root: Path | None


@dataclass(frozen=True)
class Served:
    """A server that has ended.

    Args:
        url: where it was.
        seconds: it answered.
    """

    url: str
    seconds: float


def serve(
    adapters: Sequence[str] = (),
    settings: Sequence[str] = (),
    *,
    base: str = "",
    root: Path | str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Path | str | None = None,
    opened: Callable[[Opened], None] = lambda opened: None,  # noqa: ARG005 - for who wants it
    progress: Progress | None = None,
) -> Served:
    """Answer over HTTP until the process is told to end; then answer what is open, and return.

    Args:
        adapters: adapter directories or runs, each under its own name, or `NAME=PATH`.
        settings: `server.key=value` and `engine.key=value`.
        base: the base, if not where the first adapter says.
        root: folder from which adapters may be added while it runs.
        host: address to listen on; one of this machine alone, unless there are keys.
        port: 0 for any that is free.
        keys: file of keys, see docs/serving.md.
        opened: told once requests are answered.

    Raises:
        MissingExtra: the packages of the extra `serve` are not installed.
        PlanError: a setting or the file of keys is wrong, or the address needs keys.
        AdapterError: adapters that cannot be trusted, or are of another base; all at once.
        FileError: something is not there.
        RunError: the address cannot be had.
    """
    _require_packages()
    from tenon.serve.http.keys import Keys, read_keys
    from tenon.serve.http.settings import ServerSettings
    from tenon.serve.settings import EngineSettings

    given = parse(settings)
    limits = _settings(ServerSettings, "server", given)
    of_engine = _settings(EngineSettings, "engine", given)
    held = read_keys(Path(keys)) if keys is not None else Keys()
    place = _root(root)
    found = _named(adapters)
    # Below what is looked at in a moment: these import the model library.
    from tenon.serve.engine import Engine
    from tenon.serve.http.journal import begin_log
    from tenon.serve.http.server import Server, listen
    from tenon.serve.http.service import Service

    with listen(host, port, keys=keys is not None) as listening:
        url = _url(host, listening.getsockname()[1])
        if progress:
            progress.start("the base and its adapters", len(found))
        with Engine(_base(base, found), of_engine) as engine:
            service = Service(engine, limits, held, place)
            _admit(service, found, progress)
            told = Opened(url, service.base_name, _manifests(engine), len(held.known), place)
            begin_log()
            began = time.monotonic()
            Server(service, listening).run(lambda: opened(told))
    return Served(url, time.monotonic() - began)


def _require_packages() -> None:
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("tenon serve", f"the package {package}", "serve")


def _manifests(engine: Engine) -> tuple[Manifest, ...]:
    """Give the manifests under the names by which adapters are asked."""
    return tuple(
        handle.manifest.model_copy(update={"name": name})
        for name, handle in sorted(engine.handles.items())
    )


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _settings(kind: type[T], owner: str, given: Sequence[Override]) -> T:
    """Give the settings of one owner.

    Raises:
        PlanError: one is unknown or has a value that it cannot have; all at once.
    """
    faults, table = Faults(), dict[str, Any]()
    for each in given:
        first, _, name = each.key.partition(".")
        if first not in OWNERS or not name:
            near = did_you_mean(each.key, [f"{one}." for one in OWNERS])
            faults.add(f"argument {each.argument}", f"{each.key} is no setting here", near)
        elif first == owner and name not in kind.model_fields:
            near = did_you_mean(name, kind.model_fields, before=f"{owner}.")
            faults.add(f"argument {each.argument}", f"{each.key} is no setting", near)
        elif first == owner:
            table[name] = each.value
    try:
        made = kind.model_validate(table)
    except ValidationError as error:
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            faults.add(f"{owner}.{where}", f"is {problem['input']!r}", str(problem["msg"]))
        made = None
    faults.raise_if_any(PlanError)
    assert made is not None  # noqa: S101 - else there were faults
    return made


def _named(adapters: Sequence[str]) -> dict[str, Path]:
    """Give the folder of each adapter by the name under which it is asked.

    Raises:
        TenonError: a folder holds no adapter, or a name is none or stands twice.
    """
    faults, found = Faults(), dict[str, Path]()
    for given, name, path, folder in [(each, *_placed(each)) for each in adapters]:
        name = name or _manifest(folder).name
        if name in found:
            faults.add(
                given, f"is called {name}, as {found[name]} is", f"write NAME={path} for another"
            )
        found.setdefault(name, folder.resolve())
    faults.raise_if_any(PlanError)
    return found


def _placed(given: str) -> tuple[str, str, Path]:
    """Give the name of `[NAME=]ADAPTER`, if it has one, its path, and the adapter's folder."""
    name, equals, path = given.partition("=")
    if not equals or not NAME.fullmatch(name):
        name, path = "", given
    return name, path, adapter_folder(path)


def _manifest(folder: Path) -> Manifest:
    from tenon.adapters import directory

    return directory.read_manifest(folder, directory.list_folder(folder))


def _base(base: str, found: dict[str, Path]) -> str:
    """Give the name of the base.

    Raises:
        PlanError: there is no adapter that names one.
    """
    if base:
        return base
    if not found:
        raise PlanError("no adapter and no base; name an adapter, or give --base with --root")
    return _manifest(next(iter(found.values()))).base.name


def _root(root: Path | str | None) -> Path | None:
    """Give the folder that is served, links in the way to it followed once and for all.

    Raises:
        FileError: it is no folder.
    """
    if root is None:
        return None
    found = Path(root).resolve()
    if not found.is_dir():
        raise FileError(f"{root}: no such folder; --root names where adapters lie")
    return found


def _admit(service: Service, found: dict[str, Path], progress: Progress | None) -> None:
    """Admit all adapters.

    Raises:
        AdapterError: all that were refused, each with its cause.
    """
    refused: list[str] = []
    for name, folder in found.items():
        try:
            if name == service.base_name:
                raise AdapterError(f"{folder}: is called as the base is; write NAME={folder}")
            service.engine.add(name, folder)
        except TenonError as error:
            refused.append(str(error))
        if progress:
            progress.advance(1)
    if refused:
        raise AdapterError("\n".join(refused))
