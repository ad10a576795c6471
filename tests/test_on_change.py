"""`cache.on_change`: what an application is told of the log, in which order, and what its callbacks cannot hurt."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import AsyncIterator
from functools import partial

import asyncpg
import pytest

from tenantcache import Change, Settings, TenantCache
from tenantcache.freshness.callbacks import MAX_QUEUED, Callbacks
from tenantcache.freshness.core.change import change_of
from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.testing import MemoryCache, TenantTable
from tenantcache.values.core.valuekey import tag_name, value_name
from tests.fakes import FakeClock, FakeDatabase, make_cache, row, until

EVERYTHING = Change(everything=True)
ACME, GLOBEX = Change(tenant_id="acme"), Change(tenant_id="globex")


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase(FakeClock(), row("acme"), row("globex"))


@pytest.fixture
async def cache(database: FakeDatabase) -> AsyncIterator[TenantCache]:
    async with make_cache(database, FakeClock()) as cache:
        yield cache


@pytest.fixture
def callbacks() -> Callbacks:
    made = Callbacks()
    made.open()
    return made


def entry(seq: int, tenant_id: str = "acme", *names: str) -> LogEntry:
    return LogEntry.from_columns(seq, seq, tenant_id, names)


async def change(cache: TenantCache, database: FakeDatabase, tenant_id: str) -> None:
    await database.log_change(tenant_id, [])
    await cache.sync()


async def test_each_entry_is_told_once_in_order(cache: TenantCache, database: FakeDatabase) -> None:
    told, told_in_thread = list[Change](), list[Change]()

    @cache.on_change
    async def hear(change: Change) -> None:
        told.append(change)

    cache.on_change(told_in_thread.append)
    for tenant_id in ("acme", "globex", "acme"):
        await change(cache, database, tenant_id)
    await until(lambda: len(told) == len(told_in_thread) == 3)
    await cache.sync()
    await asyncio.sleep(0)
    assert told == told_in_thread == [ACME, GLOBEX, ACME]


async def test_a_change_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ACME.tenant_id = "other"  # type: ignore[misc]


async def test_an_opening_begins_with_everything(database: FakeDatabase) -> None:
    cache, told = make_cache(database, FakeClock()), list[Change]()
    cache.on_change(told.append)
    async with cache:
        await until(lambda: told == [EVERYTHING])
    async with cache:
        await until(lambda: told == [EVERYTHING, EVERYTHING])


async def test_values_and_tags_are_named(callbacks: Callbacks) -> None:
    told = list[Change]()

    @callbacks.add
    async def hear(change: Change) -> None:
        told.append(change)

    callbacks.changed(entry(1, "", "value:acme:settings", "tag::orders", "expire:globex:rates", "value:acme:a:b"))
    callbacks.changed(entry(2, ""))  # shows only that others were published
    callbacks.changed(LogEntry(3, 3, ChangeKind.EVERYTHING))
    callbacks.changed(entry(4, "acme", "reset:"))
    await until(lambda: len(told) == 3)
    assert told == [
        Change(
            values=(("acme", "settings"), ("acme", "a:b")), tags=((None, "orders"),), expired=(("globex", "rates"),)
        ),
        EVERYTHING,
        ACME,
    ]


@pytest.mark.parametrize(
    "pair", [("a:b", "c:d"), (None, "k"), ("é", "😀"), ("100%", "~x"), ("a", ""), ("a", "100%25"), ("\n", "\x7f")]
)
def test_names_are_told_as_they_were_given(pair: tuple[str | None, str]) -> None:
    assert change_of("", [value_name(*pair), tag_name(*pair)]) == Change(values=(pair,), tags=(pair,))


def test_a_name_that_is_too_long_is_not_told() -> None:
    assert change_of("", [value_name("a", "x" * 300), tag_name("a", "t")]) == Change(tags=(("a", "t"),), unnamed=True)


def test_a_name_that_a_client_has_made_up_is_told_somehow() -> None:
    assert change_of("", ["tag:%FF", "value:%zz:%", "other"]) == Change(values=(("%zz", "%"),), tags=(("\ufffd", ""),))


async def test_an_entry_that_comes_twice_is_told_once(callbacks: Callbacks) -> None:
    told = list[Change]()
    callbacks.add(told.append)
    for seq in (1, 2, 1, 2, 3):
        callbacks.changed(entry(seq, str(seq)))
    await until(lambda: len(told) == 3)
    assert [change.tenant_id for change in told] == ["1", "2", "3"]


async def test_another_timeline_begins_with_everything_and_may_count_from_one(callbacks: Callbacks) -> None:
    told = list[Change]()
    callbacks.add(told.append)
    callbacks.changed(entry(9))
    callbacks.flush()
    callbacks.changed(entry(2, "globex"))
    await until(lambda: len(told) == 3)
    assert told == [ACME, EVERYTHING, GLOBEX]


async def test_what_is_dropped_is_told_as_everything(callbacks: Callbacks) -> None:
    told, going = list[Change](), asyncio.Event()

    @callbacks.add
    async def hear(change: Change) -> None:
        told.append(change)
        await going.wait()

    callbacks.changed(entry(1, "first"))
    await until(lambda: len(told) == 1)
    for seq in range(2, MAX_QUEUED + 2):
        callbacks.changed(entry(seq))  # as many as fit
    callbacks.changed(entry(MAX_QUEUED + 2, "over"))
    callbacks.changed(entry(MAX_QUEUED + 3, "globex"))
    going.set()
    await until(lambda: len(told) == 3)
    assert told == [Change(tenant_id="first"), EVERYTHING, GLOBEX]


async def test_a_slow_callback_delays_nothing(cache: TenantCache, database: FakeDatabase) -> None:
    told, release = list[Change](), threading.Event()

    @cache.on_change
    def block(_: Change) -> None:
        release.wait(60)

    @cache.on_change
    async def wait(_: Change) -> None:
        await asyncio.Event().wait()

    @cache.on_change
    async def hear(change: Change) -> None:
        told.append(change)

    try:
        await change(cache, database, "acme")
        await change(cache, database, "globex")
        await until(lambda: told == [ACME, GLOBEX])
        assert cache.freshness.is_valid(cache.clock())
    finally:
        release.set()


async def test_a_function_runs_in_a_thread(callbacks: Callbacks) -> None:
    threads = list[int]()
    callbacks.add(lambda _: threads.append(threading.get_ident()))
    callbacks.changed(entry(1))
    await until(lambda: len(threads) == 1)
    assert threads != [threading.get_ident()]


async def test_a_failing_callback_is_logged_once_and_called_again(
    callbacks: Callbacks, caplog: pytest.LogCaptureFixture
) -> None:
    told = list[Change]()

    def fail(change: Change) -> None:
        told.append(change)
        raise ValueError("not so")

    callbacks.add(fail)
    for seq in (1, 2, 3):
        callbacks.changed(entry(seq))
    await until(lambda: len(told) == 3)
    await until(lambda: callbacks._subscribers[0].task is not None and callbacks._subscribers[0].task.done())
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "fail" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "not so"


async def test_anything_callable_can_be_called(callbacks: Callbacks) -> None:
    told = list[tuple[str, Change]]()

    async def hear(name: str, change: Change) -> None:
        told.append((name, change))

    class Hearing:
        async def __call__(self, change: Change) -> None:
            told.append(("object", change))

    callbacks.add(partial(hear, "partial"))
    callbacks.add(lambda change: hear("lambda", change))
    callbacks.add(Hearing())
    callbacks.changed(entry(1))
    await until(lambda: len(told) == 3)
    assert sorted(told) == [("lambda", ACME), ("object", ACME), ("partial", ACME)]


async def test_after_close_nothing_is_told(database: FakeDatabase) -> None:
    told = list[Change]()
    cancelled = asyncio.Event()
    async with make_cache(database, FakeClock()) as cache:

        @cache.on_change
        async def hear(change: Change) -> None:
            told.append(change)
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        await change(cache, database, "acme")
        await change(cache, database, "globex")
        await until(lambda: told == [ACME])
    assert cancelled.is_set()
    cache._parts.changes.changed(entry(1_000))
    await asyncio.sleep(0)
    assert told == [ACME]
    async with cache:
        await until(lambda: told == [ACME, EVERYTHING])  # which is what globex' change was dropped for


async def test_a_callback_may_close_the_engine(database: FakeDatabase) -> None:
    cache = make_cache(database, FakeClock())
    await cache.open()
    closed = asyncio.Event()

    @cache.on_change
    async def close(_: Change) -> None:
        await cache.close()
        closed.set()

    await database.log_change("acme", [])
    await asyncio.wait_for(closed.wait(), 60)
    assert not cache.is_open


async def test_engines_have_callbacks_of_their_own(database: FakeDatabase) -> None:
    other, told, told_other = FakeDatabase(FakeClock(), row("globex")), list[Change](), list[Change]()
    async with make_cache(database, FakeClock()) as one, make_cache(other, FakeClock()) as two:
        one.on_change(told.append)
        two.on_change(told_other.append)
        await change(one, database, "acme")
        await change(two, other, "globex")
        await until(lambda: (told, told_other) == ([ACME], [GLOBEX]))


def test_a_second_event_loop_goes_on(database: FakeDatabase) -> None:
    cache, told = make_cache(database, FakeClock()), list[Change]()

    @cache.on_change
    async def hear(change: Change) -> None:
        told.append(change)

    async def run(tenant_id: str) -> None:
        async with cache:
            await change(cache, database, tenant_id)
            await until(lambda: Change(tenant_id=tenant_id) in told)

    asyncio.run(run("acme"))
    asyncio.run(run("globex"))
    assert told == [EVERYTHING, ACME, EVERYTHING, GLOBEX]


def test_a_loop_that_ended_under_the_engine_is_left(callbacks: Callbacks) -> None:
    told = list[Change]()

    @callbacks.add
    async def hear(change: Change) -> None:
        told.append(change)
        if change == ACME:
            await asyncio.Event().wait()

    async def leave() -> None:
        callbacks.changed(entry(1))
        await until(lambda: told == [ACME])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    left = callbacks._subscribers[0].task
    assert left is not None
    left._log_destroy_pending = False  # type: ignore[attr-defined]  # there is no other way to say that it is known

    async def go_on() -> None:
        callbacks.changed(entry(2, "globex"))
        await until(lambda: len(told) == 2)

    asyncio.run(go_on())
    assert told == [ACME, GLOBEX]


def test_what_a_parent_has_queued_is_its_own(callbacks: Callbacks) -> None:
    callbacks.add(print)
    callbacks.changed(entry(1))
    callbacks.after_fork_in_child()
    assert not callbacks._subscribers[0].queue


async def test_the_cache_of_tests_tells_too() -> None:
    told = list[Change]()
    async with MemoryCache() as cache:
        cache.on_change(told.append)
        TenantTable(cache).add("acme")
        await until(lambda: told == [ACME])
        await cache.sync()
        await asyncio.sleep(0.01)
    assert told == [ACME]


async def test_what_is_told_can_be_read(database_url: str) -> None:
    """Two processes: the one that writes, and another one."""
    settings = Settings({}, database_url=database_url, base_domains=["example.com"])
    async with TenantCache(settings) as writer, TenantCache(settings) as reader:
        names = list[str]()

        @reader.on_change
        async def read(change: Change) -> None:
            if change.tenant_id is not None:
                names.append((await reader.get_many([change.tenant_id]))[change.tenant_id].name)

        await writer.tenants.create("Acme", id="acme")
        await until(lambda: names == ["Acme"])
        await writer.tenants.update("acme", name="Other")
        await until(lambda: names == ["Acme", "Other"])


async def test_an_application_can_log_values(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    async with TenantCache(Settings({}, database_url=database_url, base_domains=["example.com"])) as cache:
        told = list[Change]()
        cache.on_change(told.append)
        await connection.execute("select tenantcache.log_change('', array['value:acme:settings', 'tag::orders'])")
        await until(lambda: told == [Change(values=(("acme", "settings"),), tags=((None, "orders"),))])
    await connection.close()
