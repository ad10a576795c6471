"""Redis as a store: what is billed, what keys there are, and what an error or a slow answer does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import DataError

from tenantcache.budget.core.meter import Command, Purpose
from tenantcache.devservers import RedisServer, free_port
from tenantcache.errors import RejectedError, StoreError
from tenantcache.ratelimit.core.windows import Debit, Window
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.ratelimit.slots import GROUP_SIZE
from tenantcache.stores import rediscounters
from tenantcache.stores.packingconnection import packing_in_c
from tenantcache.stores.redis import OPEN_TIMEOUT, RedisLink
from tenantcache.stores.rediscopies import MAX_REPORTED, RedisCopies
from tenantcache.stores.rediscounters import MAX_OPERATIONS, RedisCounters
from tests.fakes import debit_one
from tests.servers.billing import BilledCommands

MINUTE = Window("minute", 28_333_327)  # 2023-11-14 22:07 UTC
QUARTER = Window("quarter", 1_888_888)  # the one of that minute
NEXT_QUARTER = Window("minute", 28_333_335)  # 2023-11-14 22:15 UTC
DAY = Window("day", 19_675)  # 2023-11-14
KEY = "test:ratelimit:0:20231114:2200"
DAY_KEY = "test:ratelimit:0:20231114:day"
ACME = Account("acme", 0)

SUSPENDED_REPLIES = [
    "ERR max requests limit exceeded. Limit: 500000, Usage: 500000.",
    "ERR Your database is suspended for exceeding its budget",
    "ERR quota exceeded",
    "ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.",
]


@pytest.fixture
async def link(redis_url: str) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis_url, timeout=5.0)
    yield link
    await link.close()


@pytest.fixture
async def counters(link: RedisLink) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(link, prefix="test")
    yield counters
    await counters.close()


def commands(*words: tuple[Any, ...]) -> list[Command]:
    return [Command(Purpose.LOOKUP, each) for each in words]


@pytest.fixture
async def plain(redis_url: str) -> AsyncIterator[Redis]:
    """A client of the test's own, to look behind the store's back."""
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@asynccontextmanager
async def a_server_that_says(reply: str | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The URL of a server with one answer to everything (None: no answer), and what it was sent."""
    received: list[bytes] = []
    clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        clients[this] = writer
        while data := await reader.read(65_536):
            received.append(data)
            if reply is not None:
                writer.write(f"-{reply}\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", received
    finally:
        server.close()
        for writer in clients.values():
            writer.close()
        await asyncio.gather(*clients)


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    """Stop the process, not the connections: what is sent meanwhile is answered afterwards."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


# What is billed.


async def test_connecting_is_free(link: RedisLink, billed_commands: BilledCommands) -> None:
    await link.open()
    assert billed_commands.by_command() == {}
    assert link.billed == 0


async def test_every_command_of_a_pipeline_is_billed(link: RedisLink, billed_commands: BilledCommands) -> None:
    await link.run(Purpose.LOOKUP, "GET", "a")
    await link.run_many(commands(("SET", "b", 1), ("GET", "b"), ("PING",)))
    assert billed_commands.by_command() == {"get": 2, "set": 1}


async def test_our_count_is_the_servers(
    counters: RedisCounters, link: RedisLink, billed_commands: BilledCommands
) -> None:
    copies = RedisCopies(link, prefix="test", ttl=60)
    await copies.put("subdomain:acme", b"x")
    await copies.get_many(["subdomain:acme"])
    await copies.get_many(["subdomain:acme", "subdomain:globex"])
    await copies.drop(["subdomain:acme", "subdomain:globex"])
    await debit_one(counters, "acme", [Debit(MINUTE, 1), Debit(DAY, 1)])
    await debit_one(counters, "acme", [Debit(DAY, -7)])
    await counters.reset(ACME, [MINUTE, DAY])
    await counters.close()
    assert link.billed == billed_commands.total() > 0


def everything_of(slots: range) -> list[AccountDebits]:
    """16 debits of each: all that there is in one quarter."""
    debits = [Debit(QUARTER, 1), *(Debit(Window("minute", 28_333_320 + number), 1) for number in range(15))]
    return [AccountDebits(Account(f"t{slot}", slot), debits) for slot in slots]


async def test_all_accounts_of_a_group_are_one_command(
    counters: RedisCounters, billed_commands: BilledCommands
) -> None:
    batch = [
        AccountDebits(Account(f"t{slot}", slot), [Debit(MINUTE, 1), Debit(QUARTER, 1)]) for slot in range(0, 2_048, 4)
    ]
    for takes in (1, 2):
        await counters.debit(batch)
        await counters.close()
        assert billed_commands.by_command() == {"bitfield": takes, "expire": 1}, "the first touch sets the expiry"


async def test_each_string_that_a_batch_touches_is_one_command_more(
    counters: RedisCounters, billed_commands: BilledCommands
) -> None:
    debits = [Debit(MINUTE, 1), Debit(QUARTER, 1), Debit(DAY, 1), Debit(NEXT_QUARTER, 1)]
    slots = [0, 1, GROUP_SIZE - 1, GROUP_SIZE, GROUP_SIZE + 1]
    await counters.debit([AccountDebits(Account(f"t{slot}", slot), debits) for slot in slots])
    await counters.close()
    assert billed_commands.by_command() == {"bitfield": 6, "expire": 6}, "two groups, each by three strings"


async def test_what_is_too_large_for_one_command_is_split_between_accounts(
    counters: RedisCounters, plain: Redis, billed_commands: BilledCommands
) -> None:
    """187 accounts have 2,992 operations, and 8 more fit: not 16."""
    await counters.debit(everything_of(range(MAX_OPERATIONS // 16)))
    assert billed_commands.by_command()["bitfield"] == 1
    await counters.debit(everything_of(range(MAX_OPERATIONS // 16 + 1)))
    await counters.close()
    assert billed_commands.by_command() == {"bitfield": 3, "expire": 1}
    assert await plain.bitfield(KEY).get("u32", "#0").execute() == [3], "the takes of it"


def bytes_on_the_wire(word: object) -> int:
    """It comes after a line with its length."""
    sent = word if isinstance(word, bytes) else str(word).encode()
    return len(b"$%d\r\n%b\r\n" % (len(sent), sent))


async def test_the_largest_command_is_far_from_what_providers_refuse(
    counters: RedisCounters, link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 MB at some of them."""
    sent: list[tuple[Any, ...]] = []

    async def note(commands: list[Command], **_: Any) -> tuple[list[Any], None]:
        sent.extend(command.words for command in commands)
        return [[0] * MAX_OPERATIONS for _ in commands], None

    monkeypatch.setattr(link, "try_many", note)
    debits = [
        Debit(Window("day", 19_675), 2**53),
        *(Debit(debit.window, 2**31 - 1) for debit in everything_of(range(1))[0].debits),
    ]
    await counters.debit([AccountDebits(Account(f"t{slot}", slot), debits) for slot in range(2_048)])
    assert len(sent) > 10
    assert max(sum(map(bytes_on_the_wire, command)) for command in sent) < 180_000


async def test_what_is_only_read_makes_no_key(
    counters: RedisCounters, plain: Redis, billed_commands: BilledCommands
) -> None:
    assert await debit_one(counters, "acme", [Debit(MINUTE, 0), Debit(DAY, 0)]) == [0, 0]
    await counters.close()
    assert billed_commands.by_command() == {"bitfield": 2}
    assert await plain.keys("*") == []


async def test_what_goes_wrong_with_one_string_leaves_the_values_of_the_others(
    link: RedisLink, counters: RedisCounters, plain: Redis
) -> None:
    for key in (DAY_KEY, f"{DAY_KEY}:2"):
        await plain.lpush(key, "not ours")
    batch = [
        AccountDebits(ACME, [Debit(DAY, 1), Debit(MINUTE, 2)]),
        AccountDebits(Account("globex", GROUP_SIZE), [Debit(DAY, 3), Debit(MINUTE, 4)]),
        AccountDebits(Account("initech", 1), [Debit(DAY, 5)]),
    ]
    for times in (1, 2):
        with pytest.raises(RejectedError, match="WRONGTYPE") as caught:
            await counters.debit(batch)
        assert caught.value.values == [[None, 2 * times], [3 * times, 4 * times], [None]]
    assert link.breaker.state == "closed"
    await counters.close()
    assert await plain.ttl(KEY) > 0
    with pytest.raises(RejectedError) as caught:
        await counters.debit(batch[2:])
    assert caught.value.values == (), "of nothing"


async def test_a_key_that_is_not_ours_is_left_alone_and_counted_in_another_one(
    link: RedisLink, counters: RedisCounters, plain: Redis, billed_commands: BilledCommands
) -> None:
    """By all processes: Redis tells each of them that the key holds something else."""
    await plain.lpush(KEY, "not ours")
    billed_commands.reset()
    assert await debit_one(counters, "acme", [Debit(MINUTE, 5), Debit(QUARTER, 1), Debit(DAY, 7)]) == [5, 1, 7]
    assert await debit_one(counters, "acme", [Debit(MINUTE, 2), Debit(QUARTER, 0)]) == [7, 1]
    await counters.close()
    assert billed_commands.by_command() == {"bitfield": 4, "expire": 2}, "one of them is rejected"
    other = RedisCounters(link, prefix="test")
    assert await debit_one(other, "acme", [Debit(MINUTE, 1), Debit(QUARTER, 0)]) == [8, 1]
    await other.close()
    assert await plain.type(KEY) == b"list"
    assert sorted(await plain.keys("*")) == sorted([KEY.encode(), f"{KEY}:2".encode(), DAY_KEY.encode()])
    assert await plain.ttl(f"{KEY}:2") > 0


# The keys.


async def test_counters_are_where_the_design_says(counters: RedisCounters, plain: Redis) -> None:
    debits = [Debit(MINUTE, 5), Debit(QUARTER, 6), Debit(DAY, 7), Debit(NEXT_QUARTER, 8)]
    await debit_one(counters, "acme", debits, slot=2)
    await debit_one(counters, "globex", debits, slot=2 * GROUP_SIZE)
    await counters.close()
    keys = [f"test:ratelimit:{group}:20231114:{string}" for group in (0, 2) for string in ("2200", "2215", "day")]
    assert sorted(await plain.keys("*")) == [key.encode() for key in keys]
    quarter = plain.bitfield(KEY).get("u32", "#0").get("u32", "#48").get("u32", "#56")
    assert await quarter.execute() == [1, 6, 5], "the takes, the quarter, and its minute 7"
    assert await plain.strlen(KEY) == 64 + 2 * 64 + 4 * 9
    assert await plain.bitfield(keys[1]).get("u32", "#0").get("u32", "#49").execute() == [1, 8]
    day = plain.bitfield(DAY_KEY).get("u32", 0).get("u63", 64 + 2 * 64)
    assert await day.execute() == [1, 7]
    assert await plain.strlen(DAY_KEY) == 8 + 2 * 8 + 8


async def test_the_last_slot_of_a_group_is_the_end_of_its_strings(counters: RedisCounters, plain: Redis) -> None:
    debits = [Debit(Window("minute", 28_333_334), 1), Debit(DAY, 1)]
    await debit_one(counters, "acme", debits, slot=GROUP_SIZE - 1)
    assert await plain.strlen(KEY) == 64 * (GROUP_SIZE + 1)
    assert await plain.strlen(DAY_KEY) == 8 * (GROUP_SIZE + 1)


@pytest.mark.parametrize("unit", ["minute", "quarter"])
async def test_counters_of_a_quarter_are_kept_for_an_hour_after_it(
    counters: RedisCounters, plain: Redis, unit: Literal["minute", "quarter"]
) -> None:
    quarter = int(time.time()) // 900
    await debit_one(counters, "acme", [Debit(Window(unit, quarter * 15 if unit == "minute" else quarter), 5)])
    await counters.close()
    [key] = await plain.keys("*")
    assert 0 <= time.time() + await plain.ttl(key) - (quarter * 900 + 900 + 3600) + 1 <= 2


async def test_counters_of_a_date_are_kept_until_it_is_over_everywhere(counters: RedisCounters, plain: Redis) -> None:
    today = int(time.time()) // 86_400
    await debit_one(counters, "acme", [Debit(Window("day", today), 5)])
    await counters.close()
    [key] = await plain.keys("*")
    end = (today + 1) * 86_400
    assert end + 12 * 3600 <= time.time() + await plain.ttl(key) <= end + 13 * 3600 + 1


async def test_a_reset_is_one_command_a_string_and_leaves_no_key_for_ever(
    counters: RedisCounters, plain: Redis, billed_commands: BilledCommands
) -> None:
    await counters.reset(ACME, [MINUTE, QUARTER, DAY])
    await counters.close()
    assert billed_commands.by_command() == {"bitfield": 2, "expire": 2}
    assert await plain.ttl(KEY) > 0


async def test_counters_of_a_time_long_past_do_not_stay(counters: RedisCounters, plain: Redis) -> None:
    await debit_one(counters, "acme", [Debit(MINUTE, 5), Debit(DAY, 5)])
    await counters.close()
    assert 3_590 <= await plain.ttl(KEY) <= 3_600
    assert 3_590 <= await plain.ttl(DAY_KEY) <= 3_600


async def test_a_minute_saturates_and_touches_no_other(counters: RedisCounters) -> None:
    """Without OVERFLOW SAT a field would wrap around to 0, and the whole limit would be free again."""
    last = [Debit(MINUTE, 2**32 - 1), Debit(Window("minute", MINUTE.number + 1), 1), Debit(QUARTER, 2**32 - 1)]
    assert await debit_one(counters, "acme", last) == [2**32 - 1, 1, 2**32 - 1]
    assert await debit_one(counters, "acme", last) == [2**32 - 1, 2, 2**32 - 1]


async def test_a_day_saturates_and_touches_no_other(counters: RedisCounters) -> None:
    most = [Debit(DAY, 2**63 - 1)]
    assert await debit_one(counters, "acme", most) == [2**63 - 1]
    assert await debit_one(counters, "globex", [Debit(DAY, 1)], slot=1) == [1]
    assert await debit_one(counters, "acme", most) == [2**63 - 1]
    assert await debit_one(counters, "globex", [Debit(DAY, 1)], slot=1) == [2]


async def test_a_copy_has_an_expiry_with_jitter(link: RedisLink, plain: Redis) -> None:
    copies = RedisCopies(link, prefix="test", ttl=3600)
    for number in range(20):
        await copies.put(f"subdomain:t{number}", b"x")
    lives = [await plain.ttl(f"test:tenant:subdomain:t{number}") for number in range(20)]
    assert all(3600 * 0.9 - 2 <= seconds <= 3600 for seconds in lives)
    assert len(set(lives)) > 5, "copies that were made together must not end together"


async def test_copies_come_in_the_order_that_was_asked_for(link: RedisLink) -> None:
    copies = RedisCopies(link, prefix="test", ttl=60)
    await copies.put("domain:a.example", b"\x00\xff")
    await copies.put("id:1", b"2")
    assert await copies.get_many(["id:1", "id:2", "domain:a.example"]) == [b"2", None, b"\x00\xff"]
    assert await copies.get_many(["domain:a.example"]) == [b"\x00\xff"]


async def test_too_large_a_copy_is_not_stored(link: RedisLink, billed_commands: BilledCommands) -> None:
    copies = RedisCopies(link, prefix="test", ttl=60, max_value_bytes=10)
    await copies.put("id:1", b"x" * 11)
    assert billed_commands.total() == 0
    await copies.put("id:1", b"x" * 10)
    assert await copies.get_many(["id:1"]) == [b"x" * 10]


async def test_a_copy_that_is_too_large_is_reported_once(link: RedisLink, caplog: pytest.LogCaptureFixture) -> None:
    copies = RedisCopies(link, prefix="test", ttl=60, max_value_bytes=10)
    for _ in range(3):
        for alias in ("id:1", "id:2"):
            await copies.put(alias, b"x" * 11)
    await copies.put("id:3", b"x" * 10)
    told = [record.getMessage() for record in caplog.records if "is not stored in Redis" in record.getMessage()]
    assert [text.split()[3] for text in told] == ["id:1", "id:2"]
    assert "it has 11 bytes, and TENANTCACHE_MAX_VALUE_BYTES is 10" in told[0]
    for number in range(2 * MAX_REPORTED):
        await copies.put(f"id:many-{number}", b"x" * 11)
    assert len([record for record in caplog.records if "is not stored" in record.getMessage()]) == MAX_REPORTED


async def test_dropping_nothing_sends_nothing(link: RedisLink, billed_commands: BilledCommands) -> None:
    await RedisCopies(link, prefix="test", ttl=60).drop([])
    assert billed_commands.total() == 0


async def test_dropping_many_is_one_command(link: RedisLink, plain: Redis, billed_commands: BilledCommands) -> None:
    copies = RedisCopies(link, prefix="test", ttl=60)
    for alias in ("id:1", "id:2", "id:3"):
        await copies.put(alias, b"x")
    await copies.drop(["id:1", "id:2"])
    assert billed_commands.by_command() == {"set": 3, "unlink": 1}
    assert await plain.keys("*") == [b"test:tenant:id:3"]


# Errors, and slowness.


async def test_nobody_there() -> None:
    link = RedisLink(f"redis://:secret@127.0.0.1:{free_port()}/0")
    with pytest.raises(StoreError) as caught:
        await link.open()
    assert not caught.value.suspended
    assert "secret" not in str(caught.value)
    await link.close()


async def test_three_failures_open_the_breaker_and_then_nothing_is_sent() -> None:
    async with a_server_that_says("ERR no") as (url, received):
        link = RedisLink(url)
        for _ in range(3):
            with pytest.raises(StoreError, match="Redis refused"):
                await link.run(Purpose.LOOKUP, "GET", "a")
        sent = len(received)
        assert link.breaker.state == "open"
        with pytest.raises(StoreError, match=r"^Redis refused: no \(not asked again yet\)$"):
            await link.run(Purpose.LOOKUP, "GET", "a")
        assert len(received) == sent
        assert link.billed == 3
        await link.close()


@pytest.mark.parametrize("reply", SUSPENDED_REPLIES)
async def test_a_suspended_account_opens_the_breaker_at_once(reply: str) -> None:
    async with a_server_that_says(reply) as (url, received):
        link = RedisLink(url)
        with pytest.raises(StoreError) as caught:
            await link.run(Purpose.LOOKUP, "GET", "a")
        assert caught.value.suspended
        assert link.breaker.state == "open"
        with pytest.raises(StoreError, match=r"^Redis refused: .*not asked again yet"):
            await link.run(Purpose.LOOKUP, "GET", "a")
        assert b"".join(received).count(b"GET") == 1, "it may bill what it refuses"
        await link.close()


async def test_an_error_within_a_pipeline_is_an_error(link: RedisLink) -> None:
    await link.run(Purpose.LOOKUP, "SET", "text", "x")
    with pytest.raises(StoreError, match="not an integer"):
        await link.run_many(commands(("INCRBY", "n", 1), ("INCRBY", "text", 1)))


@pytest.mark.parametrize("amount", [1.5, float("nan"), 2**63, 2**64, "many"])
async def test_what_redis_cannot_parse_is_no_failure_of_redis(
    link: RedisLink, counters: RedisCounters, amount: Any
) -> None:
    for _ in range(5):
        with pytest.raises(RejectedError):
            await debit_one(counters, "acme", [Debit(Window("day", 19_675), amount)])
    assert link.breaker.state == "closed"
    assert await debit_one(counters, "acme", [Debit(Window("day", 19_675), 1)]) == [1]


async def test_a_key_of_another_type_is_no_failure_of_redis(
    link: RedisLink, counters: RedisCounters, plain: Redis
) -> None:
    debit = Debit(Window("day", 19_675), 1)
    await debit_one(counters, "acme", [debit])
    assert await plain.delete(DAY_KEY) == 1
    for key in (DAY_KEY, f"{DAY_KEY}:2"):
        await plain.lpush(key, "not ours")
    with pytest.raises(RejectedError, match="WRONGTYPE"):
        await debit_one(counters, "acme", [debit])
    assert link.breaker.state == "closed"


async def test_no_answer_is_an_error_in_time() -> None:
    async with a_server_that_says(None) as (url, _):
        link = RedisLink(url, timeout=0.05)
        with pytest.raises(StoreError, match="in time"):
            async with asyncio.timeout(2):
                await link.run(Purpose.LOOKUP, "GET", "a")
        await link.close()


async def test_reads_that_are_too_slow_cost_the_counters_nothing(redis_factory: Callable[..., RedisServer]) -> None:
    """A Redis 40 ms away is too far for look-ups, and good enough to count in."""
    server = redis_factory()
    link = RedisLink(server.url, timeout=5.0)
    copies, counters = RedisCopies(link, prefix="test", ttl=60, read_timeout=0.02), RedisCounters(link, prefix="test")
    await link.open()
    with paused(server):
        for _ in range(3):
            with pytest.raises(StoreError, match="in time"):
                await copies.get_many(["id:1"])
        billed = link.billed
        with pytest.raises(StoreError, match=r"did not answer in time \(not read again yet"):
            await copies.get_many(["id:1"])
        assert link.billed == billed
    assert await debit_one(counters, "acme", [Debit(MINUTE, 1)]) == [1]
    await counters.close()
    await link.close()


async def test_a_late_answer_is_nobodys(redis_factory: Callable[..., RedisServer]) -> None:
    """The answer to a command that was given up must not be taken for that to the next one."""
    server = redis_factory()
    link = RedisLink(server.url, timeout=5.0)
    await link.run_many(commands(("SET", "a", "of a"), ("SET", "b", "of b")))
    with paused(server):
        with pytest.raises(StoreError, match="in time"):
            await link.run(Purpose.LOOKUP, "GET", "a", timeout=0.02)
        with pytest.raises(StoreError, match="in time"):
            await link.run_many(commands(("GET", "a"), ("INCRBY", "n", 1)), timeout=0.02)
    assert await link.run(Purpose.LOOKUP, "GET", "b") == b"of b"
    assert await link.run_many(commands(("GET", "b"), ("STRLEN", "b"))) == [b"of b", 4]
    await link.close()


async def test_nothing_is_sent_twice(redis_factory: Callable[..., RedisServer]) -> None:
    """A debit that was given up may have been made; sent again it would be made twice."""
    server = redis_factory()
    link = RedisLink(server.url, timeout=5.0)
    await link.open()
    with paused(server), pytest.raises(StoreError):
        await link.run(Purpose.LOOKUP, "INCRBY", "n", 1, timeout=0.02)
    assert int(await link.run(Purpose.LOOKUP, "GET", "n") or 0) == 1
    assert link.billed == 2
    await link.close()


async def test_it_comes_back_by_a_probe_that_is_free(redis_factory: Callable[..., RedisServer]) -> None:
    server = redis_factory()
    link = RedisLink(server.url, timeout=5.0)
    await link.run(Purpose.LOOKUP, "SET", "a", "1")
    server.stop()
    for _ in range(3):
        with pytest.raises(StoreError):
            await link.run(Purpose.LOOKUP, "GET", "a")
    assert link.breaker.state == "open"
    server.start()
    billing = BilledCommands(server.url)
    billed = link.billed
    answered = False
    async with asyncio.timeout(5):
        while not answered:
            await asyncio.sleep(0.05)
            with suppress(StoreError):
                await link.run(Purpose.LOOKUP, "GET", "a")
                answered = True
    assert billing.by_command() == {"get": 1}
    assert link.billed - billed == 1, "what the breaker kept back is not billed"
    billing.close()
    await link.close()


# Redis servers as they are.


@asynccontextmanager
async def an_address_of(*servers: RedisServer) -> AsyncIterator[tuple[str, Callable[[int], None]]]:
    """A URL that leads to the first of `servers`, and what makes new connections lead to another one."""
    target = [0]
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", servers[target[0]].port)
        for task in (asyncio.create_task(copy(reader, back)), asyncio.create_task(copy(there, writer))):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", lambda place: target.__setitem__(0, place)
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()


@pytest.fixture
def two_servers(redis_factory: Callable[..., RedisServer], tmp_path: Path) -> tuple[RedisServer, RedisServer]:
    """Either may become a replica, and then writes a dump."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    return redis_factory(options={"dir": str(tmp_path / "old")}), redis_factory(options={"dir": str(tmp_path / "new")})


async def test_a_failover_behind_one_address_is_followed(two_servers: tuple[RedisServer, RedisServer]) -> None:
    old, new = two_servers
    async with an_address_of(old, new) as (url, lead_to):
        link = RedisLink(url, timeout=5.0)
        counters = RedisCounters(link, prefix="test")
        assert await debit_one(counters, "acme", [Debit(MINUTE, 3)]) == [3]
        await counters.close()
        async with Redis.from_url(old.url) as client:
            await client.replicaof("127.0.0.1", str(new.port))  # which ends no connection
        lead_to(1)
        assert await debit_one(counters, "acme", [Debit(MINUTE, 4)]) == [4]
        assert link.breaker.state == "closed"
        await counters.close()
        async with Redis.from_url(new.url) as client:
            assert await client.bitfield(KEY).get("u32", "#24").execute() == [4]
        await link.close()


async def test_a_replica_that_stays_one_refuses_and_is_left_as_soon_as_that_changes(
    two_servers: tuple[RedisServer, RedisServer],
) -> None:
    old, new = two_servers
    async with an_address_of(old, new) as (url, lead_to), Redis.from_url(old.url) as client:
        link = RedisLink(url, timeout=5.0)
        await client.replicaof("127.0.0.1", str(new.port))
        with pytest.raises(StoreError, match=r"read only|READONLY|read-only") as caught:
            await link.try_to_count()
        assert caught.value.refused
        lead_to(1)
        await link.try_to_count()
        await link.close()


async def test_an_expiry_that_was_refused_once_is_sent_with_the_next_take(redis_url: str, plain: Redis) -> None:
    link = RedisLink(redis_url.replace("redis://", "redis://app:secret@"), timeout=5.0)
    counters = RedisCounters(link, prefix="test")
    try:
        await plain.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~test:*", "+@all", "-expire")  # type: ignore[no-untyped-call]
        await debit_one(counters, "acme", [Debit(MINUTE, 1)])
        await counters.close()
        assert await plain.ttl(KEY) == -1
        await plain.execute_command("ACL", "SETUSER", "app", "+expire")  # type: ignore[no-untyped-call]
        await debit_one(counters, "acme", [Debit(MINUTE, 1)])
        await counters.close()
        assert await plain.ttl(KEY) > 0
    finally:
        await plain.execute_command("ACL", "DELUSER", "app")  # type: ignore[no-untyped-call]
        await link.close()


async def test_an_expiry_that_may_have_been_missed_is_sent_with_the_next_take(
    redis_factory: Callable[..., RedisServer],
) -> None:
    """The first take was made, and its answer came too late."""
    server = redis_factory()
    link = RedisLink(server.url, timeout=0.2)
    counters = RedisCounters(link, prefix="test")
    await link.open()
    with paused(server), pytest.raises(StoreError, match="in time"):
        await debit_one(counters, "acme", [Debit(MINUTE, 1)])
    assert await link.run(Purpose.LOOKUP, "TTL", KEY, timeout=5.0) == -1
    link._timeout = 5.0
    assert await debit_one(counters, "acme", [Debit(MINUTE, 1)]) == [2]
    await counters.close()
    assert await link.run(Purpose.LOOKUP, "TTL", KEY) > 0
    await link.close()


NEEDED = ("+bitfield", "+expire", "+ping", "+get", "+set", "+mget", "+unlink")
"""Of docs/limits.md."""


async def test_a_user_for_the_prefix_alone_is_enough(redis_url: str, plain: Redis) -> None:
    """For the probe as well, whose key ends by itself."""
    link = RedisLink(redis_url.replace("redis://", "redis://app:secret@"), prefix="myapp", timeout=5.0)
    counters, copies = RedisCounters(link, prefix="myapp"), RedisCopies(link, prefix="myapp", ttl=60)
    try:
        await plain.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~myapp:*", "-@all", *NEEDED)  # type: ignore[no-untyped-call]
        await link.open()
        await link.try_to_count()
        await debit_one(counters, "acme", [Debit(MINUTE, 1)])
        await counters.close()
        await copies.put("id:1", b"x")
        assert await copies.get_many(["id:1"]) == [b"x"]
        assert await copies.get_many(["id:1", "id:2"]) == [b"x", None]
        await copies.drop(["id:1"])
        keys = await plain.keys("*")
        assert sorted(keys) == [b"myapp:probe", b"myapp:ratelimit:0:20231114:2200"]
        assert [await plain.ttl(key) > 0 for key in keys] == [True, True]
    finally:
        await plain.execute_command("ACL", "DELUSER", "app")  # type: ignore[no-untyped-call]
        await link.close()


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, False),
        ({"maxmemory": "50mb", "maxmemory-policy": "noeviction"}, False),
        ({"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}, True),
        ({"maxmemory": "50mb", "maxmemory-policy": "volatile-ttl"}, True),
        ({"maxmemory-policy": "allkeys-lru"}, False),  # memory is not bounded
    ],
)
async def test_a_redis_that_may_evict_counters_is_warned_of(
    redis_factory: Callable[..., RedisServer],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, str],
    warned: bool,
) -> None:
    server = redis_factory(options=options)
    billing = BilledCommands(server.url)
    link = RedisLink(server.url, timeout=5.0)
    await link.open()
    found = [record.getMessage() for record in caplog.records if "may evict counters" in record.getMessage()]
    assert len(found) == warned
    assert all(options["maxmemory-policy"] in text for text in found)
    assert billing.total() == 0
    billing.close()
    await link.close()


async def test_a_timeout_that_ends_late_is_no_fault_of_redis() -> None:
    """The event loop was blocked: the answer may have been there."""
    async with a_server_that_says(None) as (url, _):
        link = RedisLink(url, timeout=0.05)
        for _ in range(5):
            asking = asyncio.create_task(link.run(Purpose.LOOKUP, "GET", "a"))
            await asyncio.sleep(0.01)
            time.sleep(0.3)  # noqa: ASYNC251 - that is what is tried
            with pytest.raises(StoreError, match="in time") as caught:
                await asking
            assert caught.value.starved
        assert link.breaker.state == "closed"
        with pytest.raises(StoreError, match="in time") as caught:
            await link.run(Purpose.LOOKUP, "GET", "a")
        assert not caught.value.starved
        await link.close()


async def test_a_process_that_stands_still_at_its_start_asks_once_more(redis_url: str) -> None:
    link = RedisLink(redis_url, timeout=5.0)
    opening = asyncio.create_task(link.open())
    await asyncio.sleep(0)
    time.sleep(OPEN_TIMEOUT + 0.2)  # noqa: ASYNC251 - that is what is tried
    await opening
    assert link.server_version is not None
    await link.close()


async def test_debits_of_a_whole_group_let_other_tasks_run(
    counters: RedisCounters, link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    added: list[int] = []  # in each turn

    async def note(commands: list[Command], **_: Any) -> tuple[list[Any], None]:
        return [[0] * MAX_OPERATIONS for _ in commands], None

    def add(filling: Any, account: Account, debits: list[Debit]) -> None:
        added.append(turns)
        real(filling, account, debits)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    real = rediscounters._Filling.add
    monkeypatch.setattr(rediscounters._Filling, "add", add)
    monkeypatch.setattr(link, "try_many", note)
    running = asyncio.create_task(others())
    debits = [Debit(MINUTE, 0), Debit(QUARTER, 4), Debit(DAY, 250)]
    values = await counters.debit([AccountDebits(Account(f"t{slot}", slot), debits) for slot in range(GROUP_SIZE)])
    running.cancel()
    assert [len(found) for found in values] == [3] * GROUP_SIZE
    assert max(Counter(added).values()) == rediscounters.STEP


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
def test_commands_are_packed_as_redis_py_packs_them(kind: type[AbstractConnection]) -> None:
    words = ("BITFIELD", "key ü", b"INCRBY", b"u32", b"#12", 600, -7, "1.5", 2.5, b"")
    packed = packing_in_c(kind)().pack_commands([words, ("PING",)])
    assert b"".join(packed) == b"".join(kind().pack_commands([words, ("PING",)]))
    with pytest.raises(DataError):
        packing_in_c(kind)().pack_command("SET", "key", object())  # type: ignore[arg-type]
