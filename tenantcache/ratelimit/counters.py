"""The counters that the whole fleet uses together: Redis, or Postgres while Redis is unavailable.

`core/failover.py` decides which one, and says why. This sends each debit to the store of its window; `coordinator.py`
does in the background what makes the fleet agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from tenantcache.errors import POSTGRES_FAILURES, FailoverError, RejectedError, StoreError
from tenantcache.freshness.log import Pull
from tenantcache.ratelimit.coordinator import Coordinator
from tenantcache.ratelimit.core.agreement import Store, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.minutestanding import MinuteStanding
from tenantcache.ratelimit.core.redishealth import UNAVAILABLE_AFTER, RedisEvent
from tenantcache.ratelimit.core.routing import Routing
from tenantcache.ratelimit.core.windows import CounterValue, CounterValues, Window, minute_at, minute_end
from tenantcache.ratelimit.counterstats import counter_stats
from tenantcache.ratelimit.counterstore import Account, AccountDebits, CounterChoices, CounterStore
from tenantcache.ratelimit.holder import Holder, Tokens
from tenantcache.ratelimit.rediswatch import Probe
from tenantcache.runtime.closing import close_all
from tenantcache.runtime.statechange import state_change
from tenantcache.runtime.tasks import set_within
from tenantcache.stats import CounterStats

logger = logging.getLogger(__name__)

STEP = 500
"""Accounts whose debits are looked at between two breaths of the event loop: 2 ms."""

HAND_OVER_WAIT = 3.0
"""Seconds after the announcement of a change in which requests are told to come back at once: the minute is about to be
handed over. Later on it is not likely any more."""

PULL_WAIT = 0.6
"""Seconds to wait for a pull if the store of this minute is not known: after a pause the first one is on its way."""


ASKED_FIRST: tuple[Store, ...] = ("postgres", "redis")


class FleetCounters:
    """`CounterStore`. `redis` and `probe` are None if no Redis is configured; then Postgres counts."""

    def __init__(
        self, redis: CounterStore | None, postgres: CounterStore, choices: CounterChoices, probe: Probe | None = None
    ) -> None:
        self.failover: Failover = Failover(has_redis=redis is not None)
        self.coordinator: Coordinator = Coordinator(self.failover, postgres, choices, probe, redis)
        self.holder: Holder = self.coordinator.holder
        self._days = self.coordinator.days
        self._stores: dict[Store, CounterStore | None] = {"redis": redis, "postgres": postgres}
        self._server_now: Callable[[], float] = lambda: 0.0
        self._ask_log: Callable[[], None] = lambda: None
        self._pulled: asyncio.Event | None = None
        self._no_wait_until = 0.0
        self._changes = 0

    async def open(
        self, server_now: Callable[[], float], ask_log: Callable[[], None], tokens: Tokens, *, redis_found: bool
    ) -> None:
        """Begin to watch; the log has been pulled before. `tokens` are handed over. Raises `SchemaMissingError`."""
        self._server_now, self._ask_log = server_now, ask_log
        self._pulled = asyncio.Event()
        self.coordinator.connect(server_now, ask_log)
        if self._stores["redis"] is not None and not redis_found:
            self.failover.redis_failed(RedisEvent.SILENT, "Redis was not there at the start", server_now())
        if self.failover.choice.store is None:
            await self.coordinator.announce()
            await self._wait_for_pull()
        with suppress(StoreError):
            await self.holder.register(server_now())
        self.coordinator.start(tokens)

    async def close(self) -> None:
        """The log is not followed any more, and nothing is taken; the stores are still there."""
        await self.coordinator.close()
        await close_all(*self._stores.values())

    def forget(self) -> None:
        """In a forked child: begin anew."""
        self.failover = Failover(has_redis=self._stores["redis"] is not None)
        self.coordinator.start_anew(self.failover)
        self._pulled = None

    def follow(self, pull: Pull) -> None:
        """What the follower calls with each answer."""
        if pull.choice is None:
            return
        before = self.failover.choice
        is_news = self.failover.follow(pull.choice, pull.settled_until, pull.band.band, read_at=pull.server_time)
        if is_news and pull.choice.version > 1:
            self._changes += 1
            _log_change(before, pull.choice)
            self._days.hasten()
        elif pull.choice.version == before.version and pull.choice.from_minute < before.from_minute:
            logger.warning("limits are counted in %s from now on: all processes have reported", pull.choice.store)
        if self.failover.has_to_hand_over(self._server_now()):
            self.coordinator.wake()
        if self._pulled is not None:
            self._pulled.set()

    def clock_moved(self, seconds: float) -> None:
        """The database server's clock was set by so much, as against the one of this process."""
        now = self._server_now()
        self.failover.clock_moved(seconds, now)
        self.coordinator.clock_moved(seconds, now)
        self._no_wait_until += seconds

    def version_of(self, minute: int) -> object:
        """For reservations: which counters that minute has; None if that is not known now."""
        return self.failover.version_of(minute)

    def is_billed(self) -> bool:
        """For groups: whether a command is dearer than what it carries. In Postgres each debit is a row to write."""
        return self.failover.store_of(minute_at(self._server_now())) != "postgres"

    def note_lost(self, owner: str, window: Window) -> None:
        """A counter did not hold what was debited there."""
        self.failover.redis_lost(owner, window)

    # `CounterStore`.

    async def debit(self, batch: Sequence[AccountDebits]) -> Sequence[Sequence[CounterValue]]:
        """Raises `FailoverError` while nothing may be taken because another store is about to take over.

        If the debits lie in both stores and one of them fails, the error has the `values` of the other. Postgres is
        asked first: if it fails, Redis is not billed for what cannot be used, and the accounts that need Redis alone
        are served.
        """
        asked, takes = await _asked(batch)
        if takes:  # what goes back goes back at once or not at all
            await self._know()
        now = self._server_now()
        self.failover.has_counted = True
        self._require_a_store(now, takes=takes)
        stores = self._stores_of(asked, now)
        used = set(stores.values())
        if len(used) == 1 and (only := used.pop()) is not None:
            return await self._debit_in(only, batch)
        routing = Routing([debits for _, debits in batch], lambda debit: stores[debit.window, debit.amount != 0])
        return await _debit_in_each(routing, batch, self._debit_in)

    def _stores_of(self, asked: Iterable[tuple[Window, bool]], now: float) -> dict[tuple[Window, bool], Store | None]:
        """The store of each window, apart for what is debited and what is only read; None if it is out of reach."""
        return {
            (window, writes): self._store_of(window, now) if writes or not self._is_out_of_reach(window, now) else None
            for window, writes in asked
        }

    async def reset(self, account: Account, windows: Sequence[Window]) -> None:
        now = self._server_now()
        by_store: dict[Store, list[Window]] = {}
        for window in windows:
            if self._is_out_of_reach(window, now):
                continue
            by_store.setdefault(self._store_of(window, now), []).append(window)
            if window.unit == "day":
                self._days.forget(account.owner, window.number)
                if window not in by_store.setdefault("postgres", []):
                    by_store["postgres"].append(window)  # it may hold what Redis had counted
        for store, found in by_store.items():
            await self._require(store).reset(account, found)

    def _require_a_store(self, now: float, *, takes: bool) -> None:
        """Raise if no store may be asked in this minute, by what the minute is to this process."""
        self.failover.note_time(now)
        match self.failover.standing_of(minute_at(now)):
            case MinuteStanding.OWN:
                raise StoreError("neither store could be asked when this minute began")
            case MinuteStanding.LOST:
                raise FailoverError("neither store could be asked in this minute", until=minute_end(minute_at(now)))
            case MinuteStanding.UNREGISTERED if takes:
                raise self._unanswered("this process could not tell Postgres that it may be granted tokens by Redis")

    def _is_out_of_reach(self, window: Window, now: float) -> bool:
        """A past minute that was counted elsewhere."""
        current = minute_at(now)
        return (
            window.unit == "minute"
            and window.number < current
            and self.failover.version_of(window.number) != self.failover.version_of(current)
        )

    def _store_of(self, window: Window, now: float) -> Store:
        if window.unit == "day":
            store = self.failover.day_store(window, now)
        else:
            current = minute_at(now)
            store = self.failover.store_of(min(window.number, current) if window.unit == "minute" else current)
        if store is not None:
            return store
        if self.failover.begins(now) is not None:
            raise FailoverError("the fleet is about to change its counter store", until=self._resumes(now))
        raise self._unanswered("it is not known which store counts: the change log is unavailable")

    def _require(self, store: Store) -> CounterStore:
        found = self._stores[store]
        if found is None:
            raise self._unanswered("the fleet counts in Redis, and this process does not")
        return found

    async def _debit_in(self, store: Store, batch: Sequence[AccountDebits]) -> Sequence[Sequence[CounterValue]]:
        if store == "redis":
            return await self._debit_in_redis(batch)
        try:
            if any(debit.window.unit == "day" for _, debits in batch for debit in debits):
                await self._days.write_rest(self._server_now())
            values = await self._require("postgres").debit(batch)
        except StoreError as error:
            if not isinstance(error, RejectedError):  # others are served
                self.failover.postgres_failed(self._server_now())
            raise self._unanswered(str(error), error.values) from error
        self.failover.postgres_answered()
        return values

    async def _debit_in_redis(self, batch: Sequence[AccountDebits]) -> Sequence[Sequence[CounterValue]]:
        redis, asked = self._require("redis"), self._server_now()
        counters = self.failover.version_of(minute_at(asked))
        try:
            values = await redis.debit(batch)
        except StoreError as error:
            if not isinstance(error, RejectedError):  # others are served
                self.coordinator.watch.note_failed_take(error, self._server_now())
            found = await self._usable(batch, error.values, minute_at(asked), counters)
            raise self._unanswered(str(error), found) from error
        self.failover.redis_answered(asked, self._server_now())
        if values and not await self._usable(batch, values, minute_at(asked), counters):
            raise self._unanswered("this minute has been given up since Redis was asked")
        return values

    async def _usable(
        self, batch: Sequence[AccountDebits], found: CounterValues, minute: int, counters: object
    ) -> CounterValues:
        """What Redis has answered of `minute`, whose counters were `counters`; nothing if it has been given up since
        (rule 2 of handover.py). The counts of days are noted."""
        if not found or self.failover.version_of(minute) != counters:
            return ()
        await self._days.note(batch, found)
        return found if self.failover.version_of(minute) == counters else ()

    def _unanswered(self, why: str, values: CounterValues = ()) -> StoreError:
        """What to raise if the store of this minute does not answer: nothing may be taken, until when?"""
        now = self._server_now()
        self.failover.note_time(now)
        error: StoreError
        match self.failover.standing_of(minute_at(now)):
            case MinuteStanding.OWN:
                error = StoreError(why)
            case MinuteStanding.LOST:
                error = FailoverError(why, until=minute_end(minute_at(now)))
            case _:
                error = FailoverError(why, until=self._resumes(now))
        error.values = values
        return error

    def _resumes(self, now: float) -> float:
        """When to ask again while nothing may be taken: when a change begins, if one is announced."""
        begins = self.failover.begins(now)
        if begins is None:
            return now + UNAVAILABLE_AFTER
        if self.failover.has_to_hand_over(now) or now < self.failover.choice.changed_at + HAND_OVER_WAIT:
            return min(begins, now + 1)
        return begins

    async def _know(self) -> None:
        """Wait a moment for the pull if it is not known which store counts this minute, and register if Redis does and
        this process is not a holder."""
        now = self._server_now()
        if self._may_take(now) or now < self._no_wait_until:
            return
        if self.failover.store_of(minute_at(now)) is None:
            await self._wait_for_pull()
        if self.failover.store_of(minute_at(self._server_now())) == "redis":
            with suppress(*POSTGRES_FAILURES):
                await self.coordinator.register()
        if not self._may_take(self._server_now()):
            self._no_wait_until = now + 2 * PULL_WAIT  # requests must not queue up behind a log that does not answer

    def _may_take(self, now: float) -> bool:
        return self.failover.version_of(minute_at(now)) is not None

    async def _wait_for_pull(self) -> None:
        assert self._pulled is not None
        self._pulled.clear()
        self._ask_log()
        await set_within(self._pulled, PULL_WAIT)

    def stats(self) -> CounterStats:
        """Which store counts now, since when and why, and what is about to change. No I/O."""
        return counter_stats(self.failover, self._changes, self._server_now())


async def _asked(batch: Iterable[AccountDebits]) -> tuple[set[tuple[Window, bool]], bool]:
    """The windows that are debited, and those that are only read; and whether anything is taken."""
    asked: set[tuple[Window, bool]] = set()
    takes = False
    for number, (_, debits) in enumerate(batch, start=1):
        for window, amount in debits:
            asked.add((window, amount != 0))
            takes = takes or amount > 0
        if number % STEP == 0:
            await asyncio.sleep(0)
    return asked, takes


async def _debit_in_each(
    routing: Routing,
    batch: Sequence[AccountDebits],
    debit_in: Callable[[Store, Sequence[AccountDebits]], Awaitable[Sequence[Sequence[CounterValue]]]],
) -> Sequence[Sequence[CounterValue]]:
    """One store after the other. Raises `StoreError`, with the `values` that are known."""
    failure: StoreError | None = None
    for store in ASKED_FIRST:
        if part := routing.part(store):
            accounts = [AccountDebits(batch[place].account, debits) for place, debits in part.items()]
            try:
                routing.enter(store, await debit_in(store, accounts))
            except StoreError as error:
                routing.fail(store, error.values)
                failure = error
    if failure is not None:
        failure.values = routing.known
        raise failure
    return [[value for value in values if value is not None] for values in routing.values]


def _log_change(before: StoreChoice, choice: StoreChoice) -> None:
    """Another version of the row has come."""
    begins = datetime.fromtimestamp(choice.from_minute * 60, UTC)
    if choice.store == before.store:
        extra = state_change("counter store", str(before.store), str(choice.store), why=choice.why)
        logger.error("limits go on in %s anew from %s: %s", choice.store, begins, choice.why, extra=extra)
    else:
        logger.log(
            logging.INFO if choice.store == "redis" else logging.ERROR,  # it answers again
            "limits are counted in %s instead of %s from %s on: %s",
            *(choice.store, choice.previous, begins, choice.why),
            extra=state_change("counter store", str(choice.previous), str(choice.store), why=choice.why),
        )
