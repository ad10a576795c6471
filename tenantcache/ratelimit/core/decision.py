"""The answer to a request, as a value: a refusal knows which policies refused, and when to retry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tenantcache.ratelimit.core.windows import Policy
from tenantcache.tenant import Limits


class Quota(NamedTuple):
    """One policy's line in the headers: "minute", "day", or "exports-minute" of a named limit.

    `remaining` is as known here; `reset` is seconds until the window ends.
    """

    name: str
    limit: int
    remaining: int
    reset: float


AdmittedAt = float | Literal["today"] | None
"""When the tokens of a request were spent, in server time. None: it was admitted without any. "today": at an unknown
time of the tenant's day."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Admitted or refused.

    `violated` names the policies that refused, because their counters say so. It is empty if the request was refused
    because no counter could be asked: then `unavailable` is true, and nothing is known of what is left (no `quotas`).
    `retry_after` is in seconds and never earlier than the truth; None when admitted, and when the request can never
    succeed because its cost is above a limit.
    """

    allowed: bool
    violated: tuple[str, ...] = ()
    retry_after: float | None = None
    quotas: tuple[Quota, ...] = ()
    unavailable: bool = False
    at: float | None = field(default=None, compare=False)
    """Server time at which its tokens were spent, in seconds since the Unix epoch: what a refund goes by. None if none
    were spent: it was refused, or admitted without tokens, so that there are none to give back."""


def quota(name: Policy, limit: int, held: int, left: int, reset: float) -> Quota:
    """Return the line of a policy of which `held` tokens are here and `left` were in the counter."""
    return Quota(name, limit, held + max(0, left), max(0.0, reset))


def policies_below(limits: Limits, cost: int) -> tuple[Policy, ...]:
    """Return the policies that can never admit a request of `cost` tokens."""
    pairs: tuple[tuple[Policy, int | None], ...] = (("minute", limits.per_minute), ("day", limits.per_day))
    return tuple(name for name, limit in pairs if limit is not None and limit < cost)
