"""Values that are served at once and written later (`core/writequeue.py` has the rules of their queue).

Rules

* Until it was written, and the log has named its key, a value is pinned in memory: this process serves it, and nothing
  else of that key. Then it is dropped, and the next caller loads what the database has.
* Other processes are told by one statement after each batch. Until then they serve what the database had before.
* What is given up is reported (`writefailures.py`). Then this process serves what the database has, too.
* If the queue is full, callers wait (`writeline.py`).
* Writers run in a context of their own. The tenant of a request that happens to wake the queue is not theirs.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from tenantcache.errors import StoreUnavailableError
from tenantcache.freshness.core.freshness import NEVER
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.tasks import set_within, stop
from tenantcache.values.core.acceptance import Acceptance, Entry
from tenantcache.values.core.codec import Codec
from tenantcache.values.core.roundtrip import stored_form
from tenantcache.values.core.valuekey import value_name
from tenantcache.values.core.writebehind import WriteBatch, WriteBehind
from tenantcache.values.core.writequeue import Batch, Name, Write, WriteQueue
from tenantcache.values.memory import ENTRY_BYTES, Place, ValueMemory
from tenantcache.values.writefailures import Tell, WriteFailures, tell_surely
from tenantcache.values.writeline import WriteLine

logger = logging.getLogger(__name__)

MAX_AT_ONCE: Final = 4
"""Batches at once. A pool of an application often has ten connections, and its requests need them more."""

CLOSE_TIMEOUT: Final = 4.0
"""Seconds in which a close writes what waits. With the lifespan's attempt before it, and with reports after it, that is
10 s at most: so long after it has told a process to stop, Docker kills it."""


class _Flush:
    """One who waits until all values up to `number` have left the queue. `failed` of them were given up."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.failed: int = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Writes:
    """What waits in `queue` is in memory beside what `values_max_bytes` bounds, and is lost in a crash."""

    def __init__(
        self, memory: ValueMemory, acceptance: Acceptance, tell: Tell, queue: WriteQueue, *, clock: Clock
    ) -> None:
        self.written: int = 0
        self.failures: WriteFailures = WriteFailures(tell)
        self._memory, self._acceptance, self._tell, self._clock = memory, acceptance, tell, clock
        self._queue = queue
        self._pinned: dict[Name, Place] = {}
        self._line = WriteLine(self._queue, self._enter)
        self._flushes: list[_Flush] = []
        self._pump: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], Batch] = {}

    @property
    def waiting(self) -> int:
        """Values that are not written yet."""
        return len(self._queue)

    async def add(self, place: Place, value: object, codec: Codec[Any], target: WriteBehind[Any]) -> None:
        """Serve `value` from now on, and have it written. Raises what the codec raises, ValueError for a value that no
        queue has room for, and `StoreUnavailableError` if there is none for `max_wait` seconds."""
        body = None if value is None else stored_form(codec, value)[0]
        size = ENTRY_BYTES + len(place[1]) + len(body or b"")
        if size > self._queue.max_bytes:
            raise ValueError(f"the value of {place[1]!r:.80} has {size} bytes; the queue holds {self._queue.max_bytes}")
        write = Write(place, target, codec, body, size, self._clock() + target.delay)
        if self._line.may_enter(write):
            self._enter(write)
            return
        if not self._line:
            self._queue.press()
            self._go()
        await self._line.wait(write)

    def _enter(self, write: Write) -> None:
        name, place = write.name, write.place
        if self._line:
            write.due = NEVER
        if self._pinned.get(name, place) != place:
            self._memory.unpin(self._pinned[name])
        self._pinned[name] = place
        self._memory.pin(place, self._entry(write))
        self._queue.put(write)
        self._go()

    def _entry(self, write: Write) -> Entry:
        value = write.value
        is_shared = value is None or write.codec.is_immutable(value)
        now = self._clock()
        return Entry(
            value=value if is_shared else None,
            body=None if is_shared else write.body,
            codec=write.codec,
            seen=self._acceptance.note(),
            names=(value_name(*write.name),),
            expiries=(),
            tags=(),
            read_at=now,
            loaded_at=now,
            good_until=math.inf,
            fresh_until=math.inf,
            end=math.inf,
            tier="write_later",
            size=write.size,
            is_pending=True,
        )

    # The writers.

    def _go(self) -> None:
        """Have the queue looked at."""
        if self._pump is None or self._pump.done():
            context = contextvars.Context()
            self._pump = asyncio.create_task(self._run(), name="tenantcache writes", context=context)
        self._wake.set()

    async def _run(self) -> None:
        while len(self._queue):
            self._wake.clear()
            while len(self._under_way) < MAX_AT_ONCE and (batch := self._queue.take(self._clock())) is not None:
                task = asyncio.create_task(self._write(batch), name="tenantcache write")
                self._under_way[task] = batch
                task.add_done_callback(self._ended)
            due = self._queue.next_due() if len(self._under_way) < MAX_AT_ONCE else math.inf
            if due == math.inf:
                await self._wake.wait()
            else:
                await set_within(self._wake, max(0.0, due - self._clock()))

    def _ended(self, task: asyncio.Task[None]) -> None:
        batch = self._under_way.pop(task, None)
        if batch is not None and (task.cancelled() or task.exception() is not None):
            self._queue.put_back(batch)
        self._wake.set()

    async def _write(self, batch: Batch) -> None:
        """Raises nothing, unless it is cancelled."""
        names = [write.name for write in batch.writes]
        error = await self._call(batch)
        if error is None:
            await tell_surely(self._tell, [value_name(*name) for name in names])
        del self._under_way[_current_task()]  # from here on there is no await: it ends as it is told of
        if error is None:
            self.written += len(names)
            self._queue.succeeded(batch)
        else:
            failed_before = batch.lane.failures
            given_up = self._queue.failed(batch, self._clock(), random.random())
            if batch.lane.failures > failed_before == 0:
                logger.warning("%d values could not be written, and are tried again: %r", len(names), error)
            if given_up:
                self._give_up(given_up, error)
        self._settle(names)

    async def _call(self, batch: Batch) -> Exception | None:
        """What the writer raised."""
        target, seconds = batch.lane.target, batch.lane.target.timeout
        try:
            values = {write.name[1]: write.value for write in batch.writes}
            async with asyncio.timeout(seconds) as limit:
                await target.write(WriteBatch(values, batch.lane.tenant_id))
        except asyncio.CancelledError:
            if _current_task().cancelling():
                raise
            return RuntimeError("the writer was cancelled")
        except TimeoutError as error:
            return TimeoutError(f"the writer took longer than {seconds} s") if limit.expired() else error
        except Exception as error:
            return error
        return None

    def _settle(self, names: Sequence[Name]) -> None:
        """These have left the queue, unless they wait again."""
        for name in names:
            if name not in self._queue:
                self._memory.unpin(self._pinned.pop(name))
        for flush in self._flushes:
            if not flush.done.done() and not self._queue.count_to(flush.number):
                flush.done.set_result(None)
        self._line.admit()

    def _give_up(self, writes: Sequence[Write], error: Exception | None) -> None:
        for flush in self._flushes:
            flush.failed += sum(write.number <= flush.number for write in writes)
        self.failures.report(writes, error)

    # Ends.

    async def flush(self, seconds: float) -> None:
        """As `Values.flush_writes`."""
        if not len(self._queue):
            return
        flush = _Flush(self._queue.newest)
        self._flushes.append(flush)
        self._queue.hurry()
        self._go()
        try:
            async with asyncio.timeout(seconds):
                await flush.done
        except TimeoutError:
            if not flush.done.done() or flush.done.cancelled():
                left = self._queue.count_to(flush.number)
                raise StoreUnavailableError(
                    f"{left} values are not written after {seconds} s; they are tried again"
                ) from None
        finally:
            if flush in self._flushes:  # else its event loop has ended
                self._flushes.remove(flush)
        if flush.failed:
            raise StoreUnavailableError(f"{flush.failed} values could not be written, and were given up")

    async def close(self) -> None:
        """Write what waits, within `CLOSE_TIMEOUT`. What is left is given up."""
        self._line.close()
        try:
            with suppress(StoreUnavailableError):
                await self.flush(CLOSE_TIMEOUT)
        finally:
            await stop(self._pump, *self._under_way)
            await asyncio.sleep(0)  # what was cancelled is put back
            left = defaultdict[tuple[WriteBehind[Any], str | None], list[Write]](list)
            for write in self._queue.clear():
                left[write.target, write.name[0]].append(write)
            for writes in left.values():
                self._give_up(writes, None)
            self._settle(())  # those who flush are told now, and not when their time is over
            self._unpin()
            await self.failures.close()

    def open(self) -> None:
        """Write what an event loop that ended has left."""
        if len(self._queue):
            self._go()

    def leave_loop(self) -> None:
        """The event loop has ended. What it left is written in the next one."""
        batches = list(self._under_way.values())
        self._forget_tasks()
        for batch in batches:
            self._queue.put_back(batch)

    def forget(self) -> None:
        """After a fork, in the child: what is here is written by the parent."""
        self._forget_tasks()
        self._queue.clear()
        self._unpin()

    def _forget_tasks(self) -> None:
        self._pump, self._wake = None, asyncio.Event()
        self._under_way.clear()
        self._flushes.clear()
        self._line.forget()
        self.failures.forget()

    def _unpin(self) -> None:
        for place in self._pinned.values():
            self._memory.unpin(place)
        self._pinned.clear()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
