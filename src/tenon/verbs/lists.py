"""Lists: what `tenon show` lists by name; all else that it shows is a file or folder."""

from __future__ import annotations

from pathlib import Path

from tenon.core.errors import FileError, did_you_mean

LISTS = ("kinds", "refused", "scorers", "settings")


def require(what: str) -> None:
    """Check that there is something to show.

    Raises:
        FileError: `what` is no list, and nothing lies there.
    """
    if what not in LISTS and not Path(what).exists():
        raise FileError(
            f"{what}: no such file or folder, and no list of Tenon; {did_you_mean(what, LISTS)}"
        )
