"""What a process does in the background for its fleet to agree on a counter store.

It announces changes, stays registered, hands the running minute over, and reports Redis unavailable. It writes down in
Postgres what Redis has counted of each day, and watches both stores. `core/failover.py` decides when, and says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tenantcache.errors import POSTGRES_FAILURES
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.windows import Debit, Window, minute_at
from tenantcache.ratelimit.counterstore import Account, AccountDebits, CounterChoices, CounterStore
from tenantcache.ratelimit.daymirror import DayMirror
from tenantcache.ratelimit.dayreading import read_days
from tenantcache.ratelimit.holder import Holder, Tokens
from tenantcache.ratelimit.rediswatch import Probe, RedisWatch
from tenantcache.runtime.tasks import set_within, stop

logger = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at what is to be done."""

POSTGRES_INTERVAL = 1.0
"""Seconds between attempts to count in Postgres while that fails."""


class Coordinator:
    """`probe` is None if no Redis is configured. Between `connect` and `start` it does only what it is told to."""

    def __init__(
        self,
        failover: Failover,
        postgres: CounterStore,
        choices: CounterChoices,
        probe: Probe | None,
        redis: CounterStore | None = None,
    ) -> None:
        self.watch: RedisWatch = RedisWatch(probe, failover)
        self.holder: Holder = Holder(failover, choices)
        self.days: DayMirror = DayMirror(choices)
        self._failover = failover
        self._postgres, self._choices, self._redis = postgres, choices, redis
        self._server_now: Callable[[], float] = lambda: 0.0
        self._ask_log: Callable[[], None] = lambda: None
        self._news = asyncio.Event()
        self._next_try = 0.0
        self._tokens: Tokens | None = None  # unless it has been started
        self._tasks: list[asyncio.Task[None]] = []

    def connect(self, server_now: Callable[[], float], ask_log: Callable[[], None]) -> None:
        """`ask_log` wakes the follower, so that the row is read anew."""
        self._server_now, self._ask_log = server_now, ask_log
        self._news = asyncio.Event()
        self.days.start(server_now())

    def start(self, tokens: Tokens) -> None:
        """`tokens` are what is handed over."""
        self._tokens = tokens
        self._tasks = [
            asyncio.create_task(work, name=f"tenantcache {name}")
            for name, work in (
                ("counter stores", self._coordinate(tokens)),
                ("Redis watch", self._watch_redis()),
                ("isolation", self._look()),
            )
        ]

    async def close(self) -> None:
        """The log is not followed any more, and nothing is taken; the stores are still there."""
        tasks, self._tasks = self._tasks, []
        tokens, self._tokens = self._tokens, None
        await stop(*tasks)
        if tokens is not None:
            try:
                await self.days.write(self._server_now())
                await self.holder.leave(tokens, self._server_now)
            except POSTGRES_FAILURES:
                self.holder.abandon()

    def start_anew(self, failover: Failover) -> None:
        """In a forked child."""
        self._failover = self.watch.failover = failover
        self.holder.start_anew(failover)
        self.days.clear()
        self._tokens, self._tasks = None, []

    def clock_moved(self, seconds: float, now: float) -> None:
        """The server's clock was set by so much, to `now`."""
        self.watch.clock_moved(seconds)
        self.holder.clock_moved(now)
        self.days.clock_moved(seconds)
        self._next_try += seconds

    def wake(self) -> None:
        """There is something to do."""
        self._news.set()

    async def announce(self) -> None:
        """Raises `StoreError` and `SchemaMissingError`."""
        proposal = self._failover.propose(self._server_now())
        if proposal is not None:
            is_chosen = await self._choices.choose(proposal)
            self._ask_log()
            if is_chosen and proposal.store == "postgres" and not self._failover.band.may_count:
                await self._read_days()

    async def _read_days(self) -> None:
        """Redis is about to be left, and is there."""
        if self._redis is None or not self._failover.redis.answers:
            return
        try:
            await read_days(self._redis, await self._choices.accounts(), self.days, self._server_now())
        except POSTGRES_FAILURES as error:
            logger.warning("what Redis has counted of the day may be incomplete in Postgres: %s", error)

    async def register(self) -> None:
        """Raises `StoreError` and `SchemaMissingError`."""
        if not await self.holder.register(self._server_now()):
            self._ask_log()

    async def _coordinate(self, tokens: Tokens) -> None:
        while True:
            await set_within(self._news, TICK)
            self._news.clear()
            try:
                await self._do_what_is_due(tokens)
            except POSTGRES_FAILURES:
                continue  # Postgres is unavailable: nothing can be agreed on until it is back
            except Exception:
                logger.exception("agreeing on a counter store goes on past what failed")

    async def _do_what_is_due(self, tokens: Tokens) -> None:
        """The clock is read for each: what came before may have taken its time."""
        await self.announce()
        if self._failover.has_to_hand_over(self._server_now()):
            await self._hand_over(tokens)
        if self.holder.is_due(self._server_now()):
            await self.register()
        if self._failover.has_to_report_unavailable(self._server_now()):
            await self._choices.report_unavailable()
            self._ask_log()
        await self._try_postgres()
        if self.days.is_due(self._server_now()) or self._failover.begins(self._server_now()) is not None:
            await self.days.write(self._server_now())

    async def _hand_over(self, tokens: Tokens) -> None:
        """Leave Redis within this minute, if all others do. What it has counted of the day is written down first.

        If Redis answers here (another process has none), it is not given up in vain.
        """
        if self._failover.redis.answers and await self._choices.misses_a_holder():
            return
        if (report := await self.holder.give_up(tokens, self._server_now)) is not None:
            await self.days.write(self._server_now())
            if await self.holder.report(report):
                self._ask_log()

    async def _try_postgres(self) -> None:
        """Find out whether Postgres counts again; requests do not ask while this process decides by itself."""
        now = self._server_now()
        if self._failover.postgres_fails and now >= self._next_try:
            self._next_try = now + POSTGRES_INTERVAL
            nothing = Debit(Window("minute", minute_at(now)), 0)
            await self._postgres.debit([AccountDebits(Account("", 0), [nothing])])
            self._failover.postgres_answered()

    async def _look(self) -> None:
        """Waits for no store: a gap between two looks means that this process stood still."""
        while True:
            self._failover.note_time(self._server_now())
            await asyncio.sleep(TICK)

    async def _watch_redis(self) -> None:
        """Not in the same task: a Postgres that does not answer must not keep this waiting."""
        while True:
            await asyncio.sleep(TICK)
            try:
                await self.watch.look(self._server_now)
                if self._failover.propose(self._server_now()) is not None:
                    self.wake()
            except Exception:
                logger.exception("watching Redis goes on past what failed")
