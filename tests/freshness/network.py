"""What lies between processes and servers: messages that take as long as the scheduler wants, and links that fail.

The three stores of tenantcache (`TenantStore`, `ChangeLog`, `CopyStore`) are spoken here over such links, with the
timeouts and the errors that the real ones have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, TypeVar

from tenantcache.errors import StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import Doubt, OnChange, Publication, Pull
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.sources import AliasStream
from tests.freshness.database import Database
from tests.freshness.loops import VirtualLoop

T = TypeVar("T")

READ_TIMEOUT, LOG_TIMEOUT, REDIS_TIMEOUT = 1.0, 0.5, 0.03
"""Seconds, as the real stores have them."""


@dataclass(eq=False)
class Flight:
    """A message on its way. `name` says what it is, `content` what is in it; `arrive` is what happens at the other end.

    `for_process` is true for what a server sends.
    """

    link: Link
    name: str
    arrive: Callable[[], None]
    content: object = None
    for_process: bool = False
    repeatable: bool = False

    @cached_property
    def label(self) -> str:
        return f"{self.link.name} {self.name}" + (f" = {self.content}" if self.for_process else "")


class Network:
    """All messages that are on their way."""

    def __init__(self) -> None:
        self.flights: list[Flight] = []

    def send(self, flight: Flight) -> None:
        self.flights.append(flight)

    def deliver(self, flight: Flight) -> None:
        self.flights.remove(flight)
        flight.arrive()

    def lose(self, link: Link) -> None:
        self.flights = [flight for flight in self.flights if flight.link is not link]


class Link:
    """One process's way to one server. `inbox` is where its replies wait until the process looks."""

    def __init__(self, network: Network, loop: VirtualLoop, inbox: list[Callable[[], None]], name: str) -> None:
        self.name = name
        self.state: Literal["up", "swallowing", "cut"] = "up"
        self._network = network
        self._loop = loop
        self._inbox = inbox
        self._waiting: set[asyncio.Future[Any]] = set()

    async def call(self, label: str, serve: Callable[[], T], timeout: float, *, repeatable: bool = False) -> T:
        """Have the server run `serve`, at once and atomically, at some time; return what it says, at a later one."""
        if self.state == "cut":
            raise StoreError(f"{self.name} is cut")
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting.add(answer)
        self._send(label, lambda: self._serve(label, serve, answer), repeatable=repeatable)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise StoreError(f"{self.name} did not answer in time") from None
        finally:
            self._waiting.discard(answer)

    def push(self, label: str, receive: Callable[[], None], content: object) -> None:
        """Have the process run `receive` at some time, unasked."""
        self._send(label, lambda: self._inbox.append(receive), content=content, for_process=True, repeatable=True)

    def cut(self) -> None:
        """Reset: what is on its way is lost, and both sides know."""
        self.state = "cut"
        self._network.lose(self)
        self._inbox += [partial(_fail, answer, self.name) for answer in self._waiting]

    def swallow(self) -> None:
        """Lose what is on its way and what is sent from now on, without a word."""
        self.state = "swallowing"
        self._network.lose(self)

    def heal(self) -> None:
        self.state = "up"

    def _send(
        self,
        name: str,
        arrive: Callable[[], None],
        *,
        content: object = None,
        for_process: bool = False,
        repeatable: bool = False,
    ) -> None:
        if self.state == "up":
            self._network.send(Flight(self, name, arrive, content, for_process, repeatable))

    def _serve(self, name: str, serve: Callable[[], T], answer: asyncio.Future[T]) -> None:
        try:
            result = serve()
        except StoreError as error:
            told = error
            self._send(
                name, lambda: self._inbox.append(lambda: _fail(answer, str(told))), content=told, for_process=True
            )
        else:
            self._send(
                name, lambda: self._inbox.append(lambda: _succeed(answer, result)), content=result, for_process=True
            )


def _succeed(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[T], reason: str) -> None:
    if not answer.done():
        answer.set_exception(StoreError(reason))


class Redis:
    """Keeps what it is given. `graveyard` holds everything that was ever set, for old values written by hand."""

    def __init__(self, clock: Callable[[], float], ttl: float) -> None:
        self._clock = clock
        self._ttl = ttl
        self._values: dict[str, tuple[bytes, float]] = {}
        self.graveyard: list[tuple[str, bytes]] = []
        self.commands = 0

    def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        self.commands += 1
        held = [self._values.get(alias, (None, 0.0)) for alias in aliases]
        return [value if expires > self._clock() else None for value, expires in held]

    def set(self, alias: str, value: bytes) -> None:
        self.commands += 1
        self.graveyard.append((alias, value))
        self.write(alias, value)

    def write(self, alias: str, value: bytes) -> None:
        """By hand."""
        self._values[alias] = value, self._clock() + self._ttl

    def unlink(self, aliases: Sequence[str]) -> None:
        self.commands += 1
        for alias in aliases:
            self._values.pop(alias, None)

    def flush_all(self) -> None:
        self._values.clear()

    @property
    def contents(self) -> frozenset[tuple[str, bytes]]:
        return frozenset((alias, value) for alias, (value, _) in self._values.items())


MOST_PUBLISHED = 2
"""Changes: so few that some are left."""


class SimulatedTenants:
    """`TenantStore` and `HostSource`."""

    def __init__(self, link: Link, database: Database) -> None:
        self._link = link
        self._database = database

    async def read(self, aliases: Sequence[str]) -> Snapshot:
        return await self._link.call(f"read {aliases}", lambda: self._database.read(aliases), READ_TIMEOUT)

    @asynccontextmanager
    async def stream_aliases(self, batch: int) -> AsyncIterator[AliasStream]:
        """One snapshot, but a message for each alias."""
        del batch

        def snapshot() -> tuple[list[str], Snapshot]:
            return self._database.tables.aliases(), self._database.read(())

        aliases, seen = await self._link.call("stream", snapshot, READ_TIMEOUT)

        async def batches() -> AsyncIterator[list[str]]:
            for alias in aliases:
                await self._link.call("next", lambda: None, READ_TIMEOUT)
                yield [alias]

        yield AliasStream(len(aliases), seen.epoch, seen.mark, batches(), seen.pending)

    async def log_change(self, tenant_id: str, aliases: Sequence[str]) -> None:
        raise NotImplementedError("the simulation changes the database by itself")

    async def log_reset(self, tenant_id: str) -> None:
        raise NotImplementedError("the simulation counts nothing")


class SimulatedLog:
    """`ChangeLog`, over one connection that also listens."""

    def __init__(self, link: Link, database: Database) -> None:
        self._link = link
        self._database = database
        self._session: object | None = None

    async def open(self, on_change: OnChange) -> None:
        session = object()

        def tell(newest: int | None, doubts: Sequence[Doubt]) -> None:
            on_change(newest)
            for doubt in doubts:
                on_change(doubt=doubt)

        def connect() -> None:
            self._database.sessions[session] = lambda newest, doubts: self._link.push(
                "notify", lambda: tell(newest, doubts), (newest, *doubts)
            )

        await self._link.call("open", connect, LOG_TIMEOUT * 4)
        self._session = session

    async def close(self) -> None:
        self._database.sessions.pop(self._session, None)
        self._session = None

    async def _ask(self, label: str, serve: Callable[[], T]) -> T:
        session = self._session
        if session is None:
            raise StoreError("not connected")

        def serve_session() -> T:
            if session not in self._database.sessions:
                raise StoreError("the backend was terminated")
            return serve()

        return await self._link.call(label, serve_session, LOG_TIMEOUT)

    async def tail(self, max_age: float, max_entries: int) -> Pull:
        return await self._ask("tail", lambda: self._database.tail(max_age, max_entries))

    async def pull(self, applied: LogMark, max_behind: int, page: int, *, since: str = "", check: bool = True) -> Pull:
        return await self._ask(
            f"pull {applied.seq}", lambda: self._database.pull(applied, max_behind, page, since, check)
        )

    async def publish(self, most: int) -> Publication:
        most = min(most, MOST_PUBLISHED)
        return Publication(await self._ask("publish", lambda: self._database.publish(most, self._link.name)))

    async def rebuild(self) -> None:
        self._database.rebuild()

    async def beat(self, process_id: object) -> bool:
        await self._ask("beat", lambda: self._database.beat(process_id))
        return False

    async def leave(self, process_id: object) -> None:
        await self._ask("leave", lambda: self._database.leave(process_id))

    async def prune(self, max_age: float, most: int) -> None:
        await self._ask("prune", lambda: self._database.prune(max_age, most))


class SimulatedCopies:
    """`CopyStore`. A SET may arrive late, twice, or after the process that sent it has died."""

    def __init__(self, link: Link, redis: Redis) -> None:
        self._link = link
        self._redis = redis

    async def get_many(self, aliases: Sequence[str]) -> list[bytes | None]:
        return await self._link.call(f"get {aliases}", lambda: self._redis.get_many(aliases), REDIS_TIMEOUT)

    async def put(self, alias: str, value: bytes) -> None:
        label = f"set {alias} {value!r}"
        await self._link.call(label, lambda: self._redis.set(alias, value), REDIS_TIMEOUT, repeatable=True)

    async def drop(self, aliases: Sequence[str]) -> None:
        await self._link.call(f"unlink {aliases}", lambda: self._redis.unlink(aliases), REDIS_TIMEOUT)
