"""What the whole fleet has used of its Redis in this period, known without asking Redis.

Rules:

* Each process writes what it has used by hour and purpose into Postgres, once a minute, and reads what the others have,
  in one statement. It writes totals and not what was added, so nothing counts twice if an answer is lost.
* What is not written yet is counted here. So `used` is never less than what this process knows.
* While Postgres is unavailable, or has no such table, or this role may not write it, use is counted on here, and what
  others use is as it was last read. Nothing waits for it.
* An orderly stop loses nothing. A crash loses what came since the last report, and that only from what others know.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Mapping

from tenantcache.budget.core.budget import NOTES, Budget, CommandUse, PurposeUse
from tenantcache.budget.core.forecast import MOST_DAYS, Forecast, forecast
from tenantcache.budget.core.meter import Meter, Purpose
from tenantcache.budget.core.period import DAY, HOUR, Period, PeriodUnit, period_of
from tenantcache.budget.core.providerbill import ProviderBill
from tenantcache.budget.provider import ProviderWatch
from tenantcache.budget.usestore import UseRow, UseStore
from tenantcache.errors import POSTGRES_FAILURES, told_as_unavailable
from tenantcache.runtime.tasks import set_within, stop

logger = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two reports; they are made at the edges of minutes, so that none lies across the edge of an hour."""

LEAST_INTERVAL = 1.0
"""Seconds between two reports, however much is used meanwhile."""

RETRY_INTERVAL = 5.0
"""The same after a report that failed."""

READ_ALL_EVERY = 60
"""Reports. Between them only the last two hours are read; earlier ones change if a process had no Postgres then."""

KEPT_DAYS = 2 * 31
"""Days for which use is kept: this period and the one before."""

_Use = Counter[tuple[int, Purpose]]
"""Billed units by number of the hour and by purpose."""


class FleetUse:
    """`meter` counts what this process sends; without a `store`, that is all there is. `provider` knows the truth.

    `max_unreported`: when this process has used so much that it has not reported, it reports at once. None: once a
    minute will do. `on_report` is called after each report, whether it was written or not.
    """

    def __init__(
        self,
        store: UseStore | None,
        meter: Meter,
        *,
        server_now: Callable[[], float],
        unit: PeriodUnit = "month",
        first_day: int = 1,
        budget: int | None = None,
        provider: ProviderWatch | None = None,
    ) -> None:
        self.max_unreported: int | None = None
        self.on_report: Callable[[], None] = lambda: None
        self.budget = budget
        self.read_at: float | None = None
        """When the others' use was last read, in seconds since the Unix epoch."""
        self._store, self._meter, self._provider = store, meter, provider
        self._server_now, self._unit, self._first_day = server_now, unit, first_day
        self._task: asyncio.Task[None] | None = None
        self._others: _Use = Counter()
        self._per_day = 0.0
        self._begin()

    def _begin(self) -> None:
        self._process_id = uuid.uuid4()
        self._until_read_all = 0
        self._own: _Use = Counter()
        self._reported: _Use = Counter()
        self._seen = self._meter.by_purpose()
        self._looked_at = self._server_now()
        self._billed_reported = self._meter.billed
        self._wake = asyncio.Event()
        self._reporting = asyncio.Lock()
        self._failing = False

    # What was used.

    @property
    def period(self) -> Period:
        return period_of(self._server_now(), self._unit, self._first_day)

    @property
    def starts_at(self) -> float:
        """The beginning of this period."""
        return self.period.start

    @property
    def per_day(self) -> float:
        """What the fleet has used a day on average, as of the last report."""
        return self._per_day

    @property
    def used(self) -> int:
        """Billed units of the whole fleet in this period, as far as it is known here."""
        return self._corrected(self.counted)

    @property
    def counted(self) -> int:
        """The same without what the provider says."""
        return sum(self.by_purpose().values())

    @property
    def bill(self) -> ProviderBill | None:
        """What the provider said last, in this period."""
        bill = None if self._provider is None else self._provider.bill
        return bill if bill is not None and bill.period_start == self.period.start else None

    @property
    def own(self) -> int:
        """Those of this process alone."""
        first = self.period.start // HOUR
        return sum(billed for (hour, _), billed in self._sent().items() if hour >= first)

    @property
    def unreported(self) -> int:
        """Those of this process that the others do not know of."""
        return self._meter.billed - self._billed_reported

    @property
    def ratio(self) -> float:
        """Units that the provider bills for each that the fleet counts."""
        return 1.0 if self.bill is None else self.bill.ratio

    @property
    def forecast(self) -> Forecast:
        return self._forecast(self.used)

    def _corrected(self, counted: int) -> int:
        bill = self.bill
        return counted if bill is None else round(bill.correct(counted))

    def _forecast(self, used: int) -> Forecast:
        now, ratio = self._server_now(), self.ratio
        by_hour: dict[int, float] = {}
        for use in (self._others, self._sent()):
            for (hour, _), billed in use.items():
                by_hour[hour] = by_hour.get(hour, 0.0) + billed * ratio
        return forecast(used, by_hour, now, self.period, self.budget)

    def by_purpose(self) -> Mapping[Purpose, int]:
        """`counted`, by what it was for."""
        first, found = self.period.start // HOUR, dict.fromkeys(Purpose, 0)
        for use in (self._others, self._sent()):
            for (hour, purpose), billed in use.items():
                if hour >= first:
                    found[purpose] += billed
        return found

    def summary(self) -> Budget:
        """All of it, as `TenantCache.budget` gives it. No I/O."""
        tariff, period, commands = self._meter.tariff, self.period, self._meter.by_command()
        by_purpose = self.by_purpose()  # two months have 10,000 hours and purposes to add up
        counted = sum(by_purpose.values())
        used = self._corrected(counted)
        expected = self._forecast(used)
        return Budget(
            pricing=tariff.pricing,
            unit=tariff.unit,
            limit=self.budget,
            period_start=period.start,
            period_end=period.end,
            used=used,
            counted=counted,
            provider=self.bill,
            own=self.own,
            unreported=self.unreported,
            read_at=self.read_at,
            cost=tariff.cost(used),
            forecast=expected,
            forecast_cost=tariff.cost(expected.expected),
            by_purpose=tuple(PurposeUse(key.value, billed, tariff.cost(billed)) for key, billed in by_purpose.items()),
            by_command=tuple(CommandUse(name, each.commands, each.billed) for name, each in sorted(commands.items())),
            note=NOTES[tariff.pricing],
        )

    def _sent(self) -> _Use:
        """What this process has used. Other threads may ask, so nothing changes."""
        return _with(self._own, self._seen, self._meter.by_purpose(), self._looked_at)

    def _collect(self, now: float) -> None:
        """What came since the last look belongs to the hour of that, since looks are made at the edges of minutes."""
        seen = self._meter.by_purpose()
        self._own = _with(self._own, self._seen, seen, self._looked_at)
        self._seen, self._looked_at = seen, now

    # Life.

    def open(self) -> None:
        self._wake, self._reporting = asyncio.Event(), asyncio.Lock()  # they belong to one event loop
        self._looked_at = self._server_now()
        self._meter.on_billed = self._note_billed
        self._task = asyncio.create_task(self._run(), name="tenantcache fleet use")

    async def close(self) -> None:
        """Report what is left. Raises nothing."""
        if self._task is None:
            return
        task, self._task = self._task, None
        await stop(task)
        await self._try_to_report()

    def forget(self) -> None:
        """After a fork, in the child: what was counted before is the parent's to report."""
        self._task = None
        self._begin()

    async def report(self) -> None:
        """Write and read now. Raises `StoreUnavailableError`."""
        with told_as_unavailable(*POSTGRES_FAILURES):
            await self._report()

    def _note_billed(self) -> None:
        if self.max_unreported is not None and self.unreported >= self.max_unreported:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._try_to_report()
            await asyncio.sleep(RETRY_INTERVAL if self._failing else LEAST_INTERVAL)
            await set_within(self._wake, INTERVAL - self._server_now() % INTERVAL)
            self._wake.clear()

    async def _try_to_report(self) -> None:
        try:
            await self._report()
        except POSTGRES_FAILURES as error:
            if not self._failing:
                logger.warning("what the fleet uses of Redis is not known, only what this process does: %s", error)
            self._failing = True
        except Exception:
            logger.exception("reporting what is used of Redis goes on past what failed")
        else:
            if self._failing:
                logger.info("what the fleet uses of Redis is known again")
            self._failing = False
        self.on_report()

    async def _report(self) -> None:
        async with self._reporting:
            now, billed = self._server_now(), self._meter.billed
            self._collect(now)
            own = self._own
            if self._store is None:
                return
            reads_all = self._until_read_all <= 0
            kept_from = min(self.period.start // HOUR, int(now - MOST_DAYS * DAY) // HOUR)
            since = kept_from if reads_all else int(now // HOUR) - 1
            changed = [UseRow(*key, total) for key, total in own.items() if total != self._reported[key]]
            found = await self._store.exchange(self._process_id, changed, since)
            self._reported, self._billed_reported = own, billed
            self._own = Counter({key: total for key, total in self._own.items() if key[0] >= kept_from})
            others = {key: total for key, total in self._others.items() if kept_from <= key[0] < since}
            self._others = Counter(others | {(hour, purpose): total for hour, purpose, total in found})
            self.read_at = now
            self._until_read_all = READ_ALL_EVERY if reads_all else self._until_read_all - 1
            self._per_day = self.forecast.per_day
            if reads_all and self._provider is not None and self._unit == "month":
                await self._provider.update(now, self.period, lambda: self.counted)
            if reads_all:
                await self._store.drop_before(int(now // HOUR) - KEPT_DAYS * DAY // HOUR)


def _with(own: _Use, seen: Mapping[Purpose, int], now_seen: Mapping[Purpose, int], at: float) -> _Use:
    """`own`, and what is in `now_seen` beyond `seen`, which belongs to the hour of `at`."""
    found, hour = Counter(own), int(at // HOUR)
    for purpose, billed in now_seen.items():
        if billed > seen[purpose]:
            found[hour, purpose] += billed - seen[purpose]
    return found
