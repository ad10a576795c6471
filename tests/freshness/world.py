"""Processes, servers, time, and what can happen to them. Who decides what happens next is not decided here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

from tests.freshness.database import (
    Backup,
    Change,
    Columns,
    Database,
    Flaws,
    Named,
    Tables,
    delete,
    nothing,
    set_columns,
    set_domain,
)
from tests.freshness.network import Network, Redis
from tests.freshness.parts import MAX_STALENESS, REDIS_TTL, Sizes
from tests.freshness.process import Process
from tests.freshness.truth import Truth, Violation

TENANTS = ("t1", "t2", "t3")
LABELS = ("a", "b", "c")
DOMAINS = ("d1.io", "d2.io")
ALIASES = [f"subdomain:{label}" for label in LABELS] + [f"domain:{domain}" for domain in DOMAINS] + ["id:t1"]

QUIET_TIME = 12.0
"""Seconds after which every process must have recovered: the longest backoff, a timeout to open, a pull, and room."""


class World:
    def __init__(self, processes: int, *, flaws: Flaws | None = None, **sizes: Unpack[Sizes]) -> None:
        self.now = 1000.0
        self.network = Network()
        first = Tables({"t1": Columns("v0", "a"), "t2": Columns("v0", "b")}, {"d1.io": "t1"})
        self.database = Database(self.clock, first, **(flaws or {}))
        self.redis = Redis(self.clock, sizes.get("redis_ttl", REDIS_TTL))
        self.truth = Truth(self.database, MAX_STALENESS)
        self.versions = 0
        self.backups = [self.database.back_up()]
        self.answers = 0
        self._sizes = sizes
        self.processes = [self._start(f"P{number + 1}") for number in range(processes)]

    def clock(self) -> float:
        return self.now

    def _start(self, name: str) -> Process:
        return Process(name, self.clock, self.network, self.database, redis=self.redis, truth=self.truth, **self._sizes)

    def close(self) -> None:
        for process in self.processes:
            self.answers += process.watch.answers
            process.die()

    # Processes.

    def restart(self, process: Process) -> None:
        """Kill it and start another in its place."""
        self.answers += process.watch.answers
        process.die()
        self.database.leave(process.follower.process_id)
        self.processes[self.processes.index(process)] = self._start(process.name)

    def replace_failed(self) -> None:
        """A process that gave up at its start is started again, as an orchestrator does."""
        for process in list(self.processes):
            if process.failed_to_start:
                self.restart(process)

    def advance(self, seconds: float) -> None:
        """Let time pass. What is in memory must be true at the new instant too: a hot request may come now."""
        self.now += seconds
        self.peek_everywhere()

    def peek_everywhere(self) -> None:
        for process in self.processes:
            if process.is_open and process.is_awake:
                for alias in ALIASES:
                    process.peek(alias)

    # Writers.

    def next_version(self) -> str:
        self.versions += 1
        return f"v{self.versions}"

    def possible_changes(self) -> Iterator[tuple[str, Change, frozenset[str], list[Named] | None]]:
        """What a writer may do now, each with the rows that it touches."""
        tables, version = self.database.tables, self.next_version()
        free = [label for label in LABELS if label not in {columns.subdomain for columns in tables.tenants.values()}]
        for key in tables.tenants:
            yield f"update {key}", set_columns(key, name=version), frozenset({key}), None
            for label in free:
                yield f"rename {key} to {label}", set_columns(key, subdomain=label), frozenset({key, label}), None
            owned = {domain for domain, owner in tables.domains.items() if owner == key}
            yield f"delete {key}", delete(key), frozenset({key} | owned), None
            for domain in DOMAINS:
                if tables.domains.get(domain) != key:
                    yield f"give {domain} to {key}", set_domain(domain, key), frozenset({domain}), None
            yield f"invalidate {key}", nothing, frozenset(), [(key, ())]
        for domain in tables.domains:
            yield f"drop {domain}", set_domain(domain, None), frozenset({domain}), None
        for key in TENANTS:
            if key not in tables.tenants:
                for label in free[:1]:
                    change = set_columns(key, name=version, subdomain=label)
                    yield f"create {key} as {label}", change, frozenset({key, label}), None

    def truncate(self) -> None:
        self.database.commit(lambda tables: Tables(tables.tenants, {}), [(None, None)])

    # Operators.

    def restore_while_all_are_down(self, backup: Backup, changes: int) -> None:
        """Put a storage snapshot back, and let as much be written as was lost, before any process is there to see it.

        Redis is kept: it holds copies from the lost future, under the numbers that are given again now.
        """
        for process in self.processes:
            self.answers += process.watch.answers
            process.die()
            self.database.leave(process.follower.process_id)
        self.database.restore(backup, same_storage=True)
        for _ in range(changes):
            self.database.commit(set_columns("t2", name=self.next_version()))
        self.processes = [self._start(process.name) for process in self.processes]

    # The end.

    def heal(self) -> None:
        for process in self.processes:
            process.wake_up()
            for link in process.links.values():
                link.heal()
        self.database.is_publisher_held = False
        for transaction in list(self.database.open_transactions):
            self.database.finish(transaction)

    def settle(self, seconds: float = 0.0) -> None:
        """Run in order, without mischief, until nothing is on its way and `seconds` have passed."""
        until = self.now + seconds
        while True:
            self._run_now()
            timer = min(process.next_timer() for process in self.processes)
            if self.now >= until:
                return
            self.advance(max(min(timer, until) - self.now, 0.0) + 1e-6)

    def _run_now(self) -> None:
        for _ in range(100_000):
            for flight in list(self.network.flights):
                self.network.deliver(flight)
            busy = [process for process in self.processes if process.has_work]
            for process in busy:
                process.step()
            self.replace_failed()
            if not busy and not self.network.flights:
                return
        raise Violation("the processes never come to rest")

    def check_agreement(self) -> None:
        """Once all is quiet, every process answers everything, and answers the truth of now."""
        self.heal()
        self.settle(QUIET_TIME)
        for process in self.processes:
            refused = process.refusals
            for alias in ALIASES:
                process.ask(alias, after_sync=True)
                self.settle()  # one by one: the breaker before Postgres lets a single request try first
            if process.refusals > refused or process.unfinished:
                raise Violation(
                    f"{process.name} does not answer although everything works: {process.follower.last_error}"
                )
