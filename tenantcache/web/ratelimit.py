"""What clients are told of their limits: draft-ietf-httpapi-ratelimit-headers, `Retry-After` and problem bodies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

from tenantcache.core.decision import Decision, Quota
from tenantcache.core.windows import DAY, MINUTE
from tenantcache.web.problems import QUOTA_EXCEEDED, Problem

Header = tuple[bytes, bytes]

_SECONDS = {"minute": MINUTE, "day": DAY}


@lru_cache(maxsize=1024)
def policy_value(limits: tuple[tuple[str, int], ...]) -> bytes:
    """`"minute";q=600;w=60, "day";q=100000;w=86400` of (name, limit) pairs."""
    return ", ".join(f'"{name}";q={limit};w={_SECONDS[name]}' for name, limit in limits).encode()


def ratelimit_headers(quotas: Sequence[Quota]) -> list[Header]:
    """`RateLimit-Policy` and `RateLimit`; nothing where nothing is limited."""
    if not quotas:
        return []
    state = ", ".join(f'"{quota.name}";r={quota.remaining};t={ceil(quota.reset)}' for quota in quotas)
    return [
        (b"ratelimit-policy", policy_value(tuple((quota.name, quota.limit) for quota in quotas))),
        (b"ratelimit", state.encode()),
    ]


def x_ratelimit_headers(quotas: Sequence[Quota]) -> list[Header]:
    """The older `X-RateLimit-*`, which have room for one policy: the one with the least left. Reset is in seconds."""
    if not quotas:
        return []
    tightest = min(quotas, key=lambda quota: quota.remaining)
    return [
        (b"x-ratelimit-limit", b"%d" % tightest.limit),
        (b"x-ratelimit-remaining", b"%d" % tightest.remaining),
        (b"x-ratelimit-reset", b"%d" % ceil(tightest.reset)),
    ]


def quota_exceeded(decision: Decision, headers: list[Header]) -> Problem:
    """429 for a refusal. Without `Retry-After` where the request costs more than a limit and can never succeed."""
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
