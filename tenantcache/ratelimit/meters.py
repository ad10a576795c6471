"""The meters of this process: one for each tenant that was served, and for each of its named limits.

A tenant that is in memory keeps its meter: requests find it there, at rest if it was not asked for lately. Another one
gives its tokens back and is forgotten after `IDLE` seconds without a request. So what limits take is bounded like
memory is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from tenantcache.freshness.core.freshness import NEVER
from tenantcache.ratelimit.calendars import calendar_of
from tenantcache.ratelimit.core.advance import HEARD, SKEW
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import QUARTER, Calendar
from tenantcache.ratelimit.groups import Groups
from tenantcache.ratelimit.meter import Meter, owner_of
from tenantcache.ratelimit.resting import RestingMeters
from tenantcache.ratelimit.supply import Supply
from tenantcache.tenant import Limits, Tenant

IDLE = 600.0
"""Seconds. Coming back costs a take, and giving back costs one: two commands in ten minutes at most."""

PLACED = 50
"""Meters that are made between two breaths of the event loop: 2 ms."""

MADE = 64
"""Meters that are made of those at rest between two breaths of the event loop: a millisecond."""

ENTERED = 200
"""Meters that enter their windows between two breaths of the event loop: 2 ms."""

STEP = 1_000
"""Meters that are looked at between two breaths of the event loop: 0.2 ms."""


class Meters:
    """`of_tenants` by a tenant's id, `of_names` by `owner_of`: those that are live. Only meters of tenants rest. The
    arguments are those of `Limiter`."""

    def __init__(
        self,
        supply: Supply,
        *,
        enforced: bool,
        sliding: bool,
        counts_unlimited: bool,
        newest: Callable[[Tenant], Tenant],
    ) -> None:
        self.of_tenants: dict[str, Meter] = {}
        self.of_names: dict[str, Meter] = {}
        self.resting: RestingMeters = RestingMeters(supply, self.of_tenants)
        self.groups: Groups = Groups(supply, self.resting)
        self._set_back_by = self._set_back_until = 0.0
        self._supply = supply
        self._enforced, self._sliding = enforced, sliding
        self._counts_unlimited = counts_unlimited
        self.counts_spending: bool = True
        """As of `Limiter`."""
        self._newest = newest

    def __iter__(self) -> Iterator[Meter]:
        return iter([*self.of_tenants.values(), *self.of_names.values()])

    def find(self, tenant_id: str) -> Meter | None:
        """The tenant's own, live from now on; None if there is none yet."""
        return self.of_tenants.get(tenant_id) or self.groups.wake(tenant_id)

    def of_tenant(self, tenant: Tenant) -> Meter | None:
        """The tenant's own, made if there is none yet; None if it needs none."""
        meter = self.find(tenant.id)
        if meter is not None:
            return meter
        tenant = self._newest(tenant)
        if self.needs_one(tenant):
            meter = self._make(tenant.id, self._limits_of(tenant), calendar_of(tenant.time_zone))
            self.of_tenants[tenant.id] = meter
        return meter

    def needs_one(self, tenant: Tenant) -> bool:
        return self._counts_unlimited or self._limits_of(tenant) != Limits()

    def of_name(self, tenant: Tenant, name: str, limits: Limits) -> Meter:
        """That of the tenant's limit of that name, made if there is none yet, with `limits` in force."""
        owner, calendar = owner_of(tenant.id, name), calendar_of(tenant.time_zone)
        meter = self.of_names.get(owner)
        if meter is None:
            meter = self.of_names[owner] = self._make(owner, limits, calendar)
        else:
            meter.put_in_force(limits, calendar)
        return meter

    def update(self, tenant: Tenant) -> Meter | None:
        """Put the limits of `tenant` in force in its own; None if it has none yet, or they are, and it is at rest."""
        limits, calendar = self._limits_of(tenant), calendar_of(tenant.time_zone)
        if self.resting.has(tenant.id, limits, calendar):
            return None
        meter = self.find(tenant.id)
        if meter is not None:
            meter.put_in_force(limits, calendar)
        return meter

    def _limits_of(self, tenant: Tenant) -> Limits:
        return tenant.limits if self._enforced else Limits()

    def _make(self, owner: str, limits: Limits, calendar: Calendar) -> Meter:
        now, version_of = self._supply.server_now(), self._supply.version_of
        policy, fast, moves = self._supply.policy, self._supply.fast, self._supply.moves
        reservation = Reservation(
            limits, now, policy, calendar, version_of, slides=self._sliding, fast=fast, moves=moves
        )
        if now < self._set_back_until:
            reservation.clock_moved(self._set_back_by, now)
        return Meter(owner, reservation, self._supply, self.groups)

    def use_policy(self, policy: ReservePolicy) -> None:
        """Size all takes by `policy` from now on: 20 ms for 100,000 tenants, at a change of band."""
        self._supply.policy = policy
        for meter in self:
            meter.reservation.use_policy(policy)

    def clock_moved(self, seconds: float, now: float) -> None:
        """The server's time is `now`, by so many seconds another one than was thought.

        If it was set back, minutes come again. Reservations that are made meanwhile must know that as well. Each one
        follows when it is asked next. That is at once if requests spend what it has leased: 2 ms for 20,000 of them.
        """
        if seconds < 0:
            self._set_back_by, self._set_back_until = seconds, now - seconds + HEARD + QUARTER
        if abs(seconds) >= SKEW:  # else windows begin a little later, and that is all
            self._supply.moves.note(seconds, now)
        for meter in self.of_tenants.values():
            meter.reservation.hot_until = NEVER

    async def enter_windows(self) -> None:
        """Bring the live ones into the minute and the day of now, with what was reserved of them. Leases end."""
        for number, meter in enumerate(self, start=1):
            meter.reservation.enter(self._supply.server_now())
            if number % ENTERED == 0:
                await asyncio.sleep(0)

    def all_of(self, tenant_id: str) -> list[Meter]:
        """The tenant's own, and those of its named limits."""
        own, prefix = self.find(tenant_id), owner_of(tenant_id, "")
        named = [meter for owner, meter in self.of_names.items() if owner.startswith(prefix)]
        return named if own is None else [own, *named]

    def clear(self) -> None:
        self.of_tenants.clear()
        self.of_names.clear()
        self.resting.clear()
        self.groups.clear()

    async def place(self, tenants: Sequence[Tenant]) -> None:
        """Make those of `tenants`, which need one, in their slots, and put them to rest until they are asked for.

        Raises `StoreError`.
        """
        slots = await self._supply.slots.assign([tenant.id for tenant in tenants]) if tenants else []
        for number, (tenant, slot) in enumerate(zip(tenants, slots, strict=True), start=1):
            if (meter := self.of_tenant(tenant)) is not None:
                self.groups.put(meter, slot)
                self.groups.rest(meter)
            if number % PLACED == 0:
                await asyncio.sleep(0)

    def take(self, meters: Sequence[Meter]) -> None:
        """Take them out."""
        for meter in meters:
            known = self.of_names if meter.is_named else self.of_tenants
            if known.get(meter.owner) is meter:  # else it was made anew meanwhile
                del known[meter.owner]
            self.groups.discard(meter)

    def take_busy(self) -> list[Meter]:
        """Take out the meters that requests wait for, or that wait for the counters themselves."""
        at_rest = (self.resting.make(owner, self.groups) for owner in self.resting.taking)
        busy = [meter for meter in (*self, *at_rest) if meter is not None and meter.is_busy]
        self.take(busy)
        self.groups.abandon()
        return busy

    async def take_idle(self, is_cached: Callable[[str], bool]) -> list[Meter]:
        """Take out the meters that no request has used in `IDLE` seconds, unless their tenants are in memory."""
        taken, server_now = [], self._supply.server_now
        for number, meter in enumerate(self):
            if number % STEP == STEP - 1:
                await asyncio.sleep(0)
            meters = self.of_names if meter.is_named else self.of_tenants
            if meter.is_busy or meter.reservation.idle(server_now()) < IDLE or meters.get(meter.owner) is not meter:
                continue
            if meter.is_named or not is_cached(meter.owner):
                taken.append(meters.pop(meter.owner))
            else:
                if not self.counts_spending:
                    meter.reservation.drain()
                self.groups.rest(meter)
        return taken + await self._take_resting(is_cached)

    async def _take_resting(self, is_cached: Callable[[str], bool]) -> list[Meter]:
        taken: list[Meter] = []
        made = 0
        for number, owner in enumerate(self.resting.owners(), start=1):
            if number % STEP == 0 or made == MADE:
                made = 0
                await asyncio.sleep(0)
            if is_cached(owner):
                continue
            made += 1
            meter = self.resting.make(owner, self.groups)
            if meter is None or meter.is_busy:
                continue
            if meter.reservation.idle(self._supply.server_now()) >= IDLE:
                self.resting.forget(meter)
                taken.append(meter)
        return taken
