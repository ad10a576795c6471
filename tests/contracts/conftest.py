"""What a protocol promises, held over everything that implements it: the real thing, and the fake that is shipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import pytest

from tests.contracts.worlds import World, in_memory, in_postgres
from tests.servers.databases import Databases


@pytest.fixture(scope="session")
def shared_database_url(databases: Databases) -> Iterator[str]:
    """One for all of these tests: emptying it is quicker than making one for each."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture(params=["memory", "postgres"])
def making(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[World]:
    return in_memory() if request.param == "memory" else in_postgres(request.getfixturevalue("shared_database_url"))


@pytest.fixture
async def world(making: AbstractAsyncContextManager[World]) -> AsyncIterator[World]:
    """An empty database, whose log is open."""
    async with making as world:
        await world.log.open(world.notify)
        yield world
        await world.log.close()
