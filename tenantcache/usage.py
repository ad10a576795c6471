"""Usage, write-behind: requests by tenant and day, and when a tenant was last seen: `cache.usage`.

Rules:

* Requests pay nothing for it. What was admitted is read off the tokens every `interval` seconds, and so "last seen" is
  as exact as that.
* What was drained belongs to a batch until Postgres has it. A batch that got no answer is sent again as it was: it
  has a number, and counts once. While Postgres is away everything waits in memory, one number a tenant and day.
* An orderly stop loses nothing. A crash loses what came since the last batch.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from tenantcache.core.spending import Spent
from tenantcache.errors import SchemaMissingError, StoreUnavailableError, TenantCacheError
from tenantcache.stores.base import StoreError
from tenantcache.stores.usage import PostgresUsage, UsageDay, UsageRow

__all__ = ["Usage", "UsageDay"]

logger = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two batches. Each is one statement, or one for every `MAX_ROWS` tenants that were seen."""

MAX_ROWS = 1_000
"""Rows of a batch: some 10 ms in Postgres, well within the timeout of a statement."""

STEP = 1_000
"""Tenants that are looked at between two breaths of the event loop: 1 ms."""


class Usage:
    """`drain` gives what was admitted since it was last called, by tenant; one may come twice, or with nothing."""

    def __init__(
        self,
        store: PostgresUsage | None,
        drain: Callable[[], Iterable[tuple[str, Sequence[Spent]]]],
        *,
        server_now: Callable[[], float],
        interval: float = INTERVAL,
    ) -> None:
        self.batches = 0
        self._store = store
        self._drain = drain
        self._server_now = server_now
        self._interval = interval
        self._process_id = uuid.uuid4()
        self._pending: dict[tuple[str, int], UsageRow] = {}
        self._unanswered: list[UsageRow] = []
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        if self._store is not None:
            self._writing = asyncio.Lock()  # one belongs to one event loop
            self._task = asyncio.create_task(self._run(), name="tenantcache usage")

    async def close(self) -> None:
        """Write what is left. Raises nothing: what Postgres does not take now is lost, and said so."""
        if self._task is None or self._store is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await self._flush()
            await self._store.leave(self._process_id)
        except (StoreError, SchemaMissingError) as error:
            lost = sum(row.requests for row in (*self._pending.values(), *self._unanswered))
            logger.error("%d requests are missing from the usage: %s", lost, error)

    def forget(self) -> None:
        """After a fork, in the child: what is here is written by the parent."""
        self._process_id = uuid.uuid4()
        self._pending.clear()
        self._unanswered = []
        self._writing = asyncio.Lock()
        self._task = None

    async def flush(self) -> None:
        """Write everything now. Raises `StoreUnavailableError`; then it is tried again by and by."""
        try:
            await self._flush()
        except StoreError as error:
            raise StoreUnavailableError(str(error)) from error

    async def read(self, tenant_id: str, *, days: int = 30) -> list[UsageDay]:
        """The tenant's usage of the last `days` UTC days, of all processes, as far as it has been written.

        Raises `StoreUnavailableError`.
        """
        if self._store is None:
            raise TenantCacheError("this engine has no Postgres, so nothing counts its usage")
        today: date = datetime.fromtimestamp(self._server_now(), UTC).date()
        try:
            return await self._store.read(tenant_id, today - timedelta(days=days - 1))
        except StoreError as error:
            raise StoreUnavailableError(str(error)) from error

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._flush()
            except (StoreError, SchemaMissingError) as error:
                logger.info("usage waits in memory: %s", error)

    async def _flush(self) -> None:
        async with self._writing:
            await self._collect()
            while self._pending or self._unanswered:
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
        held = self._pending.get((tenant_id, day))
        total = tokens if held is None else held.requests + tokens
        self._pending[tenant_id, day] = UsageRow(tenant_id, day, total, now)

    async def _write_batch(self) -> None:
        if self._store is None:
            return
        if not self._unanswered:
            keys = list(islice(self._pending, MAX_ROWS))
            self._unanswered = [self._pending.pop(key) for key in keys]
            self.batches += 1
        await self._store.add(self._process_id, self.batches, self._unanswered)
        self._unanswered = []
