"""Limits that are only watched: what they would refuse is counted, and logged once a tenant and window."""

from __future__ import annotations

import logging

from tenantcache.ratelimit.core.decision import Decision

logger = logging.getLogger(__name__)

MAX_WINDOWS = 10_000
"""Windows that are remembered as logged: a megabyte or two. Past that, those that have ended are forgotten."""


class ShadowLog:
    """`count` is the number of requests that would have been refused."""

    def __init__(self) -> None:
        self.count: int = 0
        self._logged_until: dict[tuple[str, str], float] = {}

    def admit(self, tenant_id: str, decision: Decision, now: float) -> Decision:
        """Turn a refusal of server time `now` into an admission, and note that."""
        self.count += 1
        for quota in decision.quotas:
            key = (tenant_id, quota.name)
            if quota.name in decision.violated and now >= self._logged_until.get(key, 0.0):
                self._remember(key, now + quota.reset, now)
                logger.warning(
                    "shadow: requests of tenant %r would be refused: %s limit of %d", tenant_id, quota.name, quota.limit
                )

        return Decision(True, quotas=decision.quotas)

    def forget(self) -> None:
        """The clock was set: windows that were logged may end at another time."""
        self._logged_until.clear()

    def _remember(self, key: tuple[str, str], until: float, now: float) -> None:
        if len(self._logged_until) >= MAX_WINDOWS:
            self._logged_until = {key: end for key, end in self._logged_until.items() if end > now}
        if len(self._logged_until) < MAX_WINDOWS:
            self._logged_until[key] = until
