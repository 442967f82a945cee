"""Clusters: rows that belong together, so that one of them says something of the others.

Questions about one context, sentences of one document and turns of one user are right or wrong
together. Where they are, n rows say less than n rows that do not know each other, and what is
drawn by chance is a whole cluster.

R rows, G clusters, K terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse


@dataclass(frozen=True)
class Clusters:
    """The clusters of R rows.

    Args:
        of_R: number of each row's cluster, from 0 to G - 1, each of which has a row.
        count: G.
    """

    of_R: npt.NDArray[np.int64]
    count: int

    @property
    def sizes_G(self) -> npt.NDArray[np.float64]:
        """Rows of each cluster."""
        return np.bincount(self.of_R, minlength=self.count).astype(np.float64)

    def sums(self, terms_RK: Any) -> Any:
        """Add up the terms of each cluster's rows, sparse [G, K]."""
        rows = len(self.of_R)
        shape = (self.count, rows)
        member_GR = sparse.csr_array((np.ones(rows), (self.of_R, np.arange(rows))), shape=shape)
        return sparse.csr_array(member_GR @ terms_RK)


@dataclass(frozen=True)
class Grouping:
    """What says which rows belong together.

    Args:
        noun: what several clusters are called, "contexts".
        keys: origin of a row to what it shares with the others of its cluster. A row that is not
            named stands alone.
    """

    noun: str
    keys: Mapping[str, str]

    def clusters(self, origins: Sequence[str]) -> Clusters | None:
        """Give the clusters of rows; None where each row stands alone, or all are one."""
        numbers: dict[tuple[bool, str], int] = {}
        of_R = np.empty(len(origins), np.int64)
        for row, origin in enumerate(origins):
            key = self.keys.get(origin)
            known = (False, origin) if key is None else (True, key)
            of_R[row] = numbers.setdefault(known, len(numbers))
        return Clusters(of_R, len(numbers)) if 1 < len(numbers) < len(origins) else None
