"""Databases with the small schema (`small`) and connections to them, and with that of the `application` of a test."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.adoption.applications import Application
from tests.adoption.loading import load, load_and_adopt
from tests.adoption.small import make_adopted, make_tables
from tests.servers.databases import Databases


@pytest.fixture
def small_url(databases: Databases) -> Iterator[str]:
    """Its tables and their rows."""
    url = databases.create_like("small", make_tables)
    yield url
    databases.drop(url)


@pytest.fixture
def small_adopted_url(databases: Databases) -> Iterator[str]:
    """The same, adopted."""
    url = databases.create_like("small, adopted", make_adopted)
    yield url
    databases.drop(url)


@pytest.fixture
async def db(small_adopted_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To the small schema, adopted."""
    connection = await asyncpg.connect(small_adopted_url, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
async def bare(small_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Not adopted yet."""
    connection = await asyncpg.connect(small_url, statement_cache_size=0)
    yield connection
    await connection.close()


@pytest.fixture
def loaded_url(databases: Databases, application: Application) -> Iterator[str]:
    """Its tables with their rows."""
    url = databases.create_like(application.name, functools.partial(load, application=application))
    yield url
    databases.drop(url)


@pytest.fixture
def adopted_url(databases: Databases, application: Application) -> Iterator[str]:
    """The same, adopted."""
    fill = functools.partial(load_and_adopt, application=application)
    url = databases.create_like(f"{application.name}, adopted", fill)
    yield url
    databases.drop(url)
