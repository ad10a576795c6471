"""The tables of counter-store failover are what the code does, and what the documents show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from random import Random

import pytest

from tenantcache.ratelimit.core.agreement import CHANGES, STORE_OF_CHANGE, Agreement, Cause, Phase, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.minutestanding import BECOMES, MinuteStanding
from tenantcache.ratelimit.core.redishealth import TRANSITIONS, RedisEvent, RedisHealth, RedisState
from tenantcache.ratelimit.core.windows import minute_at
from tests.core.diagrams import PAGES, filled, mermaid
from tests.core.fleet_of_stores import World
from tests.core.fleet_process import Process
from tests.core.test_failover import HOUR, IN_REDIS, MINUTE, following
from tests.core.test_failover_fleet import mild_misfortune, misfortune
from tests.thorough import THOROUGH

Way = tuple[MinuteStanding, MinuteStanding]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_has_what_is_generated_for_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert all(text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1 for name in PAGES[page])
    assert filled(text, PAGES[page]) == text


def test_a_diagram_names_states_and_causes() -> None:
    edges = [
        (RedisState.NOT_COUNTING, RedisState.ANSWERING, "it counts"),
        (RedisState.NOT_COUNTING, RedisState.ANSWERING, "it was reset"),
    ]
    assert mermaid(edges).splitlines() == [
        "```mermaid",
        "stateDiagram-v2",
        '    state "not counting" as not_counting',
        '    state "answering" as answering',
        "    not_counting --> answering: it counts / it was reset",
        "```",
    ]


def test_each_state_has_a_row_in_its_table() -> None:
    assert set(TRANSITIONS) == set(RedisState)
    assert set(BECOMES) == set(MinuteStanding)
    assert set(CHANGES) == set(Phase)
    assert set(STORE_OF_CHANGE) == set(Phase) - {Phase.UNDECIDED}


# Redis.

ANSWERS = (RedisEvent.PINGED, RedisEvent.COUNTED)


def test_redis_health_follows_its_table_from_each_state() -> None:
    for state, row in TRANSITIONS.items():
        for event in RedisEvent:
            health = RedisHealth(has_redis=True)
            health.state = state
            if event in ANSWERS:
                health.answered(event, HOUR, HOUR)
            else:
                health.failed(event, "why", HOUR)
            assert health.state is row.get(event, state)


def test_a_take_that_is_answered_ends_every_failure_and_ping_only_silence() -> None:
    failures = set(RedisState) - {RedisState.ABSENT, RedisState.ANSWERING}
    assert {
        state for state in failures if TRANSITIONS[state].get(RedisEvent.COUNTED) is RedisState.ANSWERING
    } == failures
    assert {state for state in failures if RedisEvent.PINGED in TRANSITIONS[state]} == {RedisState.FAILING}


# The fleet.


def test_a_row_is_in_the_phase_that_its_change_leads_to() -> None:
    """Announced at :10, and begun with the next minute."""
    begun = {Phase.LEAVING_REDIS: Phase.POSTGRES, Phase.RENEWING: Phase.REDIS, Phase.RETURNING: Phase.REDIS}
    for before, row in CHANGES.items():
        for cause, after in row.items():
            if cause in (Cause.BEGINS, Cause.ALL_REPORTED):
                assert begun[before] is after
                continue
            agreement, is_first = Agreement(), before is Phase.UNDECIDED
            from_minute, previous = (0, None) if is_first else (MINUTE + 1, STORE_OF_CHANGE[before])
            agreement.follow(StoreChoice(1, STORE_OF_CHANGE[after], from_minute, previous), HOUR + 15)
            assert agreement.phase(HOUR + 10) is after
            assert agreement.phase(HOUR + 60) is begun.get(after, after)


# A minute.


class Watched(World):
    """Remembers what each minute has become in each process."""

    def __init__(self, seed: int) -> None:
        super().__init__(Random(seed), size=3 + seed % 2)
        self.local = True
        self.ways: set[Way] = set()
        self._last: dict[int, tuple[Failover, int, MinuteStanding]] = {}

    def deliver(self, process: Process, fleet: Failover, work: Callable[[], None]) -> None:
        super().deliver(process, fleet, work)
        self._note(process)

    def step(self, process: Process) -> None:
        self._note(process)
        super().step(process)
        self._note(process)

    def _note(self, process: Process) -> None:
        failover, minute = process.failover, minute_at(self.now)
        standing = failover.standing_of(minute)
        before = self._last.get(process.name)
        if before is not None and before[:2] == (failover, minute) and before[2] is not standing:
            self.ways.add((before[2], standing))
        self._last[process.name] = failover, minute, standing


def unregistered() -> Failover:
    failover = following(IN_REDIS)
    assert failover.standing_of(MINUTE) is MinuteStanding.UNREGISTERED
    return failover


def past_its_lease() -> Failover:
    """It knows the minute by answers of Redis alone."""
    failover = following(IN_REDIS, read_at=HOUR - 10)
    failover.handover.through = MINUTE - 1
    for second in range(-11, 10):
        failover.redis_answered(HOUR + second, HOUR + second)
    assert failover.standing_of(MINUTE) is MinuteStanding.IN_REDIS
    return failover


HANDED_OVER = StoreChoice(2, "postgres", MINUTE, "redis")
RARE: set[Way] = {
    (MinuteStanding.UNREGISTERED, MinuteStanding.IN_POSTGRES),
    (MinuteStanding.UNREGISTERED, MinuteStanding.LOST),
    (MinuteStanding.IN_REDIS, MinuteStanding.UNREGISTERED),
    (MinuteStanding.IN_REDIS, MinuteStanding.IN_POSTGRES),
}


def test_the_rare_ways_of_a_minute() -> None:
    unregistered_before, after_its_lease = unregistered(), past_its_lease()
    for failover in (unregistered_before, after_its_lease):
        failover.follow(HANDED_OVER, HOUR + 56)
        assert failover.standing_of(MINUTE) is MinuteStanding.IN_POSTGRES
    pulled = past_its_lease()
    pulled.follow(IN_REDIS, HOUR + 15)
    assert pulled.standing_of(MINUTE) is MinuteStanding.UNREGISTERED
    isolated = unregistered()
    isolated.redis_failed(RedisEvent.SILENT, "did not answer", HOUR + 51)
    for second in (53.0, 54.0):
        isolated.note_time(HOUR + second)
    assert isolated.standing_of(MINUTE) is MinuteStanding.LOST


def test_walks_lead_each_way_of_the_table_and_no_other() -> None:
    ways: set[Way] = set()
    walks = list(product(range(4, 8), (misfortune, mild_misfortune)))
    enough = [(4, misfortune), (4, mild_misfortune), (6, mild_misfortune)]
    for seed, live_through in walks if THOROUGH else enough:
        world = Watched(seed)
        world.run(5)
        for _ in range(15):
            live_through(world)
        ways |= world.ways
    assert ways | RARE == {(before, after) for before, row in BECOMES.items() for after in row}
