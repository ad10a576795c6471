"""What a hot request needs, in one object: found by its Host or another name, and good for as long as its lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.tenant import Tenant

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""ASGI's `send`."""

Key = bytes | tuple[str, str | bytes]
"""By which a fast path is found: a raw Host, or what sort of name a request contains beside it, and that raw name."""


class Engine:
    """What serves requests: a `TenantCache`, which is too high up to be named here."""


class Serving(NamedTuple):
    """Which tenant's request is being served, and by which engine; None in tests that do without one.

    `admitted_at` is a server time in the minute and the day in which its token was spent; None if none was.
    """

    tenant: Tenant
    cache: Engine | None
    admitted_at: float | None = None


class LeaseHeaders(Protocol):
    """The limit headers of requests that spend one lease. Times are server times, in seconds."""

    def turn(self, reservation: Reservation, now: float) -> float:
        """Tell the time that is left at `now`; return when that is out of date."""
        ...

    def add_to(self, send: Send, reservation: Reservation) -> Send:
        """`send`, with the headers of a request that `reservation` has just admitted."""
        ...


@dataclass(slots=True, eq=False)
class FastPath:
    """Of one entry in memory, which owns it: of an active tenant, and of names that are never redirected.

    A request spends a token of `reservation`, see there; when its lease is over, `FastPaths.renew` is asked.
    `headers` and `serving` are those of the lease; `headers` are None if there are none to send. `used` is set by
    each request, and taken back when memory looks for what to evict.
    """

    tenant: Tenant
    reservation: Reservation
    serving: Serving
    headers: LeaseHeaders | None = None
    used: bool = False
