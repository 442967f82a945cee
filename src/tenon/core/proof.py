"""Check: one thing that was looked at before a run, and whether it is as it must be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: what it is about, in one to three words.
        passed: whether it is as it must be.
        what: what was found, with its numbers, one clause.
        remedy: what to do where it has not passed; else empty.
    """

    name: str
    passed: bool
    what: str
    remedy: str = ""


def passed(name: str, what: str) -> Check:
    """Give a check that found what it must find."""
    return Check(name, passed=True, what=what)


def failed(name: str, what: str, remedy: str) -> Check:
    """Give a check that did not."""
    return Check(name, passed=False, what=what, remedy=remedy)
