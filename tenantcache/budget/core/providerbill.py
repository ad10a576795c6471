"""What the provider itself says that it has billed, and how our own count goes on from there.

The provider's figure is the truth: it has every client of the database, and the provider's own rules. It is seldom
asked. From then on our count goes on, times what the provider had counted for each of our commands until then. So other
clients are taken to send in proportion to us.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_COUNTED = 1_000
"""Of ours, before the ratio of both counts tells something."""


@dataclass(frozen=True, slots=True)
class ProviderBill:
    """What was billed since `period_start`, as the provider said at `read_at`, when we had counted `counted`.

    Times are seconds since the Unix epoch.
    """

    read_at: float
    period_start: int
    billed: int
    counted: int

    @property
    def ratio(self) -> float:
        """Billed units for each that we count."""
        return self.billed / self.counted if self.counted >= LEAST_COUNTED else 1.0

    def correct(self, counted: float) -> float:
        """What is billed when we have counted `counted`."""
        return self.billed + max(0.0, counted - self.counted) * self.ratio
