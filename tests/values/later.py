"""A process that writes values later, in virtual time: an application's table, its writer, and the log, which fail as a
test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from tenantcache.budget.core.bands import BandInForce
from tenantcache.errors import StoreError
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.log import LogEntry
from tenantcache.values.core.writebehind import FailedWrites, WriteBatch, WriteBehind
from tenantcache.values.core.writequeue import WriteQueue
from tenantcache.values.memory import ValueMemory
from tenantcache.values.parts import ValueParts
from tenantcache.values.sharing import ValueSharing
from tenantcache.values.values import Values
from tests.fakes import FakeClock
from tests.freshness.loops import VirtualLoop

T = TypeVar("T")

TENANT = "acme"
FOREVER = 100_000.0


class World:
    """`rows` is the table, `commits` what was committed in which order, and `batches` what the writer was given.

    A writer waits `seconds`, and then fails if `fault` says so of its batch: before its commit, or after it if
    `fails_late`.
    """

    def __init__(self, *, max_writes: int = 1000, max_bytes: int = 1_000_000) -> None:
        self.clock = FakeClock()
        self.loop = VirtualLoop(self.clock)
        self.rows: dict[tuple[str | None, str], Any] = {}
        self.commits: list[tuple[str | None, str, Any]] = []
        self.batches: list[dict[str, Any]] = []
        self.failed: list[FailedWrites] = []
        self.log: list[LogEntry] = [LogEntry.from_columns(1, 1_000, "", [])]
        self.log_fails = False
        self.loads = 0
        self.seconds = 0.0
        self.fault: Callable[[WriteBatch[Any]], BaseException | None] = lambda _: None
        self.fails_late = False
        self.is_open = True
        self.freshness = Freshness(max_staleness=FOREVER, stale_if_error=0)
        self.parts = ValueParts(
            ValueMemory(100, 1_000_000),
            self.freshness,
            ValueSharing(None, BandInForce(), is_billed=False, max_value_bytes=1000),
            self._log,
            self._sync,
            require_open=lambda: None,
            prefix="p",
            negative_ttl=60,
            clock=self.clock,
            server_now=self.clock,
            write_queue=WriteQueue(max_writes, max_bytes),
        )
        self.values = Values(self.parts)
        self.freshness.restart("epoch", self.log[0])
        self.parts.flush()
        self.freshness.extend(0.0)
        self.writer = WriteBehind(self.save, on_failed=self.note_failed)

    async def _log(self, names: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if self.log_fails:
            raise StoreError("the log is unavailable")
        seq = self.log[-1].seq + 1
        self.log.append(LogEntry.from_columns(seq, seq * 1_000, "", sorted(names)))

    async def _sync(self) -> None:
        await asyncio.sleep(0)
        for entry in self.log:
            if entry.seq > self.freshness.applied:
                self.freshness.pass_over(entry)
                self.parts.changed(entry)

    @property
    def told(self) -> list[list[str]]:
        """The names of each entry of the log."""
        return [list(entry.aliases) for entry in self.log[1:]]

    # The application.

    async def save(self, batch: WriteBatch[Any]) -> None:
        self.batches.append(dict(batch))
        error = self.fault(batch)
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if error is None or self.fails_late:
            for key, value in batch.items():
                self.rows[batch.tenant_id, key] = value
                self.commits.append((batch.tenant_id, key, value))
        if error is not None:
            raise error

    async def note_failed(self, failed: FailedWrites) -> None:
        self.failed.append(failed)

    async def get(self, key: str = "a", *, tenant: str = TENANT) -> Any:
        async def load() -> Any:
            self.loads += 1
            found = self.rows.get((tenant, key))
            await asyncio.sleep(0)
            return found

        return await self.values.get_or_load(key, load, tenant=tenant, ttl=FOREVER, negative_ttl=FOREVER)

    async def write(self, value: Any, key: str = "a", *, writer: Any = None, tenant: str = TENANT) -> None:
        await self.values.write_later(key, value, writer or self.writer, tenant=tenant)

    # Time.

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """To its end, whatever time that takes."""
        task = self.loop.create_task(doing)
        self.advance_until(task.done)
        return task.result()

    def start(self, doing: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self.loop.create_task(doing)
        self.settle()
        return task

    def settle(self) -> None:
        """Until only time lets something happen."""
        while not self.loop.is_idle:
            self.loop.step()

    def advance(self, seconds: float) -> None:
        end = self.clock() + seconds
        self.advance_until(lambda: self.loop.next_timer() > end and self.loop.is_idle)
        self.clock.advance(max(0.0, end - self.clock()))
        self.settle()

    def advance_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            if self.loop.is_idle:
                due = self.loop.next_timer()
                assert due < float("inf"), "it waits forever"
                self.clock.advance(max(0.0, due - self.clock()))
            self.loop.step()

    def change_loop(self) -> None:
        """The event loop ends under the process, and another one begins."""
        self.loop = VirtualLoop(self.clock)
        self.parts.leave_loop()
        self.run(self._open())

    async def _open(self) -> None:
        self.parts.open()

    def close(self) -> None:
        self.run(self.parts.close())
        assert self.loop.failures == [], self.loop.failures


def all_fail(_: Mapping[str, Any]) -> Exception:
    return OSError("the database is unavailable")


def failing_for(*keys: str) -> Callable[[Mapping[str, Any]], Exception | None]:
    return lambda batch: ValueError(f"cannot take {keys}") if not set(keys).isdisjoint(batch) else None
