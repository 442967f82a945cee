"""Manner: how rows are to be answered, refused where a setting is not known or has no effect."""

from __future__ import annotations

from pathlib import Path

from tenon.core.errors import RequestError

ENGINES = ("local", "ray")
FAULTY = ("stop", "keep")


def refuse_idle(
    out: Path | str | None, format: str, resume: str, engine: str, address: str, workers: int,
    faulty: str, portion: int,
) -> None:  # fmt: skip
    """Refuse settings that would have no effect, or are not known.

    Raises:
        RequestError: one of them is set.
    """
    if engine not in ENGINES:
        raise RequestError(f"engine {engine!r}: choose one of {', '.join(ENGINES)}")
    if portion < 0:
        raise RequestError(f"portion {portion}: is no number of rows; give 1 or more, 0 for auto")
    if faulty not in FAULTY:
        raise RequestError(f"faulty {faulty!r}: choose one of {', '.join(FAULTY)}")
    if out is None:
        idle = {"--format": format, "--resume": resume == "never", "--engine": engine == "ray"}
        for name in (name for name, given in idle.items() if given):
            raise RequestError(f"{name}: needs a file of answers; name one with --out")
    if engine == "local" and (address or workers):
        name = "--address" if address else "--workers"
        raise RequestError(f"{name}: has no effect in this process; add --engine ray, or remove it")
