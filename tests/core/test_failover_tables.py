"""The tables of counter-store failover are what the code does, and what the documents show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import inf
from pathlib import Path
from random import Random
from typing import TypedDict

import pytest

from tenantcache.ratelimit.core.agreement import CHANGES, STORE_OF_CHANGE, Agreement, Cause, Phase, StoreChoice
from tenantcache.ratelimit.core.failover import Failover
from tenantcache.ratelimit.core.isolation import FOLLOWS, ISOLATED_FOR, KNOWN_LATER, Contact, Edge, Isolation, Sight
from tenantcache.ratelimit.core.isolation import TRANSITIONS as ISOLATION
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
    assert set(ISOLATION) == set(FOLLOWS) == set(Contact)
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


# Isolation.


class Stands(TypedDict, total=False):
    last: float
    own: int
    connected: int


SIGHTS = tuple(sight for sight in Sight if sight is not Sight.STILL_NO_STORE)
"""What a process can see by looking once."""


def stands(contact: Contact, *, last: float = -HOUR, own: int = -1, connected: int = -1) -> Isolation:
    """A process in the first second of the minute. It has seen no store since `last`, or it, or another one, may have
    been isolated then."""
    isolation = Isolation()
    isolation.contact, isolation.looked = contact, HOUR + 0.75
    isolation._since = isolation._last = last
    isolation.own_minute, isolation._connected = own, (-1, connected)
    return isolation


def note(isolation: Isolation, sight: Sight, *, known_until: float = -inf) -> None:
    isolation.note(HOUR + 1, sight, known_until=known_until, answered=HOUR - 10)


def test_isolation_follows_its_table_from_each_state() -> None:
    for contact, row in ISOLATION.items():
        for sight in SIGHTS:
            isolation = stands(contact, last=HOUR + 0.5)
            note(isolation, sight)
            assert isolation.contact is row.get(sight, contact)


@pytest.mark.parametrize("sight", SIGHTS)
def test_a_process_that_saw_no_store_for_a_second_is_isolated_before_it_sees_one(sight: Sight) -> None:
    isolation = stands(Contact.UNSURE, last=HOUR)
    note(isolation, sight)
    assert isolation.contact is (Contact.CONNECTED if sight is Sight.LOG else Contact.ISOLATED)


LEAVES_IT = {
    Contact.CONNECTED: Sight.LOG,
    Contact.DOUBTFUL: Sight.REDIS_AGAIN,
    Contact.UNSURE: Sight.NO_STORE,
    Contact.ISOLATED: Sight.NO_STORE,
}
"""What a process sees that stays as it is."""

SURE = (Contact.CONNECTED, Contact.ISOLATED)

BEGUN: list[tuple[Contact, Edge, Stands, float]] = [
    (Contact.CONNECTED, Edge.NONE_ISOLATED, {"last": HOUR - ISOLATED_FOR - 0.25}, -inf),
    (Contact.CONNECTED, Edge.NONE_ISOLATED, {"last": HOUR + 0.5, "connected": MINUTE}, -inf),
    (Contact.CONNECTED, Edge.SOME_ISOLATED, {"last": HOUR - ISOLATED_FOR}, -inf),
    (Contact.CONNECTED, Edge.ALL_ISOLATED, {"last": HOUR + 0.5, "own": MINUTE}, -inf),
    (Contact.ISOLATED, Edge.SOME_CONNECTED, {"last": HOUR - ISOLATED_FOR + 0.25}, -inf),
    (Contact.ISOLATED, Edge.SOME_KNOW_IT, {"last": HOUR - ISOLATED_FOR}, HOUR - KNOWN_LATER + 0.25),
    (Contact.ISOLATED, Edge.ALL_ISOLATED, {"last": HOUR - ISOLATED_FOR}, HOUR - KNOWN_LATER),
]
"""What a process judges, how it stands, and until when it knows which store counts."""


@pytest.mark.parametrize(("contact", "edge", "standing", "known_until"), BEGUN)
def test_the_running_minute_is_what_the_table_says(
    contact: Contact, edge: Edge, standing: Stands, known_until: float
) -> None:
    isolation = stands(contact, **standing)
    note(isolation, LEAVES_IT[contact], known_until=known_until)
    assert isolation.standing_of(MINUTE) is FOLLOWS[contact][edge].standing


@pytest.mark.parametrize("contact", [Contact.DOUBTFUL, Contact.UNSURE])
@pytest.mark.parametrize("standing", [standing for contact, _, standing, _ in BEGUN if contact is Contact.CONNECTED])
def test_a_process_that_is_in_doubt_or_unsure_leaves_the_minute_as_it_is(contact: Contact, standing: Stands) -> None:
    seen: Stands = {**standing, "last": HOUR + 0.5}
    isolation = stands(contact, **seen)
    before = isolation.standing_of(MINUTE)
    note(isolation, LEAVES_IT[contact])
    assert isolation.standing_of(MINUTE) is before


def test_each_row_of_that_table_is_met() -> None:
    assert {contact: row.keys() for contact, row in FOLLOWS.items()} == {
        **{contact: set(Edge) for contact in (Contact.DOUBTFUL, Contact.UNSURE)},
        **{contact: {edge for state, edge, *_ in BEGUN if state is contact} for contact in SURE},
    }


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
