"""What a commit's notification names, and what processes make of it (freshness, rule 8)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from tenantcache import Settings, TenantCache
from tenantcache.freshness.log import Doubt
from tenantcache.schema import install as schema
from tenantcache.stores.listener import CHANNEL, tell
from tests.servers.publishing import publish

NAMED_MOST = 8
"""Changes of one transaction; of a bulk update each would cost every process a message."""


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("""
        insert into tenantcache.tenants (id, name, subdomain)
            values ('acme', 'Acme', 'acme'), ('globex', 'Globex', 'globex');
        insert into tenantcache.tenant_domains values ('acme.io', 'acme');
    """)
    await publish(connection)
    yield connection
    await connection.close()


class Listening:
    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._payloads: list[str] = []

    async def open(self) -> None:
        await self._connection.add_listener(CHANNEL, lambda *told: self._payloads.append(str(told[-1])))

    async def heard(self) -> list[str]:
        """What was notified since the last call. Postgres tells it with the answer to the next statement."""
        await self._connection.execute("select 1")
        await asyncio.sleep(0)
        heard, self._payloads = self._payloads, []
        return heard


@pytest.fixture
async def listening(database_url: str, db: asyncpg.Connection) -> AsyncIterator[Listening]:
    connection = await asyncpg.connect(database_url)
    listening = Listening(connection)
    await listening.open()
    await listening.heard()
    yield listening
    await connection.close()


class TestWhatIsNamed:
    async def test_a_tenant_with_both_sides(self, db: asyncpg.Connection, listening: Listening) -> None:
        await db.execute("update tenantcache.tenants set subdomain = 'acme2' where id = 'acme'")
        assert await listening.heard() == ["\nacme\nsubdomain:acme\nsubdomain:acme2"]

    async def test_each_change_of_a_transaction(self, db: asyncpg.Connection, listening: Listening) -> None:
        async with db.transaction():
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await db.execute("update tenantcache.tenant_domains set tenant_id = 'globex'")
        assert await listening.heard() == [
            "\nacme\nsubdomain:acme\nsubdomain:acme",
            "\nglobex\ndomain:acme.io\ndomain:acme.io",
            "\nacme\ndomain:acme.io\ndomain:acme.io",
        ]

    async def test_no_more_than_a_few_of_many(self, db: asyncpg.Connection, listening: Listening) -> None:
        async with db.transaction():
            await db.execute("""
                insert into tenantcache.tenants (id, name, subdomain)
                    select 't' || n, 'T', 't' || n from generate_series(1, 1000) n
            """)
        assert await listening.heard() == [f"\nt{n}\nsubdomain:t{n}" for n in range(1, NAMED_MOST + 1)]

    async def test_what_was_rolled_back_is_not(self, db: asyncpg.Connection, listening: Listening) -> None:
        async with db.transaction():
            undone = db.transaction()
            await undone.start()
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'globex'")
            await undone.rollback()
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
        assert await listening.heard() == ["\nacme\nsubdomain:acme\nsubdomain:acme"]

    async def test_everything_is_not(self, db: asyncpg.Connection, listening: Listening) -> None:
        await db.execute("truncate tenantcache.tenant_domains")
        assert await listening.heard() == [""]

    @pytest.mark.parametrize("tenant_id", ["x" * 1000, "x" * 10_000, "bücher"])
    async def test_names_that_are_long_or_not_ascii_are_left_out(
        self, db: asyncpg.Connection, listening: Listening, tenant_id: str
    ) -> None:
        """A payload of 8,000 bytes would make the writer's statement fail."""
        await db.execute("insert into tenantcache.tenants (id, name) values ($1, 'New')", tenant_id)
        assert await listening.heard() == [""]

    async def test_nothing_is_notified_if_that_is_off(self, db: asyncpg.Connection, listening: Listening) -> None:
        await schema.install(db, notify=False)
        async with db.transaction():
            await db.execute("update tenantcache.tenants set name = 'Other'")
        assert await listening.heard() == []


Told = tuple[int | None, bool, Doubt | None]


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ("", (None, False, None)),
        ("17", (17, False, None)),
        ("counters", (None, True, None)),
        ("\nacme\nsubdomain:acme\ndomain:acme.io", (None, False, Doubt("acme", ("subdomain:acme", "domain:acme.io")))),
        ("\nacme", (None, False, Doubt("acme"))),
        ("\n" * 7999, (None, False, Doubt("", ("",) * 7998))),
        ("17\nacme\nsubdomain:acme", (17, False, None)),
        ("9" * 20, (None, False, None)),
        ("-1", (None, False, None)),
        ("something else", (None, False, None)),
        (None, (None, False, None)),
    ],
)
def test_what_a_payload_says(payload: object, told: Told) -> None:
    heard: list[Told] = []

    def on_change(published: int | None = None, *, checks: bool = False, doubt: Doubt | None = None) -> None:
        heard.append((published, checks, doubt))

    tell(on_change, payload)
    assert heard == [told]


async def names_of(cache: TenantCache, hosts: Sequence[str]) -> list[str | None]:
    return [getattr(await cache.resolve(host), "name", None) for host in hosts]


async def test_a_change_is_seen_before_it_is_published(db: asyncpg.Connection, database_url: str) -> None:
    """Another process holds the publisher's lock, and publishes nothing."""
    settings = Settings(_environ={}, database_url=database_url, base_domains=["example.com"], limits="off")
    hosts = ["acme.example.com", "acme.io", "new.example.com"]
    holder = await asyncpg.connect(database_url)
    async with TenantCache(settings) as cache:
        assert await names_of(cache, hosts) == ["Acme", "Acme", None]
        applied = cache.freshness.applied
        await holder.execute("begin; select from tenantcache.publisher for update")
        committed = time.monotonic()
        async with db.transaction():
            await db.execute("update tenantcache.tenants set name = 'Other' where id = 'acme'")
            await db.execute("insert into tenantcache.tenants (id, name, subdomain) values ('new', 'New', 'new')")
        while await names_of(cache, hosts) != ["Other", "Other", "New"]:
            assert time.monotonic() - committed < 2, "before memory has lapsed"
            await asyncio.sleep(0.001)
        assert cache.freshness.applied == applied
        await holder.execute("commit")
    await holder.close()
