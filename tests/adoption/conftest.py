"""Databases with the small schema (`small`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
