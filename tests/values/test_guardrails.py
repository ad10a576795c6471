"""Mistakes in the use of `cache.values`: each is refused or reported once, counted, and never shown with its secret."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from tenantcache import ConfigurationError, TenantCache
from tenantcache.values.core.kind import ValueKind
from tenantcache.values.core.loops import LOADS
from tests.fakes import FakeClock, FakeDatabase, make_cache, row

JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
LOGGER = "tenantcache.values.guardrails"
Told = Callable[[], list[str]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def cache(clock: FakeClock) -> AsyncIterator[TenantCache]:
    async with make_cache(FakeDatabase(clock, row("acme")), clock) as cache:
        yield cache


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """What was reported until now, all of it as warnings."""

    def lines() -> list[str]:
        found = [record for record in caplog.records if record.name == LOGGER]
        assert {record.levelno for record in found} <= {logging.WARNING}
        return [record.getMessage() for record in found]

    return lines


async def give(cache: TenantCache, key: str, value: object, **options: Any) -> object:
    """The value of a key that its loader gives; what calls it is the application."""

    async def load() -> object:
        await asyncio.sleep(0)
        return value

    return await cache.values.get_or_load(key, load, tenant="acme", **{"ttl": 60, **options})


SITE = f"{__file__}:{give.__code__.co_firstlineno + 7}"
"""Where `give` calls the engine."""


class TestShortTtl:
    @pytest.mark.parametrize("terms", [{"ttl": 9.9}, {"ttl": 1}, {"fresh": 5, "stale": 3600}, {"ttl": 0.01}])
    async def test_it_is_refused_unless_it_is_asked_for(
        self, cache: TenantCache, clock: FakeClock, terms: Mapping[str, float]
    ) -> None:
        with pytest.raises(ValueError, match=r"(?s)is under 10 seconds.*300 for a session.*or give short_ttl=True"):
            await give(cache, "a", 1, **{"ttl": None, **terms})
        assert await give(cache, "a", 1, **{"ttl": None, **terms}, short_ttl=True) == 1

    @pytest.mark.parametrize("ttl", [10, 10.1, 60])
    async def test_ten_seconds_are_enough(self, cache: TenantCache, ttl: float) -> None:
        assert await give(cache, "a", 1, ttl=ttl) == 1

    async def test_a_kind_may_be_short_by_name(self, clock: FakeClock) -> None:
        with pytest.raises(ValueError, match="short_ttl=True"):
            ValueKind(ttl=2)
        kinds = {"live": {"ttl": 2, "short_ttl": True}}
        async with make_cache(FakeDatabase(clock, row("acme")), clock, values_kinds=kinds) as cache:
            assert await give(cache, "a", 1, ttl=None, kind="live") == 1
            clock.advance(1)
            assert await give(cache, "a", 2, ttl=None, kind="live") == 1
            clock.advance(2)
            assert await give(cache, "a", 3, ttl=None, kind="live") == 3

    def test_settings_too(self, clock: FakeClock) -> None:
        with pytest.raises(ConfigurationError, match=r"(?s)TENANTCACHE_VALUES_KINDS|values_kinds.*under 10 seconds"):
            make_cache(FakeDatabase(clock), clock, values_kinds={"live": 2})


class TestSecrets:
    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ({"user": "ann", "password": "hunter2"}, "password"),
            ([{"accessToken": "hunter2"}], "token"),
            ({"billing": {"card_number": "hunter2"}}, "card number"),
        ],
    )
    async def test_one_in_a_value_is_reported_once_with_the_place_that_asks(
        self, cache: TenantCache, told: Told, value: object, kind: str
    ) -> None:
        for key in ("user:1", "user:2", "user:2:x"):
            assert await give(cache, key, value) == value
        [line] = told()
        assert f"a value like user:{{id}}, asked for at {SITE}, holds a secret ({kind})" in line
        assert "hunter2" not in line
        assert cache.stats()["values"]["secrets"] == 3

    async def test_one_that_is_declared_secret(self, cache: TenantCache, told: Told) -> None:
        with pytest.raises(TypeError):
            await give(cache, "a", {"x": SecretStr("hunter2")})
        [line] = told()
        assert "(a field that is declared secret)" in line
        assert "hunter2" not in line

    @pytest.mark.parametrize(
        ("key", "kind"), [(f"session:{JWT}", "a JWT"), ("reset_token:AbCdE12fGhIjK3lMnOpQ4", "a token")]
    )
    async def test_one_in_a_key(self, cache: TenantCache, told: Told, key: str, kind: str) -> None:
        for _ in range(2):
            await give(cache, key, 1)
            await cache.values.invalidate(key, tenant="acme")
        [line] = told()
        assert f"at {SITE}, holds a secret in its key ({kind})" in line
        assert key.partition(":")[2] not in line
        assert cache.stats()["values"]["secrets"] == 2

    async def test_each_place_of_an_application_is_named(self, cache: TenantCache, told: Told) -> None:
        async def load() -> dict[str, str]:
            return {"password": "hunter2"}

        async def load_many(keys: Sequence[str]) -> Mapping[str, Any]:
            return {key: {"password": "hunter2"} for key in keys}

        values = cache.values
        await values.get_or_load("a", load, tenant="acme", ttl=60)
        await values.get_or_load("b", load, tenant="acme", ttl=60)
        await values.get_many(["c", "d"], load_many, tenant="acme", ttl=60)
        await asyncio.wait_for(values.get_or_load("e", load, tenant="acme", ttl=60), 60)
        places = [line.partition(", holds")[0] for line in told()]
        assert len(set(places)) == 4
        assert all(f"{__file__}:" in place for place in places[:3])
        assert places[3].startswith("the value e holds")  # a task that the event loop has begun

    async def test_a_load_that_no_caller_waits_for_is_reported_by_its_key(
        self, cache: TenantCache, clock: FakeClock, told: Told
    ) -> None:
        await give(cache, "a", {"x": "y"}, ttl=100)
        clock.advance(96)
        await cache.sync()
        await give(cache, "a", {"password": "hunter2"}, ttl=100)
        for _ in range(20):
            await asyncio.sleep(0)
        assert told() == [
            "the value a holds a secret (password), and anyone who may read Redis may read it; leave it out of what is"
            " cached"
        ]


class TestLoops:
    async def loop(self, cache: TenantCache, start: int, count: int = LOADS) -> None:
        for number in range(start, start + count):
            await give(cache, f"user:{number}:profile", 1)

    async def test_one_is_reported_once_with_its_place(self, cache: TenantCache, told: Told) -> None:
        for start in (0, 100, 200):
            await asyncio.create_task(self.loop(cache, start))
        [line] = told()
        assert line.startswith(f"values like user:{{id}}:profile are loaded one after another in a loop at {SITE};")
        assert cache.stats()["values"]["loops"] == 3

    async def test_requests_beside_each_other_are_not_a_loop(self, cache: TenantCache, told: Told) -> None:
        await asyncio.gather(*(self.loop(cache, 100 * task, LOADS - 1) for task in range(50)))
        assert told() == []

    async def test_jobs_after_each_other_are_not_a_loop(self, cache: TenantCache, clock: FakeClock, told: Told) -> None:
        for number in range(3 * LOADS):
            await give(cache, f"customer:{number}", 1)
            clock.advance(0.01)
        assert told() == []

    async def test_a_batch_and_hits_are_not_a_loop(self, cache: TenantCache, told: Told) -> None:
        async def load_many(keys: Sequence[str]) -> Mapping[str, int]:
            return dict.fromkeys(keys, 1)

        keys = [f"user:{number}:profile" for number in range(100)]
        for start in range(0, 100, 4):
            await cache.values.get_many(keys[start : start + 4], load_many, tenant="acme", ttl=60)
        await self.loop(cache, 0, 100)
        assert told() == []


class TestOneTimeKeys:
    async def ask(self, cache: TenantCache, clock: FakeClock, again: int, count: int = 600) -> None:
        """One key every ten seconds; one of `again` is asked for twice."""
        for number in range(count):
            key = f"reset:{uuid.UUID(int=number)}"
            await give(cache, key, 1, ttl=60)
            if (number + 1) % again == 0:
                await cache.sync()
                await give(cache, key, 1, ttl=60)
            clock.advance(10)

    async def test_what_is_never_asked_for_again_is_reported_once(
        self, cache: TenantCache, clock: FakeClock, told: Told
    ) -> None:
        await self.ask(cache, clock, again=10_000)
        [line] = told()
        assert re.match(r"of 3\d values like reset:\{uuid\} that were loaded here only 0 were asked for again", line)
        assert cache.stats()["values"]["one_time_keys"] > 30

    async def test_what_is_asked_for_again_now_and_then_is_ordinary(
        self, cache: TenantCache, clock: FakeClock, told: Told
    ) -> None:
        await self.ask(cache, clock, again=2)
        assert told() == []
        assert cache.stats()["values"]["one_time_keys"] == 0


async def test_a_value_that_memory_has_no_room_for_is_reported_once(clock: FakeClock, told: Told) -> None:
    async with make_cache(FakeDatabase(clock), clock, values_max_bytes=20_000) as cache:
        for _ in range(2):
            assert await give(cache, "a", "x" * 2_000) == "x" * 2_000
            await give(cache, "b", "x")
        stats = cache.values.stats()
    assert (stats["loads"], stats["entries"], stats["too_large"]) == (3, 1, 2)
    [line] = told()
    assert line.startswith(f"the value a, asked for at {SITE}, is not kept in memory, so each call asks for it again")
    assert "one value may take 2000, a tenth of TENANTCACHE_VALUES_MAX_BYTES" in line
