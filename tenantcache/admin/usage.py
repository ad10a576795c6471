"""Usage, write-behind: requests by tenant and day, and when a tenant was last seen: `cache.usage`.

Days are those of the tenant's time zone, as for its limits.

Rules:

* Requests pay nothing for it. What was admitted is read off the tokens every `interval` seconds, and so "last seen" is
  as exact as that.
* What was drained belongs to a batch until Postgres has it. A batch that got no answer is sent again as it was: it
  has a number, and counts once. While Postgres is unavailable everything waits in memory, one number a tenant and day.
* A batch that Postgres rejects is sent again in two halves, and so on. So only the row that it cannot take is left
  out, and logged.
* An orderly stop loses nothing. A crash loses what came since the last batch.
* It counts requests that were let through to the application, whatever it answered; one that costs n counts n times.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice

from tenantcache.admin.usagestore import UsageDay, UsageRow, UsageStore, UsageTotal
from tenantcache.errors import POSTGRES_FAILURES, RejectedError, TenantCacheError, told_as_unavailable
from tenantcache.ratelimit.core.spending import Spent
from tenantcache.runtime.tasks import stop
from tenantcache.stats import UsageStats

logger = logging.getLogger(__name__)

MAX_ROWS = 1_000
"""Rows of a batch: some 10 ms in Postgres, well within the timeout of a statement."""

STEP = 1_000
"""Tenants that are looked at between two breaths of the event loop: 1 ms."""


class Usage:
    """`drain` gives what was admitted since it was last called, by tenant; one may come twice, or with nothing.
    `require_here` raises if the store belongs to another event loop.

    A batch goes out every `interval` seconds: one statement, or one for every `MAX_ROWS` tenants that were seen.
    An interval of 0 writes nothing; what other processes write can be read all the same.
    """

    def __init__(
        self,
        store: UsageStore | None,
        drain: Callable[[], Iterable[tuple[str, Sequence[Spent]]]],
        *,
        server_now: Callable[[], float],
        interval: float,
        require_here: Callable[[], None] = lambda: None,
    ) -> None:
        self.batches: int = 0
        self.on_spent: Callable[[str, int], None] | None = None
        """Told of each tenant's tokens, as they are collected."""
        self.requests: int = 0
        """Tokens that were admitted here, as of the last look."""
        self._store = store
        self._drain = drain
        self._server_now = server_now
        self._interval = interval
        self._require_here = require_here
        self._process_id = uuid.uuid4()
        self._pending: dict[tuple[str, int], UsageRow] = {}
        self._unanswered: list[UsageRow] = []
        self._to_retry: list[list[UsageRow]] = []
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Tenants and days that were collected and are not in Postgres yet."""
        return len(self._pending) + len(self._unanswered) + sum(map(len, self._to_retry))

    def stats(self) -> UsageStats:
        return {"batches": self.batches, "waiting": self.waiting, "requests": self.requests}

    def open(self) -> None:
        if self._store is not None and self._interval:
            self._writing = asyncio.Lock()  # one belongs to one event loop
            self._task = asyncio.create_task(self._run(), name="tenantcache usage")

    async def close(self) -> None:
        """Write what is left. Raises nothing: what Postgres does not take now is lost, and said so."""
        if self._task is None or self._store is None:
            return
        task, self._task = self._task, None
        await stop(task)
        try:
            await self._flush()
            await self._store.leave(self._process_id)
        except POSTGRES_FAILURES as error:
            kept = (*self._pending.values(), *self._unanswered, *chain.from_iterable(self._to_retry))
            lost = sum(row.requests for row in kept)
            logger.error("%d requests are missing from the usage: %s", lost, error)

    def forget(self) -> None:
        """After a fork, in the child: what is here is written by the parent."""
        self._process_id = uuid.uuid4()
        self._pending.clear()
        self._unanswered, self._to_retry = [], []
        self._writing = asyncio.Lock()
        self._task = None

    async def collect(self) -> None:
        """Bring `requests` up to date, if usage is counted. No I/O."""
        if self._task is not None:
            async with self._writing:
                await self._collect()

    async def flush(self) -> None:
        """Write everything now. Raises `StoreUnavailableError`; then it is tried again by and by."""
        self._require_here()
        with told_as_unavailable(*POSTGRES_FAILURES):
            await self._flush()

    async def read(self, tenant_id: str, since: date | None = None) -> list[UsageDay]:
        """The tenant's usage by day from `since` on (without it: of the last 30 days), oldest first.

        Of all processes, as far as it has been written: up to `interval` seconds late. Raises `StoreUnavailableError`.
        """
        if since is None:
            since = datetime.fromtimestamp(self._server_now(), UTC).date() - timedelta(days=29)
        with told_as_unavailable(*POSTGRES_FAILURES):
            return await self._require_store().read(tenant_id, since)

    async def busiest(self, since: date, until: date, *, limit: int = 20) -> list[UsageTotal]:
        """The tenants with most requests from `since` to `until`, that day included; `limit` of them at most.

        As far as it has been written, as for `read`. Reads all usage of these days. Raises `StoreUnavailableError`.
        """
        with told_as_unavailable(*POSTGRES_FAILURES):
            return await self._require_store().busiest(since, until, limit)

    async def by_day(self, since: date, until: date) -> list[UsageDay]:
        """The usage of all tenants together by day, from `since` to `until`, oldest first.

        As far as it has been written, as for `read`. Raises `StoreUnavailableError`.
        """
        with told_as_unavailable(*POSTGRES_FAILURES):
            return await self._require_store().by_day(since, until)

    async def last_seen(self, tenant_ids: Sequence[str]) -> dict[str, datetime]:
        """When each of the tenants was last let through, to within `interval` seconds; in one query.

        Those that never were are left out. Raises `StoreUnavailableError`.
        """
        with told_as_unavailable(*POSTGRES_FAILURES):
            return await self._require_store().last_seen(tenant_ids)

    def _require_store(self) -> UsageStore:
        self._require_here()
        if self._store is None:
            raise TenantCacheError("this engine has no Postgres, so nothing counts its usage")
        return self._store

    async def _run(self) -> None:
        waits = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._flush()
                if waits:
                    logger.info("usage is written again")
                waits = False
            except POSTGRES_FAILURES as error:
                if not waits:
                    logger.info("usage waits in memory: %s", error)
                waits = True
            except Exception:
                logger.exception("writing usage goes on past what failed")

    async def _flush(self) -> None:
        async with self._writing:
            await self._collect()
            while self._pending or self._unanswered or self._to_retry:
                await self._write_batch()

    async def _collect(self) -> None:
        spent = iter(self._drain())
        while step := list(islice(spent, STEP)):
            now = self._server_now()
            for tenant_id, days in step:
                for day, tokens in days:
                    self._note(tenant_id, day, tokens, now)
            await asyncio.sleep(0)

    def _note(self, tenant_id: str, day: int, tokens: int, now: float) -> None:
        if self.on_spent is not None:
            self.on_spent(tenant_id, tokens)
        self.requests += tokens
        held = self._pending.get((tenant_id, day))
        total = tokens if held is None else held.requests + tokens
        self._pending[tenant_id, day] = UsageRow(tenant_id, day, total, now)

    async def _write_batch(self) -> None:
        if self._store is None:
            return
        if not self._unanswered:
            keys = [] if self._to_retry else list(islice(self._pending, MAX_ROWS))
            self._unanswered = self._to_retry.pop() if self._to_retry else [self._pending.pop(key) for key in keys]
            self.batches += 1
        try:
            await self._store.add(self._process_id, self.batches, self._unanswered)
        except RejectedError as error:
            self._split(self._unanswered, error)
        self._unanswered = []

    def _split(self, rejected: list[UsageRow], error: RejectedError) -> None:
        middle = len(rejected) // 2
        if middle:
            self._to_retry += [rejected[:middle], rejected[middle:]]
            return
        [row] = rejected
        logger.error(
            "%d requests of tenant %r on day %d are missing from the usage: %s",
            *(row.requests, row.tenant_id, row.day, error),
        )
