"""The answer to a request that a limit refuses."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from tenantcache.errors import TenantCacheError
from tenantcache.ratelimit.core.decision import Decision, Quota
from tenantcache.web.limitheaders import HeaderLine
from tenantcache.web.problems import QUOTA_EXCEEDED, TEMPORARY_REDUCED_CAPACITY, Problem


class LimitExceededError(TenantCacheError):
    """A route's own limit or cost refuses this request; `TenantMiddleware` answers with 429, as it answers others, or
    with 503 if no counter could be asked (`decision.unavailable`)."""

    def __init__(self, decision: Decision, named_quotas: tuple[Quota, ...] = ()) -> None:
        super().__init__(f"refused by {', '.join(decision.violated) or 'the limiter: no counter store answers'}")
        self.decision = decision
        self.named_quotas = named_quotas


def limit_refusal(decision: Decision, headers: Sequence[HeaderLine] = ()) -> Problem:
    """503 if no counter could be asked, else 429 with `headers`."""
    if not decision.unavailable:
        return quota_exceeded(decision, headers)
    return Problem(
        503,
        "Service Unavailable",
        "The tenant's requests cannot be counted at the moment.",
        type=TEMPORARY_REDUCED_CAPACITY,
        retry_after=max(1, ceil(decision.retry_after or 0.0)),
    )


def quota_exceeded(decision: Decision, headers: Sequence[HeaderLine]) -> Problem:
    """429 for a refusal. Without `Retry-After` if the request costs more than a limit and can never succeed."""
    never = decision.retry_after is None
    return Problem(
        429,
        "Too Many Requests",
        "This request costs more than a limit allows." if never else "The tenant has used up its quota.",
        type=QUOTA_EXCEEDED,
        retry_after=None if decision.retry_after is None else max(1, ceil(decision.retry_after)),
        members={"violated-policies": list(decision.violated)},
        headers=tuple(headers),
    )
