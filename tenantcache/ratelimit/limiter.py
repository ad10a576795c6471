"""The limits of all tenants in one process: a meter for each (`meter.py` has the way of a request).

Rules:

* While the fleet changes from one store to another, only what is held is admitted ("allow" admits everything). If there
  is no store, `on_error` decides: "local" admits this process's share of the limit (limit / processes), "allow"
  everything, "deny" nothing.
* A named limit is a reservation of its own beside the tenant's, with counters of its own.
* Nothing that was held before a fork is spent after it in the child.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from tenantcache.ratelimit.calendars import calendar_of
from tenantcache.ratelimit.core.advance import VersionOf
from tenantcache.ratelimit.core.arguments import require_cost, require_limits, require_time
from tenantcache.ratelimit.core.decision import AdmittedAt, Decision, Quota
from tenantcache.ratelimit.core.policy import ReservePolicy
from tenantcache.ratelimit.core.refusedowners import RefusedOwners
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.spending import Spent
from tenantcache.ratelimit.core.windows import Day, Debit, Window, minute_at, quarter_of
from tenantcache.ratelimit.counterstore import Account, AccountDebits, CounterStore
from tenantcache.ratelimit.decisioncount import TENANT, DecisionCount
from tenantcache.ratelimit.fallback import LocalShare, OnError, limited_windows
from tenantcache.ratelimit.granted import count_granted
from tenantcache.ratelimit.meter import Meter, owner_of
from tenantcache.ratelimit.meters import Meters
from tenantcache.ratelimit.slots import Slots
from tenantcache.ratelimit.supply import OnLost, Supply
from tenantcache.ratelimit.upkeep import Upkeep
from tenantcache.runtime.tracing import Tracing
from tenantcache.stats import LimiterStats
from tenantcache.tenant import Limits, Tenant

ADMITTED = Decision(True)

STEP = 100
"""Tenants that are unpacked between two breaths of the event loop: 2 ms."""

PAGE = 2_000
"""Tenants whose slots are asked for at once. They are unpacked meanwhile, and garbage collection looks at them. For
10,000 tenants that is 5 queries, and 13 ms of Postgres' CPU time; with pages of 500 it was 20, and 22 ms or more."""

ENDLESS = Day(0, 0.0, math.inf)
"""The day of tenants that need no reservation of their own."""


class Limiter:
    """`server_now` gives the server's time in seconds since the Unix epoch, `processes` the size of the fleet.

    `enforced`: False makes every tenant unlimited. `sliding`: minutes slide. `counts_unlimited`: tenants without limits
    get a reservation as well, so that `drain` knows of their requests. `counts_spending`: `drain` is called at times;
    else nothing waits for it. `newest` gives the tenant as it was read last, and `is_cached` tells whether one, by its
    id, is in memory.
    """

    def __init__(
        self,
        store: CounterStore,
        slots: Slots,
        *,
        server_now: Callable[[], float],
        processes: Callable[[], int],
        on_error: OnError = "local",
        enforced: bool = True,
        sliding: bool = False,
        counts_unlimited: bool = False,
        counts_spending: bool = True,
        newest: Callable[[Tenant], Tenant] = lambda tenant: tenant,
        is_cached: Callable[[str], bool] = lambda tenant_id: True,
        tracing: Tracing | None = None,
    ) -> None:
        self.denied: int = 0
        self.unavailable: int = 0
        self.refused: RefusedOwners = RefusedOwners()
        self.names: set[str] = set()  # of the named limits that were counted here
        self._store, self._server_now = store, server_now
        self._supply = Supply(store, slots, server_now, processes, on_error, tracing)
        self._slides = sliding
        self._meters = Meters(
            self._supply, enforced=enforced, sliding=sliding, counts_unlimited=counts_unlimited, newest=newest
        )
        self._meters.counts_spending = counts_spending
        self._unmetered = Reservation(Limits(), 0.0, calendar=lambda now: ENDLESS, fast=self._supply.fast)
        self._decisions = DecisionCount()
        self.upkeep: Upkeep = Upkeep(self._meters, server_now, is_cached)
        # Of an engine that was closed; what they had spent of the running minute counts when it is handed over.
        self._released: list[Meter] = []

    def share_counters(self, version_of: VersionOf, on_lost: OnLost, is_billed: Callable[[], bool]) -> None:
        """To be called before the first request if a fleet may change its counters.

        `version_of` tells which ones a minute has. `on_lost` is told of each window whose counter was lost. `is_billed`
        tells whether commands are billed now.
        """
        self._supply.version_of, self._supply.on_lost, self._supply.is_billed = version_of, on_lost, is_billed

    def use_policy(self, policy: ReservePolicy) -> None:
        """Size takes by `policy` from now on."""
        self._meters.use_policy(policy)

    @property
    def local_share(self) -> LocalShare:
        return self._supply.local_share

    def open(self) -> None:
        self._released.clear()
        self.upkeep.open()

    async def close(self) -> None:
        """Give back what is unspent, as far as the store answers."""
        await self.upkeep.close()
        await self._meters.groups.finish()
        meters = list(self._meters)
        await self._meters.groups.give_all_back(meters)
        granted = await self.upkeep.note_all_departed(meters)
        self._meters.clear()
        self._released, self.upkeep.given_up = [*self.upkeep.given_up, *granted], []

    def forget(self) -> None:
        """Drop every token without giving it back: a forked child must not spend what its parent holds."""
        self._meters.clear()
        self._released.clear()
        self._supply.outage.clear()
        self.upkeep.forget()

    def leave_loop(self) -> None:
        """Go on after the event loop was closed, with what is held. A take whose answer cannot come any more is spent,
        and its reservation could take no other one: it is made anew."""
        self.upkeep.give_up(self._meters.take_busy())
        self.upkeep.abandon()

    def hand_over(self, granted: dict[str, int]) -> Iterator[None]:
        """Enter in `granted` the tokens of this minute that the counters have granted here, by owner: other counters go
        on from them. In steps; requests may be served between them once nothing more is granted of the minute."""
        return count_granted(self._meters, (*self.upkeep.given_up, *self._released), self._server_now, granted)

    async def enter_windows(self) -> None:
        """Bring what is live into the minute and the day of now."""
        await self._meters.enter_windows()

    @property
    def degraded(self) -> bool:
        """Whether takes have failed, and not been answered since."""
        return self._supply.outage.active

    def __len__(self) -> int:
        return len(self._meters.of_tenants) + len(self._meters.resting)

    def meter_of(self, tenant: Tenant) -> Reservation:
        """The reservation of `tenant`, made if there is none yet; one for all tenants that need none."""
        meter = self._meters.of_tenant(tenant)
        return self._unmetered if meter is None else meter.reservation

    def clock_moved(self, seconds: float) -> None:
        """The server's time is by so much another than was thought: what was leased is of windows that end at another
        time."""
        self._meters.clock_moved(seconds, self._server_now())

    def update(self, tenant: Tenant) -> Reservation | None:
        """Put the limits of `tenant`, which has just been read, in force in its reservation; None: it has none yet."""
        meter = self._meters.update(tenant)
        return None if meter is None else meter.reservation

    def drain(self) -> Iterator[tuple[str, Sequence[Spent]]]:
        """The tokens that were admitted since the last call, by tenant; one may come twice, or with nothing."""
        yield from self.upkeep.drain_departed()
        for meter in list(self._meters.of_tenants.values()):
            yield meter.owner, meter.reservation.drain()

    def note_unbacked(self, tenant: Tenant, cost: int) -> None:
        """Count a request that was refused, and served nevertheless."""
        if (meter := self._meters.of_tenant(tenant)) is not None:
            meter.reservation.note_unbacked(cost)

    def quotas(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each limit, as known here. No I/O."""
        meter = self._meters.of_tenant(tenant)
        return () if meter is None else meter.reservation.quotas(self._server_now())

    def stats(self) -> LimiterStats:
        return {
            "tenants": len(self),
            "takes": self._supply.takes,
            "denied": self.denied,
            "unavailable": self.unavailable,
            "errors": self._supply.errors,
            "degraded": self.degraded,
            "fast": self._supply.fast.count,
            "decisions": self._decisions.results(self._supply.fast.count),
            "violated": self._decisions.violated(),
        }

    # Deciding.

    async def check(self, tenant: Tenant, cost: int = 1) -> Decision:
        """Admit or refuse a request that costs `cost` tokens. ValueError unless that is a whole number from 1.

        The limits are those that were read last, which may be newer than those of `tenant`.
        """
        require_cost(cost)
        meter = self._meters.of_tenant(tenant)
        decision = ADMITTED if meter is None else await self._check(meter, cost)
        self._decisions.note(TENANT, decision)
        return decision

    async def check_named(self, tenant: Tenant, name: str, limits: Limits, cost: int = 1) -> Decision:
        """As `check`, for the limit of that name, whose policies are `{name}-minute` and `{name}-day`."""
        require_cost(cost)
        require_limits(limits)
        self.names.add(name)
        decision = await self._check(self._meters.of_name(tenant, name, limits), cost)
        quotas = tuple(quota._replace(name=f"{name}-{quota.name}") for quota in decision.quotas)
        violated = tuple(f"{name}-{policy}" for policy in decision.violated)
        self._decisions.note(name, decision := replace(decision, violated=violated, quotas=quotas))
        return decision

    async def _check(self, meter: Meter, cost: int) -> Decision:
        decision = await meter.check(cost)
        if decision.unavailable:
            self.unavailable += 1
        elif not decision.allowed:
            self.denied += 1
            self.refused.note(meter.owner)
        return decision

    # Beside the requests.

    async def warm(self, tenants: Iterable[Tenant]) -> None:
        """Take the first tokens of `tenants`: a few commands for each group of them. Raises `StoreError`.

        Nothing is done if commands are not billed.
        """
        if not self._supply.is_billed():
            return
        page: list[Tenant] = []
        for number, tenant in enumerate(tenants, start=1):
            if self._meters.needs_one(tenant):
                page.append(tenant)
            if number % STEP == 0:
                await asyncio.sleep(0)
            if len(page) == PAGE:
                await self._meters.place(page)
                page = []
        await self._meters.place(page)
        await self._meters.groups.take_for_all([])

    async def peek(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each limit, from one look at the counters. Raises `StoreError`."""
        meter = self._meters.of_tenant(tenant)
        if meter is None or meter.reservation.limits == Limits():
            return ()
        windows = [window for window, _, _ in limited_windows(meter.reservation, self._server_now())]
        minutes = [window.number for window in windows if window.unit == "minute"]
        if self._slides:
            windows += [Window("minute", number - 1) for number in minutes]
        else:
            windows += [Window("quarter", quarter_of(number)) for number in minutes]
        await self._meters.groups.place([meter])
        debits = [Debit(window, 0) for window in windows]
        [values] = await self._store.debit([AccountDebits(meter.account, debits)])
        meter.reservation.observe(dict(zip(windows, values, strict=True)), self._server_now())
        return meter.reservation.quotas(self._server_now())

    def refund(self, tenant: Tenant, cost: int, admitted_at: AdmittedAt, name: str | None = None) -> int:
        """Give back what a request was admitted on, by the limit called `name` or by the tenant's own; return the day's
        tokens that are here again."""
        require_cost(cost)
        require_time(admitted_at)
        meter = self._meters.find(tenant.id) if name is None else self._meters.of_names.get(owner_of(tenant.id, name))
        return 0 if meter is None else meter.reservation.refund(cost, self._server_now(), admitted_at)

    async def reset(self, tenant: Tenant, named: Iterable[str] = ()) -> None:
        """Forget the counters of this minute and day, and those of the limits called `named` or counted here. Raises
        `StoreError`.

        Every process must then be told to `restart`: it may hold tokens, or refuse, by what the counters said before.
        """
        now = self._server_now()
        minute, day = minute_at(now), calendar_of(tenant.time_zone)(now).number
        windows = [Window("minute", minute), Window("minute", minute - 1), Window("day", day)]
        owners = [tenant.id, *(owner_of(tenant.id, name) for name in sorted(self.names.union(named)))]
        for owner, slot in zip(owners, await self._supply.slots.assign(owners), strict=True):
            await self._store.reset(Account(owner, slot), windows)

    def restart(self, tenant_id: str) -> None:
        """Begin anew in this minute and this day: the tenant's counters have been reset."""
        for meter in self._meters.all_of(tenant_id):
            meter.reservation.restart(self._server_now())
