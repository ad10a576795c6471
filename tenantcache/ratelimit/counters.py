"""The counters that the whole fleet uses together: Redis, or Postgres while Redis is away.

`core/failover.py` decides and says why. This is its shell: it sends each debit to the store of its window, watches
Redis where somebody has to (PING is free), announces changes, complains, and writes down in Postgres what Redis has
counted of each day.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from tenantcache.errors import POSTGRES_FAILURES, RejectedError, StoreError, StoreMovingError
from tenantcache.freshness.log import Pull
from tenantcache.ratelimit.core.failover import GONE_AFTER, MIRROR_INTERVAL, FleetStore, Store, StoreChoice
from tenantcache.ratelimit.core.windows import OUT_OF_REACH, Debit, Window, minute_at, minute_end
from tenantcache.ratelimit.counterstore import CounterChoices, CounterStore
from tenantcache.ratelimit.holder import Holder
from tenantcache.ratelimit.rediswatch import Probe, RedisWatch
from tenantcache.runtime.closing import close_all
from tenantcache.runtime.tasks import stop
from tenantcache.stats import CounterStats, RedisState

logger = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at what is to be done."""

POSTGRES_INTERVAL = 1.0
"""Seconds between attempts to count in Postgres while that fails."""

HAND_OVER_WAIT = 3.0
"""Seconds after the announcement of a change in which requests are told to come back at once: the minute is about to be
handed over. Later on it is not likely any more."""

PULL_WAIT = 0.6
"""Seconds to wait for a pull where the store of this minute is not known: after a pause the first one is on its way."""


ASKED_FIRST: tuple[Store, ...] = ("postgres", "redis")


class FleetCounters:
    """`CounterStore`. `redis` and `probe` are None where no Redis is configured; then Postgres counts."""

    def __init__(
        self, redis: CounterStore | None, postgres: CounterStore, choices: CounterChoices, probe: Probe | None = None
    ) -> None:
        self.fleet = FleetStore(has_redis=redis is not None)
        self._stores: dict[Store, CounterStore | None] = {"redis": redis, "postgres": postgres}
        self._choices = choices
        self._watch = RedisWatch(probe, self.fleet)
        self.holder = Holder(self.fleet, choices)
        self._days: dict[tuple[str, int], int] = {}
        self._server_now: Callable[[], float] = lambda: 0.0
        self._ask_log: Callable[[], None] = lambda: None
        self._pulled: asyncio.Event | None = None
        self._news = asyncio.Event()
        self._no_wait_until = self._next_mirror = self._next_try = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, server_now: Callable[[], float], ask_log: Callable[[], None], *, redis_found: bool) -> None:
        """Begin to watch; the log has been pulled before. `ask_log` wakes the follower. Raises `SchemaMissingError`."""
        self._server_now, self._ask_log = server_now, ask_log
        self._pulled, self._news = asyncio.Event(), asyncio.Event()
        self._next_mirror = server_now() + MIRROR_INTERVAL
        if self.fleet.has_redis and not redis_found:
            self.fleet.redis_failed(server_now(), "Redis was not there at the start")
        if self.fleet.choice.store is None:
            await self._announce()
            await self._wait_for_pull()
        with suppress(StoreError):
            await self.holder.register(server_now())
        self._tasks = [
            asyncio.create_task(work(), name=f"tenantcache {name}")
            for name, work in (("counter stores", self._speak), ("Redis watch", self._watch_redis))
        ]

    async def close(self) -> None:
        """The log is not followed any more, and nothing is taken; the stores are still there."""
        tasks, self._tasks = self._tasks, []
        await stop(*tasks)
        if tasks:
            with suppress(*POSTGRES_FAILURES):
                await self._mirror()
                await self.holder.leave(self._server_now)
        await close_all(*self._stores.values())

    def forget(self) -> None:
        """In a forked child: begin anew."""
        self.fleet = FleetStore(has_redis=self.fleet.has_redis)
        self.holder.start(self.fleet)
        self._watch.fleet = self.fleet
        self._days.clear()
        self._tasks, self._pulled = [], None

    def follow(self, pull: Pull) -> None:
        """What the follower calls with each answer."""
        if pull.choice is None:
            return
        before = self.fleet.choice
        if self.fleet.follow(pull.choice, pull.settled_until) and pull.choice.version > 1:
            self._note_change(before, pull.choice)
            self._next_mirror = 0.0  # what Redis has counted is wanted before the change begins
        elif pull.choice.version == before.version and pull.choice.from_minute < before.from_minute:
            logger.warning("limits are counted in %s from now on: all processes have reported", pull.choice.store)
        if self.fleet.has_to_hand_over(self._server_now()):
            self._news.set()
        if self._pulled is not None:
            self._pulled.set()

    def clock_moved(self, seconds: float) -> None:
        """The database server's clock was set by so much, as against the one of this process."""
        now = self._server_now()
        self.fleet.clock_moved(seconds, now)
        self._watch.clock_moved(seconds)
        self.holder.clock_moved(now)
        self._no_wait_until += seconds
        self._next_mirror += seconds
        self._next_try += seconds

    def version_of(self, minute: int) -> object:
        """For reservations: which counters that minute has; None where that is not known now."""
        return self.fleet.version_of(minute)

    def horizon(self) -> int | None:
        """For reservations: the minutes for which tokens may stand. In Postgres each of them is a row to write, and a
        take is not billed: 4 processes that met 10,000 tenants wrote 2 million rows, and waited for them."""
        return 0 if self.fleet.store_of(minute_at(self._server_now())) == "postgres" else None

    def note_lost(self, owner: str, window: Window) -> None:
        """A counter did not hold what was debited there."""
        self.fleet.redis_lost(owner, window)

    # `CounterStore`.

    async def debit(self, tenant_id: str, debits: Sequence[Debit]) -> list[int]:
        """Raises `StoreMovingError` while nothing may be taken because another store is about to take over.

        If the debits lie in both stores and one of them fails, the error has the `values` of the other. Postgres is
        asked first: if it fails, Redis is not billed for what cannot be used.
        """
        takes = any(debit.amount > 0 for debit in debits)
        if takes:  # what goes back goes back at once or not at all
            await self._know()
        now = self._server_now()
        self.fleet.counts = True
        self.fleet.note_time(now)
        if self.fleet.own_minute == minute_at(now):
            raise StoreError("neither store could be asked when this minute began")
        if self.fleet.lost_minute == minute_at(now):
            raise StoreMovingError("neither store could be asked in this minute", until=minute_end(minute_at(now)))
        if takes and self.fleet.store_of(minute_at(now)) is not None and not self.fleet.may_take(minute_at(now)):
            raise self._unanswered("this process could not tell Postgres that it may be granted tokens by Redis")
        positions: dict[Store, list[int]] = {}
        for position, debit in enumerate(debits):
            if debit.amount or not self._is_out_of_reach(debit.window, now):
                positions.setdefault(self._store_of(debit.window, now), []).append(position)
        values = [OUT_OF_REACH] * len(debits)
        for store in ASKED_FIRST:
            if places := positions.pop(store, None):
                try:
                    found = await self._debit_in(store, tenant_id, [debits[place] for place in places])
                except StoreError as error:
                    error.values = _without(values, [*places, *itertools.chain(*positions.values())])
                    raise
                for place, value in zip(places, found, strict=True):
                    values[place] = value
        return values

    async def reset(self, tenant_id: str, debits: Sequence[Debit]) -> None:
        now = self._server_now()
        by_store: dict[Store, list[Debit]] = {}
        for debit in debits:
            if self._is_out_of_reach(debit.window, now):
                continue
            by_store.setdefault(self._store_of(debit.window, now), []).append(debit)
            if debit.window.policy == "day":
                self._days.pop((tenant_id, debit.window.number), None)
                if debit not in by_store.setdefault("postgres", []):
                    by_store["postgres"].append(debit)  # it may hold what Redis had counted
        for store, windows in by_store.items():
            await self._require(store).reset(tenant_id, windows)

    def _is_out_of_reach(self, window: Window, now: float) -> bool:
        """A past minute that was counted elsewhere."""
        current = minute_at(now)
        return (
            window.policy == "minute"
            and window.number < current
            and self.fleet.version_of(window.number) != self.fleet.version_of(current)
        )

    def _store_of(self, window: Window, now: float) -> Store:
        if window.policy == "day":
            store = self.fleet.day_store(window, now)
        else:
            store = self.fleet.store_of(min(window.number, minute_at(now)))
        if store is not None:
            return store
        if self.fleet.begins(now) is not None:
            raise StoreMovingError("the fleet is about to change its counter store", until=self._resumes(now))
        raise self._unanswered("it is not known which store counts: the change log is out of reach")

    def _require(self, store: Store) -> CounterStore:
        found = self._stores[store]
        if found is None:
            raise self._unanswered("the fleet counts in Redis, and this process has no Redis URL")
        return found

    async def _debit_in(self, store: Store, tenant_id: str, debits: Sequence[Debit]) -> list[int]:
        if store == "redis":
            return await self._debit_in_redis(tenant_id, debits)
        try:
            if self._days and any(debit.window.policy == "day" for debit in debits):
                await self._mirror()
            values = await self._require("postgres").debit(tenant_id, debits)
        except RejectedError as error:
            raise self._unanswered(str(error)) from error  # no failure of Postgres: others are served
        except StoreError as error:
            self.fleet.postgres_failed(self._server_now())
            raise self._unanswered(str(error)) from error
        self.fleet.postgres_answered()
        return values

    async def _debit_in_redis(self, tenant_id: str, debits: Sequence[Debit]) -> list[int]:
        asked = self._server_now()
        counters = self.fleet.version_of(minute_at(asked))
        try:
            values = await self._require("redis").debit(tenant_id, debits)
        except StoreMovingError:
            raise
        except RejectedError as error:
            raise self._unanswered(str(error)) from error  # no failure of Redis: others are served
        except StoreError as error:
            self._watch.note_failure(error, self._server_now(), counting=True)
            raise self._unanswered(str(error)) from error
        self.fleet.redis_answered(asked, self._server_now())
        if self.fleet.version_of(minute_at(asked)) != counters:
            raise self._unanswered("this minute has been given up since Redis was asked")  # rule 2 of handover.py
        for debit, value in zip(debits, values, strict=True):
            if debit.window.policy == "day":
                self._days[tenant_id, debit.window.number] = value
        return values

    def _unanswered(self, why: str) -> StoreError:
        """What to raise where the store of this minute does not answer: nothing may be taken, until when?"""
        now = self._server_now()
        self.fleet.note_time(now)
        if self.fleet.own_minute == minute_at(now):
            return StoreError(why)
        if self.fleet.lost_minute == minute_at(now):
            return StoreMovingError(why, until=minute_end(minute_at(now)))
        return StoreMovingError(why, until=self._resumes(now))

    def _resumes(self, now: float) -> float:
        """When to ask again while nothing may be taken: when a change begins, if one is announced."""
        begins = self.fleet.begins(now)
        if begins is None:
            return now + GONE_AFTER
        if self.fleet.has_to_hand_over(now) or now < self.fleet.choice.changed_at + HAND_OVER_WAIT:
            return min(begins, now + 1)
        return begins

    async def _know(self) -> None:
        """Where nothing may be taken of this minute because this process does not know enough, or is not known itself,
        wait a moment for the pull, or register."""
        now = self._server_now()
        if self.fleet.may_take(minute_at(now)) or now < self._no_wait_until:
            return
        if self.fleet.store_of(minute_at(now)) is None:
            await self._wait_for_pull()
        if self.fleet.store_of(minute_at(self._server_now())) == "redis":
            with suppress(*POSTGRES_FAILURES):
                await self._register()
        if not self.fleet.may_take(minute_at(self._server_now())):
            self._no_wait_until = now + 2 * PULL_WAIT  # requests must not queue up behind a log that is away

    async def _wait_for_pull(self) -> None:
        assert self._pulled is not None
        self._pulled.clear()
        self._ask_log()
        with suppress(TimeoutError):
            async with asyncio.timeout(PULL_WAIT):
                await self._pulled.wait()

    # What is done in the background.

    async def _speak(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._news.wait()
            self._news.clear()
            self.fleet.note_time(self._server_now())
            try:
                await self._announce()
                if self.fleet.has_to_hand_over(self._server_now()):
                    await self._hand_over()
                if self.holder.is_due(self._server_now()):
                    await self._register()
                if self.fleet.complains(self._server_now()):
                    await self._choices.complain()
                    self._ask_log()
                await self._try_postgres()
                if self._server_now() >= self._next_mirror or self.fleet.begins(self._server_now()) is not None:
                    await self._mirror()
            except POSTGRES_FAILURES:
                continue  # Postgres is away: nothing can be agreed on until it is back
            except Exception:
                logger.exception("agreeing on a counter store goes on past what failed")

    async def _watch_redis(self) -> None:
        """Not in the same task: Postgres, when it is away, must not keep this waiting."""
        while True:
            await asyncio.sleep(TICK)
            try:
                await self._watch.look(self._server_now)
                if self.fleet.propose(self._server_now()) is not None:
                    self._news.set()
            except Exception:
                logger.exception("watching Redis goes on past what failed")

    async def _try_postgres(self) -> None:
        """Find out whether Postgres counts again; requests do not ask while this process decides by itself."""
        now = self._server_now()
        if self.fleet.postgres_fails and now >= self._next_try:
            self._next_try = now + POSTGRES_INTERVAL
            await self._require("postgres").debit("", [Debit(Window("minute", minute_at(now)), 0)])
            self.fleet.postgres_answered()

    async def _announce(self) -> None:
        proposal = self.fleet.propose(self._server_now())
        if proposal is not None:
            await self._choices.choose(proposal)
            self._ask_log()

    async def _register(self) -> None:
        if not await self.holder.register(self._server_now()):
            self._ask_log()

    async def _hand_over(self) -> None:
        """Leave Redis within this minute, if all others do. What it has counted of the day is written down first.

        Where Redis answers here (another process has none), it is not given up in vain.
        """
        if self.fleet.redis_answers and await self._choices.misses_a_holder():
            return
        if (report := self.holder.give_up(self._server_now)) is not None:
            await self._mirror()
            if await self.holder.report(report):
                self._ask_log()

    async def _mirror(self) -> None:
        self._next_mirror = self._server_now() + MIRROR_INTERVAL
        if days := dict(self._days):
            await self._choices.mirror(days)
            for key, value in days.items():
                if self._days.get(key) == value:
                    del self._days[key]

    # What is told.

    def _note_change(self, before: StoreChoice, choice: StoreChoice) -> None:
        begins = datetime.fromtimestamp(choice.from_minute * 60, UTC)
        if choice.store == before.store:
            logger.error("limits go on in %s anew from %s: %s", choice.store, begins, choice.why)
        else:
            logger.log(
                logging.INFO if choice.store == "redis" else logging.ERROR,  # it is there again
                "limits are counted in %s instead of %s from %s on: %s",
                *(choice.store, choice.previous, begins, choice.why),
            )

    def stats(self) -> CounterStats:
        """Which store counts now, since when and why, and what is about to change. No I/O."""
        choice, now = self.fleet.choice, self._server_now()
        begins = self.fleet.begins(now)
        return {
            "store": choice.store if begins is None else choice.previous,
            "alone": self.fleet.is_alone(now),
            "known": self.fleet.store_of(minute_at(now)) is not None,
            "since": (choice.from_minute if begins is None else choice.previous_from) * 60,
            "why": choice.why,
            "changes_to": None if begins is None else choice.store,
            "changes_at": begins,
            "postgres": "failing" if self.fleet.postgres_fails else "answering",
            "redis": "none" if not self.fleet.has_redis else self._redis_state(now),
        }

    def _redis_state(self, now: float) -> RedisState:
        if self.fleet.suspended:
            return "suspended"
        if self.fleet.redis_gone(now):
            return "refusing" if self.fleet.refuses else "gone"
        return "answering" if self.fleet.redis_answers else "failing"


def _without(values: Sequence[int], missing: Sequence[int]) -> list[int | None]:
    """`values` with None at the `missing` places; empty if no place is left."""
    known: list[int | None] = list(values)
    for place in missing:
        known[place] = None
    return known if any(value is not None for value in known) else []
