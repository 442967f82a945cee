"""Spec: the marks in what a user writes for rows that are not one plain file."""

from __future__ import annotations

STDIN = "-"
"""Standard input."""
HUB = "hub:"
"""Begins the name of a data set of the hub."""
JOINT = "+"
"""Between two files side by side."""
