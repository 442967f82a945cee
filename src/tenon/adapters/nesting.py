"""Nesting: which form of composition may stand inside of which, and why others may not."""

from __future__ import annotations

from tenon.core.errors import PlanError

MOST_NESTED = 16
ALL = ("adapter", "stack", "average", "parallel", "fuse", "route")
SEVERAL = "it gives several answers for a row, of which nothing makes one; put parallel outermost"
ROUTED = "rows are given to their parts before anything is computed; put route outermost"
LEARNED = "its attention is learned over adapters, as they are; train it by itself"
ONCE = "rows have their parts already; name the parts and rows in one route"

NESTING: dict[str, dict[str, str]] = {
    "stack": {"parallel": SEVERAL, "fuse": LEARNED, "route": ROUTED},
    "average": {"parallel": SEVERAL, "fuse": LEARNED, "route": ROUTED},
    "parallel": {"parallel": SEVERAL, "fuse": LEARNED, "route": ROUTED},
    "route": {"parallel": SEVERAL, "fuse": LEARNED, "route": ONCE},
    "fuse": {
        "stack": LEARNED,
        "average": LEARNED,
        "parallel": SEVERAL,
        "fuse": LEARNED,
        "route": ROUTED,
    },
}
"""Outer form to inner form to the reason why it may not stand there; all others may."""


def refusal(outer: str, inner: str) -> str:
    """Give why `inner` may not stand in `outer`; empty where it may.

    Raises:
        PlanError: there is no such form.
    """
    if outer not in NESTING or inner not in ALL:
        raise PlanError(f"{outer if outer not in NESTING else inner}: is no form of composition")
    return NESTING[outer].get(inner, "")
