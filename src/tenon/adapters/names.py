"""Names: of the sites, which mean the same on every architecture."""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    "attention": ("attention.query", "attention.key", "attention.value", "attention.out"),
    "mlp": ("mlp.in", "mlp.gate", "mlp.out"),
}
LINEAR = (*GROUPS["attention"], *GROUPS["mlp"])
"""Sites that are linear layers."""

WEIGHTED = (*LINEAR, "embeddings")
"""Sites that are one module with one weight matrix."""

NAMES = (*LINEAR, "layer", "embeddings")


def members(site: str) -> tuple[str, ...]:
    """Give the sites that a name stands for: those of a group, or itself."""
    return GROUPS.get(site, (site,))


def is_name(site: str) -> bool:
    """Whether `site` is the name of a site or of a group of them, and no pattern of modules."""
    return site in NAMES or site in GROUPS
