"""The fixture `redis_budget`: what the server bills is what it counts, whatever client of redis-py sends it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tenantcache.budget.core.meter import Command, Purpose
from tenantcache.stores.redis import RedisLink
from tenantcache.testing.redisbudget import SHOWN, RedisBudget
from tests.pytestplugins import without_plugins
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
Budget = Callable[..., RedisBudget]

# What sends CLIENT SETINFO when it connects: not a part of any budget.
NO_INFO: dict[str, Any] = {"driver_info": None, "protocol": 2}


def names(budget: RedisBudget) -> list[bytes]:
    return [command[0] for command in budget.commands]


def test_within_the_budget(redis_budget: Budget, redis_url: str, billed_commands: BilledCommands) -> None:
    with redis.Redis.from_url(redis_url, **NO_INFO) as client:
        with redis_budget(3) as spent:
            client.set("a", 1)
            client.mget("a", "b")
            client.get("a")
            client.ping()
        assert spent.billed == 3 == billed_commands.total()
        client.get("later")
    assert spent.billed == 3


def test_over_the_budget(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, pytest.raises(AssertionError) as caught, redis_budget(1):
        client.set("user:1", "x" * 1_000)
        client.get(b"a\x1b[31m\xff")
    assert str(caught.value) == (
        f"2 Redis commands were billed, and the budget is 1:\n  1. SET user:1 {'x' * 60}\n  2. GET a\\x1b[31m\\xff"
    )


def test_none_may_be_sent(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        with redis_budget(0):
            client.ping()
            client.info()
        with pytest.raises(AssertionError, match="1 Redis commands were billed, and the budget is 0"), redis_budget(0):
            client.get("a")


def test_each_command_of_a_pipeline_and_a_transaction(
    redis_budget: Budget, redis_url: str, billed_commands: BilledCommands
) -> None:
    with redis.Redis.from_url(redis_url, **NO_INFO) as client, redis_budget(6) as spent:
        for transaction in (False, True):
            pipeline = client.pipeline(transaction=transaction)
            pipeline.execute_command("SET", "a", 1)
            pipeline.execute_command("GET", "a")
            pipeline.execute()
    assert names(spent) == [b"SET", b"GET", b"MULTI", b"SET", b"GET", b"EXEC"]
    assert spent.billed == billed_commands.total()


def test_opening_a_connection_is_not_a_part_of_it(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, client_name="app", protocol=2) as client, redis_budget(1) as spent:
        client.get("a")
        assert spent.opening == 3  # CLIENT SETNAME, and SETINFO twice


async def test_asyncio(redis_budget: Budget, redis_url: str, billed_commands: BilledCommands) -> None:
    async with redis.asyncio.Redis.from_url(redis_url, **NO_INFO) as client:
        with redis_budget(22) as spent:
            await asyncio.gather(*(client.incr(f"n:{number}") for number in range(20)))
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command("GET", "a")
            pipeline.execute_command("GET", "b")
            await pipeline.execute()
        assert spent.billed == 22 == billed_commands.total()
        with pytest.raises(AssertionError, match="2 Redis commands"), redis_budget(1):
            await client.get("a")
            await client.get("b")


async def test_our_own_link(redis_budget: Budget, redis_url: str) -> None:
    link = RedisLink(redis_url, timeout=5.0)
    with redis_budget(2) as spent:
        await link.run_many([Command(Purpose.FILL, ("SET", "a", 1)), Command(Purpose.LOOKUP, ("GET", "a"))])
    assert spent.billed == link.meter.billed == 2
    await link.close()


def test_a_cluster(redis_budget: Budget, redis_cluster: RedisCluster) -> None:
    client = redis.RedisCluster.from_url(redis_cluster.url)
    with redis_budget(20) as spent:
        for number in range(20):
            client.set(f"n:{number}", number)
    client.close()
    assert spent.billed == 20


async def test_a_cluster_asyncio(redis_budget: Budget, redis_cluster: RedisCluster) -> None:
    async with redis.asyncio.RedisCluster.from_url(redis_cluster.url) as client:
        with redis_budget(20) as spent:
            await asyncio.gather(*(client.set(f"n:{number}", number) for number in range(20)))
        assert spent.billed == 20


def test_an_application_in_another_thread(redis_budget: Budget, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)  # made before the budget begins, as that of an application is

    async def home(request: Request) -> PlainTextResponse:
        client.get("a")
        await asyncio.to_thread(client.get, "b")
        return PlainTextResponse("hello")

    visitor = TestClient(Starlette(routes=[Route("/", home)]))
    with redis_budget(2) as spent:
        assert visitor.get("/").text == "hello"
    assert spent.billed == 2
    client.close()


def test_budgets_may_be_nested_and_cross(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, redis_budget(2) as outer:
        client.get("a")
        with redis_budget(1) as inner:
            client.get("b")
        assert (inner.billed, outer.billed) == (1, 2)
        first, second = redis_budget(9), redis_budget(9)
        with first:
            pass
        with second:
            pass
        assert outer.billed == 2


def test_an_error_in_the_block_is_not_hidden(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, pytest.raises(KeyError), redis_budget(0):
        client.get("a")
        raise KeyError


def test_many_threads(redis_budget: Budget, redis_url: str, billed_commands: BilledCommands) -> None:
    client = redis.Redis.from_url(redis_url, **NO_INFO)
    with redis_budget(400) as spent:
        threads = [threading.Thread(target=lambda: [client.incr("n") for _ in range(100)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    client.close()
    assert spent.billed == 400 == billed_commands.total()


SCRIPT = "redis.call('incr', KEYS[1]) redis.call('expire', KEYS[1], 9)"


def test_a_script_is_one_and_its_calls_are_told_to_be_missing(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        with redis_budget(1):
            client.eval(SCRIPT, 1, "n")
        missing = "1 of them run scripts; what these call is billed as well"
        with pytest.raises(AssertionError, match=missing), redis_budget(1):
            client.eval(SCRIPT, 1, "n")
            client.get("n")


def test_with_the_servers_own_count_the_calls_of_scripts_count(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        with redis_budget(3, redis_url=redis_url) as spent:
            client.eval(SCRIPT, 1, "n")
        assert spent.billed == 3
        with pytest.raises(AssertionError) as caught, redis_budget(2, redis_url=redis_url):
            client.eval(SCRIPT, 1, "n")
    assert str(caught.value).startswith("3 Redis commands were billed, and the budget is 2:\n  1. EVAL redis.call")
    assert "inside scripts, or by other clients: INCR 1" in str(caught.value)


def test_a_long_list_is_cut(redis_budget: Budget, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, pytest.raises(AssertionError) as caught, redis_budget(0):
        for number in range(SHOWN + 7):
            client.get(f"n:{number}")
    assert str(caught.value).endswith(f"{SHOWN}. GET n:{SHOWN - 1}\n  and 7 more")


def test_fakeredis(redis_budget: Budget) -> None:
    client = fakeredis.FakeRedis()
    with redis_budget(2) as spent:
        client.set("a", 1)
        client.get("a")
    assert names(spent) == [b"SET", b"GET"]
    with pytest.raises(AssertionError, match="1 Redis commands"), redis_budget(0):
        client.get("a")


async def test_fakeredis_asyncio(redis_budget: Budget) -> None:
    client = fakeredis.FakeAsyncRedis()
    with redis_budget(2) as spent:
        await client.set("a", 1)
        await client.get("a")
    assert names(spent) == [b"SET", b"GET"]
    await client.aclose()


TESTS = """
import fakeredis, pytest, redis

client = fakeredis.FakeRedis()

@pytest.mark.parametrize("number", range(6))
def test_good(redis_budget, number):
    with redis_budget(number):
        for key in range(number):
            client.get(key)

@pytest.mark.parametrize("number", range(1, 4))
def test_bad(redis_budget, monkeypatch, number):
    monkeypatch.undo()
    with redis_budget(0):
        for key in range(number):
            client.get(f"user:{key}")

def test_nothing_stays_behind():
    assert redis.connection.AbstractConnection.send_packed_command.__module__ == "redis.connection"
"""


@pytest.mark.parametrize("options", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)])
def test_a_failing_test_shows_its_line_and_the_commands(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(TESTS)
    lean = without_plugins("xdist") if options else without_plugins()
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *lean, *options)
    result.assert_outcomes(passed=7, failed=3)
    output = result.stdout.str()
    assert "3 Redis commands were billed, and the budget is 0:" in output
    assert "  3. GET user:2" in output
    assert "> " in output and "with redis_budget(0):" in output
    assert "redisbudget.py" not in output  # the test's own line is shown, and none of ours


def test_the_example_of_the_documentation_runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/record.md").read_text("utf-8"), re.DOTALL)
    pytester.makepyfile(example)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *without_plugins())
    result.assert_outcomes(passed=1)
