"""On the change to Postgres and back no minute's limit is exceeded, whatever happens within the fault model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tenantcache.ratelimit.core.agreement import StoreChoice
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.minutestanding import MinuteStanding
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Window, minute_at
from tests.core.fleet_of_stores import STEP, World
from tests.thorough import THOROUGH, effort


def misfortune(world: World) -> None:
    """A minute of it."""
    random = world.random
    for process in world.processes:
        fate = random.random()
        if fate < 0.15:
            process.paused_until = world.now + random.uniform(0.5, 150)
        elif fate < 0.25:
            world.crash(process)
        elif fate < 0.3:
            world.leave(process)
        elif fate < 0.5:
            process.log_away_until = world.now + random.uniform(0.5, 150)
    if random.random() < 0.1:
        world.log_away_until = world.now + random.uniform(1, 60)
    if world.redis_away_until + 2.5 < world.now and random.random() < 0.4:
        world.redis_away_until = world.now + random.choice([0.3, 1.9, 3.0, 30.0, 100.0])
    world.run(random.uniform(5, 60))


def mild_misfortune(world: World) -> None:
    """A minute in which a process may be late, and most are there: minutes are handed over."""
    random = world.random
    for process in world.processes:
        fate = random.random()
        if fate < 0.1:
            process.paused_until = world.now + random.uniform(0.5, 40)
        elif fate < 0.12:
            world.crash(process)
        elif fate < 0.2:
            world.leave(process)
        elif fate < 0.3:
            process.log_away_until = world.now + random.uniform(0.5, 20)
    if world.redis_away_until + 2.5 < world.now and random.random() < 0.4:
        world.redis_away_until = world.now + random.choice([1.9, 2.5, 3.0, 30.0])
    world.run(random.uniform(5, 60))


def lose_both(world: World) -> None:
    """Both stores are lost together, often until shortly before or after an edge. Redis may stay away for longer."""
    random = world.random
    if max(world.log_away_until, world.redis_away_until) < world.now and random.random() < 0.5:
        length = random.choice([3.5, 6, 12, 30, 70, 150, 420])
        back = world.now + length
        if random.random() < 0.6:
            back += -back % 60 + random.uniform(-4, 4)
        world.log_away_until = max(back, world.now + 1)
        world.redis_away_until = back + random.choice([-3, 0, 1, 20, 90])
    world.run(random.uniform(3, 40))


def begun(seed: int) -> World:
    world = World(Random(seed), size=3 + seed % 2)
    world.lose_redis = bool(seed % 3)
    world.run(5)
    return world


def live(seed: int, minutes: int = 30, live_through: Callable[[World], None] = misfortune) -> World:
    world = begun(seed)
    for _ in range(minutes):
        live_through(world)
    return world


def goes_over(seed: int, live_through: Callable[[World], None] = misfortune, minutes: int = 30) -> bool:
    """Whether that walk exceeds the limit. It ends as soon as it does."""
    world = begun(seed)
    for _ in range(minutes):
        live_through(world)
        if world.over_admitted():
            return True
    return False


@pytest.mark.parametrize("seed", range(8, effort(10, 30)))
def test_no_minute_is_over_its_limit(seed: int) -> None:
    assert live(seed).over_admitted() == {}


@pytest.mark.parametrize("seed", range(8, effort(11, 40)))
def test_no_minute_that_is_handed_over_is_over_its_limit(seed: int) -> None:
    assert live(seed, live_through=mild_misfortune).over_admitted() == {}


@settings(max_examples=effort(2, 15), deadline=None)
@given(st.integers(min_value=1000))
def test_no_minute_that_is_handed_over_is_over_its_limit_for_any_seed(seed: int) -> None:
    assert live(seed, live_through=mild_misfortune).over_admitted() == {}


def test_a_fleet_that_loses_both_stores_is_not_over_its_limit_and_goes_on_within_a_minute() -> None:
    handed_over = 0
    for seed in range(4, 8) if THOROUGH else (4, 7):
        world = World(Random(seed), size=3 + seed % 2)
        world.local, world.lose_redis = True, bool(seed % 3)
        world.run(5)
        for _ in range(40):
            lose_both(world)
        assert world.over_admitted() == {}
        handed_over += len(world.postgres.handed_over)
    assert handed_over >= 2


def test_mild_walks_hand_minutes_over_and_sometimes_cannot() -> None:
    """3 finds each rule of the hand-over that is left out."""
    worlds = [live(seed, live_through=mild_misfortune) for seed in range(effort(4, 8))]
    assert not any(world.over_admitted() for world in worlds)
    left = sum(change.store == "postgres" for world in worlds for change in world.postgres.changes)
    handed_over = sum(len(world.postgres.handed_over) for world in worlds)
    assert 5 <= handed_over <= left - 5


@settings(max_examples=effort(2, 15), deadline=None)
@given(st.integers(min_value=1000))
def test_no_minute_is_over_its_limit_for_any_seed(seed: int) -> None:
    assert live(seed).over_admitted() == {}


@pytest.mark.slow
def test_the_walks_lead_there_and_back() -> None:
    """They would prove nothing if the fleet stayed with its store, or admitted nothing. 5, 7 and 31 are among the seeds
    that find a rule of `failover.py` that is left out."""
    lead_there_and_back([live(seed) for seed in (range(8) if THOROUGH else (2, 5, 7, 31))])


def lead_there_and_back(worlds: Sequence[World]) -> None:
    assert not any(world.over_admitted() for world in worlds)
    ways = [(change.previous, change.store) for world in worlds for change in world.postgres.changes]
    assert ways.count(("redis", "postgres")) >= 8
    assert ways.count(("postgres", "redis")) >= 8
    assert sum(max(world.admitted.values()) == 40 for world in worlds) * 4 >= 3 * len(worlds)


def quiet_fleet() -> World:
    world = World(Random(7), size=3, limit=40)
    world.run(120)
    return world


@pytest.mark.parametrize("second", range(0, 60, 4))
def test_a_fleet_that_is_all_there_goes_on_in_the_running_minute(second: int) -> None:
    """Within 3 s, whenever Redis dies, with messages as quick as those of a healthy Postgres."""
    world = World(Random(second), size=4)
    world.delays, world.postgres.commits = [0.0], [0.0]
    world.run(60)
    world.run(60 - world.now % 60 + second)
    gone_at, world.redis_away_until = world.now, world.now + 1000
    world.run(3)
    assert world.postgres.row.store == "postgres"
    assert world.postgres.row.from_minute * 60 <= gone_at + 3
    world.run(60 - world.now % 60)
    assert [world.admitted[Window("minute", minute)] for minute in world.postgres.handed_over] == [40]
    assert world.over_admitted() == {}


def test_a_fleet_leaves_redis_at_once_however_short_after_an_outage_of_the_log() -> None:
    """It is away over an edge. Processes stand still for a second now and then, though not over the edge itself: one
    that does cannot tell whether it was isolated."""
    before: set[MinuteStanding] = set()
    for offset in range(0, 121, effort(20, 10)):
        world = World(Random(offset), size=2, limit=400)
        world.demand, world.delays, world.postgres.commits = (1,), [0.0, 0.01, 0.2], [0.0, 0.1]
        world.run(120 - world.now % 60 + 45)
        world.log_away_until = world.now + 25
        while world.log_away_until > world.now:
            for process in world.processes:
                if world.random.random() < 0.02 and world.now % 60 < 57:
                    process.paused_until = world.now + 1.5
            world.run(STEP)
        world.run(offset)
        minute = minute_at(world.now)
        before |= {process.failover.standing_of(minute) for process in world.processes}
        world.redis_away_until = world.now + 1000
        world.run(5)
        standings = {process.failover.standing_of(minute_at(world.now)) for process in world.processes}
        assert standings == {MinuteStanding.IN_POSTGRES}, offset
        assert world.over_admitted() == {}
    assert MinuteStanding.LOST in before


def test_a_minute_is_not_handed_over_without_a_process_that_was_killed() -> None:
    world = World(Random(3), size=4)
    world.delays, world.postgres.commits = [0.0], [0.0]
    world.run(120 - world.now % 60)
    world.crash(world.processes[0])
    world.redis_away_until = world.now + 1000
    world.run(30)
    assert (world.postgres.row.store, world.postgres.handed_over) == ("postgres", [])
    assert world.postgres.row.from_minute * 60 > world.now
    assert world.over_admitted() == {}


def test_a_minute_is_handed_over_without_processes_that_left_in_order() -> None:
    """A deployment that drops Redis, or a restart while Redis is away."""
    world = World(Random(3), size=4)
    world.delays, world.postgres.commits = [0.0], [0.0]
    world.run(130 - world.now % 60)
    before = world.admitted[Window("minute", minute_at(world.now))]
    assert before > 0
    world.redis_away_until = world.now + 1000
    for process in world.processes:
        world.leave(process)
    world.run(3)
    assert world.postgres.handed_over == [minute_at(world.now)]
    world.run(60 - world.now % 60)
    assert world.admitted[Window("minute", world.postgres.handed_over[0])] == 40


def cut_off_before_it_is_known(seed: int) -> World:
    """A process that has just started loses Postgres before it could register; then Redis dies."""
    world = World(Random(seed), size=2, limit=300)
    world.delays, world.postgres.commits = [0.0], [0.0]
    world.run(125 - world.now % 60)
    new = world.processes[0]
    world.leave(new)
    new.next_hold = world.now + 1000
    world.run(3)
    new.log_away_until, world.redis_away_until = world.now + 1000, world.now + 1000
    world.run(50 - world.now % 60)
    assert world.postgres.handed_over == [minute_at(world.now)]
    return world


def test_a_process_that_postgres_does_not_know_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(cut_off_before_it_is_known(seed).over_admitted() for seed in range(10))
    monkeypatch.setattr("tenantcache.ratelimit.core.handover.Handover.covers", lambda *_, **__: True)
    assert any(cut_off_before_it_is_known(seed).over_admitted() for seed in range(10))


def test_a_fleet_moves_within_a_minute_and_the_limit_stays_usable() -> None:
    world = quiet_fleet()
    world.crash(world.processes[0])  # which cannot report, so the fleet waits for an edge
    world.redis_away_until = world.now + 1000
    gone_at = world.now
    world.run(90)
    assert [change.store for change in world.postgres.changes] == ["redis", "postgres"]
    # Found gone (at once, and 2 s), announced (0.4 s), committed (8 s), and the next edge 5 s later at the earliest.
    assert gone_at + 5 < world.postgres.row.from_minute * 60 <= gone_at + 2.75 + 0.5 + 8 + 5 + 60
    world.run(180)
    minutes = sorted(world.admitted)[-4:-1]
    assert [world.admitted[minute] for minute in minutes] == [40, 40, 40]


def test_a_fleet_comes_back_after_a_minute_of_quiet_and_not_before() -> None:
    world = quiet_fleet()
    world.redis_away_until = world.now + 200
    world.run(200)
    back_at = world.now
    world.run(200)
    assert [change.store for change in world.postgres.changes] == ["redis", "postgres", "redis"]
    assert back_at + 48 <= world.postgres.changes[-1].changed_at <= back_at + 62  # the last report is up to 12 s older
    world.run(120)
    assert max(world.admitted[minute] for minute in sorted(world.admitted)[-3:]) == 40


def test_limits_stay_whole_while_the_log_is_away_and_redis_is_not() -> None:
    world = quiet_fleet()
    world.demand = (2,)  # evenly: no process gives back what another one has just been refused
    world.log_away_until = world.now + 600
    world.run(300)
    minutes = sorted(world.admitted)[-4:-1]
    assert [world.admitted[minute] for minute in minutes] == [40, 40, 40]
    assert world.over_admitted() == {}


def test_a_redis_that_comes_and_goes_is_not_followed_each_time() -> None:
    world = quiet_fleet()
    for _ in range(30):
        world.redis_away_until = world.now + 20
        world.run(100)
    changes = len(world.postgres.changes) - 1
    assert 2 <= changes <= 6  # of 30 failures in 50 minutes
    assert world.over_admitted() == {}


@pytest.mark.parametrize("seed", range(effort(2, 16)))
def test_a_fleet_that_loses_everything_together_exceeds_no_limit(seed: int) -> None:
    """Neither on its own shares, nor on the way there and back."""
    world = World(Random(seed), size=4)
    world.local = True
    world.run(60)
    for _ in range(15):
        seconds = world.random.choice([2.0, 3.2, 4.0, 6.0, 20.0, 70.0, 130.0])
        world.redis_away_until = world.log_away_until = world.now + seconds
        world.run(seconds + world.random.uniform(5, 90))
    assert world.over_admitted() == {}
    assert any(process.meter.shares for process in world.processes)


@pytest.mark.parametrize("seed", range(effort(2, 12)))
def test_no_take_over_two_stores_exceeds_a_limit(seed: int) -> None:
    """The day is in Postgres and the minutes are in Redis; requests cost up to 5, and some are given back."""
    assert two_stores(seed).over_admitted() == {}


def two_stores(seed: int, minutes: int = 15) -> World:
    world = World(Random(seed), size=3, per_day=400)
    world.postgres.row = StoreChoice(1, "redis", int(world.now // 60), "postgres")
    world.costs, world.silent = (1, 1, 2, 5), 0.1
    world.run(5)
    for _ in range(minutes):
        misfortune(world)
    return world


def test_those_takes_use_what_they_are_granted() -> None:
    """Most of the minutes' limit; and each store has counted its own."""
    world = two_stores(3)
    assert world.admitted_in_days.total() > 100
    assert max(world.admitted.values()) > 30
    units = {store: {window.unit for window in counters} for store, counters in world.counters.items()}
    assert units["redis"] == {"minute", "quarter"}
    assert "day" in units["postgres"]


def test_the_walks_find_what_was_granted_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Reservation.settle

    def trusting(reservation: Reservation, take: Take, values: Sequence[int | None], now: float) -> Take | None:
        filled = [line.claim if value is None else value for line, value in zip(take.lines, values, strict=True)]
        return settle(reservation, take, filled, now)

    monkeypatch.setattr(Reservation, "settle", trusting)
    assert any(two_stores(seed).over_admitted() for seed in range(28, 60))


SABOTAGE: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "an announcement gives no notice": lambda patch: patch.setattr("tests.core.fleet_postgres.NOTICE_GIVEN", 0.0),
    "a later minute's tokens are spent whatever their version": lambda patch: patch.setattr(
        "tenantcache.ratelimit.core.failover.Failover.version_of", lambda *_: 0
    ),
    "what was known once is known forever": lambda patch: patch.setattr(
        "tenantcache.ratelimit.core.agreement.Agreement.store_of",
        lambda self, minute: self.choice.store if minute >= self.choice.from_minute else self.choice.previous,
    ),
    "a pause breaks no chain of answers": lambda patch: patch.setattr(
        "tenantcache.ratelimit.core.redishealth.WITNESS_GAP", 1e9
    ),
}
SABOTAGE_OF_HANDOVER: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a minute is handed over without some": lambda patch: patch.setattr(
        "tests.core.fleet_postgres.WAITS_FOR_ALL", False
    ),
    "a process takes after its report": lambda patch: patch.setattr(
        "tenantcache.ratelimit.core.handover.Handover.has_given_up", lambda *_: False
    ),
    "nothing is reported": lambda patch: patch.setattr(
        "tenantcache.ratelimit.core.reservation.Reservation.hand_over", lambda *_: 0
    ),
}

FOUND_WITH = {"a pause breaks no chain of answers": 4}
"""A seed that is known to find it within few minutes, which is tried first. 15 is one for the others."""


@pytest.mark.parametrize("name", SABOTAGE)
def test_the_walks_find_each_rule_that_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    SABOTAGE[name](monkeypatch)
    assert any(goes_over(seed) for seed in [FOUND_WITH.get(name, 15), *range(15, 55)])


@pytest.mark.parametrize("name", SABOTAGE_OF_HANDOVER)
def test_the_walks_find_each_rule_of_the_hand_over_that_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    SABOTAGE_OF_HANDOVER[name](monkeypatch)
    assert any(goes_over(seed, mild_misfortune) for seed in range(3, 60))
