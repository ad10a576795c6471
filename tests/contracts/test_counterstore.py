"""`CounterStore`, in memory, in a real Redis, in a Redis Cluster and in a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantcache.ratelimit.core.windows import OUT_OF_REACH, Debit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits, CounterStore
from tenantcache.ratelimit.memorycounters import MemoryCounters
from tenantcache.ratelimit.slots import GROUP_SIZE
from tenantcache.stores.counters import PostgresCounters
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscounters import RedisCounters
from tests.fakes import debit_one

HOUR_START = 28_333_320
"""The number of a minute at which an hour begins (2023-11-14 22:00 UTC)."""
MINUTE = Window("minute", HOUR_START + 7)
NEXT_MINUTE = Window("minute", HOUR_START + 8)
NEXT_HOUR = Window("minute", HOUR_START + 60)
QUARTER = Window("quarter", HOUR_START // 15)
NEXT_QUARTER = Window("quarter", HOUR_START // 15 + 1)
DAY = Window("day", HOUR_START // 1440)
NEXT_DAY = Window("day", HOUR_START // 1440 + 1)


ACME = Account("acme", 0)


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


@pytest.mark.parametrize("window", [MINUTE, QUARTER, DAY])
async def test_a_counter_starts_at_nothing_and_adds_up(counters: CounterStore, window: Window) -> None:
    assert await debit_one(counters, "acme", [Debit(window, 5)]) == [5]
    assert await debit_one(counters, "acme", [Debit(window, 3)]) == [8]


@pytest.mark.parametrize("window", [MINUTE, QUARTER, DAY])
async def test_reading_is_a_debit_of_nothing(counters: CounterStore, window: Window) -> None:
    assert await debit_one(counters, "acme", [Debit(window, 0)]) == [0]
    await debit_one(counters, "acme", [Debit(window, 5)])
    assert await debit_one(counters, "acme", [Debit(window, 0)]) == [5]
    assert await debit_one(counters, "acme", [Debit(window, 0)]) == [5]


@pytest.mark.parametrize("window", [MINUTE, QUARTER, DAY])
async def test_what_is_given_back_is_there_to_take(counters: CounterStore, window: Window) -> None:
    await debit_one(counters, "acme", [Debit(window, 10)])
    assert await debit_one(counters, "acme", [Debit(window, -4)]) == [6]


@pytest.mark.parametrize("window", [MINUTE, QUARTER, DAY])
async def test_no_counter_falls_below_nothing(counters: CounterStore, window: Window) -> None:
    """Tokens that come back into a counter that was lost meanwhile must not raise the limit."""
    assert await debit_one(counters, "acme", [Debit(window, -40)]) == [0]
    assert await debit_one(counters, "acme", [Debit(window, 1)]) == [1]
    assert await debit_one(counters, "acme", [Debit(window, -40)]) == [0]
    assert await debit_one(counters, "acme", [Debit(window, 0)]) == [0]


async def test_values_come_in_the_order_of_the_debits(counters: CounterStore) -> None:
    """Minutes of two hours, a quarter and a day, mixed."""
    debits = [Debit(NEXT_HOUR, 1), Debit(DAY, 2), Debit(MINUTE, 3), Debit(QUARTER, 4), Debit(NEXT_MINUTE, 5)]
    assert await debit_one(counters, "acme", debits) == [1, 2, 3, 4, 5]
    assert await debit_one(counters, "acme", debits[::-1]) == [10, 8, 6, 4, 2]


async def test_minutes_around_midnight(counters: CounterStore) -> None:
    """Four keys in Redis."""
    midnight = DAY.number * 1440 + 1440
    debits = [Debit(Window("minute", midnight + number), number + 5) for number in (-1, 0, 1)]
    assert await debit_one(counters, "acme", [*debits, Debit(DAY, 2), Debit(NEXT_DAY, 3)]) == [4, 5, 6, 2, 3]
    assert await debit_one(counters, "acme", [*debits[::-1], Debit(DAY, 0)]) == [12, 10, 8, 2]


async def test_a_whole_hour_in_one_call(counters: CounterStore) -> None:
    debits = [Debit(Window("minute", HOUR_START + number), number + 1) for number in range(60)]
    assert await debit_one(counters, "acme", debits) == list(range(1, 61))
    assert await debit_one(counters, "acme", debits) == list(range(2, 121, 2))


async def test_windows_do_not_touch_each_other(counters: CounterStore) -> None:
    windows = [MINUTE, NEXT_MINUTE, NEXT_HOUR, QUARTER, NEXT_QUARTER, DAY, NEXT_DAY]
    for amount, window in enumerate(windows, start=1):
        await debit_one(counters, "acme", [Debit(window, amount)])
    assert [(await debit_one(counters, "acme", [Debit(window, 0)]))[0] for window in windows] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("other", ["globex", "ACME", "acme:", "", "ac me\n", "ünï", "{acme}", "acme\x1fexports"])
async def test_tenants_do_not_touch_each_other(counters: CounterStore, other: str) -> None:
    debits = [Debit(MINUTE, 5), Debit(DAY, 7)]
    await debit_one(counters, "acme", debits)
    assert await debit_one(counters, other, debits, slot=1) == [5, 7]


async def test_no_debit_is_lost_among_many_at_once(counters: CounterStore) -> None:
    """Each is applied exactly once, and no two of them see the same value: that is what a limit rests on."""
    debits = [Debit(MINUTE, 1), Debit(DAY, 2)]
    replies = await asyncio.gather(*(debit_one(counters, "acme", debits) for _ in range(50)))
    assert sorted(minute for minute, _ in replies) == list(range(1, 51))
    assert sorted(day for _, day in replies) == list(range(2, 101, 2))


async def test_opposite_orders_at_once_do_not_lock_each_other_out(counters: CounterStore) -> None:
    debits = [Debit(Window("minute", HOUR_START + number), 1) for number in range(20)]
    await asyncio.gather(*(debit_one(counters, "acme", debits[::step]) for step in (1, -1) * 15))
    assert await debit_one(counters, "acme", [Debit(debit.window, 0) for debit in debits]) == [30] * 20


async def test_the_largest_limits_fit(counters: CounterStore) -> None:
    """A limit of a minute may be 2**31 - 1, that of a day 2**53 - 1, and two processes may ask for all of it."""
    debits = [Debit(MINUTE, 2**31 - 1), Debit(DAY, 2**53 - 1)]
    assert await debit_one(counters, "acme", debits) == [2**31 - 1, 2**53 - 1]
    assert await debit_one(counters, "acme", debits) == [2**32 - 2, 2**54 - 2]


async def test_accounts_in_one_call_are_debited_each_by_itself(counters: CounterStore) -> None:
    """Of three groups: the first and the last slot of each, and some between them."""
    slots = [0, 1, GROUP_SIZE // 2, GROUP_SIZE - 1, GROUP_SIZE, 2 * GROUP_SIZE - 1, 2 * GROUP_SIZE]
    accounts = [Account(f"tenant-{slot}", slot) for slot in slots]
    windows = [MINUTE, DAY, QUARTER, NEXT_HOUR, NEXT_DAY]
    batch = [
        AccountDebits(account, [Debit(window, 10 * number + place) for place, window in enumerate(windows, start=1)])
        for number, account in enumerate(accounts, start=1)
    ]
    once = [[10 * number + place for place in range(1, 6)] for number in range(1, 8)]
    twice = [[2 * value for value in values] for values in once]
    assert await counters.debit(batch) == once
    assert await counters.debit(batch[::-1]) == twice[::-1]
    for account, values in zip(accounts, twice, strict=True):
        nothing_more = [Debit(window, 0) for window in windows]
        assert await debit_one(counters, account.owner, nothing_more, account.slot) == values


async def test_accounts_may_be_debited_of_other_windows_in_one_call(counters: CounterStore) -> None:
    batch = [
        AccountDebits(Account("acme", 0), [Debit(MINUTE, 1)]),
        AccountDebits(Account("globex", 1), []),
        AccountDebits(Account("initech", 2), [Debit(DAY, -5), Debit(NEXT_QUARTER, 2), Debit(NEXT_MINUTE, 0)]),
    ]
    assert await counters.debit(batch) == [[1], [], [0, 2, 0]]
    assert await counters.debit([]) == []


async def test_more_than_fit_into_one_command(counters: CounterStore) -> None:
    """Each account of a group, by a quarter and its minutes: 4 of them are more than one command may have."""
    windows = [QUARTER, *(Window("minute", HOUR_START + number) for number in range(15))]
    batch = [
        AccountDebits(Account(f"t{slot}", slot), [Debit(window, slot + 1) for window in windows]) for slot in range(700)
    ]
    assert await counters.debit(batch) == [[slot + 1] * 16 for slot in range(700)]
    assert await counters.debit(batch) == [[2 * slot + 2] * 16 for slot in range(700)]


async def test_two_debits_of_one_window_are_both_made(counters: CounterStore) -> None:
    """Each says what the counter holds after it, or after both."""
    [first, second, other] = await debit_one(counters, "acme", [Debit(MINUTE, 2), Debit(MINUTE, 3), Debit(DAY, 1)])
    assert (first in (2, 5), second, other) == (True, 5, 1)


@pytest.mark.parametrize("edge", [14, 15, 29, 30, 59, 60])
async def test_minutes_at_the_edge_of_a_quarter_lie_in_theirs(counters: CounterStore, edge: int) -> None:
    """And touch neither the quarter's own counter nor those of the slots beside theirs."""
    minute, quarter = Window("minute", HOUR_START + edge), Window("quarter", (HOUR_START + edge) // 15)
    debits = [Debit(minute, 3), Debit(quarter, 5)]
    assert await debit_one(counters, "acme", debits, slot=1) == [3, 5]
    for owner, slot in (("before", 0), ("after", 2)):
        assert await debit_one(counters, owner, debits, slot) == [3, 5]
    around = [Debit(Window("minute", minute.number + ahead), 0) for ahead in (-1, 0, 1)]
    assert await debit_one(counters, "acme", around, slot=1) == [0, 3, 0]
    others = [Debit(Window("quarter", quarter.number + ahead), 0) for ahead in (-1, 0, 1)]
    assert await debit_one(counters, "acme", others, slot=1) == [0, 5, 0]


async def test_the_debits_of_one_quarter_are_applied_together(counters: CounterStore) -> None:
    """Among callers that take other accounts along, in other orders: of two callers, one comes first in every counter
    of the quarter. Each debits by another number, so that no two of them see the same values."""
    others = [Account(f"other-{slot}", slot) for slot in range(1, 6)]

    async def take(number: int) -> tuple[int, ...]:
        step = (-1) ** number
        mine = AccountDebits(ACME, [Debit(MINUTE, number), Debit(QUARTER, 1), Debit(NEXT_MINUTE, 2 * number)][::step])
        batch = [AccountDebits(account, [Debit(QUARTER, 1), Debit(MINUTE, 1)]) for account in others[number % 4 :]]
        batch.append(mine)
        if number % 3:
            batch.reverse()
        values = await counters.debit(batch)
        return tuple(value for value in values[batch.index(mine)][::step] if value is not OUT_OF_REACH)

    found = await asyncio.gather(*map(take, range(1, 61)))
    in_order = sorted(found, key=lambda values: values[1])
    assert [quarter for _, quarter, _ in in_order] == list(range(1, 61))
    minutes = [minute for minute, _, _ in in_order]
    assert minutes == sorted(set(minutes))
    assert [after for _, _, after in in_order] == [2 * minute for minute in minutes]


async def test_reset_forgets_the_named_windows_and_no_others(counters: CounterStore) -> None:
    windows = [MINUTE, NEXT_MINUTE, QUARTER, NEXT_QUARTER, DAY, NEXT_DAY]
    everything = [Debit(window, amount) for amount, window in enumerate(windows, start=1)]
    await debit_one(counters, "acme", everything)
    await debit_one(counters, "globex", everything, slot=1)
    await counters.reset(ACME, [MINUTE, QUARTER, DAY])
    nothing_more = [Debit(debit.window, 0) for debit in everything]
    assert await debit_one(counters, "acme", nothing_more) == [0, 2, 0, 4, 0, 6]
    assert await debit_one(counters, "globex", nothing_more, slot=1) == [1, 2, 3, 4, 5, 6]


async def test_memory_forgets_the_windows_that_were_touched_longest_ago() -> None:
    counters = MemoryCounters(max_windows=2)
    for window in (MINUTE, NEXT_MINUTE, MINUTE, NEXT_HOUR):
        counters.add("acme", Debit(window, 1))
    values = [counters.add("acme", Debit(window, 0)) for window in (MINUTE, NEXT_HOUR, NEXT_MINUTE)]
    assert values == [2, 1, 0]
