"""The requests of the busiest tenants, and of all others together.

Rules:

* Each request counts once: for its tenant if that is among the busiest when it is counted, else for the others. So no
  number ever falls. The number of a tenant begins when it comes in, and its series ends when it leaves.
* Who is busiest is decided at each look, by requests of which half the weight is gone after `HALF_LIFE`. A newcomer has
  to be clearly busier than the one that it displaces.
* A bounded number of tenants is compared, whatever the number of tenants. One whose id is "other" is one of the others.
"""

from __future__ import annotations

from heapq import nlargest

OTHER = "other"

HALF_LIFE = 600.0
"""Seconds."""

ADVANTAGE = 1.25
"""Of those that are among the busiest: series that come and go are worth nothing on a dashboard."""

ROOM = 10
"""Candidates for each of the busiest; twice as many are looked at before the least busy are forgotten."""


class TopTenants:
    """`most` tenants have a number of their own."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, float] = {}
        self._other = 0.0
        self._weights: dict[str, float] = {}
        self._looked_at = 0.0

    def note(self, tenant_id: str, requests: int) -> None:
        """Requests that were admitted; fewer than none if they were given back, which is not counted."""
        if requests <= 0:
            return
        if tenant_id == OTHER:
            self._other += requests
            return
        self._weights[tenant_id] = self._weights.get(tenant_id, 0.0) + requests
        if tenant_id in self._counts:
            self._counts[tenant_id] += requests
        else:
            self._other += requests
        if len(self._weights) > 2 * ROOM * self._most:
            self._forget_least()

    def look(self, now: float) -> dict[str, float]:
        """Requests by tenant, at `now` in seconds. Who comes in is counted from now on."""
        fading = 0.5 ** (max(0.0, now - self._looked_at) / HALF_LIFE)
        self._looked_at = now
        self._weights = {tenant: weight * fading for tenant, weight in list(self._weights.items())}
        self._forget_least()
        busiest = nlargest(self._most, self._weights, self._standing)
        self._counts = {tenant: self._counts.get(tenant, 0.0) for tenant in busiest}
        return {**self._counts, OTHER: self._other}

    def _standing(self, tenant_id: str) -> float:
        return self._weights[tenant_id] * (ADVANTAGE if tenant_id in self._counts else 1.0)

    def _forget_least(self) -> None:
        kept = nlargest(ROOM * self._most, self._weights, self._standing)
        self._weights = {tenant: self._weights[tenant] for tenant in kept}
