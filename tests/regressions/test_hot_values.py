"""A hit of a value may not grow, and costs at most 1.5 times what a bare `cachetools.TTLCache.get` costs. That of a
function makes its key besides.

Counted as in `test_hot_request.py`: a budget is what was measured on CPython 3.11, which stands beside it, and a tenth
more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import cachetools
import pytest

from tenantcache import Tenant, TenantCache
from tenantcache.testing import acting_as
from tests.fakes import FakeClock, FakeDatabase, make_cache
from tests.regressions.counting import count_bytes, count_instructions, drive

TENANT = Tenant("acme", "Acme", subdomain="acme")
TEXT, DOCUMENT = "dark", {"theme": "dark", "size": 12}

Hit = Callable[[], Coroutine[Any, Any, Any]]


@pytest.fixture
async def cache() -> AsyncIterator[TenantCache]:
    clock = FakeClock()
    async with make_cache(FakeDatabase(clock), clock) as cache:
        yield cache


async def hit_of(cache: TenantCache, value: object, tenant: Tenant | str | None) -> Hit:
    """A call whose value is in memory, and was asked for often enough to be hot."""

    async def load() -> object:
        return value

    hit: Hit = partial(cache.values.get_or_load, "settings", load, tenant=tenant, ttl=3600)
    for _ in range(5):
        assert await hit() == value
    return hit


@pytest.mark.parametrize(
    ("value", "tenant", "most_instructions", "most_calls"),
    [
        pytest.param(TEXT, "acme", 67, 1, id="text"),  # 61, 1
        pytest.param(DOCUMENT, "acme", 79, 2, id="document"),  # 72, 2
        pytest.param(TEXT, TENANT, 95, 2, id="text of a Tenant"),  # 87, 2
        pytest.param(TEXT, None, 113, 3, id="text of the current tenant"),  # 103, 3
    ],
)
async def test_instructions_and_calls(
    cache: TenantCache, value: object, tenant: Tenant | str | None, most_instructions: int, most_calls: int
) -> None:
    with acting_as(TENANT, "example.com"):
        steps, instructions, calls = count_instructions(await hit_of(cache, value, tenant))
    assert steps == 1, "a hit waits for nothing"
    assert calls <= most_calls
    assert 0 < instructions <= most_instructions


@pytest.mark.parametrize(("value", "tenant"), [(TEXT, "acme"), (DOCUMENT, "acme"), (TEXT, TENANT), (TEXT, None)])
async def test_at_most_half_more_than_a_bare_cachetools_get(
    cache: TenantCache, value: object, tenant: Tenant | str | None
) -> None:
    bare = cachetools.TTLCache[str, object](maxsize=10, ttl=3600)
    bare["settings"] = value

    async def get() -> object:
        return bare.get("settings")

    _, least, _ = count_instructions(get, package=str(Path(cachetools.__file__).parent))
    with acting_as(TENANT, "example.com"):
        _, instructions, _ = count_instructions(await hit_of(cache, value, tenant))
    assert instructions <= 1.5 * least  # 61 to 103 of 135


@pytest.mark.parametrize(
    ("args", "kwargs", "most_instructions", "most_calls"),
    [
        pytest.param(("7", "acme"), {}, 272, 8, id="positions"),  # 248, 8
        pytest.param(("7",), {"tenant": "acme"}, 312, 8, id="a name"),  # 284, 8
        pytest.param(("7",), {}, 329, 10, id="the current tenant"),  # 299, 10
    ],
)
async def test_a_hit_of_a_function(
    cache: TenantCache, args: tuple[str, ...], kwargs: dict[str, str], most_instructions: int, most_calls: int
) -> None:
    @cache.values.cached("profile:{user_id}", ttl=3600, tags=["user:{user_id}"])
    async def profile(user_id: str, tenant: str | None = None) -> str:
        return user_id

    with acting_as(TENANT, "example.com"):
        assert await profile(*args, **kwargs) == "7"
        steps, instructions, calls = count_instructions(partial(profile, *args, **kwargs))
    assert steps == 1
    assert calls <= most_calls
    assert 0 < instructions <= most_instructions


async def test_bytes_under_way(cache: TenantCache) -> None:
    hit = await hit_of(cache, TEXT, "acme")
    assert 0 < count_bytes(hit) <= 370  # 336, which is what the frame of a coroutine takes


async def test_a_hit_after_the_change_of_another_value_is_tested_once(cache: TenantCache) -> None:
    hit = await hit_of(cache, TEXT, "acme")
    await cache.values.invalidate("other", tenant="acme")
    _, first, _ = count_instructions(hit)  # the second of two is counted
    assert first <= 67
    for _ in range(1_000):
        assert drive(hit()) == 1
