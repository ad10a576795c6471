"""One fleet with its writers and readers; each row of the table is one `play` of a fault on it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Self

import asyncpg

from benchmarks.consistency import valuewriters
from benchmarks.consistency.fleet import Fleet, Worker
from benchmarks.consistency.history import Content, History
from benchmarks.consistency.judge import NO_ANSWER, Answer, Verdict, judge
from benchmarks.consistency.readers import Client, Reader
from benchmarks.consistency.valuewriters import ValueWriter
from benchmarks.consistency.writers import BASE_DOMAIN, Writer
from tenantcache.schema import install as schema

QUIET_TENANTS = 30
"""Tenants that never change: answers about them must come from memory, from Redis or from Postgres all the same."""

RECENT = 12


@dataclass
class Row:
    """What one fault did. Times are in seconds; `agreed`: once quiet, every worker told the truth of every host and
    value. `verdict` is of the hosts, `values` of the values, None if none were written."""

    fault: str
    seconds: float
    commits: int
    verdict: Verdict
    agreed: bool
    values: Verdict | None = None
    value_commits: int = 0

    @property
    def beyond_span(self) -> float:
        """Seconds from the first answer beyond the bound to the last."""
        times = [answer.invoked for answer in self.verdict.beyond]
        return max(times) - min(times) if times else 0.0


FaultAction = Callable[["Scene"], Awaitable[None]]


@dataclass
class Scene:
    """`max_staleness` is the workers' bound, in seconds; the faults last in proportion to it."""

    fleet: Fleet
    max_staleness: float
    random: Random
    writers: int = 3
    value_writers: int = 0
    pause: float = 0.2
    history: History = field(default_factory=History)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=RECENT))

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, fleet: Fleet, max_staleness: float, seed: int, *, value_writers: int = 0
    ) -> AsyncIterator[Self]:
        scene = cls(fleet, max_staleness, Random(seed), value_writers=value_writers)
        try:
            await scene._begin()
            yield scene
        finally:
            for writer in scene._writers:
                await writer.close()

    @property
    def unit(self) -> float:
        return self.max_staleness

    async def _begin(self) -> None:
        self._readers: list[Reader] = []
        self._writers: list[Writer | ValueWriter] = []
        await self._install()
        await self.fleet.start_workers()
        numbers = itertools.count(1)
        clients = [partial(_client, number, worker) for number, worker in enumerate(self.fleet.workers)]
        for number in range(self.writers):
            writer = Writer(
                f"group-{number}",
                self.fleet.postgres.url,
                self.history,
                numbers,
                Random(self.random.random()),
                self._announce,
                pause=self.pause,
            )
            self._writers.append(writer)
            await writer.begin()
        for number in range(self.value_writers):
            values = ValueWriter(
                f"values-{number}",
                self.fleet.postgres.url,
                self.history,
                numbers,
                Random(self.random.random()),
                self._announce,
                clients,
                pause=self.pause,
            )
            self._writers.append(values)
            await values.begin()
        self._readers += [
            Reader(client, lambda: self.history.hosts, Random(self.random.random())) for client in clients
        ]

    async def _install(self) -> None:
        connection = await asyncpg.connect(self.fleet.postgres.url)
        await schema.install(connection)
        for number in range(QUIET_TENANTS):
            tenant = Content(f"quiet-{number}", f"Quiet {number}", 0, f"quiet-{number}", (), "active")
            await connection.execute(
                "insert into tenantcache.tenants (id, name, subdomain, attributes) values ($1, $2, $3, $4)",
                *(tenant.id, tenant.name, tenant.subdomain, '{"version": 0}'),
            )
            self.history.begin(tenant.hosts(BASE_DOMAIN)[0], tenant)
        if self.value_writers:
            await valuewriters.install(connection, self.history)
        await connection.close()

    def _announce(self, hosts: list[str]) -> None:
        self.recent.extend(hosts)
        for reader in self._readers:
            reader.announce(hosts)

    # What faults use.

    async def ask_late(self, worker: int) -> None:
        """Ask `worker` for what has changed lately, over new connections."""
        await self._readers[worker].ask_late(list(self.recent))

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.fleet.postgres.url)
        try:
            yield connection
        finally:
            await connection.close()

    # A row.

    async def play(self, fault: str, action: FaultAction) -> Row:
        """Write and read while `action` runs, a little before and a little after; then judge all answers."""
        self.history.forget_past()
        started, commits, value_commits = time.monotonic(), self._commits(Writer), self._commits(ValueWriter)
        # A collection of the answers that are kept would stop the clocks for some 50 ms.
        gc.collect()
        gc.disable()
        try:
            async with self._traffic():
                await asyncio.sleep(self.unit / 3)
                await action(self)
                await asyncio.sleep(self.unit)
            agreed = await self._agree()
        finally:
            gc.enable()
        answers = [answer for reader in self._readers for answer in reader.answers]
        for reader in self._readers:
            reader.answers = []
        of_values = [answer for answer in answers if answer.host.startswith(valuewriters.PATH)]
        of_hosts = [answer for answer in answers if not answer.host.startswith(valuewriters.PATH)]
        return Row(
            fault,
            time.monotonic() - started,
            self._commits(Writer) - commits,
            judge(self.history.changes, of_hosts, self.max_staleness),
            agreed,
            judge(self.history.changes, of_values, self.max_staleness) if self.value_writers else None,
            self._commits(ValueWriter) - value_commits,
        )

    def _commits(self, kind: type[Writer | ValueWriter]) -> int:
        return sum(writer.commits for writer in self._writers if isinstance(writer, kind))

    @asynccontextmanager
    async def _traffic(self) -> AsyncIterator[None]:
        """Writers and readers at work; one that fails is heard of here."""
        running = [*(writer.run() for writer in self._writers), *(reader.run() for reader in self._readers)]
        tasks = [asyncio.create_task(coroutine) for coroutine in running]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _agree(self) -> bool:
        """Whether all workers come to tell the truth of every host within the bound (and a little for being slow)."""
        deadline = time.monotonic() + 2 * self.max_staleness + 2
        while time.monotonic() < deadline:
            answers = await self._ask_all()
            verdict = judge(self.history.changes, answers, self.max_staleness)
            good = verdict.longest == 0 and not verdict.wrong_count
            if good and not verdict.unavailable and not verdict.unanswered:
                return True
            await asyncio.sleep(0.1)
        return False

    async def _ask_all(self) -> list[Answer]:
        answers: list[Answer] = []
        for number, worker in enumerate(self.fleet.workers):
            client = _client(number, worker)
            for host in self.history.hosts:
                answers.append(await client.ask(host))
                if answers[-1].status == NO_ANSWER:
                    break
            with contextlib.suppress(OSError):
                client.close()
        return answers


def _client(number: int, worker: Worker) -> Client:
    return Client(number, worker.port, lambda: worker.incarnation)
