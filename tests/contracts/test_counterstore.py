"""`CounterStore`, in memory, in a real Redis, in a Redis Cluster and in a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.ratelimit.counterstore import CounterStore
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.stores.counters import PostgresCounters
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redis import RedisCounters, RedisLink

HOUR_START = 28_333_320
"""The number of a minute at which an hour begins (2023-11-14 22:00 UTC)."""
MINUTE = Window("minute", HOUR_START + 7)
NEXT_MINUTE = Window("minute", HOUR_START + 8)
NEXT_HOUR = Window("minute", HOUR_START + 60)
DAY = Window("day", HOUR_START // 1440)
NEXT_DAY = Window("day", HOUR_START // 1440 + 1)


@pytest.fixture(params=["memory", "redis", "cluster", "postgres"])
def server(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What kind of store, and the URL of its server."""
    fixtures = {"redis": "redis_url", "cluster": "redis_cluster_url", "postgres": "shared_database_url"}
    kind = request.param
    return kind, request.getfixturevalue(fixtures[kind]) if kind in fixtures else ""


@pytest.fixture
async def counters(server: tuple[str, str]) -> AsyncIterator[CounterStore]:
    kind, url = server
    if kind == "memory":
        yield MemoryCounters()
    elif kind in ("redis", "cluster"):
        link = RedisLink(url, timeout=5.0)
        store = RedisCounters(link, prefix="test")
        yield store
        await store.close()
        await link.close()
    else:
        postgres = PostgresTenants(url, timeout=5.0)
        await postgres.open()
        await postgres.fetch("emptying the counters", "delete from tenantcache.counters")
        yield PostgresCounters(postgres)
        await postgres.close()


@pytest.mark.parametrize("window", [MINUTE, DAY])
async def test_a_counter_starts_at_nothing_and_adds_up(counters: CounterStore, window: Window) -> None:
    assert await counters.debit("acme", [Debit(window, 5)]) == [5]
    assert await counters.debit("acme", [Debit(window, 3)]) == [8]


@pytest.mark.parametrize("window", [MINUTE, DAY])
async def test_reading_is_a_debit_of_nothing(counters: CounterStore, window: Window) -> None:
    assert await counters.debit("acme", [Debit(window, 0)]) == [0]
    await counters.debit("acme", [Debit(window, 5)])
    assert await counters.debit("acme", [Debit(window, 0)]) == [5]
    assert await counters.debit("acme", [Debit(window, 0)]) == [5]


@pytest.mark.parametrize("window", [MINUTE, DAY])
async def test_what_is_given_back_is_there_to_take(counters: CounterStore, window: Window) -> None:
    await counters.debit("acme", [Debit(window, 10)])
    assert await counters.debit("acme", [Debit(window, -4)]) == [6]


@pytest.mark.parametrize("window", [MINUTE, DAY])
async def test_no_counter_falls_below_nothing(counters: CounterStore, window: Window) -> None:
    """Tokens that come back into a counter that was lost meanwhile must not raise the limit."""
    assert await counters.debit("acme", [Debit(window, -40)]) == [0]
    assert await counters.debit("acme", [Debit(window, 1)]) == [1]
    assert await counters.debit("acme", [Debit(window, -40)]) == [0]
    assert await counters.debit("acme", [Debit(window, 0)]) == [0]


async def test_values_come_in_the_order_of_the_debits(counters: CounterStore) -> None:
    """Minutes of two hours and a day, mixed."""
    debits = [Debit(NEXT_HOUR, 1), Debit(DAY, 2), Debit(MINUTE, 3), Debit(NEXT_MINUTE, 4)]
    assert await counters.debit("acme", debits) == [1, 2, 3, 4]
    assert await counters.debit("acme", debits[::-1]) == [8, 6, 4, 2]


async def test_minutes_around_midnight(counters: CounterStore) -> None:
    """Two keys in Redis."""
    midnight = DAY.number * 1440 + 1440
    debits = [Debit(Window("minute", midnight + number), number + 5) for number in (-1, 0, 1)]
    assert await counters.debit("acme", [*debits, Debit(DAY, 2), Debit(NEXT_DAY, 3)]) == [4, 5, 6, 2, 3]
    assert await counters.debit("acme", [*debits[::-1], Debit(DAY, 0)]) == [12, 10, 8, 2]


async def test_a_whole_hour_in_one_call(counters: CounterStore) -> None:
    debits = [Debit(Window("minute", HOUR_START + number), number + 1) for number in range(60)]
    assert await counters.debit("acme", debits) == list(range(1, 61))
    assert await counters.debit("acme", debits) == list(range(2, 121, 2))


async def test_windows_do_not_touch_each_other(counters: CounterStore) -> None:
    windows = [MINUTE, NEXT_MINUTE, NEXT_HOUR, DAY, NEXT_DAY]
    for amount, window in enumerate(windows, start=1):
        await counters.debit("acme", [Debit(window, amount)])
    assert [(await counters.debit("acme", [Debit(window, 0)]))[0] for window in windows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("other", ["globex", "ACME", "acme:", "", "ac me\n", "ünï", "{acme}", "acme\x1fexports"])
async def test_tenants_do_not_touch_each_other(counters: CounterStore, other: str) -> None:
    debits = [Debit(MINUTE, 5), Debit(DAY, 7)]
    await counters.debit("acme", debits)
    assert await counters.debit(other, debits) == [5, 7]


async def test_no_debit_is_lost_among_many_at_once(counters: CounterStore) -> None:
    """Each is applied exactly once, and no two of them see the same value: that is what a limit rests on."""
    replies = await asyncio.gather(*(counters.debit("acme", [Debit(MINUTE, 1), Debit(DAY, 2)]) for _ in range(50)))
    assert sorted(minute for minute, _ in replies) == list(range(1, 51))
    assert sorted(day for _, day in replies) == list(range(2, 101, 2))


async def test_opposite_orders_at_once_do_not_lock_each_other_out(counters: CounterStore) -> None:
    debits = [Debit(Window("minute", HOUR_START + number), 1) for number in range(20)]
    await asyncio.gather(*(counters.debit("acme", debits[::step]) for step in (1, -1) * 15))
    assert await counters.debit("acme", [Debit(debit.window, 0) for debit in debits]) == [30] * 20


async def test_the_largest_limits_fit(counters: CounterStore) -> None:
    """A limit of a minute may be 2**31 - 1, that of a day 2**53 - 1, and two processes may ask for all of it."""
    debits = [Debit(MINUTE, 2**31 - 1), Debit(DAY, 2**53 - 1)]
    assert await counters.debit("acme", debits) == [2**31 - 1, 2**53 - 1]
    assert await counters.debit("acme", debits) == [2**32 - 2, 2**54 - 2]


async def test_reset_forgets_the_named_windows_and_no_others(counters: CounterStore) -> None:
    everything = [Debit(MINUTE, 1), Debit(NEXT_MINUTE, 2), Debit(DAY, 3), Debit(NEXT_DAY, 4)]
    await counters.debit("acme", everything)
    await counters.debit("globex", everything)
    await counters.reset("acme", [Debit(MINUTE, 99), Debit(DAY, 99)])
    nothing_more = [Debit(debit.window, 0) for debit in everything]
    assert await counters.debit("acme", nothing_more) == [0, 2, 0, 4]
    assert await counters.debit("globex", nothing_more) == [1, 2, 3, 4]


async def test_memory_forgets_the_windows_that_were_touched_longest_ago() -> None:
    counters = MemoryCounters(max_windows=2)
    for window in (MINUTE, NEXT_MINUTE, MINUTE, NEXT_HOUR):
        counters.add("acme", Debit(window, 1))
    values = [counters.add("acme", Debit(window, 0)) for window in (MINUTE, NEXT_HOUR, NEXT_MINUTE)]
    assert values == [2, 1, 0]
