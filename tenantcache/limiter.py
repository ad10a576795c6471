"""The limiter's shell: it moves takes between the reservations and the counters.

Rules:

* One take of a tenant is in flight at a time in this process. Requests that need it wait in a line; when the answer
  is there they are served in the order in which they came, within one step, so that nobody overtakes them.
* A request that finds tokens never waits. A refill runs in the background.
* What a store did not answer is not granted. While the fleet changes from one store to another, what is held is all
  that is admitted ("allow" admits everything). Where there is no store, `on_error` decides: "local" admits this
  process's share of the limit (limit / processes), "allow" everything, "deny" nothing.
* A named limit is a reservation of its own beside the tenant's, with counters of its own.
* Nothing that was held before a fork is spent after it in the child.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tenantcache.core.decision import Decision, Quota
from tenantcache.core.reservation import Reservation, Take, VersionOf, one_version
from tenantcache.core.sliding import SlidingReservation
from tenantcache.core.spending import Spent
from tenantcache.core.tenant import Limits, Tenant
from tenantcache.core.windows import Calendar, Debit, Window, minute_at, minute_end
from tenantcache.stores.base import CounterStore, StoreError, StoreMovingError
from tenantcache.stores.counters import MemoryCounters
from tenantcache.zones import calendar_of

logger = logging.getLogger(__name__)

OnError = Literal["local", "allow", "deny"]

ADMITTED = Decision(True)

SURPLUS_INTERVAL = 1.0
"""Seconds between looks for tokens that are held for a demand which has gone elsewhere."""

MAX_RETURNS = 32
"""Reservations that give their tokens back at once on an orderly stop."""


Line = deque[tuple[int, asyncio.Future[Decision]]]
NAME_SEPARATOR = "\x1f"
"""Stands between a tenant's id and a limit's name where counters are called by both: U+001F, the unit separator, which
no id has that a person can type."""

declared: dict[str, Limits] = {}
"""The named limits that were made in this process, whichever engine counts them."""

OnLost = Callable[[str, Window], None]
NOBODY: Line = deque()
"""Who waits for a tenant that nobody waits for: an empty deque takes 600 bytes, and most tenants never need one."""


@dataclass(slots=True, eq=False)
class Meter:
    """A tenant's reservation in this process, who waits for it, and the task that talks to the counters for it."""

    tenant_id: str
    reservation: Reservation
    calendar: Calendar
    waiting: Line = field(default_factory=lambda: NOBODY)
    task: asyncio.Task[None] | None = None


class Limiter:
    """`server_now` gives the server's time in seconds since the Unix epoch, `processes` the size of the fleet.

    `enforced`: False makes every tenant unlimited. `sliding`: minutes slide. `counts_unlimited`: tenants without limits
    get a reservation as well, so that `drain` knows of their requests. `newest` gives the tenant as it was read last.
    """

    def __init__(
        self,
        store: CounterStore,
        *,
        server_now: Callable[[], float],
        processes: Callable[[], int],
        on_error: OnError = "local",
        enforced: bool = True,
        sliding: bool = False,
        counts_unlimited: bool = False,
        newest: Callable[[Tenant], Tenant] = lambda tenant: tenant,
    ) -> None:
        self.takes = 0
        self.denied = 0
        self.errors = 0
        self.degraded = False
        self._store = store
        self._server_now = server_now
        self._processes = processes
        self._on_error = on_error
        self._enforced = enforced
        self._kind = SlidingReservation if sliding else Reservation
        self._counts_unlimited = counts_unlimited
        self._newest = newest
        self._version_of: VersionOf = one_version
        self._on_lost: OnLost = lambda owner, window: None
        self._meters: dict[str, Meter] = {}
        self._named: dict[str, Meter] = {}
        self._shares = MemoryCounters()
        self._watcher: asyncio.Task[None] | None = None
        self._departed: list[tuple[str, Sequence[Spent]]] = []

    def share_counters(self, version_of: VersionOf, on_lost: OnLost) -> None:
        """Before the first request, where a fleet may change its counters: `version_of` tells which ones a minute has,
        and `on_lost` is told of each window whose counter turned out to be lost."""
        self._version_of, self._on_lost = version_of, on_lost

    def open(self) -> None:
        self._watcher = asyncio.create_task(self._watch(), name="tenantcache limiter")

    async def close(self) -> None:
        """Give back what is unspent, as far as the store answers."""
        if self._watcher is not None:
            self._watcher.cancel()
        meters = list(self._meters.values())
        everything = meters + list(self._named.values())
        self._meters.clear()
        self._named.clear()
        await asyncio.gather(*(meter.task for meter in everything if meter.task is not None), return_exceptions=True)
        for start in range(0, len(everything), MAX_RETURNS):
            await asyncio.gather(*(self._release(meter) for meter in everything[start : start + MAX_RETURNS]))
        self._departed += [(meter.tenant_id, meter.reservation.drain()) for meter in meters]

    def forget(self) -> None:
        """Drop every token without giving it back: a forked child must not spend what its parent holds."""
        self._meters.clear()
        self._named.clear()
        self._departed.clear()
        self._watcher = None

    def __len__(self) -> int:
        return len(self._meters)

    def meter_of(self, tenant: Tenant) -> Reservation | None:
        """The reservation of `tenant`, made where there is none yet. None: unlimited."""
        meter = self._meter(tenant)
        return None if meter is None else meter.reservation

    def update(self, tenant: Tenant) -> Reservation | None:
        """Put the limits of `tenant`, which has just been read, in force in its reservation; None: it has none yet."""
        meter = self._meters.get(tenant.id)
        if meter is None:
            return None
        limits, calendar = self._limits_of(tenant), calendar_of(tenant.time_zone)
        if meter.reservation.limits != limits or meter.calendar is not calendar:
            meter.calendar = calendar
            meter.reservation.change(limits, self._server_now(), calendar)
            self._work_on(meter)
        return meter.reservation

    def drain(self) -> Iterator[tuple[str, Sequence[Spent]]]:
        """The tokens that were admitted since the last call, by tenant; one may come twice, or with nothing."""
        while self._departed:
            yield self._departed.pop()
        for meter in list(self._meters.values()):
            yield meter.tenant_id, meter.reservation.drain()

    def note_unbacked(self, tenant: Tenant, cost: int) -> None:
        """Count a request that was refused, and served nevertheless."""
        if (meter := self._meter(tenant)) is not None:
            meter.reservation.note_unbacked(cost)

    def _meter(self, tenant: Tenant) -> Meter | None:
        meter = self._meters.get(tenant.id)
        if meter is not None:
            return meter
        tenant = self._newest(tenant)
        if self._counts_unlimited or self._limits_of(tenant) != Limits():
            calendar = calendar_of(tenant.time_zone)
            reservation = self._kind(
                self._limits_of(tenant), self._server_now(), calendar=calendar, version_of=self._version_of
            )
            meter = Meter(tenant.id, reservation, calendar)
            self._meters[tenant.id] = meter
        return meter

    def _limits_of(self, tenant: Tenant) -> Limits:
        return tenant.limits if self._enforced else Limits()

    def quotas(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each limit, as known here. No I/O."""
        meter = self._meter(tenant)
        return () if meter is None else meter.reservation.quotas(self._server_now())

    def stats(self) -> dict[str, bool | int]:
        return {
            "tenants": len(self),
            "takes": self.takes,
            "denied": self.denied,
            "errors": self.errors,
            "degraded": self.degraded,
        }

    # Deciding.

    async def check(self, tenant: Tenant, cost: int = 1) -> Decision:
        """Admit or refuse a request that costs `cost` tokens (at least 1, else ValueError).

        The limits are those that were read last, which may be newer than those of `tenant`.
        """
        if cost < 1:
            raise ValueError(f"a request costs at least 1 token, not {cost}")
        meter = self._meter(tenant)
        return ADMITTED if meter is None else await self._check(meter, cost)

    async def check_named(self, tenant: Tenant, name: str, limits: Limits, cost: int = 1) -> Decision:
        """As `check`, for the limit of that name, whose policies are `{name}-minute` and `{name}-day`."""
        if cost < 1:
            raise ValueError(f"a request costs at least 1 token, not {cost}")
        decision = await self._check(self._named_meter(tenant, name, limits), cost)
        quotas = tuple(quota._replace(name=f"{name}-{quota.name}") for quota in decision.quotas)
        return replace(decision, violated=tuple(f"{name}-{policy}" for policy in decision.violated), quotas=quotas)

    def _named_meter(self, tenant: Tenant, name: str, limits: Limits) -> Meter:
        owner, calendar = tenant.id + NAME_SEPARATOR + name, calendar_of(tenant.time_zone)
        meter = self._named.get(owner)
        if meter is None:
            reservation = self._kind(limits, self._server_now(), calendar=calendar, version_of=self._version_of)
            meter = self._named[owner] = Meter(owner, reservation, calendar)
        elif meter.reservation.limits != limits or meter.calendar is not calendar:
            meter.calendar = calendar
            meter.reservation.change(limits, self._server_now(), calendar)
            self._work_on(meter)
        return meter

    async def _check(self, meter: Meter, cost: int) -> Decision:
        decision = None if meter.waiting else self._decide(meter, cost)
        if decision is None:
            waiter: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
            if meter.waiting is NOBODY:
                meter.waiting = deque()
            meter.waiting.append((cost, waiter))
            self._work_on(meter)
            decision = await waiter
        self.denied += not decision.allowed
        return decision

    def _decide(self, meter: Meter, cost: int) -> Decision | None:
        decision = meter.reservation.decide(self._server_now(), cost)
        if meter.reservation.refill:
            self._work_on(meter)
        return decision

    def _answer(self, meter: Meter) -> None:
        """Serve the line, from its head, as far as what is held goes."""
        while meter.waiting:
            cost, waiter = meter.waiting[0]
            if not waiter.done():  # it was cancelled with its request
                decision = self._decide(meter, cost)
                if decision is None:
                    return
                waiter.set_result(decision)
            meter.waiting.popleft()

    # Beside the requests.

    async def peek(self, tenant: Tenant) -> tuple[Quota, ...]:
        """What is left of each limit, from one look at the counters. Raises `StoreError`."""
        meter = self._meter(tenant)
        if meter is None or meter.reservation.limits == Limits():
            return ()
        windows = [window for window, _, _ in self._windows(meter, self._server_now())]
        if self._kind is SlidingReservation:
            windows += [Window("minute", window.number - 1) for window in windows if window.policy == "minute"]
        values = await self._store.debit(tenant.id, [Debit(window, 0) for window in windows])
        meter.reservation.observe(dict(zip(windows, values, strict=True)), self._server_now())
        return meter.reservation.quotas(self._server_now())

    def refund(self, tenant: Tenant, cost: int, admitted_at: float | None) -> int:
        """Give back what a request was admitted on; return the day's tokens that are here again."""
        meter = self._meters.get(tenant.id)
        return 0 if meter is None else meter.reservation.refund(cost, self._server_now(), admitted_at)

    async def reset(self, tenant: Tenant) -> None:
        """Forget the counters of this minute and day, those of all `declared` limits as well. Raises `StoreError`.

        Every process must then be told to `restart`: it may hold tokens, or refuse, by what the counters said before.
        """
        now = self._server_now()
        minute, day = minute_at(now), calendar_of(tenant.time_zone)(now).number
        windows = (Window("minute", minute), Window("minute", minute - 1), Window("day", day))
        for owner in (tenant.id, *(tenant.id + NAME_SEPARATOR + name for name in declared)):
            await self._store.reset(owner, [Debit(window, 0) for window in windows])

    def restart(self, tenant_id: str) -> None:
        """Begin anew in this minute and this day: somebody has reset the tenant's counters."""
        named = [meter for owner, meter in self._named.items() if owner.startswith(tenant_id + NAME_SEPARATOR)]
        for meter in (self._meters.get(tenant_id), *named):
            if meter is not None:
                meter.reservation.restart(self._server_now())

    # Taking.

    def _work_on(self, meter: Meter) -> None:
        if meter.task is None or meter.task.done():
            meter.task = asyncio.create_task(self._work(meter), name="tenantcache take")

    async def _work(self, meter: Meter) -> None:
        """Send takes until nobody waits and nothing is to be refilled or given back."""
        resumes: float | None = None
        try:
            self._answer(meter)
            while (take := self._next_take(meter)) is not None:
                await self._send(meter, take)
                self._answer(meter)
        except StoreMovingError as error:
            self.errors += 1
            resumes = error.until
        except StoreError as error:
            self._note_error(error)
        finally:
            self._answer_without_store(meter, resumes)
            # Nobody can come in between: there is no await from here to the end of the task.
            meter.waiting, meter.task = NOBODY, None

    def _next_take(self, meter: Meter) -> Take | None:
        reservation, now = meter.reservation, self._server_now()
        if meter.waiting:
            return reservation.plan(now, self._demand(meter), self._processes())
        if reservation.refill:
            reservation.refill = False
            return reservation.plan(now, 0, self._processes())
        return reservation.surplus(now)

    @staticmethod
    def _demand(meter: Meter) -> int:
        """What the line waits for, as far as a limit allows; at least what its head does."""
        limits = meter.reservation.limits
        most = min(limit for limit in (limits.per_minute, limits.per_day, sys.maxsize) if limit is not None)
        head = meter.waiting[0][0]
        return max(head, min(most, sum(cost for cost, _ in meter.waiting)))

    async def _send(self, meter: Meter, take: Take) -> None:
        following: Take | None = take
        while following is not None:
            self.takes += 1
            try:
                values = await self._store.debit(meter.tenant_id, following.debits)
            except BaseException:
                meter.reservation.fail(following, self._server_now())
                raise
            following = meter.reservation.settle(following, values, self._server_now())
            if following is not None and following.repairs:
                self._on_lost(meter.tenant_id, following.debits[0].window)
        if self.degraded:
            self.degraded = False
            logger.warning("limits are counted in the store again")

    async def _release(self, meter: Meter) -> None:
        take = meter.reservation.release(self._server_now())
        if take is not None:
            try:
                await self._store.debit(meter.tenant_id, take.debits)
            except StoreError as error:
                self._note_error(error)  # the tokens are lost with this process: fewer are admitted, never more

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SURPLUS_INTERVAL)
            for meter in [*self._meters.values(), *self._named.values()]:
                if meter.reservation.watched:
                    self._work_on(meter)

    # Without a store.

    def _note_error(self, error: StoreError) -> None:
        self.errors += 1
        if not self.degraded:
            self.degraded = True
            logger.error("limits cannot be counted in the store (%s): going on with %r", error, self._on_error)

    def _answer_without_store(self, meter: Meter, resumes: float | None) -> None:
        while meter.waiting:
            cost, waiter = meter.waiting.popleft()
            if not waiter.done():
                decision = self._decide(meter, cost)
                waiter.set_result(decision or self._decide_without_store(meter, cost, resumes))

    def _decide_without_store(self, meter: Meter, cost: int, resumes: float | None) -> Decision:
        """`resumes`: when the fleet goes on in another store. Until then only what is held may be spent."""
        now = self._server_now()
        quotas = meter.reservation.quotas(now)
        if self._on_error == "allow":
            meter.reservation.note_unbacked(cost)
            return Decision(True, quotas=quotas, at=now)
        windows = self._windows(meter, now)
        if resumes is not None:
            return Decision(False, tuple(window.policy for window, _, _ in windows), max(0.0, resumes - now), quotas)
        violated = [
            (window, end)
            for window, end, limit in windows
            if self._on_error == "deny" or not self._has_share(meter.tenant_id, window, limit, cost)
        ]
        if violated:
            retry_after = max(end for _, end in violated) - now
            return Decision(False, tuple(window.policy for window, _ in violated), retry_after, quotas)
        for window, _, _ in windows:
            self._shares.add(meter.tenant_id, Debit(window, cost))
        meter.reservation.note_unbacked(cost)
        return Decision(True, quotas=quotas, at=now)

    def _has_share(self, tenant_id: str, window: Window, limit: int, cost: int) -> bool:
        used = self._shares.add(tenant_id, Debit(window, 0))
        return used + cost <= max(1, limit // self._processes())

    @staticmethod
    def _windows(meter: Meter, now: float) -> list[tuple[Window, float, int]]:
        """The windows of `now` that are limited, when each ends, and its limit."""
        limits, minute, day = meter.reservation.limits, minute_at(now), meter.calendar(now)
        named = (
            (Window("minute", minute), minute_end(minute), limits.per_minute),
            (Window("day", day.number), day.end, limits.per_day),
        )
        return [(window, end, limit) for window, end, limit in named if limit is not None]
