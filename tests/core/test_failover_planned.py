"""A fleet that leaves Redis for its budget, and comes back: no minute's limit is exceeded, and no request is refused.

The walks are those of `test_failover_fleet.py`, with changes of band among what happens. The dwell is shorter, so that
a walk has several moves; the rule is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tenantcache.budget.core.bands import DWELL, Band, BandChoice
from tenantcache.ratelimit.core.agreement import Store
from tenantcache.ratelimit.core.windows import MINUTE, Debit, Window, minute_at
from tests.core import test_failover_fleet
from tests.core.fleet_of_stores import World
from tests.core.test_failover_fleet import goes_over, lead_there_and_back, mild_misfortune, misfortune
from tests.thorough import THOROUGH, effort

SHORT_DWELL = 40.0
"""Seconds, in place of DWELL: less than a process may be without the log in these walks."""

UP = {Band.NORMAL: Band.THRIFT, Band.THRIFT: Band.NO_COPIES, Band.NO_COPIES: Band.NO_REDIS}


@contextmanager
def short_dwell() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenantcache.ratelimit.core.failover.DWELL", SHORT_DWELL)
        patch.setattr("tests.core.fleet_postgres.DWELL_GIVEN", SHORT_DWELL)
        yield patch  # a second one would be undone later, and leave what this one has set


def change_band(world: World) -> None:
    band = world.postgres.band.band
    if world.random.random() < 0.7 and band in UP:
        world.postgres.change_band(UP[band])
    elif world.random.random() < 0.4:
        world.postgres.change_band(Band.NORMAL)


def cut_off(world: World) -> None:
    """A minute in which processes lose the log, one for long, and Redis stays."""
    for process in world.processes:
        fate = world.random.random()
        if fate < 0.15:
            process.log_away_until = world.now + world.random.choice([5, 50, 120, 400])
        elif fate < 0.2:
            process.paused_until = world.now + world.random.uniform(0.5, 150)
    world.run(world.random.uniform(5, 60))


def with_bands(live_through: Callable[[World], None]) -> Callable[[World], None]:
    def live_through_both(world: World) -> None:
        change_band(world)
        live_through(world)

    return live_through_both


def live(seed: int, live_through: Callable[[World], None]) -> World:
    return test_failover_fleet.live(seed, live_through=with_bands(live_through))


WALKS = [misfortune, mild_misfortune, cut_off]


@pytest.mark.parametrize(
    ("live_through", "seed"),
    [(walk, seed) for walk in WALKS for seed in range(8 if walk is cut_off else 0, effort(2, 40))],
)
def test_no_minute_is_over_its_limit(seed: int, live_through: Callable[[World], None]) -> None:
    with short_dwell():
        assert live(seed, live_through).over_admitted() == {}


@settings(max_examples=effort(2, 30), deadline=None)
@given(st.integers(min_value=1000), st.sampled_from(WALKS))
def test_no_minute_is_over_its_limit_for_any_seed(seed: int, live_through: Callable[[World], None]) -> None:
    with short_dwell():
        assert live(seed, live_through).over_admitted() == {}


@pytest.mark.slow
def test_the_walks_lead_there_and_back() -> None:
    """5 and 24 are among the seeds that find a rule that is left out."""
    with short_dwell():
        lead_there_and_back([live(seed, cut_off) for seed in (range(8) if THOROUGH else (0, 4, 5, 24))])


SABOTAGE: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "Redis vouches for any time": lambda patch: patch.setattr("tenantcache.ratelimit.core.failover.DWELL", 1e9),
    "Redis vouches in the band before": lambda patch: patch.setattr(Band, "has_copies", True),
    "the band before is short": lambda patch: patch.setattr("tests.core.fleet_postgres.DWELL_GIVEN", 0.0),
}
FOUND_WITH = {"Redis vouches for any time": 1, "Redis vouches in the band before": 26, "the band before is short": 2}
"""A seed that is known to find it within few minutes, which is tried first."""


@pytest.mark.parametrize("name", SABOTAGE)
def test_the_walks_find_each_rule_that_is_left_out(name: str) -> None:
    with short_dwell() as patch:
        SABOTAGE[name](patch)
        assert any(goes_over(seed, with_bands(cut_off)) for seed in [FOUND_WITH[name], *range(60)])


# A fleet that is all there.


def governed_fleet(limit: int = 40, size: int = 4) -> World:
    world = World(Random(5), size=size, limit=limit)
    world.delays, world.postgres.commits = [0.0], [0.0]
    world.run(60)
    world.postgres.change_band(Band.THRIFT)
    world.postgres.change_band(Band.NO_COPIES)
    world.run(DWELL + 1)
    return world


@pytest.mark.parametrize("second", range(0, 60, effort(18, 6)))
def test_a_planned_move_takes_the_next_edge_and_loses_nothing(second: int) -> None:
    world = governed_fleet()
    world.demand = (2,)  # more than the limit
    world.run(60 - world.now % 60 + second)
    begun, minute = world.now, minute_at(world.now)
    world.postgres.change_band(Band.NO_REDIS)
    world.run(3)
    assert world.postgres.row.store == "postgres"
    assert begun + 5 < world.postgres.row.from_minute * MINUTE <= begun + 5 + 3 + MINUTE
    assert world.postgres.handed_over == []
    world.run(200)
    minutes = [world.admitted[Window("minute", number)] for number in range(minute, minute + 4)]
    assert minutes == [40, 40, 40, 40]


def test_redis_is_sent_nothing_after_the_edge_until_the_band_is_left() -> None:
    world = governed_fleet()
    sent: list[tuple[Store, Debit]] = []
    count = world.debit

    def watched(store: Store, debit: Debit) -> int:
        sent.append((store, debit))
        return count(store, debit)

    world.debit = watched  # type: ignore[method-assign]
    world.postgres.change_band(Band.NO_REDIS)
    world.run(70)
    sent.clear()
    world.run(600)
    for process in world.processes:
        world.leave(process)  # what it holds goes back
    world.run(600)
    assert len(sent) > 200
    assert {store for store, _ in sent} == {"postgres"}
    world.postgres.change_band(Band.NORMAL)
    world.run(130)
    assert world.postgres.row.store == "redis"
    assert world.over_admitted() == {}


def test_a_minute_is_handed_over_all_the_same_if_redis_is_lost_on_the_way() -> None:
    world = governed_fleet()
    world.run(70 - world.now % 60)
    world.postgres.change_band(Band.NO_REDIS)
    world.run(2)
    world.redis_away_until = world.now + 1000
    minute = minute_at(world.now)
    world.run(5)
    assert world.postgres.handed_over == [minute]
    assert world.over_admitted() == {}


def test_a_process_that_starts_in_the_last_band_counts_in_postgres() -> None:
    world = World(Random(5), size=1)
    world.delays, world.postgres.commits = [0.0], [0.0]
    world.postgres.band = BandChoice(3, Band.NO_REDIS)
    world.run(30)
    assert [change.store for change in world.postgres.changes] == ["postgres"]
    assert world.counters["redis"].total() == 0
