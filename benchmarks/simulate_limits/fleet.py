"""A fleet of limiters in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import floor

from benchmarks.simulate_limits.counters import BilledCounters
from benchmarks.simulate_limits.patterns import Arrival
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.meter import Meter
from tenantcache.ratelimit.slots import MemorySlots
from tenantcache.tenant import Limits, Tenant

MINUTE, DAY = 60, 86_400

EPOCH = 20_000 * DAY
"""A midnight; the simulations begin some minutes after it."""


@dataclass
class Traffic:
    """Requests by the minute of the simulation; demand and admissions by tenant and minute since the Unix epoch."""

    requests: Counter[int] = field(default_factory=Counter)
    waits: int = 0
    demand: Counter[tuple[int, int]] = field(default_factory=Counter)
    admitted: Counter[tuple[int, int]] = field(default_factory=Counter)


class Fleet:
    """`size` processes that serve tenants with the given limits from server time `start` on."""

    def __init__(
        self, limits: Sequence[Limits], size: int, start: float, *, slides: bool = False, remembers: bool = False
    ) -> None:
        self.now: float = start
        self.start, self.size = start, size
        self.counters: BilledCounters = BilledCounters(self.minute, remembers=remembers)
        self.traffic: Traffic = Traffic()
        self.tenants: list[Tenant] = [
            Tenant(f"t{number}", f"t{number}", limits=each) for number, each in enumerate(limits)
        ]
        self._slots = MemorySlots()
        self._slides = slides
        self._limiters = [self._make() for _ in range(size)]
        self._meters: list[dict[int, Meter]] = [{} for _ in range(size)]
        self._next_second = start + 1

    def minute(self) -> int:
        """Of the simulation."""
        return int((self.now - self.start) // MINUTE)

    def _make(self) -> Limiter:
        return Limiter(
            self.counters,
            self._slots,
            server_now=lambda: self.now,
            processes=lambda: self.size,
            sliding=self._slides,
        )

    async def place(self, order: Sequence[int]) -> None:
        """Give tenants their slots, in the order in which they came to the fleet at some time."""
        await self._slots.assign([self.tenants[number].id for number in order])

    async def warm(self) -> None:
        """Each process takes the first tokens of all tenants."""
        for limiter in self._limiters:
            await limiter.warm(self.tenants)

    async def restart(self, process: int) -> tuple[int, int]:
        """Stop it in order in the middle of the next minute, and start it again; return the commands of both."""
        middle = (self.now // MINUTE + 1.5) * MINUTE
        while self._next_second <= middle:
            await self._pass_second()
        before = self.counters.commands.total()
        await self._limiters[process].close()
        stopped = self.counters.commands.total()
        self._limiters[process], self._meters[process] = self._make(), {}
        await self._limiters[process].warm(self.tenants)
        return stopped - before, self.counters.commands.total() - stopped

    async def serve(self, arrivals: Iterable[Arrival]) -> None:
        """Admit or refuse requests, in the order of their times."""
        requests, demand, admitted = self.traffic.requests, self.traffic.demand, self.traffic.admitted
        for now, process, tenant in arrivals:
            while self._next_second <= now:
                await self._pass_second()
            self.now = now
            requests[int((now - self.start) // MINUTE)] += 1
            key = tenant, int(now // MINUTE)
            demand[key] += 1
            meter = self._meters[process].get(tenant) or self._meter(process, tenant)
            lease = meter.reservation
            # As the middleware does on its fast path.
            if lease.hot_until <= now < lease.until:
                lease.lend(lease.until)
            if now < lease.hot_until and lease.left >= 1:
                lease.left -= 1
                admitted[key] += 1
            elif await self._ask(process, meter):
                admitted[key] += 1

    def _meter(self, process: int, tenant: int) -> Meter:
        meter = self._limiters[process]._meters.of_tenant(self.tenants[tenant])
        assert meter is not None, "it has limits"
        self._meters[process][tenant] = meter
        return meter

    async def _ask(self, process: int, meter: Meter) -> bool:
        """As a limiter does off the fast path."""
        decision = meter.reservation.decide(self.now, 1)
        if decision is None:
            self.traffic.waits += 1
            decision = await meter.check(1)
        elif meter.reservation.refill:
            meter.worker.work(meter)
        else:
            return decision.allowed
        await self._limiters[process]._meters.groups.finish()
        return decision.allowed

    async def _pass_second(self) -> None:
        """What a limiter does once a second."""
        self.now = self._next_second
        for limiter in self._limiters:
            limiter.upkeep.return_surplus()
            await limiter._meters.groups.finish()
        self._next_second = floor(self.now) + 1.0
