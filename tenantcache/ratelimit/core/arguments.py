"""What may be asked of a limit. A number that a counter cannot hold must not come as far as one."""

from __future__ import annotations

from tenantcache.ratelimit.core.decision import AdmittedAt
from tenantcache.tenant import Limits

MAX_COST = 2**31 - 1
"""Tokens of one request: as many as the highest limit of a minute. So 4 billion of them fit into a sum of 64 bits."""

MAX_LIMIT = 2**53 - 1
"""As the highest limit of a day in the settings."""


MAX_TIME = 2.0**40
"""Seconds: some 35,000 years, and whole minutes and days of it fit into 64 bits."""


def require_cost(cost: object) -> None:
    """Raise ValueError unless `cost` is an int from 1 to `MAX_COST`."""
    if type(cost) is not int or not 1 <= cost <= MAX_COST:
        most = f"a whole number of at most {MAX_COST} tokens"
        raise ValueError(f"a request costs {most}, and at least 1 token, not {cost!r}")


def require_limits(limits: Limits) -> None:
    """Raise ValueError unless each limit is None or an int from 0 to what its counter holds."""
    for key, value, most in (("per_minute", limits.per_minute, MAX_COST), ("per_day", limits.per_day, MAX_LIMIT)):
        if value is not None and (type(value) is not int or not 0 <= value <= most):
            raise ValueError(f"{key} is {value!r}; give None or a whole number from 0 to {most}")


def require_time(at: AdmittedAt) -> None:
    """Raise ValueError unless `at` is a server time, None or "today"."""
    if at is None or at == "today" or (type(at) in (int, float) and 0 <= at < MAX_TIME):
        return
    raise ValueError(f"admitted_at is {at!r}; give the decision's `at`: seconds since the Unix epoch, or None")
