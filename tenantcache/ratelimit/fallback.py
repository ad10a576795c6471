"""What is admitted when no counter store answers: by this process alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from zlib import crc32

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Debit, Window, minute_at, minute_end
from tenantcache.ratelimit.memorycounters import MemoryCounters

OnError = Literal["local", "allow", "deny"]


class LocalShare:
    """`on_error`: "local" admits this process's share of the limit (limit / processes), "allow" everything, "deny"
    nothing. `processes` is the size of the fleet."""

    def __init__(self, on_error: OnError, processes: Callable[[], int]) -> None:
        self.on_error = on_error
        self._processes = processes
        self.place: Callable[[], tuple[int, int] | None] = lambda: None
        """This process's number in the fleet, from 0, and the fleet's size, as others know it too; None: not known, and
        what is left of a limit when it is divided is admitted by no process."""
        self._admitted = MemoryCounters()

    def decide(self, owner: str, reservation: Reservation, cost: int, now: float, resumes: float | None) -> Decision:
        """Admit or refuse a request of the owner of counters whose `reservation` holds too little for it.

        `resumes`: when the fleet goes on in another store. Until then only what is held may be spent.

        What Postgres had granted in advance counts: it was spent before. It is a part of the share, since all that a
        process reserves is less (`ReservePolicy.in_advance`).

        A refusal says that no store answers, not that a limit is used up: nothing here knows that.
        """
        if self.on_error != "allow":
            if resumes is not None:
                return Decision(False, retry_after=max(0.0, resumes - now), unavailable=True)
            windows = limited_windows(reservation, now)
            if self.on_error == "deny" or not all(
                self._has_share(owner, window, limit, cost + (reservation.granted if window.unit == "minute" else 0))
                for window, _, limit in windows
            ):
                # Also if it is the day's share: a store may be back by then.
                return Decision(False, retry_after=minute_end(minute_at(now)) - now, unavailable=True)
            for window, _, _ in windows:
                self._admitted.add(owner, Debit(window, cost))
        reservation.note_unbacked(cost)
        return Decision(True, quotas=reservation.quotas(now))

    def _has_share(self, owner: str, window: Window, limit: int, cost: int) -> bool:
        used = self._admitted.add(owner, Debit(window, 0))
        return used + cost <= self._share_of(owner, limit)

    def _share_of(self, owner: str, limit: int) -> int:
        """This process's part of `limit`. The parts of all processes add up to the limit. If it cannot be divided,
        another process has the rest for each owner, so that none serves all of them."""
        if (place := self.place()) is None:
            return limit // self._processes()
        rank, processes = place
        return limit // processes + ((rank + crc32(owner.encode())) % processes < limit % processes)


def limited_windows(reservation: Reservation, now: float) -> list[tuple[Window, float, int]]:
    """The windows of `now` that are limited, when each ends, and its limit."""
    limits, minute, day = reservation.limits, minute_at(now), reservation.calendar(now)
    named = (
        (Window("minute", minute), minute_end(minute), limits.per_minute),
        (Window("day", day.number), day.end, limits.per_day),
    )
    return [(window, end, limit) for window, end, limit in named if limit is not None]
