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
import math
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from tenantcache.errors import StoreError
from tenantcache.ratelimit.calendars import calendar_of
from tenantcache.ratelimit.core.advance import VersionOf
from tenantcache.ratelimit.core.arguments import require_cost, require_limits, require_time
from tenantcache.ratelimit.core.decision import NOTHING_SPENT, Decision, Quota
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import Reservation, one_version
from tenantcache.ratelimit.core.spending import Spent
from tenantcache.ratelimit.core.windows import Calendar, Day, Debit, Window, minute_at
from tenantcache.ratelimit.counterstore import CounterStore
from tenantcache.ratelimit.fallback import LocalShare, OnError, limited_windows
from tenantcache.ratelimit.meters import Meter, Meters, owner_of
from tenantcache.ratelimit.outage import Failure, Outage
from tenantcache.runtime.tasks import stop
from tenantcache.tenant import Limits, Tenant

ADMITTED = Decision(True, at=NOTHING_SPENT)

SURPLUS_INTERVAL = 1.0
"""Seconds between looks for tokens that are held for a demand which has gone elsewhere."""

MAX_RETURNS = 32
"""Reservations that give their tokens back at once on an orderly stop."""


SWEEP_INTERVAL = 60.0
"""Seconds between looks for tenants that nobody asks for any more."""

ENDLESS = Day(0, 0.0, math.inf)
"""The day of tenants that need no reservation of their own."""

OnLost = Callable[[str, Window], None]


class Limiter:
    """`server_now` gives the server's time in seconds since the Unix epoch, `processes` the size of the fleet.

    `enforced`: False makes every tenant unlimited. `sliding`: minutes slide. `counts_unlimited`: tenants without limits
    get a reservation as well, so that `drain` knows of their requests. `newest` gives the tenant as it was read last,
    and `is_cached` tells whether one, by its id, is in memory.
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
        is_cached: Callable[[str], bool] = lambda tenant_id: True,
    ) -> None:
        self.takes = 0
        self.denied = 0
        self.unavailable = 0
        self.errors = 0
        self.names: set[str] = set()  # of the named limits that were counted here
        self._store = store
        self._server_now = server_now
        self._processes = processes
        self._enforced = enforced
        self._slides = sliding
        self._counts_unlimited = counts_unlimited
        self._newest = newest
        self._is_cached = is_cached
        self._version_of: VersionOf = one_version
        self._on_lost: OnLost = lambda owner, window: None
        self._horizon: Callable[[], int | None] = lambda: None
        self._meters = Meters()
        self._unmetered = Reservation(Limits(), 0.0, calendar=lambda now: ENDLESS)
        self.local_share = LocalShare(on_error, processes)
        self._outage = Outage(on_error)
        self._watcher: asyncio.Task[None] | None = None
        self._departed: list[tuple[str, Sequence[Spent]]] = []
        # They hold nothing any more; what they had spent of the running minute counts when it is handed over.
        self._left: list[Meter] = []
        self._released: list[Meter] = []

    def share_counters(
        self, version_of: VersionOf, on_lost: OnLost, horizon: Callable[[], int | None] = lambda: None
    ) -> None:
        """Before the first request, where a fleet may change its counters: `version_of` tells which ones a minute has,
        `on_lost` is told of each window whose counter turned out to be lost, and `horizon` bounds the minutes for which
        tokens may be taken in advance now."""
        self._version_of, self._on_lost, self._horizon = version_of, on_lost, horizon

    def open(self) -> None:
        self._released.clear()
        self._watcher = asyncio.create_task(self._watch(), name="tenantcache limiter")

    async def close(self) -> None:
        """Give back what is unspent, as far as the store answers."""
        await stop(self._watcher)
        meters = list(self._meters)
        self._meters.clear()
        await asyncio.gather(*(meter.task for meter in meters if meter.task is not None), return_exceptions=True)
        await self._release(meters)
        self._left, self._released = [], [*self._left, *meters]

    def forget(self) -> None:
        """Drop every token without giving it back: a forked child must not spend what its parent holds."""
        self._meters.clear()
        self._departed.clear()
        self._released.clear()
        self._left.clear()
        self._outage.clear()
        self._watcher = None

    def leave_loop(self) -> None:
        """Go on after the event loop was closed, with what is held. A take whose answer cannot come any more is spent,
        and its reservation could take no other one: it is made anew."""
        now = self._server_now()
        self._left = [meter for meter in self._left if meter.reservation.hand_over(now)]
        for meter in self._meters.take_busy():
            meter.reservation.release(now)  # what is unspent is lost
            self._left.append(meter)
            if not meter.is_named:
                self._departed.append((meter.owner, meter.reservation.drain()))
        self._watcher = None

    def hand_over(self) -> dict[str, int]:
        """The tokens of this minute that the counters have granted here, by owner, for other counters to go on from."""
        now = self._server_now()
        granted: Counter[str] = Counter()
        for meter in (*self._meters, *self._left, *self._released):
            granted[meter.owner] += meter.reservation.hand_over(now)
        return {owner: tokens for owner, tokens in granted.items() if tokens}

    @property
    def degraded(self) -> bool:
        """Whether takes have failed, and not been answered since."""
        return self._outage.active

    def __len__(self) -> int:
        return len(self._meters.of_tenants)

    def meter_of(self, tenant: Tenant) -> Reservation:
        """The reservation of `tenant`, made where there is none yet; one for all tenants that need none."""
        meter = self._meter(tenant)
        return self._unmetered if meter is None else meter.reservation

    def clock_moved(self) -> None:
        """The server's time is another than was thought: what was lent is of windows that end at another time."""
        for meter in self._meters:
            meter.reservation.clock_moved(self._server_now())

    def update(self, tenant: Tenant) -> Reservation | None:
        """Put the limits of `tenant`, which has just been read, in force in its reservation; None: it has none yet."""
        meter = self._meters.of_tenants.get(tenant.id)
        if meter is None:
            return None
        self._put_in_force(meter, self._limits_of(tenant), calendar_of(tenant.time_zone))
        return meter.reservation

    def _put_in_force(self, meter: Meter, limits: Limits, calendar: Calendar) -> None:
        if meter.reservation.limits != limits or meter.calendar is not calendar:
            meter.calendar = calendar
            meter.reservation.change(limits, self._server_now(), calendar)
            self._work_on(meter)

    def drain(self) -> Iterator[tuple[str, Sequence[Spent]]]:
        """The tokens that were admitted since the last call, by tenant; one may come twice, or with nothing."""
        while self._departed:
            yield self._departed.pop()
        for meter in list(self._meters.of_tenants.values()):
            yield meter.owner, meter.reservation.drain()

    def note_unbacked(self, tenant: Tenant, cost: int) -> None:
        """Count a request that was refused, and served nevertheless."""
        if (meter := self._meter(tenant)) is not None:
            meter.reservation.note_unbacked(cost)

    def _meter(self, tenant: Tenant) -> Meter | None:
        meter = self._meters.of_tenants.get(tenant.id)
        if meter is not None:
            return meter
        tenant = self._newest(tenant)
        if self._counts_unlimited or self._limits_of(tenant) != Limits():
            meter = self._make_meter(tenant.id, self._limits_of(tenant), calendar_of(tenant.time_zone))
            self._meters.of_tenants[tenant.id] = meter
        return meter

    def _make_meter(self, owner: str, limits: Limits, calendar: Calendar) -> Meter:
        reservation = Reservation(
            limits, self._server_now(), calendar=calendar, version_of=self._version_of, slides=self._slides
        )
        return Meter(owner, reservation, calendar)

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
            "unavailable": self.unavailable,
            "errors": self.errors,
            "degraded": self.degraded,
        }

    # Deciding.

    async def check(self, tenant: Tenant, cost: int = 1) -> Decision:
        """Admit or refuse a request that costs `cost` tokens. ValueError unless that is a whole number from 1.

        The limits are those that were read last, which may be newer than those of `tenant`.
        """
        require_cost(cost)
        meter = self._meter(tenant)
        return ADMITTED if meter is None else await self._check(meter, cost)

    async def check_named(self, tenant: Tenant, name: str, limits: Limits, cost: int = 1) -> Decision:
        """As `check`, for the limit of that name, whose policies are `{name}-minute` and `{name}-day`."""
        require_cost(cost)
        require_limits(limits)
        self.names.add(name)
        decision = await self._check(self._named_meter(tenant, name, limits), cost)
        quotas = tuple(quota._replace(name=f"{name}-{quota.name}") for quota in decision.quotas)
        return replace(decision, violated=tuple(f"{name}-{policy}" for policy in decision.violated), quotas=quotas)

    def _named_meter(self, tenant: Tenant, name: str, limits: Limits) -> Meter:
        owner, calendar = owner_of(tenant.id, name), calendar_of(tenant.time_zone)
        meter = self._meters.of_names.get(owner)
        if meter is None:
            meter = self._meters.of_names[owner] = self._make_meter(owner, limits, calendar)
        else:
            self._put_in_force(meter, limits, calendar)
        return meter

    async def _check(self, meter: Meter, cost: int) -> Decision:
        decision = None if meter.waiting else self._decide(meter, cost)
        if decision is None:
            waiter: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
            if meter.waiting is None:
                meter.waiting = deque()
            meter.waiting.append((cost, waiter))
            self._work_on(meter)
            decision = await waiter
        if decision.unavailable:
            self.unavailable += 1
        elif not decision.allowed:
            self.denied += 1
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
        windows = [window for window, _, _ in limited_windows(meter, self._server_now())]
        if self._slides:
            windows += [Window("minute", window.number - 1) for window in windows if window.policy == "minute"]
        values = await self._store.debit(tenant.id, [Debit(window, 0) for window in windows])
        meter.reservation.observe(dict(zip(windows, values, strict=True)), self._server_now())
        return meter.reservation.quotas(self._server_now())

    def refund(self, tenant: Tenant, cost: int, admitted_at: float | None, name: str | None = None) -> int:
        """Give back what a request was admitted on, by the limit called `name` or by the tenant's own; return the day's
        tokens that are here again."""
        require_cost(cost)
        require_time(admitted_at)
        own = self._meters.of_tenants.get(tenant.id)
        meter = own if name is None else self._meters.of_names.get(owner_of(tenant.id, name))
        return 0 if meter is None else meter.reservation.refund(cost, self._server_now(), admitted_at)

    async def reset(self, tenant: Tenant, named: Iterable[str] = ()) -> None:
        """Forget the counters of this minute and day, and those of the limits called `named` or counted here. Raises
        `StoreError`.

        Every process must then be told to `restart`: it may hold tokens, or refuse, by what the counters said before.
        """
        now = self._server_now()
        minute, day = minute_at(now), calendar_of(tenant.time_zone)(now).number
        windows = (Window("minute", minute), Window("minute", minute - 1), Window("day", day))
        for owner in (tenant.id, *(owner_of(tenant.id, name) for name in sorted(self.names.union(named)))):
            await self._store.reset(owner, [Debit(window, 0) for window in windows])

    def restart(self, tenant_id: str) -> None:
        """Begin anew in this minute and this day: somebody has reset the tenant's counters."""
        for meter in self._meters.all_of(tenant_id):
            meter.reservation.restart(self._server_now())

    # Taking.

    def _work_on(self, meter: Meter) -> None:
        if meter.task is None or meter.task.done():
            meter.task = asyncio.create_task(self._work(meter), name="tenantcache take")

    async def _work(self, meter: Meter) -> None:
        """Send takes until nobody waits and nothing is to be refilled or given back."""
        failure = self._outage.paused(meter.owner, self._server_now())
        try:
            self._answer(meter)
            while failure is None and (take := self._next_take(meter)) is not None:
                await self._send(meter, take)
                self._answer(meter)
        except StoreError as error:
            failure = self._note_error(meter.owner, error)
        finally:
            self._answer_without_store(meter, failure)
            # Nobody can come in between: there is no await from here to the end of the task.
            meter.waiting, meter.task = None, None

    def _next_take(self, meter: Meter) -> Take | None:
        reservation, now = meter.reservation, self._server_now()
        if meter.waiting:
            return reservation.plan(now, self._demand(meter), self._processes(), self._horizon())
        if reservation.refill:
            return reservation.plan(now, 0, self._processes(), self._horizon())
        return reservation.surplus(now)

    @staticmethod
    def _demand(meter: Meter) -> int:
        """What the line waits for, as far as a limit allows; at least what its head does."""
        limits = meter.reservation.limits
        most = min(limit for limit in (limits.per_minute, limits.per_day, sys.maxsize) if limit is not None)
        costs = [cost for cost, _ in meter.waiting or ()]
        return max(costs[0], min(most, sum(costs)))

    async def _send(self, meter: Meter, take: Take) -> None:
        """Raises `StoreError`, after what was granted all the same has been entered."""
        following: Take | None = take
        failure: StoreError | None = None
        while following is not None:
            self.takes += 1
            values: Sequence[int | None]
            try:
                values = await self._store.debit(meter.owner, following.debits)
            except BaseException as error:
                if not isinstance(error, StoreError) or not error.values:
                    meter.reservation.fail(following, self._server_now())
                    raise
                failure, values = error, error.values
            following = meter.reservation.settle(following, values, self._server_now())
            if following is not None and following.repairs:
                self._on_lost(meter.owner, following.debits[0].window)
        if failure is not None:
            raise failure
        self._outage.end(meter.owner, self._server_now())

    async def _release(self, meters: Sequence[Meter]) -> None:
        """Give back what they hold, as far as the store answers. They have been taken out, and are dead afterwards."""
        for start in range(0, len(meters), MAX_RETURNS):
            await asyncio.gather(*(self._give_back(meter) for meter in meters[start : start + MAX_RETURNS]))
        self._departed += [(meter.owner, meter.reservation.drain()) for meter in meters if not meter.is_named]

    async def _give_back(self, meter: Meter) -> None:
        take = meter.reservation.release(self._server_now())
        if take is not None:
            try:
                await self._store.debit(meter.owner, take.debits)
            except StoreError as error:
                self._note_error(meter.owner, error)  # the tokens are lost: fewer are admitted, never more

    async def _watch(self) -> None:
        next_sweep = self._server_now() + SWEEP_INTERVAL
        while True:
            await asyncio.sleep(SURPLUS_INTERVAL)
            for meter in self._meters:
                if meter.reservation.watched:
                    self._work_on(meter)
            if not 0 < next_sweep - self._server_now() <= SWEEP_INTERVAL:  # it is due, or the clock was set
                next_sweep = self._server_now() + SWEEP_INTERVAL
                await self.sweep()

    async def sweep(self) -> None:
        """Forget who is neither in memory nor asked for any more, and give their tokens back."""
        await self._release(await self._meters.take_idle(self._server_now, self._is_cached))

    # Without a store.

    def _note_error(self, owner: str, error: StoreError) -> Failure:
        self.errors += 1
        return self._outage.begin(owner, error, self._server_now())

    def _answer_without_store(self, meter: Meter, failure: Failure | None) -> None:
        resumes = None if failure is None else failure.resumes
        while meter.waiting:
            cost, waiter = meter.waiting.popleft()
            if not waiter.done():
                decision = self._decide(meter, cost)
                waiter.set_result(decision or self.local_share.decide(meter, cost, self._server_now(), resumes))
