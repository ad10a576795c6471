"""The tenant tables as any other client of the database sees them: plain SQL, without telling the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import asyncpg
from fastapi import HTTPException

TIMEOUT = 2.0
"""Seconds for a connection, and for a statement. A person waits in front of a browser."""

MAX_LISTED = 200


@dataclass(frozen=True, slots=True)
class Listed:
    """A tenant as the apex lists it. `colour` is whatever its attributes say."""

    name: str
    subdomain: str
    plan: str | None
    status: str
    colour: str | None


class Directory:
    """A small pool on the database at `url`. Every method raises `HTTPException` 503 if that does not answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            self._url, min_size=0, max_size=2, timeout=TIMEOUT, command_timeout=TIMEOUT, statement_cache_size=0
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def listing(self) -> list[Listed]:
        """The tenants that have a subdomain, by name, at most `MAX_LISTED`."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "select name, subdomain, plan, status, attributes->>'color' as colour from tenantcache.tenants"
                " where subdomain is not null order by name, id limit $1",
                MAX_LISTED,
            )
        return [Listed(**row) for row in rows]

    async def change(self, tenant_id: str, name: str, plan: str | None) -> None:
        """Set the name and the plan of a tenant. A deleted tenant stays deleted."""
        async with self._connection() as connection:
            await connection.execute(
                "update tenantcache.tenants set name = $2, plan = $3 where id = $1", tenant_id, name, plan
            )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        if self._pool is None:
            raise RuntimeError("use the directory inside `async with`; the lifespan of the app does that")
        try:
            async with self._pool.acquire(timeout=TIMEOUT) as connection:
                yield connection
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise HTTPException(503, "The database does not answer.", headers={"Retry-After": "5"}) from error
