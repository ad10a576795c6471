"""Opens the fast path of entries, and leases tokens to it.

A fast path asks for nothing but the time, so a lease ends at the first of these:

* memory's freshness lapses. If it is taken back earlier, memory is emptied, so that no request finds its fast path;
* the minute or the day ends. If the server's clock is set, the reservation ends its leases;
* what the headers tell of the time is out of date, a second at most.

All fast paths of a tenant share one reservation, and so one lease: what it says holds for all of them. So one that is
opened ends the lease, and the next request begins one that it shares.
"""

from __future__ import annotations

from collections.abc import Callable

from tenantcache.freshness.core.freshness import NEVER, Freshness
from tenantcache.freshness.core.servertime import ServerTime
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.fastpath import FastPath, Key, LeaseHeaders, Serving
from tenantcache.lookup.memory import Memory
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.tenant import Tenant

MakeHeaders = Callable[[Reservation, float], LeaseHeaders | None]
"""From a reservation at a server time, in seconds; None if there are no headers to send."""


class FastPaths:
    """Of one engine. `is_elsewhere`: as `TenantCache.is_elsewhere`."""

    def __init__(
        self,
        memory: Memory,
        freshness: Freshness,
        server_time: ServerTime,
        *,
        reservation_of: Callable[[Tenant], Reservation],
        is_elsewhere: Callable[[], bool],
    ) -> None:
        self._memory = memory
        self._freshness = freshness
        self._server_time = server_time
        self._reservation_of = reservation_of
        self._is_elsewhere = is_elsewhere

    def open(self, key: Key, entry: Entry, serving: Serving) -> None:
        """Let requests that contain `key` find the fast path of `entry`, of an active tenant.

        Only if the log, which vouches for all of memory at once, has come to the entry's number.
        """
        if not self._freshness.vouches_for(entry.watermark):
            return
        reservation = self._reservation_of(serving.tenant)
        if entry.fast_path is None or entry.fast_path.reservation is not reservation:
            entry.fast_path = entry.fast_path or FastPath(serving.tenant, reservation, serving)
            entry.fast_path.reservation = reservation
            reservation.lend(NEVER)
        self._memory.spell(key, entry)

    def renew(self, path: FastPath, now: float, make_headers: MakeHeaders) -> bool:
        """Begin a lease at `now`, a reading of the engine's clock.

        False if memory is not fresh, if a window has ended, and in another event loop than the engine's. Then the slow
        path decides.
        """
        reservation, valid_until, offset = path.reservation, self._freshness.valid_until, self._server_time.offset
        if reservation.hot_until == NEVER:
            reservation.follow_clock()
        server_now = now + offset
        if now >= valid_until or server_now >= reservation.until or self._is_elsewhere():
            return False
        headers = path.headers
        if reservation.hot_until == NEVER:  # the lease was ended, so more than the time may have changed
            headers = make_headers(reservation, server_now)
        ends = reservation.until if headers is None else headers.turn(reservation, server_now)
        reservation.lend(min(valid_until, ends - offset))
        for entry in self._memory.live_of(path.tenant.id):
            each = entry.fast_path
            if each is not None and each.reservation is reservation:
                # What is leased is spent before its minute and its day end: one time stands for all these requests.
                each.serving = each.serving._replace(admitted_at=server_now)
                each.headers = headers
        return True
