"""One process on the simulated network, for tests that want to hold a single message in their hands."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.lookup.core import copies as codec
from tenantcache.tenant import Tenant
from tests.freshness.database import Change, Named, set_columns
from tests.freshness.network import Flight
from tests.freshness.parts import Sizes
from tests.freshness.world import World

T = TypeVar("T")


class Bench(World):
    """Nothing happens by itself: messages wait until they are delivered, and time until it is advanced."""

    def __init__(self, **sizes: Unpack[Sizes]) -> None:
        super().__init__(1, **sizes)
        self.process = self.processes[0]
        self.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let `work` run on the process's loop, as far as it gets."""
        task = self.process.loop.create_task(work)
        self.run()
        return task

    def find(self, alias: str) -> asyncio.Task[Tenant | None]:
        return self.start(self._find(alias))

    async def _find(self, alias: str) -> Tenant | None:
        return (await self.process.resolver.find(alias)).tenant

    def run(self) -> None:
        while self.process.has_work:
            self.process.step()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.run()

    def rename(self, name: str = "new", tenant_id: str = "t1") -> None:
        self.commit(set_columns(tenant_id, name=name))

    def commit(self, change: Change, named: list[Named] | None = None) -> None:
        """Another process publishes at once, so that its notification is the only one."""
        listeners, self.database.sessions = self.database.sessions, {}
        self.database.commit(change, named)
        self.database.sessions = listeners
        self.database.publish(len(self.database.outbox))

    def pend(self, name: str = "new", tenant_id: str = "t1") -> None:
        """A change that is visible, and not published yet."""
        self.database.commit(set_columns(tenant_id, name=name))

    def know(self, *aliases: str) -> None:
        """Have those in memory, and in Redis if they lead to a tenant."""
        for alias in aliases:
            self.find(alias)
            self.settle()

    def know_pending(self, *aliases: str) -> None:
        """Have those in memory as a read finds them now, while nothing else arrives."""
        for alias in aliases:
            self.find(alias)
            if self.waiting("get"):
                self.answer("get")
            self.answer("read")

    def lapse(self) -> None:
        """Let the follower lose touch for longer than answers may be out of date."""
        self.process.links["log"].swallow()
        self.advance(3.1)

    def copy_of(self, alias: str, *, epoch: str | None = None, watermark: int | None = None) -> bytes:
        """What a fill would put into Redis now, unless told otherwise."""
        row = self.database.tables.row(alias)
        assert row is not None
        at = self.database.head.at
        mark = (
            self.database.head
            if watermark is None
            else next((entry for entry in self.database.log if entry.seq == watermark), LogMark(watermark, at))
        )
        return codec.encode(codec.Copy(epoch or self.database.epoch, mark, row))

    def waiting(self, name: str) -> list[Flight]:
        """The messages on their way whose name begins so: "read", "get", "pull" ..."""
        return [flight for flight in self.network.flights if flight.name.startswith(name)]

    def deliver(self, name: str) -> None:
        """Let the oldest message of that name arrive. Before a follower that was notified pulls, it publishes."""
        if name == "pull" and not self.waiting("pull"):
            self.answer("publish")
        self.network.deliver(self.waiting(name)[0])
        self.run()

    def answer(self, name: str) -> None:
        """Let the oldest request of that name arrive, and its reply too."""
        self.deliver(name)
        (reply,) = (flight for flight in self.waiting(name) if flight.for_process)
        self.network.deliver(reply)
        self.run()
