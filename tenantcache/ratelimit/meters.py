"""Who has tokens in this process: a meter for each tenant that was served, and for each of its named limits.

A tenant that is in memory keeps its meter: requests find it there. One that is not, and that nobody has asked for in
`IDLE` seconds, gives its tokens back and is forgotten, so that what limits take is bounded like memory is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tenantcache.ratelimit.core.decision import Decision
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Calendar

NAME_SEPARATOR = "\x1f"
"""Stands between a tenant's id and a limit's name where counters are called by both: U+001F, the unit separator, which
no id has that a person can type."""

IDLE = 600.0
"""Seconds. Coming back costs a take, and giving back costs one: two commands in ten minutes at most."""

STEP = 1_000
"""Meters that are looked at between two breaths of the event loop: 0.2 ms."""

Line = deque[tuple[int, asyncio.Future[Decision]]]


@dataclass(slots=True, eq=False)
class Meter:
    """A reservation, who waits for it, and the task that talks to the counters for it.

    `owner` is what its counters are called by: a tenant's id, or `owner_of` a named limit.
    """

    owner: str
    reservation: Reservation
    calendar: Calendar
    waiting: Line | None = None  # an empty deque takes 600 bytes, and most tenants never need one
    task: asyncio.Task[None] | None = None

    @property
    def is_named(self) -> bool:
        return NAME_SEPARATOR in self.owner

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting) or (self.task is not None and not self.task.done())


def owner_of(tenant_id: str, name: str) -> str:
    return tenant_id + NAME_SEPARATOR + name


class Meters:
    """`of_tenants` by a tenant's id, `of_names` by `owner_of`."""

    def __init__(self) -> None:
        self.of_tenants: dict[str, Meter] = {}
        self.of_names: dict[str, Meter] = {}

    def __iter__(self) -> Iterator[Meter]:
        return iter([*self.of_tenants.values(), *self.of_names.values()])

    def all_of(self, tenant_id: str) -> list[Meter]:
        """The tenant's own, and those of its named limits."""
        own = [self.of_tenants[tenant_id]] if tenant_id in self.of_tenants else []
        return own + [meter for owner, meter in self.of_names.items() if owner.startswith(owner_of(tenant_id, ""))]

    def clear(self) -> None:
        self.of_tenants.clear()
        self.of_names.clear()

    def take_busy(self) -> list[Meter]:
        """Take out the meters that requests wait for, or that wait for the counters themselves."""
        busy = [meter for meter in self if meter.is_busy]
        for meter in busy:
            (self.of_names if meter.is_named else self.of_tenants).pop(meter.owner)
        return busy

    async def take_idle(self, server_now: Callable[[], float], is_cached: Callable[[str], bool]) -> list[Meter]:
        """Take out the meters that nobody has used in `IDLE` seconds, save those of tenants that are in memory."""
        taken = []
        for number, meter in enumerate(self):
            if number % STEP == STEP - 1:
                await asyncio.sleep(0)
            meters = self.of_names if meter.is_named else self.of_tenants
            if meter.is_busy or meter.reservation.idle(server_now()) < IDLE or meters.get(meter.owner) is not meter:
                continue
            if meter.is_named or not is_cached(meter.owner):
                taken.append(meters.pop(meter.owner))
        return taken
