"""A storage snapshot of Postgres is put back while no process runs, and Redis is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from tenantcache import Settings, TenantCache
from tenantcache.devservers import PostgresServer
from tenantcache.schema import install as schema
from tests.servers.storage import put_back, take_snapshot


async def execute(server: PostgresServer, *statements: str) -> int:
    """Run them one by one; return the number of the newest log entry."""
    connection = await asyncpg.connect(server.url)
    for statement in statements:
        await connection.execute(statement)
    newest: int = await connection.fetchval("select max(seq) from tenantcache.change_log")
    await connection.close()
    return newest


async def test_copies_from_the_lost_future_are_not_believed(
    postgres_factory: Callable[..., PostgresServer], redis_url: str, tmp_path: Path, patience: None
) -> None:
    server = postgres_factory()
    connection = await asyncpg.connect(server.url)
    await schema.install(connection)
    await connection.close()
    await execute(
        server,
        "insert into tenantcache.tenants (id, name, subdomain) values ('acme', 'Acme', 'acme')",
        "insert into tenantcache.tenants (id, name, subdomain) values ('globex', 'G', 'globex')",
    )
    take_snapshot(server, tmp_path / "snapshot")
    settings = Settings(
        _environ={},
        database_url=server.url,
        redis_url=redis_url,
        base_domains=["example.com"],
        limits="off",
        warm_up=False,
    )

    lost = await execute(server, "update tenantcache.tenants set name = 'Lost' where id = 'acme'")
    async with TenantCache(settings) as cache:
        assert await name_of(cache, "acme.example.com") == "Lost"
        assert await name_of(cache, "globex.example.com") == "G"
        await cache.sync()
    async with Redis.from_url(redis_url) as redis:
        copy = await redis.get("tenantcache:tenant:subdomain:acme")
        assert isinstance(copy, bytes)
        assert b"Lost" in copy

    put_back(server, tmp_path / "snapshot")
    numbers = [
        await execute(server, "update tenantcache.tenants set plan = 'pro' where id = 'globex'"),
        await execute(server, "update tenantcache.tenants set plan = 'basic' where id = 'globex'"),
    ]
    assert lost in numbers, "its number is given again"
    async with TenantCache(settings) as cache:
        assert await name_of(cache, "acme.example.com") == "Acme"
        assert cache.stats()["lookups"]["redis_refused"] == 1
        # What was read from there is believed by the next process.
    async with TenantCache(settings) as cache:
        assert await name_of(cache, "acme.example.com") == "Acme"
        assert (cache.stats()["lookups"]["redis_hits"], cache.stats()["lookups"]["redis_refused"]) == (1, 0)


async def name_of(cache: TenantCache, host: str) -> str | None:
    tenant = await cache.resolve(host)
    return None if tenant is None else tenant.name
