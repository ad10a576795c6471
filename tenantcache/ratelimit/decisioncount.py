"""How often limits admitted and refused, by the limit and by the policy that refused. The fast path counts nothing."""

from __future__ import annotations

from collections import Counter

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.stats import DecisionResult

TENANT = "tenant"
"""Stands for the limit of a tenant itself, among the names of limits beside it."""

OTHER = "other"

MAX_NAMES = 100
"""Limits that are counted by name: their names come from code, and a fault there must not fill memory."""


class DecisionCount:
    """Counts since the start of the process."""

    def __init__(self) -> None:
        self._results: dict[str, Counter[DecisionResult]] = {TENANT: Counter()}
        self._violated: Counter[str] = Counter()

    def note(self, limit: str, decision: Decision) -> None:
        """Count `decision` of the limit of that name; its policies have that name in front."""
        if limit not in self._results and len(self._results) > MAX_NAMES:
            limit = OTHER
        results = self._results.setdefault(limit, Counter())
        if decision.unavailable:
            results["unavailable"] += 1
        elif decision.allowed:
            results["admitted"] += 1
        else:
            results["denied"] += 1
            for policy in decision.violated:
                self._violated[policy if limit != OTHER else OTHER] += 1

    def results(self, fast: int) -> dict[str, dict[DecisionResult, int]]:
        """By limit and result; `fast` requests more were admitted by tenants' own limits."""
        found: dict[str, dict[DecisionResult, int]] = {
            name: {each: count[each] for each in ("admitted", "denied", "unavailable")}
            for name, count in list(self._results.items())
        }
        found[TENANT]["admitted"] += fast
        return found

    def violated(self) -> dict[str, int]:
        """Refusals by policy; a request that two policies refuse counts for both."""
        return dict(self._violated)
