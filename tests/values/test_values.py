"""`cache.values` on stand-ins: what is served, loaded, kept, and what is not any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from tenantcache import NotOpenError, StoreUnavailableError, TenantCache
from tenantcache.testing import acting_as
from tests.fakes import FakeClock, FakeDatabase, make_cache, row


class Loader:
    """Gives what `now` holds, and counts how often it was asked. Waits while `gate` is closed."""

    def __init__(self, now: object) -> None:
        self.now = now
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        self.calls += 1
        found = self.now
        await self.gate.wait()
        if isinstance(found, Exception):
            raise found
        return found


def getter(cache: TenantCache, loader: Loader, **terms: Any) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Asks for the value "a" of acme."""
    return partial(cache.values.get_or_load, "a", loader, tenant="acme", **terms)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(clock: FakeClock) -> FakeDatabase:
    return FakeDatabase(clock, row("acme", name="Acme"), row("globex"))


@pytest.fixture
async def cache(database: FakeDatabase, clock: FakeClock) -> AsyncIterator[TenantCache]:
    async with make_cache(database, clock) as cache:
        yield cache


async def settle() -> None:
    """Let tasks that wait for nothing come to their end."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_it_is_loaded_once(cache: TenantCache) -> None:
    loader = Loader({"theme": "dark"})
    for _ in range(3):
        found = await cache.values.get_or_load("settings", loader, tenant="acme", ttl=3600)
        assert found == {"theme": "dark"}
    assert loader.calls == 1


async def test_what_a_caller_does_to_a_value_is_not_seen_by_others(cache: TenantCache) -> None:
    loader = Loader({"theme": "dark"})
    first = await cache.values.get_or_load("settings", loader, tenant="acme", ttl=3600)
    assert first is not None
    first["theme"] = "light"
    assert await cache.values.get_or_load("settings", loader, tenant="acme", ttl=3600) == {"theme": "dark"}


async def test_a_tenant_or_an_error(cache: TenantCache) -> None:
    loader = Loader("x")
    with pytest.raises(LookupError, match="no tenant: give tenant="):
        await cache.values.get_or_load("settings", loader, ttl=3600)
    with pytest.raises(TypeError, match="tenant='' is not possible"):
        await cache.values.get_or_load("settings", loader, ttl=3600, tenant="")
    with pytest.raises(TypeError, match="belongs to no tenant"):
        await cache.values.shared.get_or_load("settings", loader, ttl=3600, tenant="acme")
    assert loader.calls == 0


async def test_tenants_do_not_share(cache: TenantCache) -> None:
    tenant = (await cache.get_many(["acme"]))["acme"]
    assert await cache.values.get_or_load("a", Loader("acme's"), tenant=tenant, ttl=60) == "acme's"
    assert await cache.values.get_or_load("a", Loader("globex's"), tenant="globex", ttl=60) == "globex's"
    assert await cache.values.shared.get_or_load("a", Loader("all's"), ttl=60) == "all's"
    assert await cache.values.get_or_load("a", Loader("x"), tenant="acme", ttl=60) == "acme's"


async def test_the_current_tenant_is_taken(cache: TenantCache) -> None:
    tenant = (await cache.get_many(["acme"]))["acme"]
    with acting_as(tenant, "example.com"):
        await cache.values.get_or_load("a", Loader("acme's"), ttl=60)
    assert await cache.values.get_or_load("a", Loader("x"), tenant="acme", ttl=60) == "acme's"


async def test_it_must_be_open(database: FakeDatabase, clock: FakeClock) -> None:
    values = make_cache(database, clock).values
    for call in (
        values.get_or_load("a", Loader("x"), tenant="acme", ttl=60),
        values.set("a", "x", tenant="acme", ttl=60),
        values.invalidate("a", tenant="acme"),
        values.expire(tag="t", tenant="acme"),
    ):
        with pytest.raises(NotOpenError):
            await call


async def test_after_invalidate_it_is_loaded_again(cache: TenantCache) -> None:
    loader = Loader("old")
    await cache.values.get_or_load("a", loader, tenant="acme", ttl=60)
    await cache.values.get_or_load("a", other := Loader("kept"), tenant="globex", ttl=60)
    loader.now = "new"
    await cache.values.invalidate("a", tenant="acme")
    assert await cache.values.get_or_load("a", loader, tenant="acme", ttl=60) == "new"
    await cache.values.get_or_load("a", other, tenant="globex", ttl=60)
    assert other.calls == 1


async def test_a_tag_invalidates_what_has_it(cache: TenantCache) -> None:
    async def get(key: str, loader: Loader, tenant: str, tags: Any) -> object:
        return await cache.values.get_or_load(key, loader, tenant=tenant, ttl=60, tags=tags)

    a, b, untagged, others = Loader({"plan": "pro"}), Loader("b"), Loader("c"), Loader("d")
    for _ in range(2):
        await get("a", a, "acme", lambda value: [f"plan:{value['plan']}"])
        await get("b", b, "acme", ["plan:pro", "x"])
        await get("c", untagged, "acme", ["plan:free"])
        await get("d", others, "globex", ["plan:pro"])
        await cache.values.invalidate(tag="plan:pro", tenant="acme")
    assert (a.calls, b.calls, untagged.calls, others.calls) == (2, 2, 1, 1)


async def test_what_expires_by_a_tag_is_served_while_it_is_loaded(cache: TenantCache) -> None:
    loader = Loader("old")

    async def get() -> object:
        return await cache.values.get_or_load("a", loader, tenant="acme", ttl=60, tags=["t"])

    await get()
    await cache.values.expire(tag="t", tenant="acme")
    loader.now = "new"
    assert await get() == "old"
    await settle()
    assert await get() == "new"
    assert loader.calls == 2


async def test_a_load_that_an_invalidation_overtakes_is_for_earlier_callers(cache: TenantCache) -> None:
    loader = Loader("old")
    loader.gate.clear()
    get = getter(cache, loader, ttl=60)
    earlier = asyncio.create_task(get())
    await settle()
    loader.now = "new"
    await cache.values.invalidate("a", tenant="acme")
    later = asyncio.create_task(get())
    await settle()
    loader.gate.set()
    assert (await earlier, await later) == ("old", "new")
    assert await get() == "new"
    assert loader.calls == 2


async def test_a_tag_that_only_the_value_tells_overtakes_a_load_too(cache: TenantCache) -> None:
    loader = Loader("old")
    loader.gate.clear()
    get = getter(cache, loader, ttl=60, tags=lambda _: ["t"])
    earlier = asyncio.create_task(get())
    await settle()
    loader.now = "new"
    await cache.values.invalidate(tag="t", tenant="acme")
    later = asyncio.create_task(get())  # it joins: that the value has the tag is not known yet
    await settle()
    loader.gate.set()
    assert (await earlier, await later) == ("old", "new")
    assert loader.calls == 2


async def test_that_there_is_none_is_remembered(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader(None)
    get = getter(cache, loader, ttl=3600, negative_ttl=5)
    assert [await get(), await get(), loader.calls] == [None, None, 1]
    clock.advance(6)
    await cache.sync()
    await get()
    assert loader.calls == 2


async def test_a_thousand_callers_at_once_cost_one_load(cache: TenantCache) -> None:
    loader = Loader("x")
    loader.gate.clear()
    tasks = [asyncio.create_task(cache.values.get_or_load("a", loader, tenant="acme", ttl=60)) for _ in range(1000)]
    await settle()
    tasks[0].cancel()
    await settle()
    loader.gate.set()
    assert set(await asyncio.gather(*tasks[1:])) == {"x"}
    assert loader.calls == 1


async def test_batches_that_overlap_load_each_key_once(cache: TenantCache) -> None:
    asked: list[list[str]] = []
    gate = asyncio.Event()

    async def load(keys: Sequence[str]) -> Mapping[str, str]:
        asked.append(list(keys))
        await gate.wait()
        return {key: key.upper() for key in keys if key != "none"}

    def get(*keys: str) -> asyncio.Task[dict[str, str]]:
        return asyncio.create_task(cache.values.get_many(keys, load, tenant="acme", ttl=60))

    first, second = get("a", "b", "none"), get("b", "c", "a")
    await settle()
    gate.set()
    assert await first == {"a": "A", "b": "B"}
    assert await second == {"b": "B", "c": "C", "a": "A"}
    assert asked == [["a", "b", "none"], ["c"]]


async def test_a_loader_that_fails_is_told_of_and_asked_again(cache: TenantCache) -> None:
    loader = Loader(ZeroDivisionError("no"))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await cache.values.get_or_load("a", loader, tenant="acme", ttl=60)
    assert loader.calls == 2


async def test_stale_is_served_while_one_load_runs(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader("old")
    get = getter(cache, loader, fresh=60, stale=600)
    await get()
    clock.advance(61)
    await cache.sync()
    loader.now = "new"
    loader.gate.clear()
    assert [await get() for _ in range(3)] == ["old"] * 3
    await settle()
    loader.gate.set()
    await settle()
    assert (await get(), loader.calls) == ("new", 2)


async def test_past_its_stale_time_it_is_waited_for(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader("old")
    get = getter(cache, loader, fresh=60, stale=600)
    await get()
    clock.advance(661)
    await cache.sync()
    loader.now = "new"
    assert await get() == "new"


async def test_a_load_that_takes_too_long_is_ended(cache: TenantCache) -> None:
    loader = Loader("x")
    loader.gate.clear()
    with pytest.raises(TimeoutError, match=r"the loader of 'a' took longer than 0\.01 s"):
        await cache.values.get_or_load("a", loader, tenant="acme", ttl=60, hard_timeout=0.01)


async def test_a_soft_timeout_serves_what_is_stale(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader("old")

    async def get(soft: float) -> object:
        return await cache.values.get_or_load("a", loader, tenant="acme", fresh=60, stale=600, soft_timeout=soft)

    await get(0.01)
    clock.advance(61)
    await cache.sync()
    loader.now = "new"
    loader.gate.clear()
    assert await get(0.01) == "old"
    loader.gate.set()
    assert await get(60) == "new"
    assert loader.calls == 2


async def test_without_the_log_a_value_lapses_and_is_loaded_each_time(
    cache: TenantCache, database: FakeDatabase, clock: FakeClock
) -> None:
    loader = Loader("old")
    get = getter(cache, loader, ttl=3600)
    await get()
    database.failing = True
    clock.advance(3.1)
    loader.now = "new"
    assert await get() == "new"
    clock.advance(3.1)
    loader.now = ZeroDivisionError()
    assert await get() == "new"
    clock.advance(301)
    with pytest.raises(ZeroDivisionError):
        await get()


async def test_what_is_set_is_served_at_once_and_confirmed(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader("old")
    get = getter(cache, loader, ttl=3600)
    await get()
    loader.now = "loaded"
    await cache.values.set("a", "set", tenant="acme", ttl=3600)
    assert (await get(), loader.calls) == ("set", 1)
    await settle()
    assert (await get(), loader.calls) == ("loaded", 2)


async def test_what_is_set_is_not_served_for_longer_than_the_bound(cache: TenantCache, clock: FakeClock) -> None:
    loader = Loader("loaded")
    await cache.values.set("a", "set", tenant="acme", ttl=3600)
    clock.advance(3.1)
    await cache.sync()
    assert await cache.values.get_or_load("a", loader, tenant="acme", ttl=3600) == "loaded"


async def test_an_invalidation_overtakes_what_is_being_set(cache: TenantCache, database: FakeDatabase) -> None:
    loader = Loader("new")
    await asyncio.gather(
        cache.values.set("a", "old", tenant="acme", ttl=3600), cache.values.invalidate("a", tenant="acme")
    )
    assert await cache.values.get_or_load("a", loader, tenant="acme", ttl=3600) == "new"


async def test_an_invalidation_that_cannot_be_told_fails(cache: TenantCache, database: FakeDatabase) -> None:
    database.failing = True
    with pytest.raises(StoreUnavailableError):
        await cache.values.invalidate("a", tenant="acme")


async def test_everything_may_have_changed(cache: TenantCache, database: FakeDatabase) -> None:
    loader = Loader("old")
    await cache.values.get_or_load("a", loader, tenant="acme", ttl=60)
    loader.now = "new"
    database.epoch = "restored"
    await cache.sync()
    assert await cache.values.get_or_load("a", loader, tenant="acme", ttl=60) == "new"


async def test_values_do_not_touch_tenants(cache: TenantCache, database: FakeDatabase) -> None:
    await cache.resolve("acme.example.com")
    before, floors = len(database.reads), len(cache.freshness._tenant_floors)
    await cache.values.invalidate(*(f"k{n}" for n in range(100)), tag="t", tenant="acme")
    await cache.resolve("acme.example.com")
    assert (len(database.reads), len(cache.freshness._tenant_floors)) == (before, floors)


async def test_explain(cache: TenantCache, clock: FakeClock) -> None:
    values = cache.values
    assert values.explain("a", tenant="acme").state == "absent"
    await values.get_or_load("a", Loader("x"), tenant="acme", ttl=60, tags=["t"])
    clock.advance(1)
    await cache.sync()
    found = values.explain("a", tenant="acme")
    assert (found.name, found.state, found.tier) == ("value:acme:a", "fresh", "loader")
    assert (found.age, found.tags) == (1, ("t",))
    assert found.watermark == cache.freshness.applied
    await values.invalidate(tag="t", tenant="acme")
    found = values.explain("a", tenant="acme")
    assert (found.state, found.invalidated_by) == ("refused", cache.freshness.applied)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({}, "give either ttl= or fresh="),
        ({"ttl": 1, "fresh": 1}, "give either ttl= or fresh="),
        ({"ttl": 0}, "ttl=0 is not possible"),
        ({"fresh": -1}, "fresh=-1 is not possible"),
        ({"ttl": 60, "stale": 5}, "stale= goes with fresh="),
        ({"fresh": 60, "stale": -5}, "0 or more"),
        ({"ttl": 60, "hard_timeout": 0}, "over 0"),
    ],
)
async def test_terms_that_are_not_possible(cache: TenantCache, terms: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        await cache.values.get_or_load("a", Loader("x"), tenant="acme", **terms)


async def test_explain_without_a_type_finds_what_is_held_of_any(cache: TenantCache) -> None:
    values = cache.values
    await values.get_or_load("a", Loader(7), tenant="acme", ttl=60, type=int)
    await values.contains("team", 7, Loader([7]), tenant="acme", ttl=60)
    assert [values.explain(key, tenant="acme").state for key in ("a", "team")] == ["fresh", "fresh"]
    assert values.explain("a", tenant="acme", type=str).state == "absent"
    assert values.explain("a", tenant="globex").state == "absent"


async def test_keys_and_tags_are_texts(cache: TenantCache) -> None:
    async def load_many(keys: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(keys, "x")

    key: Any = 7
    values, loader = cache.values, Loader("x")
    for call in (
        values.get_or_load(key, loader, tenant="acme", ttl=60),
        values.get_or_load("a", loader, tenant="acme", ttl=60, tags=[key]),
        values.get_or_load("a", loader, tenant="acme", ttl=60, tags=lambda _: [key]),
        values.invalidate(key, tenant="acme"),
        values.invalidate(["a", "b"], tenant="acme"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="give a text"):
            await call
    for call in (
        values.get_or_load("a", loader, tenant="acme", ttl=60, tags=lambda _: "abc"),
        values.get_many("abc", load_many, tenant="acme", ttl=60),
    ):
        with pytest.raises(TypeError, match="one text; give a list"):
            await call


async def test_tags_that_can_be_read_once_are_kept(cache: TenantCache) -> None:
    tags: Any = (tag for tag in ("t",))
    await cache.values.get_or_load("a", Loader("x"), tenant="acme", ttl=60, tags=tags)
    assert cache.values.explain("a", tenant="acme").tags == ("t",)
