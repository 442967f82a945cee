"""Shared: a micro-batch of rows of several adapters, laid out in one of few sizes.

The rows of an adapter lie side by side, and whose a token is lies in memory that is written over:
so one recorded pass serves batches with any borders between adapters. Filling is nobody's.

Legend: A adapters, T tokens with filling, U learned tokens with filling.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from tenon.model.sized import Laid, Size
from tenon.text.batch import Batch, joined, sent

NOBODY = -1
"""Whose the filling is."""


class Shared:
    """Memory for micro-batches of one size.

    Args:
        size: the room.
        adapters: that may have rows.
        device: where it is.
    """

    def __init__(self, size: Size, adapters: int, device: torch.device) -> None:
        self.laid = Laid(size, device)
        self._owners = torch.full((size.tokens + size.learned,), NOBODY, device=device)
        self.owners_T, self.owners_U = self._owners.split([size.tokens, size.learned])
        self.divisors_A = torch.ones(adapters, device=device)
        self._adapters_A1 = torch.arange(adapters, device=device)[:, None]

    def fill(self, parts: Mapping[int, tuple[Batch, float]]) -> None:
        """Lay batches out.

        Args:
            parts: number of an adapter to its batch on the host and the divisor of its loss; all
                together are of this size.
        """
        batches = [batch for batch, _ in parts.values()]
        self.laid.fill(joined(batches), 1.0)
        learned = [int(np.count_nonzero(batch.targets_X.numpy())) for batch in batches]
        owners = np.full(len(self._owners), NOBODY)
        divisors_A = np.ones(len(self.divisors_A), np.float32)
        divisors_A[list(parts)] = [divisor for _, divisor in parts.values()]
        owners_T, owners_U = np.split(owners, [len(self.owners_T)])
        for there, sizes in ((owners_T, [b.tokens for b in batches]), (owners_U, learned)):
            there[: sum(sizes)] = np.repeat(list(parts), sizes)
        for there, here in ((self._owners, owners), (self.divisors_A, divisors_A)):
            there.copy_(sent(torch.from_numpy(here), there.device))

    def losses_A(self, nats_U: Tensor) -> Tensor:
        """Give the loss of each adapter: what its own tokens cost, summed and divided.

        Args:
            nats_U: of each learned token, weighed.
        """
        own_AU = self.owners_U == self._adapters_A1
        # What another adapter's tokens cost may be no number, so that it is not multiplied by 0.
        return torch.where(own_AU, nats_U, 0.0).sum(1) / self.divisors_A
