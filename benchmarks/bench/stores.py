"""One Postgres and one Redis for all contenders, and tenants in the tables that each contender reads."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
import redis

from benchmarks.bench.traffic import BASE_DOMAIN
from tenantcache.devservers import PostgresServer, RedisServer
from tenantcache.schema import install as schema

FREE = frozenset({"auth", "hello", "select", "command", "config", "info", "ping", "reset", "quit"})
"""Commands that metered providers do not bill."""

NEVER_REACHED = 10**8
"""A limit for whoever is to be admitted always: what is measured is counting, not refusing."""


@dataclass(frozen=True)
class Env:
    """What a contender gets to know. Limits are requests a minute and a day, the same for every tenant."""

    database_url: str
    redis_url: str
    per_minute: int = NEVER_REACHED
    per_day: int = NEVER_REACHED * 10
    prefix: str = "bench"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Stores:
    """The servers, from `with` to its end. `tenants` is how many the database `bench` holds."""

    def __init__(self, tenants: int) -> None:
        self._tenants = tenants
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantcache-bench-")))
            directory.chmod(0o755)  # Postgres may run as another account
            self.postgres = stack.enter_context(PostgresServer(directory / "postgres"))
            self.redis = stack.enter_context(RedisServer(options={"io-threads": "1"}))
            self.meter = CommandMeter(self.redis.url)
            stack.callback(self.meter.close)
            asyncio.run(seed(self.postgres.url, self._tenants))
            asyncio.run(self._add_database())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @property
    def other_database_url(self) -> str:
        """The same tenants for contenders without Redis: else its fleet would move that of the other into Postgres."""
        return self.postgres.database_url("other")

    async def _add_database(self) -> None:
        connection = await asyncpg.connect(self.postgres.database_url("template1"))
        await connection.execute("create database other template postgres")
        await connection.close()

    def env(self, **changes: Any) -> Env:
        return Env(self.postgres.url, self.redis.url, **changes)


class CommandMeter:
    """What a metered provider would bill, counted by the server: each command of a pipeline, a script as 1 plus each
    call inside it. Its own commands are free ones."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, protocol=2, driver_info=None)

    def flush(self) -> None:
        self._client.flushall()
        self.reset()

    def reset(self) -> None:
        self._client.config_resetstat()

    def by_command(self) -> dict[str, int]:
        found: Any = self._client.info("commandstats")
        counts = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in found.items()}
        return {name: calls for name, calls in sorted(counts.items()) if name.partition("|")[0] not in FREE}

    def total(self) -> int:
        return sum(self.by_command().values())

    def close(self) -> None:
        self._client.close()


async def seed(url: str, tenants: int) -> None:
    """Fill tenantcache's tables, which the other lookups read too. fastapi-tenancy fills the one that it insists on."""
    connection = await asyncpg.connect(url)
    try:
        await schema.install(connection)
        # Without the triggers: ten thousand entries of the log are not what is measured here.
        await connection.execute(f"""
            alter table tenantcache.tenants disable trigger all;
            insert into tenantcache.tenants (id, name, subdomain, attributes)
                select 't' || n, 'Tenant ' || n, 'tenant-' || n, '{{"color": "#2563eb", "seats": 25}}'
                from generate_series(0, {tenants - 1}) as n;
            alter table tenantcache.tenants enable trigger all;
            do $$ declare one record; begin
                for one in select tgname from pg_trigger
                    where tgrelid = 'tenantcache.tenants'::regclass and not tgisinternal
                loop
                    execute format('alter table tenantcache.tenants enable always trigger %I', one.tgname);
                end loop;
            end $$;
            analyze tenantcache.tenants;
        """)
    finally:
        await connection.close()


__all__ = ["BASE_DOMAIN", "NEVER_REACHED", "CommandMeter", "Env", "Stores", "seed"]
