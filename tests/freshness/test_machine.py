"""The protocol as a Hypothesis state machine: any order of changes, requests, messages and faults.

The storms throw dice. Hypothesis looks for the shortest scenario that breaks a promise, and remembers it.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tenantcache.freshness.log import Doubt
from tests.freshness.database import nothing, set_columns, set_domain
from tests.freshness.network import Flight, Link
from tests.freshness.parts import MAX_STALENESS, Sizes
from tests.freshness.process import Process
from tests.freshness.world import ALIASES, DOMAINS, LABELS, TENANTS, World
from tests.thorough import effort

any_index = st.integers(0, 5)
any_tenant, any_label, any_domain = st.sampled_from(TENANTS), st.sampled_from(LABELS), st.sampled_from(DOMAINS)
any_seconds = st.sampled_from((0.01, 0.4, 1.0, 3.1))


def is_reply(flight: Flight, name: str) -> bool:
    return flight.for_process and flight.name.startswith(name)


class Freshness(RuleBasedStateMachine):
    """Two processes. What is asked or changed is checked where it happens (see `truth`)."""

    @initialize(
        has_small_memory=st.booleans(),
        has_index=st.booleans(),
        has_short_ttls=st.booleans(),
        stale_if_error=st.sampled_from((0.0, 1.0)),
        hot_only=st.booleans(),
    )
    def start(
        self, has_small_memory: bool, has_index: bool, has_short_ttls: bool, stale_if_error: float, hot_only: bool
    ) -> None:
        self.logger = logging.getLogger("tenantcache")
        self.level = self.logger.level
        self.logger.setLevel(logging.CRITICAL)
        self.state = random.getstate()
        random.seed(0)
        sizes: Sizes = {"has_index": has_index, "stale_if_error": stale_if_error, "hot_only": hot_only}
        if has_small_memory:
            sizes |= {"max_tenants": 2, "max_floors": 3}
        if has_short_ttls:  # one wait is longer than each of them
            sizes |= {"memory_ttl": 1.0, "negative_ttl": 1.0, "redis_ttl": 1.0, "has_refresher": True}
        self.world = World(2, **sizes)
        self.world.settle()

    def process(self, index: int) -> Process:
        return self.world.processes[index % len(self.world.processes)]

    def link(self, index: int) -> Link:
        links = [link for process in self.world.processes for link in process.links.values()]
        return links[index % len(links)]

    # Changes.

    @rule(tenant=any_tenant, is_left_alone=st.booleans())
    def update(self, tenant: str, is_left_alone: bool) -> None:
        """Or create, after all know that it is not there. Then, perhaps, time for all to see it."""
        self.world.database.commit(set_columns(tenant, name=self.world.next_version()))
        if is_left_alone:
            self.world.settle(MAX_STALENESS + 1)

    @rule(tenant=any_tenant, label=any_label)
    def rename(self, tenant: str, label: str) -> None:
        tables = self.world.database.tables
        if tenant in tables.tenants and label not in {columns.subdomain for columns in tables.tenants.values()}:
            self.world.database.commit(set_columns(tenant, subdomain=label))

    @rule(tenant=any_tenant, domain=any_domain)
    def move_domain(self, tenant: str, domain: str) -> None:
        self.world.database.commit(set_domain(domain, tenant))

    @rule(tenant=any_tenant)
    def delete(self, tenant: str) -> None:
        changes = {name: change for name, change, _, _ in self.world.possible_changes()}
        if f"delete {tenant}" in changes:
            self.world.database.commit(changes[f"delete {tenant}"])

    @rule(tenant=any_tenant)
    def begin(self, tenant: str) -> None:
        """The first of several that are open at once notifies, the others leave it to that one."""
        self.world.database.begin(set_columns(tenant, name=self.world.next_version()), frozenset({tenant}))

    @precondition(lambda self: self.world.database.open_transactions)
    @rule(index=any_index, commits=st.booleans())
    def end(self, index: int, commits: bool) -> None:
        database = self.world.database
        transaction = database.open_transactions[index % len(database.open_transactions)]
        if commits:
            database.finish(transaction)
        else:
            database.abort(transaction)

    @rule(most=st.integers(1, 2))
    def publish(self, most: int) -> None:
        """Another process does."""
        self.world.database.publish(most)

    @rule()
    def truncate(self) -> None:
        self.world.truncate()

    @precondition(lambda self: not any(process.unfinished for process in self.world.processes))
    @rule(tenant=any_tenant)
    def invalidate_for_no_redis_command(self, tenant: str) -> None:
        self.world.settle()
        before = self.world.redis.commands
        self.world.database.commit(nothing, [(tenant, tuple(ALIASES))])
        self.world.settle()
        assert self.world.redis.commands == before

    # Requests, messages, time. A message that is not delivered is late.

    @rule(index=any_index, alias=st.sampled_from(ALIASES), after_sync=st.booleans())
    def ask(self, index: int, alias: str, after_sync: bool) -> None:
        if self.process(index).is_open:
            self.process(index).ask(alias, after_sync=after_sync)

    @rule(index=any_index, alias=st.sampled_from(ALIASES))
    def late_fill(self, index: int, alias: str) -> None:
        """What Postgres said is on its way, and stays there for now."""
        self.ask(index, alias, after_sync=False)
        self.pass_on(index, lambda flight: "log" not in flight.link.name and not is_reply(flight, "read"))

    @rule(index=any_index)
    def follow(self, index: int) -> None:
        self.pass_on(index, lambda flight: "log" in flight.link.name)

    @rule(index=any_index)
    def finish_but_for_the_set(self, index: int) -> None:
        """The copy in Redis comes late."""
        self.pass_on(index, lambda flight: "log" not in flight.link.name and not flight.name.startswith("set"))

    def pass_on(self, index: int, is_wanted: Callable[[Flight], bool]) -> None:
        """Deliver those messages of one process that are wanted, and those that follow from them."""
        process = self.process(index)
        for _ in range(100):
            flights = [flight for flight in self.world.network.flights if flight.link in process.links.values()]
            wanted = [flight for flight in flights if is_wanted(flight)]
            for flight in wanted:
                self.world.network.deliver(flight)
            if process.has_work:
                process.step()
            elif not wanted:
                break
        self.world.replace_failed()

    @rule(choices=st.lists(st.integers(0, 9), min_size=1, max_size=8))
    def deliver(self, choices: list[int]) -> None:
        for choice in choices:
            flights = self.world.network.flights
            if flights:
                self.world.network.deliver(flights[choice % len(flights)])
            for process in self.world.processes:
                if process.has_work:
                    process.step()
            self.world.replace_failed()

    @rule(index=any_index, steps=st.integers(1, 4))
    def step(self, index: int, steps: int) -> None:
        for _ in range(steps):
            if self.process(index).has_work:
                self.process(index).step()
        self.world.replace_failed()

    @rule(seconds=any_seconds)
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(seconds=st.sampled_from((0.0, 4.0)))
    def settle(self, seconds: float) -> None:
        self.world.settle(seconds)

    @rule(seconds=st.sampled_from((1.5, 4.0)))
    def know_everything(self, seconds: float) -> None:
        """And let it grow old, in good order: past each of the short TTLs, and with 4 s past `stale_if_error` too."""
        for process in self.world.processes:
            for alias in ALIASES if process.is_open else ():
                process.ask(alias)
        self.world.settle(seconds)

    @rule(tenant=any_tenant)
    def change_what_is_old(self, tenant: str) -> None:
        self.know_everything(4.0)
        self.update(tenant, is_left_alone=True)

    # Faults.

    @rule(index=any_index)
    def lose_or_repeat(self, index: int) -> None:
        flights = self.world.network.flights
        if flights:
            flight = flights[index % len(flights)]
            if flight.repeatable:
                self.world.network.send(flight)
            else:
                flights.remove(flight)

    @rule()
    def flush_redis(self) -> None:
        self.world.redis.flush_all()

    @precondition(lambda self: self.world.redis.graveyard)
    @rule(index=st.integers(0, 50))
    def write_an_old_value(self, index: int) -> None:
        graveyard = self.world.redis.graveyard
        self.world.redis.write(*graveyard[index % len(graveyard)])

    @rule(index=any_index, seconds=st.sampled_from((0.6, 5.0, 40.0)), timers_stop=st.booleans())
    def pause(self, index: int, seconds: float, timers_stop: bool) -> None:
        if timers_stop:
            self.process(index).suspend(seconds)
        else:
            self.process(index).pause(seconds)

    @rule(seconds=st.sampled_from((-100.0, -1.0, 1.0, 100.0)))
    def set_the_servers_clock(self, seconds: float) -> None:
        self.world.database.clock_offset += seconds

    @rule(index=any_index, silently=st.booleans())
    def cut(self, index: int, silently: bool) -> None:
        if silently:
            self.link(index).swallow()
        else:
            self.link(index).cut()

    @rule(index=any_index)
    def reconnect(self, index: int) -> None:
        self.link(index).heal()

    @rule(tenant=any_tenant, alias=st.sampled_from(ALIASES))
    def make_up_a_notification(self, tenant: str, alias: str) -> None:
        self.world.database._notify(doubts=[Doubt(tenant, (alias,))])

    @rule()
    def terminate_backends(self) -> None:
        self.world.database.terminate_backends()

    @rule()
    def hold_or_free_the_publisher(self) -> None:
        self.world.database.is_publisher_held = not self.world.database.is_publisher_held

    @rule()
    def crash(self) -> None:
        self.world.database.crash()

    @rule(age=st.sampled_from((0.0, 10.0)))
    def prune(self, age: float) -> None:
        self.world.database.prune(age)

    @rule()
    def back_up(self) -> None:
        self.world.backups.append(self.world.database.back_up())

    @rule(index=any_index, same_storage=st.booleans())
    def restore(self, index: int, same_storage: bool) -> None:
        backup = self.world.backups[index % len(self.world.backups)]
        self.world.database.restore(backup, same_storage=same_storage)

    @rule(index=any_index, changes=st.integers(0, 3))
    def restore_while_all_are_down(self, index: int, changes: int) -> None:
        self.world.restore_while_all_are_down(self.world.backups[index % len(self.world.backups)], changes)

    @rule(index=any_index)
    def restart(self, index: int) -> None:
        self.world.restart(self.process(index))

    # Promises.

    @invariant()
    def what_is_in_memory_is_true(self) -> None:
        if hasattr(self, "world"):
            self.world.peek_everywhere()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.check_agreement()
            finally:
                self.world.close()
                random.setstate(self.state)
                self.logger.setLevel(self.level)


PHASES = (Phase.explicit, Phase.generate) if os.environ.get("FRESHNESS_NO_SHRINKING") else tuple(Phase)


def test_no_story_breaks_a_promise() -> None:
    run_state_machine_as_test(
        Freshness,
        settings=settings(
            max_examples=effort(40, 150),
            stateful_step_count=40,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
        ),
    )
