"""The two Postgres stores over a network that goes bad: notifications, lost and half-open connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import asyncpg
import pytest

from tenantcache.errors import StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.stores import listener
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.postgres import PostgresTenants
from tests.fakes import until
from tests.freshness.proxy import SwallowingProxy
from tests.ticks import ticking

PAGE = 100
BOUND = 1000
AN_HOUR = 3600.0


def ignore(published: int | None = None, **_told: object) -> None:
    """A notification that is not waited for."""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain, plan, limit_per_minute, attributes)
            values ('acme', 'Acme', 'acme', 'pro', 5, '{"colour": "red"}');
        insert into tenantcache.tenants (id, name, subdomain) values ('globex', 'Globex', 'globex');
        insert into tenantcache.tenant_domains (domain, tenant_id, is_primary)
            values ('shop.acme.io', 'acme', true), ('acme.io', 'acme', false);
    """)
    yield connection
    await connection.close()


@pytest.fixture
async def log(database_url: str, db: asyncpg.Connection) -> AsyncIterator[PostgresLog]:
    store = PostgresLog(database_url, timeout=2.0)
    await store.open(ignore)
    yield store
    await store.close()


async def rename(db: asyncpg.Connection, name: str, tenant_id: str = "acme") -> None:
    await db.execute("update tenantcache.tenants set name = $1 where id = $2", name, tenant_id)


async def head(log: PostgresLog) -> LogMark:
    return (await log.tail(AN_HOUR, PAGE)).head


class TestListening:
    async def test_a_commit_wakes(self, database_url: str, db: asyncpg.Connection) -> None:
        woken = asyncio.Event()
        log = PostgresLog(database_url, timeout=2.0)
        await log.open(lambda *_, **__: woken.set())
        await rename(db, "One")
        async with asyncio.timeout(5):
            await woken.wait()
        await log.close()

    async def test_over_an_address_of_its_own(self, database_url: str, db: asyncpg.Connection) -> None:
        woken = asyncio.Event()
        async with SwallowingProxy(database_url) as direct:
            log = PostgresLog(database_url, listen_url=direct.url, timeout=2.0)
            await log.open(lambda *_, **__: woken.set())
            await rename(db, "One")
            async with asyncio.timeout(5):
                await woken.wait()
            mark = await head(log)
            woken.clear()
            direct.cut()
            assert (await log.pull(mark, BOUND, PAGE)).continuous, "pulling does not depend on it"
            async with asyncio.timeout(5):
                await woken.wait()  # it listens again, and whatever was missed meanwhile is pulled
            woken.clear()
            await rename(db, "Two")
            async with asyncio.timeout(5):
                await woken.wait()
            await log.close()

    async def test_a_half_open_connection_of_its_own_is_found(
        self, database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listener, "CHECK_INTERVAL", 0.1)
        woken = asyncio.Event()
        async with SwallowingProxy(database_url) as direct:
            log = PostgresLog(database_url, listen_url=direct.url, timeout=0.3)
            await log.open(lambda *_, **__: woken.set())
            async with asyncio.timeout(5):
                await woken.wait()
            woken.clear()
            direct.swallowing = True
            await until(lambda: not log.listening)
            direct.swallowing = False
            async with asyncio.timeout(5):
                await woken.wait()
            assert log.listening
            await log.close()

    async def test_a_backend_that_was_terminated(self, log: PostgresLog, db: asyncpg.Connection) -> None:
        mark = await head(log)
        await db.execute("""
            select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'tenantcache follower' and datname = current_database()
        """)
        with pytest.raises(StoreError):
            await log.pull(mark, BOUND, PAGE)
        await log.close()
        await log.open(ignore)
        assert (await log.pull(mark, BOUND, PAGE)).continuous


class TestHalfOpen:
    """The network swallows the server without a word. Nothing may wait longer than its timeout says."""

    async def test_a_pull(self, database_url: str, db: asyncpg.Connection) -> None:
        async with SwallowingProxy(database_url) as proxy:
            log = PostgresLog(proxy.url, timeout=0.3)
            await log.open(ignore)
            mark = await head(log)
            proxy.swallowing = True
            assert await seconds_until_error(log.pull(mark, BOUND, PAGE)) < 0.5
            async with ticking() as ticks:
                await log.close()
            assert ticks.seconds < 0.5
            proxy.swallowing = False
            await log.open(ignore)
            assert (await log.pull(mark, BOUND, PAGE)).continuous
            await log.close()

    async def test_connecting(self, database_url: str) -> None:
        async with SwallowingProxy(database_url) as proxy:
            proxy.swallowing = True
            log = PostgresLog(proxy.url, timeout=0.1)
            assert await seconds_until_error(log.open(ignore)) < 0.6
            await log.close()

    async def test_a_read_and_those_after_it(self, database_url: str, db: asyncpg.Connection) -> None:
        async with SwallowingProxy(database_url) as proxy:
            tenants = PostgresTenants(proxy.url, timeout=0.3, max_connections=1)
            await tenants.open()
            await tenants.read(["subdomain:acme"])
            proxy.swallowing = True
            assert await seconds_until_error(tenants.read(["subdomain:acme"])) < 0.5
            proxy.swallowing = False
            snapshot = await tenants.read(["subdomain:acme"])  # over a new connection: the old one is not waited for
            row = snapshot.rows["subdomain:acme"]
            assert row is not None
            assert row["name"] == "Acme"
            await tenants.close()


async def seconds_until_error(call: Awaitable[object]) -> float:
    async with ticking() as ticks:
        with pytest.raises(StoreError):
            await call
    return ticks.seconds
