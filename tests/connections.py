"""Connections to the database of a test: the engine's own, and that of a person who looks or meddles."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tenantcache.stores.postgres import PostgresTenants


@pytest.fixture
async def postgres(database_url: str) -> AsyncIterator[PostgresTenants]:
    postgres = PostgresTenants(database_url, timeout=5.0)
    await postgres.open()
    yield postgres
    await postgres.close()


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
