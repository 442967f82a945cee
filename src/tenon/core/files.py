"""Files: whole or absent. Everything Tenon writes goes through here.

A file or folder is written aside, flushed to the disk, and renamed over its
name; a reader sees the old content or the new, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from tenon.core.errors import FileError, Occupied, nearest

STALE_SECONDS = 24 * 3600
BESIDE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<role>part|old)")


def digest(path: Path) -> str:
    """Give the sha256 of a file's bytes, in hex."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: object) -> str:
    """Give the sha256 of a JSON-able value in canonical form, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: object) -> str:
    """Give `value` as JSON with sorted keys and no blanks."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError met while reading `path` into a FileError that names it."""
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file or folder; check the path") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error


def require(path: Path) -> None:
    """Check that a file or folder is there.

    Raises:
        FileError: it is not; files of a similar name are offered.
    """
    with reading(path):
        if path.exists():
            return
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(path.name, beside)
    remedy = f"did you mean {path.parent / near[0]}?" if near else "check the path"
    raise FileError(f"{path}: no such file or folder; {remedy}")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError met while writing `path` into a FileError that names it and its cause."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space; what was there before is untouched" if full else "check the path"
        cause = error.strerror or error
        raise FileError(f"{path}: cannot be written ({cause}); {remedy}") from error


@contextlib.contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it and rename it to `path`.

    Raises:
        FileError: the disk refused. `path` is as it was, and nothing is left beside it.
    """
    beside = _beside(path, "part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            flush(beside)
            beside.replace(path)
            flush(path.parent)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success flush all of it and rename it to `path`.

    A folder that is already at `path` is replaced: it is moved out of the way
    first and removed last; where a kill falls between the two, `sweep` puts it back.

    Raises:
        FileError: the disk refused. What was at `path` is as it was.
    """
    beside, old = _beside(path, "part"), _beside(path, "old")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        try:
            yield beside
            for file in sorted(beside.rglob("*")):
                flush(file)
            flush(beside)
            _swap(beside, path, old)
            flush(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left beside files of `folder`; nobody else may write there now.

    Raises:
        FileError: something cannot be removed.
    """
    with writing(folder):
        for path in sorted(folder.iterdir()):
            found = BESIDE.fullmatch(path.name)
            if found is None:
                continue
            target = folder / found["name"]
            if found["role"] == "old" and not target.exists():
                path.rename(target)
            else:
                remove(path)


def sweep_stale(folder: Path) -> None:
    """Remove files that killed processes left half-written in a folder where others may write.

    A process that writes changes its file all the time; one that nobody has changed for a day is
    left over. What cannot be removed stays.
    """
    now = time.time()
    for path in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if is_beside(path) and path.is_file() and now - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()


def is_beside(path: Path) -> bool:
    """Whether `path` is what a killed process left beside a file that it was writing."""
    return BESIDE.fullmatch(path.name) is not None


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing happens where there is none.

    Raises:
        FileError: it cannot be removed.
    """
    with writing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold `path` as a lock, once no other process does; the system frees it when one ends.

    Raises:
        FileError: the folder cannot be made, or written to.
    """
    with _holding(FileLock(path), path):
        yield


def _beside(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{role}")


def _swap(beside: Path, path: Path, old: Path) -> None:
    if path.exists():
        path.rename(old)
    try:
        beside.rename(path)
    except BaseException:  # Ctrl-C as well: what was there comes back
        if old.exists() and not path.exists():
            old.rename(path)
        raise


def flush(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with aside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileError: the file is absent, unreadable, or not JSON.
    """
    with reading(path):
        data = path.read_bytes()
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not JSON (byte {error.start} is not UTF-8)") from error
    except json.JSONDecodeError as error:
        raise FileError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise FileError(f"{path}: not JSON that can be read (nested too deeply)") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` as a lock of this process; the system frees it when the process ends.

    Raises:
        Occupied: another process holds it.
        FileError: the folder cannot be made, or written to.
    """
    with _holding(FileLock(path, timeout=0), path):
        yield


@contextlib.contextmanager
def _holding(lock: BaseFileLock, path: Path) -> Iterator[None]:
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise Occupied(
                f"{path.parent}: another process is writing this run; wait for it, "
                "or choose another --out"
            ) from error
    try:
        yield
    finally:
        lock.release()
