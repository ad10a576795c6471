"""The middleware, called as a server calls it: who gets through, what the others are told, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantcache import (
    ConfigurationError,
    Settings,
    StoreUnavailableError,
    Tenant,
    TenantCache,
    TenantMiddleware,
    current_tenant,
)
from tenantcache.lookup.memory import MAX_SPELLINGS
from tenantcache.tenant import Row
from tenantcache.web.problems import Problem
from tests.asgi import CLIENT, Lifespan, connect, exchange, get, http_scope, request, websocket_scope
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row, until

ACME = b"acme.example.com"

ROWS = [
    row("acme", domains=["shop.acme.io"], name="Acme"),
    row("limited", limit_per_minute=2, limit_per_day=0),
    row("daily", limit_per_minute=0, limit_per_day=2),
    row("unlimited", limit_per_minute=0, limit_per_day=0),
    row("suspended", status="suspended"),
    row("maintenance", status="maintenance"),
]


class Recorder:
    """An application that notes what it is called with, and answers with the tenant that it sees."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
            return
        seen = current_tenant()
        body = json.dumps(None if seen is None else seen.name).encode()
        await send(self.start)
        await send({"type": "http.response.body", "body": body})


class World:
    """A middleware in front of a recorder, on stand-ins that the test holds in its hands."""

    def __init__(self, *rows: Row, **settings: Any) -> None:
        self.clock = FakeClock()
        self.database = FakeDatabase(self.clock, *rows)
        self.counters = FakeCounters()
        self.cache = make_cache(self.database, self.clock, counters=self.counters, **settings)
        self.recorder = Recorder()
        self.app = TenantMiddleware(self.recorder, cache=self.cache)


@asynccontextmanager
async def world(*rows: Row, **settings: Any) -> AsyncIterator[World]:
    made = World(*(rows or ROWS), **settings)
    async with made.cache:
        yield made


@pytest.fixture
async def plain() -> AsyncIterator[World]:
    async with world() as made:
        yield made


# Hosts.


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"", id="empty"),
        pytest.param(b"ac me.example.com", id="a space"),
        pytest.param(b"acme.example.com:port", id="a port that is none"),
        pytest.param(b"user@acme.example.com", id="userinfo"),
        pytest.param("ünïcode.example.com".encode(), id="not ASCII"),
        pytest.param(b"a" * 64 + b".example.com", id="a label too long"),
        pytest.param(b"a." * 4000 + b"example.com", id="a name too long"),
    ],
)
async def test_no_host_or_a_bad_one_is_400(plain: World, host: bytes | None) -> None:
    answer = await get(plain.app, host)
    assert answer.status == 400
    assert answer.header("content-type") == "application/problem+json"
    assert answer.json()["status"] == 400
    assert plain.recorder.scopes == []


async def test_two_hosts_are_400_even_where_both_are_the_same(plain: World) -> None:
    assert (await get(plain.app, ACME)).status == 200, "hot from here on"
    assert (await get(plain.app, ACME, headers=[(b"host", ACME)])).status == 400
    assert (await get(plain.app, ACME, headers=[(b"host", b"limited.example.com")])).status == 400


async def test_a_target_of_another_host_is_400(plain: World) -> None:
    assert (await get(plain.app, ACME)).status == 200
    answer = await get(plain.app, ACME, "http://other.example/", raw_path=b"http://other.example/")
    assert answer.status == 400


async def test_an_unknown_host_is_404_and_no_cache_may_keep_that(plain: World) -> None:
    for host in (b"nobody.example.com", b"nobody.example", b"deep.acme.example.com", b"127.0.0.1", b"[::1]:80"):
        answer = await get(plain.app, host)
        assert answer.status == 404
        assert answer.header("cache-control") == "no-store"
        assert answer.header("content-type") == "application/problem+json"
    assert plain.recorder.scopes == []


@pytest.mark.parametrize("host", [b"shop.acme.io", b"SHOP.acme.IO", b"shop.acme.io:8443", b"shop.acme.io."])
async def test_a_custom_domain_in_any_spelling(plain: World, host: bytes) -> None:
    assert (await get(plain.app, host)).json() == "Acme"
    assert (await get(plain.app, host)).json() == "Acme"


async def test_a_suspended_tenant_is_403(plain: World) -> None:
    for _ in range(2):
        answer = await get(plain.app, b"suspended.example.com")
        assert answer.status == 403
        assert answer.header("cache-control") == "no-store"
        assert answer.header("retry-after") is None


async def test_maintenance_is_503_with_retry_after(plain: World) -> None:
    answer = await get(plain.app, b"maintenance.example.com")
    assert answer.status == 503
    assert answer.header("retry-after") == "60"


async def test_suspending_a_hot_tenant_takes_hold(plain: World) -> None:
    assert (await get(plain.app, ACME)).status == 200
    plain.database.put(row("acme", status="suspended"))
    await plain.cache.sync()
    assert (await get(plain.app, ACME)).status == 403


async def test_no_answer_of_ours_echoes_the_host() -> None:
    marker = b"zq7marker"
    async with world(row("acme"), row("zq7marker", status="suspended"), row("zq7marker2", limit_per_minute=1)) as made:
        for host in (
            marker + b".example.com",
            marker + b".nowhere.example",
            marker + b" <script>",
            marker + b"2.example.com",
            marker + b"2.example.com",
        ):
            answer = await get(made.app, host)
        assert answer.status == 429
        for host in (marker + b".example.com", marker + b".nowhere.example", marker + b" <script>"):
            answer = await get(made.app, host, "/" + marker.decode())
            assert answer.status in (400, 403, 404)
            assert marker not in answer.body
            assert all(marker not in value for _, value in answer.headers)


# What bypasses.


@pytest.mark.parametrize("path", ["/health", "/health/", "/health/deep", "/health/deep/er"])
async def test_a_bypass_path_needs_no_tenant_whatever_the_host(plain: World, path: str) -> None:
    for host in (ACME, b"nobody.example.com", b"suspended.example.com", b"ac me", None):
        assert (await get(plain.app, host, path)).json() is None
    assert all(scope["state"]["tenant"] is None for scope in plain.recorder.scopes)
    assert plain.database.reads == []


@pytest.mark.parametrize("path", ["/healthy", "/healt", "/", "/x/health", "/HEALTH", "/health-check"])
async def test_a_bypass_path_counts_by_whole_segments(plain: World, path: str) -> None:
    for _ in range(2):  # the second time on the fast path
        assert (await get(plain.app, ACME, path)).json() == "Acme"
    assert (await get(plain.app, b"nobody.example.com", path)).status == 404


async def test_bypass_paths_are_configured() -> None:
    async with world(bypass_paths=["/metrics/", "/a/b"]) as made:
        assert (await get(made.app, ACME)).json() == "Acme"
        for path in ("/metrics", "/metrics/x", "/a/b", "/a/b/c"):
            assert (await get(made.app, ACME, path)).json() is None
        for path in ("/health", "/a", "/a/bc", "/metricsx"):
            assert (await get(made.app, ACME, path)).json() == "Acme"


async def test_no_path_bypasses() -> None:
    async with world(bypass_paths=[]) as made:
        for path in ("/", "/health", "*"):
            assert (await get(made.app, ACME, path)).json() == "Acme"


async def test_every_path_bypasses() -> None:
    async with world(bypass_paths=["/"]) as made:
        for path in ("/", "/health", "/x/y"):
            assert (await get(made.app, ACME, path)).json() is None


@pytest.mark.parametrize("host", [b"example.com", b"EXAMPLE.com:8000", b"www.example.com", b"WWW.example.com."])
async def test_the_apex_and_reserved_labels_bypass(plain: World, host: bytes) -> None:
    assert (await get(plain.app, host)).json() is None
    assert plain.recorder.scopes[-1]["state"] == {"tenant": None}
    assert plain.database.reads == []


# Limits.


async def test_429_says_what_and_until_when(plain: World) -> None:
    plain.clock.advance(12.5)
    statuses = [(await get(plain.app, b"limited.example.com")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = await get(plain.app, b"limited.example.com")
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("retry-after") == "48", "47.5 s, rounded up: never too early"
    assert answer.header("ratelimit-policy") == '"minute";q=2;w=60'
    assert answer.header("ratelimit") == '"minute";r=0;t=48'
    body = answer.json()
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert body["status"] == 429
    assert body["violated-policies"] == ["minute"]
    assert len(plain.recorder.scopes) == 2
    plain.clock.advance(48)
    assert (await get(plain.app, b"limited.example.com")).status == 200


async def test_503_says_that_no_counter_could_be_asked() -> None:
    async with world(row("acme"), row("limited", limit_per_minute=2), limit_per_day=0) as made:
        made.counters.failing = True
        statuses = [(await get(made.app, b"limited.example.com")).status for _ in range(3)]
        assert statuses == [200, 200, 503], "its share of the limit, and no more"
        answer = await get(made.app, b"limited.example.com")
        assert answer.json() == {
            "type": "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "The tenant's requests cannot be counted at the moment.",
        }
        assert answer.header("retry-after") == "60"
        assert answer.header("ratelimit") is None
        assert answer.header("cache-control") == "no-store"
        [message] = (await connect(made.app, b"limited.example.com"))[-1:]
        assert (message["type"], message["code"]) == ("websocket.close", 1013)
        limits = made.cache.stats()["limits"]
        assert (limits["unavailable"], limits["denied"]) == (3, 0)


async def test_the_day_is_a_policy_of_its_own(plain: World) -> None:
    for _ in range(3):
        answer = await get(plain.app, b"daily.example.com")
    assert answer.status == 429
    assert answer.header("ratelimit-policy") == '"day";q=2;w=86400'
    assert answer.json()["violated-policies"] == ["day"]
    # The fake clock begins at 22:20 UTC.
    assert answer.header("retry-after") == str(100 * 60)


async def test_what_is_admitted_says_what_is_left() -> None:
    async with world(row("both", limit_per_minute=60, limit_per_day=1000)) as made:
        left = []
        for _ in range(3):
            answer = await get(made.app, b"both.example.com")
            assert answer.header("ratelimit-policy") == '"minute";q=60;w=60, "day";q=1000;w=86400'
            left.append(answer.header("ratelimit"))
        assert left == [f'"minute";r={60 - n};t=60, "day";r={1000 - n};t=6000' for n in (1, 2, 3)]


async def test_an_unlimited_tenant_gets_no_limit_headers(plain: World) -> None:
    for _ in range(2):
        answer = await get(plain.app, b"unlimited.example.com")
        assert [name for name, _ in answer.headers] == [b"x-app"]
    assert plain.counters.takes == []


@pytest.mark.parametrize(
    ("shown", "older", "expected"),
    [
        (True, False, {"ratelimit", "ratelimit-policy"}),
        (False, False, set()),
        (False, True, {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
        (
            True,
            True,
            {"ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"},
        ),
    ],
)
async def test_which_limit_headers_there_are_is_configured(shown: bool, older: bool, expected: set[str]) -> None:
    async with world(rate_limit_headers=shown, x_rate_limit_headers=older) as made:
        for status in (200, 200, 429):  # the slow path, the fast one, and a refusal
            answer = await get(made.app, b"limited.example.com")
            assert answer.status == status
            assert {name.decode() for name, _ in answer.headers if b"ratelimit" in name} == expected


async def test_the_older_headers_tell_of_the_scarcest_policy() -> None:
    async with world(row("both", limit_per_minute=60, limit_per_day=3), x_rate_limit_headers=True) as made:
        answer = await get(made.app, b"both.example.com")
        assert answer.header("x-ratelimit-limit") == "3"
        assert answer.header("x-ratelimit-remaining") == "2"
        assert answer.header("x-ratelimit-reset") == "6000"


@pytest.mark.parametrize("standard", [True, False])
@pytest.mark.parametrize(
    ("limits", "resets"), [((50, 60), ["60", "60", "59", "58"]), ((60, 50), ["6000", "6000", "5999", "5998"])]
)
async def test_the_older_headers_of_hot_requests_count_down(
    standard: bool, limits: tuple[int, int], resets: list[str]
) -> None:
    minute, day = limits
    tenant = row("both", limit_per_minute=minute, limit_per_day=day)
    async with world(tenant, rate_limit_headers=standard, x_rate_limit_headers=True) as made:
        told = []
        for seconds in (0.0, 0.0, 1.5, 0.5):
            made.clock.advance(seconds)
            answer = await get(made.app, b"both.example.com")
            told.append([answer.header(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")])
            names = [name for name, _ in answer.headers if b"ratelimit" in name]
            assert len(names) == (5 if standard else 3)
            assert names[-3:] == [b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"]
        assert told == [
            ["50", remaining, reset] for remaining, reset in zip(("49", "48", "47", "46"), resets, strict=True)
        ]


async def test_shadow_only_counts() -> None:
    async with world(limits="shadow") as made:
        statuses = [(await get(made.app, b"limited.example.com")).status for _ in range(5)]
        assert statuses == [200] * 5
        assert made.cache.stats()["limits"]["shadowed"] == 3


async def test_off_asks_nobody() -> None:
    async with world(limits="off") as made:
        statuses = [(await get(made.app, b"limited.example.com")).status for _ in range(5)]
        assert statuses == [200] * 5
        assert made.counters.takes == []


async def test_requests_at_once_get_exactly_the_limit(plain: World) -> None:
    plain.counters.gate.clear()
    tasks = [asyncio.create_task(get(plain.app, b"limited.example.com")) for _ in range(20)]
    await asyncio.sleep(0)
    plain.counters.gate.set()
    statuses = sorted([answer.status for answer in await asyncio.gather(*tasks)])
    assert statuses == [200] * 2 + [429] * 18


# The fast path.


async def test_a_hot_request_awaits_nothing_and_asks_nobody() -> None:
    async with world(row("acme", limit_per_minute=1000)) as made:
        for _ in range(20):  # the first ones find out how many tokens are wanted
            await get(made.app, ACME)
        reads, takes = len(made.database.reads), len(made.counters.takes)
        made.database.failing = made.counters.failing = True
        for _ in range(20):
            call = made.app(http_scope(ACME), _never, _nowhere)
            with pytest.raises(StopIteration):
                call.send(None)  # a coroutine that waits for anything would yield instead
        assert (len(made.database.reads), len(made.counters.takes)) == (reads, takes)
        assert len(made.recorder.scopes) == 40


async def limit_lines(made: World, host: bytes) -> list[str]:
    answer = await get(made.app, host)
    return answer.lines("ratelimit-policy") + answer.lines("ratelimit")


@pytest.mark.parametrize(
    ("columns", "policy", "first", "later", "next_minute"),
    [
        pytest.param(
            {"limit_per_minute": 60, "limit_per_day": 0},
            '"minute";q=60;w=60',
            ['"minute";r=58;t=60', '"minute";r=57;t=60'],
            ['"minute";r=56;t=1', '"minute";r=55;t=1'],
            ['"minute";r=59;t=60', '"minute";r=58;t=60'],
            id="a minute",
        ),
        pytest.param(
            {"limit_per_minute": 0, "limit_per_day": 1000},
            '"day";q=1000;w=86400',
            ['"day";r=998;t=6000', '"day";r=997;t=6000'],
            ['"day";r=996;t=5941', '"day";r=995;t=5941'],
            ['"day";r=994;t=5940', '"day";r=993;t=5940'],
            id="a day",
        ),
        pytest.param(
            {"limit_per_minute": 60, "limit_per_day": 1000},
            '"minute";q=60;w=60, "day";q=1000;w=86400',
            ['"minute";r=58;t=60, "day";r=998;t=6000', '"minute";r=57;t=60, "day";r=997;t=6000'],
            ['"minute";r=56;t=1, "day";r=996;t=5941', '"minute";r=55;t=1, "day";r=995;t=5941'],
            ['"minute";r=59;t=60, "day";r=994;t=5940', '"minute";r=58;t=60, "day";r=993;t=5940'],
            id="both",
        ),
    ],
)
async def test_hot_requests_count_down_one_by_one(
    columns: dict[str, int], policy: str, first: list[str], later: list[str], next_minute: list[str]
) -> None:
    async with world(row("both", **columns)) as made:
        await get(made.app, b"both.example.com")
        for seconds, expected in ((0, first), (59.2, later), (0.8, next_minute)):
            made.clock.advance(seconds)
            await made.cache.sync()  # memory stays valid
            for line in expected:
                assert await limit_lines(made, b"both.example.com") == [policy, line]


async def test_hot_requests_hear_of_another_limit_at_once() -> None:
    async with world(row("acme", limit_per_minute=60, limit_per_day=0)) as made:
        for _ in range(3):
            await get(made.app, ACME)
        made.database.put(row("acme", limit_per_minute=100, limit_per_day=0))
        await made.cache.sync()
        for line in ('"minute";r=96;t=60', '"minute";r=95;t=60'):
            assert await limit_lines(made, ACME) == ['"minute";q=100;w=60', line]


async def test_hot_requests_tell_each_second() -> None:
    async with world(row("acme", limit_per_minute=60, limit_per_day=0)) as made:
        await get(made.app, ACME)
        for line in ('"minute";r=58;t=60', '"minute";r=57;t=59', '"minute";r=56;t=58'):
            assert (await limit_lines(made, ACME))[1] == line
            made.clock.advance(1.0)


async def test_hot_requests_tell_of_limits_after_somebody_has_looked_at_the_counters() -> None:
    async with world(row("acme", limit_per_minute=60, limit_per_day=0)) as made:
        for _ in range(2):
            await get(made.app, ACME)
        await made.cache.peek(await acme_of(made))
        assert (await limit_lines(made, ACME))[1].startswith('"minute";r=')


async def test_who_is_served_on_the_hot_way_is_not_evicted_before_those_who_are_not_served() -> None:
    async with world(row("a"), row("b"), row("c"), memory_max_tenants=2) as made:
        for host in (b"a.example.com", b"b.example.com", b"a.example.com", b"c.example.com"):
            await get(made.app, host)
        assert b"a.example.com" in made.cache.memory.hot
        assert b"b.example.com" not in made.cache.memory.hot


async def test_behind_a_trusted_proxy_a_hot_request_awaits_nothing_either() -> None:
    async with world(trusted_proxies=["10.0.0.0/8"]) as made:
        for _ in range(2):
            assert (await get(made.app, b"edge", headers=FORWARDED, client=PROXY)).json() == "Acme"
        with pytest.raises(StopIteration):
            made.app(http_scope(b"edge", headers=FORWARDED, client=PROXY), _never, _nowhere).send(None)
        assert (await get(made.app, b"edge", headers=FORWARDED, client=CLIENT)).status == 404


async def _never() -> Message:
    raise AssertionError("nothing is to be received here")


async def _nowhere(message: Message) -> None:
    del message


async def test_the_hot_way_spends_the_same_tokens() -> None:
    async with world(row("acme", limit_per_minute=50)) as made:
        statuses = [(await get(made.app, ACME)).status for _ in range(200)]
        assert statuses == [200] * 50 + [429] * 150


async def test_a_lapsed_tenant_leaves_the_hot_way(plain: World) -> None:
    for _ in range(2):  # the second time on the fast path
        await get(plain.app, b"unlimited.example.com")
    reads = len(plain.database.reads)
    plain.clock.advance(plain.cache.settings.max_staleness + 0.001)
    assert (await get(plain.app, b"unlimited.example.com")).status == 200
    assert len(plain.database.reads) == reads + 1


async def test_tokens_that_were_lent_end_with_their_minute() -> None:
    async with world(row("acme", limit_per_minute=9)) as made:  # too few for tokens that stand in advance
        await get(made.app, ACME)
        made.clock.advance(59.9)
        await made.cache.sync()
        takes = len(made.counters.takes)
        assert (await get(made.app, ACME)).status == 200
        assert (len(made.counters.takes), made.cache.quotas(await acme_of(made))[0].remaining) == (takes, 7)
        made.clock.advance(0.2)
        assert made.clock() < made.cache.freshness.valid_until, "it is the minute that has ended"
        assert (await get(made.app, ACME)).status == 200
        assert len(made.counters.takes) == takes + 1


async def test_tokens_that_were_lent_end_where_the_servers_clock_is_set() -> None:
    async with world(row("acme", limit_per_minute=9)) as made:
        for _ in range(2):
            await get(made.app, ACME)
        takes = len(made.counters.takes)
        made.clock.set_server(60.0)
        await made.cache.sync()
        await get(made.app, ACME)
        assert len(made.counters.takes) == takes + 1, "it is another minute, which has no tokens yet"


async def acme_of(made: World) -> Tenant:
    tenant = await made.cache.resolve("acme.example.com")
    assert tenant is not None
    return tenant


async def test_tokens_that_were_lent_are_seen_by_whoever_asks() -> None:
    async with world(row("acme", limit_per_minute=50, limit_per_day=200)) as made:
        await get(made.app, ACME)
        tenant = await acme_of(made)
        for spent in range(1, 5):
            assert [quota.remaining for quota in made.cache.quotas(tenant)] == [50 - spent, 200 - spent]
            await get(made.app, ACME)


async def test_what_is_spent_elsewhere_is_not_spent_again_on_the_hot_way() -> None:
    async with world(row("acme", limit_per_minute=50)) as made:
        admitted = 0
        for _ in range(30):
            admitted += (await get(made.app, ACME)).status == 200
            admitted += 2 * (await made.cache.check(await acme_of(made), 2)).allowed
        assert admitted == 50


async def test_another_history_of_the_database_ends_the_hot_way() -> None:
    async with world(row("acme", limit_per_minute=0, limit_per_day=0), max_staleness=60.0) as made:
        for _ in range(2):
            assert (await get(made.app, ACME)).json() == "acme"
        made.database.put(row("acme", name="restored", limit_per_minute=0, limit_per_day=0))
        made.database.epoch = "two"
        await made.cache.sync()
        assert (await get(made.app, ACME)).json() == "restored"


async def test_a_flood_of_spellings_fills_nothing(plain: World) -> None:
    for number in range(2000):
        assert (await get(plain.app, b"unlimited.example.com:%d" % number)).status == 200
    assert len(plain.cache.memory.hot) == MAX_SPELLINGS
    assert len(plain.cache.memory) == 1


async def test_a_flood_of_unknown_hosts_touches_nothing(plain: World) -> None:
    assert (await get(plain.app, ACME)).status == 200
    await until(lambda: plain.cache.indexer.is_ready)
    reads = len(plain.database.reads)
    for number in range(2000):
        assert (await get(plain.app, b"nobody%d.example.com" % number)).status == 404
    assert len(plain.database.reads) == reads
    assert (len(plain.cache.memory), plain.cache.memory.negatives) == (1, 0)
    assert list(plain.cache.memory.hot) == [ACME]


async def test_nothing_is_served_where_the_database_has_been_away_for_too_long(plain: World) -> None:
    assert (await get(plain.app, ACME)).status == 200
    plain.database.failing = True
    settings = plain.cache.settings
    plain.clock.advance(settings.max_staleness + settings.stale_if_error - 1)
    assert (await get(plain.app, ACME)).status == 200
    plain.clock.advance(2)
    answer = await get(plain.app, ACME)
    assert answer.status == 503
    assert answer.header("retry-after") == "1"
    assert answer.header("content-type") == "application/problem+json"


# Proxies.

PROXY = ("10.1.2.3", 5000)
FORWARDED = [(b"x-forwarded-host", ACME)]


async def test_a_forwarded_host_counts_from_a_trusted_peer_only() -> None:
    async with world(trusted_proxies=["10.0.0.0/8", "::1/128"]) as made:
        inside = b"inside.example.com"
        for _ in range(2):
            assert (await get(made.app, inside, headers=FORWARDED, client=PROXY)).json() == "Acme"
            assert (await get(made.app, inside, headers=FORWARDED, client=("::1", 1))).json() == "Acme"
            assert (await get(made.app, inside, headers=FORWARDED, client=CLIENT)).status == 404
            assert (await get(made.app, inside, headers=FORWARDED, client=None)).status == 404
            assert (await get(made.app, inside, headers=FORWARDED, client=("unix:", 0))).status == 404


async def test_without_trusted_proxies_nobody_is_believed(plain: World) -> None:
    for _ in range(2):
        answer = await get(plain.app, ACME, headers=[(b"x-forwarded-host", b"suspended.example.com")], client=PROXY)
        assert answer.json() == "Acme"


async def test_a_trusted_peer_that_says_nothing_is_taken_at_its_host() -> None:
    async with world(trusted_proxies=["10.0.0.0/8"]) as made:
        assert (await get(made.app, ACME, client=PROXY)).json() == "Acme"


@pytest.mark.parametrize("value", [b"", b"ac me", b"acme.example.com, ", b"acme.example.com:x"])
async def test_a_malformed_forwarded_host_is_400(value: bytes) -> None:
    async with world(trusted_proxies=["10.0.0.0/8"]) as made:
        assert (await get(made.app, ACME, headers=[(b"x-forwarded-host", value)], client=PROXY)).status == 400


async def test_the_last_forwarded_host_wins_and_a_second_host_line_never() -> None:
    async with world(trusted_proxies=["10.0.0.0/8"]) as made:
        spoofed = [(b"x-forwarded-host", b"suspended.example.com, acme.example.com")]
        assert (await get(made.app, b"inside.example.com", headers=spoofed, client=PROXY)).json() == "Acme"
        twice = [(b"host", ACME), (b"x-forwarded-host", ACME)]
        assert (await get(made.app, b"inside.example.com", headers=twice, client=PROXY)).status == 400


# What the application sees, and what is left behind.


async def test_the_tenant_is_on_the_state(plain: World) -> None:
    for _ in range(2):
        scope = http_scope(ACME) | {"state": {"from": "lifespan"}}
        await request(plain.app, scope)
        seen = plain.recorder.scopes[-1]["state"]
        assert seen["tenant"].id == "acme"
        assert seen["from"] == "lifespan"


@pytest.mark.parametrize(
    ("host", "path"),
    [
        pytest.param(b"example.com", "/", id="a base domain"),
        pytest.param(b"www.example.com", "/", id="a reserved subdomain"),
        pytest.param(ACME, "/health", id="a bypass path of a tenant"),
        pytest.param(b"127.0.0.1", "/health/deep", id="a bypass path of no host"),
        pytest.param(None, "/health", id="a bypass path without a host"),
    ],
)
@pytest.mark.parametrize("state", [None, {"from": "lifespan"}, {"tenant": "a guest's"}])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_what_bypasses_has_none_on_the_state(
    plain: World, host: bytes | None, path: str, state: dict[str, Any] | None, kind: str
) -> None:
    scope = (http_scope if kind == "http" else websocket_scope)(host, path)
    if state is not None:
        scope["state"] = dict(state)
    await exchange(plain.app, scope, [{"type": f"{kind}.connect" if kind == "websocket" else "http.request"}])
    assert plain.recorder.scopes[-1]["state"] == (state or {}) | {"tenant": None}


async def test_a_client_cannot_bring_a_tenant_along(plain: World) -> None:
    answer = await get(plain.app, ACME, headers=[(b"x-tenant", b"limited"), (b"x-forwarded-host", b"x.example.com")])
    assert answer.json() == "Acme"


async def test_the_context_is_left_as_it_was_found(plain: World) -> None:
    for host in (ACME, ACME, b"nobody.example.com"):
        await get(plain.app, host)
        assert current_tenant() is None


async def test_what_bypasses_has_no_tenant_even_where_the_context_still_has_one(plain: World) -> None:
    """Servers begin a pipelined request within the task of the one before it."""

    async def pipelined(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            for path, host in (("/health", ACME), ("/", b"example.com")):
                inner = await asyncio.create_task(get(app, host, path))
                seen.append(inner.json())
            assert current_tenant() is not None
        await plain.recorder(scope, receive, send)

    seen: list[str | None] = []
    app = TenantMiddleware(pipelined, cache=plain.cache)
    for _ in range(2):
        assert (await get(app, ACME, "/first")).json() == "Acme"
    assert seen == [None] * 4


async def test_the_context_is_left_as_it_was_found_by_an_application_that_fails() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        assert current_tenant() is not None
        raise RuntimeError("the application's own")

    async with world() as made:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="the application's own"):
                await get(TenantMiddleware(failing, cache=made.cache), ACME)
            assert current_tenant() is None


async def test_requests_at_once_each_see_their_own_tenant() -> None:
    barrier = asyncio.Barrier(20)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        before = current_tenant()
        await barrier.wait()
        after = current_tenant()
        assert before is after is scope["state"]["tenant"]
        assert after is not None
        await JSONResponse(after.id)(scope, receive, send)

    rows = [row(f"t{number}") for number in range(20)]
    async with world(*rows) as made:
        app = TenantMiddleware(slow, cache=made.cache)
        answers = await asyncio.gather(*(get(app, b"t%d.example.com" % number) for number in range(20)))
        assert [answer.json() for answer in answers] == [f"t{number}" for number in range(20)]


async def test_tasks_and_threads_of_a_request_see_its_tenant(plain: World) -> None:
    seen: dict[str, str | None] = {}

    def note(where: str) -> None:
        tenant = current_tenant()
        seen[where] = None if tenant is None else tenant.id

    async def note_in_task() -> None:
        note("task")

    async def coroutine_endpoint(_request: Request) -> PlainTextResponse:
        await asyncio.create_task(note_in_task())
        await asyncio.to_thread(note, "thread")
        await run_in_threadpool(note, "pool")
        return PlainTextResponse("")

    def plain_endpoint(_request: Request) -> PlainTextResponse:
        assert threading.current_thread() is not threading.main_thread()
        note("endpoint in a thread")
        return PlainTextResponse("")

    app = Starlette(
        routes=[Route("/coroutine", coroutine_endpoint), Route("/plain", plain_endpoint)],
        middleware=[Middleware(TenantMiddleware, cache=plain.cache)],
    )
    assert (await get(app, ACME, "/coroutine")).status == 200
    assert (await get(app, ACME, "/plain")).status == 200
    assert seen == dict.fromkeys(("task", "thread", "pool", "endpoint in a thread"), "acme")


async def test_what_the_application_sends_is_not_changed() -> None:
    """Raw applications keep one message, or one list of headers, and send it again and again."""
    async with world(row("acme", limit_per_minute=100)) as made:
        kept = made.recorder.start
        answers = [await get(made.app, ACME) for _ in range(3)]
        assert kept == {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}
        assert [len(answer.headers) for answer in answers] == [3, 3, 3]


async def test_an_application_without_headers_of_its_own() -> None:
    async with world(row("acme", limit_per_minute=100)) as made:
        del made.recorder.start["headers"]
        assert {name for name, _ in (await get(made.app, ACME)).headers} == {b"ratelimit", b"ratelimit-policy"}


async def test_the_tier_is_told_once(plain: World) -> None:
    await get(plain.app, ACME)
    await get(plain.app, ACME)
    first, second = (scope["state"].get("tenant_tier") for scope in plain.recorder.scopes)
    assert (first, second) == ("postgres", None)


async def test_other_kinds_of_scope_pass_through(plain: World) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope: Scope = {"type": "something else"}
    await TenantMiddleware(app, cache=plain.cache)(scope, _never, _nowhere)
    assert seen == [scope]


# An answer of one's own.


async def test_reply_may_replace_our_answer_or_keep_it(plain: World) -> None:
    problems: list[Problem] = []

    def reply(scope: Scope, problem: Problem) -> ASGIApp | None:
        problems.append(problem)
        return PlainTextResponse("nobody here", 404) if problem.status == 404 else None

    app = TenantMiddleware(plain.recorder, cache=plain.cache, reply=reply)
    own = await get(app, b"nobody.example.com")
    assert (own.status, own.body, own.header("content-type")) == (404, b"nobody here", "text/plain; charset=utf-8")
    ours = await get(app, b"suspended.example.com")
    assert (ours.status, ours.header("content-type")) == (403, "application/problem+json")
    assert (await get(app, ACME)).status == 200
    assert [problem.status for problem in problems] == [404, 403]


# WebSockets.


async def test_a_websocket_sees_its_tenant(plain: World) -> None:
    for _ in range(2):
        sent = await connect(plain.app, b"acme.example.com")
        assert [message["type"] for message in sent] == ["websocket.accept"]
        assert plain.recorder.scopes[-1]["state"]["tenant"].id == "acme"


async def test_a_websocket_costs_a_token(plain: World) -> None:
    kinds = [(await connect(plain.app, b"limited.example.com"))[0]["type"] for _ in range(3)]
    assert kinds == ["websocket.accept", "websocket.accept", "websocket.close"]


async def test_an_accepted_websocket_gets_the_limit_headers(plain: World) -> None:
    accept, *_ = await connect(plain.app, b"limited.example.com")
    assert dict(accept["headers"])[b"ratelimit-policy"] == b'"minute";q=2;w=60'


REFUSALS = [
    pytest.param(None, 400, 1008, id="no host"),
    pytest.param(b"nobody.example.com", 404, 1008, id="unknown"),
    pytest.param(b"suspended.example.com", 403, 1008, id="suspended"),
    pytest.param(b"maintenance.example.com", 503, 1013, id="maintenance"),
]


@pytest.mark.parametrize(("host", "status", "code"), REFUSALS)
async def test_a_refused_websocket_gets_the_answer_where_the_server_can(
    plain: World, host: bytes | None, status: int, code: int
) -> None:
    start, body = await connect(plain.app, host, extension=True)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert body["type"] == "websocket.http.response.body"
    assert json.loads(body["body"])["status"] == status


@pytest.mark.parametrize(("host", "status", "code"), REFUSALS)
async def test_a_refused_websocket_is_closed_where_the_server_cannot(
    plain: World, host: bytes | None, status: int, code: int
) -> None:
    (close,) = await connect(plain.app, host)
    assert (close["type"], close["code"]) == ("websocket.close", code)
    assert len(close["reason"].encode()) <= 123, "RFC 6455 5.5: a control frame holds 125 bytes, two for the code"


@pytest.mark.parametrize("extension", [True, False])
async def test_a_websocket_over_the_limit(plain: World, extension: bool) -> None:
    for _ in range(2):
        await connect(plain.app, b"limited.example.com")
    first, *_ = await connect(plain.app, b"limited.example.com", extension=extension)
    if extension:
        assert first["status"] == 429
        assert dict(first["headers"])[b"retry-after"] == b"60"
    else:
        assert first["code"] == 1013


# Life.


def make_world(**settings: Any) -> World:
    return World(*ROWS, **settings)


async def test_the_engine_lives_as_long_as_the_application() -> None:
    made = make_world()
    async with Lifespan(made.app) as lifespan:
        assert made.cache.is_open
        assert (await get(made.app, b"limited.example.com")).status == 200
    assert lifespan.types == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not made.cache.is_open
    assert made.counters.total("minute") == 1, "the tokens that were not spent went back"
    assert "leave" in made.database.calls


async def test_the_engine_is_open_before_the_application_starts_and_until_it_has_stopped() -> None:
    made = make_world()
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        seen.append(made.cache.is_open)
        yield
        seen.append(made.cache.is_open)

    async with Lifespan(TenantMiddleware(Starlette(lifespan=lifespan), cache=made.cache)):
        pass
    assert seen == [True, True]
    assert not made.cache.is_open


async def test_an_engine_that_cannot_open_ends_the_start_with_a_message() -> None:
    made = make_world()
    made.cache.follower.start = _cannot_start  # type: ignore[method-assign]  # the fake's failure would take 5 s
    async with Lifespan(made.app) as lifespan:
        pass
    assert lifespan.types == ["lifespan.startup.failed"]
    assert "Postgres is away" in lifespan.sent[0]["message"]
    assert "TENANTCACHE_DATABASE_URL" in lifespan.sent[0]["message"]
    assert isinstance(lifespan.error, StoreUnavailableError), "as Starlette does: test clients wait for it"
    assert not made.cache.is_open


async def _cannot_start(timeout: float) -> None:
    del timeout
    raise StoreUnavailableError("Postgres is away")


async def test_settings_that_cannot_work_end_the_start_with_a_message() -> None:
    recorder = Recorder()
    async with Lifespan(TenantMiddleware(recorder)) as lifespan:
        pass
    assert lifespan.types == ["lifespan.startup.failed"]
    assert "TENANTCACHE_DATABASE_URL" in lifespan.sent[0]["message"]
    assert isinstance(lifespan.error, ConfigurationError)
    assert recorder.scopes == []


async def test_an_application_that_fails_to_start_closes_the_engine() -> None:
    made = make_world()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no configuration")
        yield

    async with Lifespan(TenantMiddleware(Starlette(lifespan=lifespan), cache=made.cache)) as running:
        pass
    assert running.types == ["lifespan.startup.failed"]
    assert not made.cache.is_open


async def test_an_error_of_ours_in_the_applications_own_start_is_answered_once() -> None:
    made = make_world()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        raise StoreUnavailableError("the application asked too early")
        yield

    async with Lifespan(TenantMiddleware(Starlette(lifespan=lifespan), cache=made.cache)) as running:
        pass
    assert running.types == ["lifespan.startup.failed"]
    assert "the application asked too early" in running.sent[0]["message"]
    assert not made.cache.is_open


async def test_without_lifespan_the_first_request_opens_the_engine() -> None:
    made = make_world()
    answers = await asyncio.gather(*(get(made.app, ACME) for _ in range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    assert made.database.calls.count("open") == 1
    await made.cache.close()


async def test_a_bypass_does_not_open_it() -> None:
    made = make_world()
    assert (await get(made.app, ACME, "/health")).status == 200
    assert (await get(made.app, b"example.com")).status == 200
    assert not made.cache.is_open


async def test_a_websocket_may_be_the_first_request() -> None:
    made = make_world()
    assert (await connect(made.app))[0]["type"] == "websocket.accept"
    await made.cache.close()


async def test_a_cache_and_settings_contradict_each_other() -> None:
    made = make_world()
    with pytest.raises(TypeError, match="either a cache or settings"):
        TenantMiddleware(made.recorder, cache=made.cache, settings=made.cache.settings)


async def test_settings_alone_make_an_engine() -> None:
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:1/none", base_domains=["one.example"])
    middleware = TenantMiddleware(Recorder(), settings=settings)
    assert isinstance(middleware.cache, TenantCache)
    assert middleware.cache.settings is settings


async def test_messages_after_the_start_pass_unchanged() -> None:
    """Streams, trailers and whatever a server adds are none of our business."""
    more: list[Message] = [
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b", "more_body": False},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")]},
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for message in more:
            await send(message)

    async with world(row("acme", limit_per_minute=100)) as made:
        sent = await exchange(TenantMiddleware(app, cache=made.cache), http_scope(ACME), [])
        assert sent[1:] == more
