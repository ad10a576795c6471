"""The slow path by itself: what is to become of a request, as a value, and what that has cost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tenantcache.web.admission import Admission, Bypass, Outcome, Refuse, Serve
from tenantcache.web.limitheaders import LimitHeaders
from tenantcache.web.redirect import Redirect
from tenantcache.web.requesthost import RequestHost
from tenantcache.web.strategies import PathPrefix
from tests.asgi import http_scope
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row

ROWS = [
    row("acme", limit_per_minute=2, limit_per_day=0),
    row("shop", domains=["shop.io"], primary_domain="shop.io"),
    row("asleep", status="suspended"),
]


class Desk:
    """An admission on stand-ins, with strategies or without."""

    def __init__(self, *strategies: PathPrefix) -> None:
        clock = FakeClock()
        self.counters = FakeCounters()
        database = FakeDatabase(clock, *ROWS)
        self.cache = make_cache(database, clock, counters=self.counters, redirect_to_primary=True)
        headers = LimitHeaders(self.cache.settings)
        self.admission = Admission(self.cache, RequestHost(()), strategies, headers)

    async def ask(self, host: bytes | None, path: str = "/") -> Outcome:
        return await self.admission.admit(await self.admission.find(http_scope(host, path)))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    async with made.cache:
        yield made


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        pytest.param(None, "/", 400, id="no host"),
        pytest.param(b"a.b.example.com", "/", 404, id="a host that no tenant can have"),
        pytest.param(b"none.example.com", "/", 404, id="a host that no tenant has"),
        pytest.param(b"asleep.example.com", "/", 403, id="a tenant that is suspended"),
    ],
)
async def test_what_is_refused_has_spent_nothing(desk: Desk, host: bytes | None, path: str, status: int) -> None:
    outcome = await desk.ask(host, path)
    assert isinstance(outcome, Refuse)
    assert (outcome.problem.status, list(outcome.headers)) == (status, [])
    assert desk.counters.takes == []


async def test_what_bypasses_has_not_been_looked_at(desk: Desk) -> None:
    for host, path in ((b"www.example.com", "/"), (b"acme.example.com", "/health"), (None, "/health/live")):
        outcome = await desk.ask(host, path)
        assert isinstance(outcome, Bypass)
        assert outcome.scope["path"] == path
    assert desk.counters.takes == []


async def test_another_name_than_the_primary_domain_is_redirected_and_has_spent_nothing(desk: Desk) -> None:
    outcome = await desk.ask(b"shop.example.com", "/a")
    assert isinstance(outcome, Redirect)
    assert outcome.location == b"http://shop.io/a"
    assert desk.counters.takes == []


async def test_a_tenant_is_served_up_to_its_limit_and_then_refused(desk: Desk) -> None:
    for left in (b"1", b"0"):
        outcome = await desk.ask(b"acme.example.com")
        assert isinstance(outcome, Serve)
        assert (outcome.serving.tenant.id, outcome.serving.cache) == ("acme", desk.cache)
        assert b";r=%b;" % left in dict(outcome.headers)[b"ratelimit"]
    refused = await desk.ask(b"acme.example.com")
    assert isinstance(refused, Refuse)
    assert refused.problem.status == 429
    assert b";r=0;" in dict(refused.headers)[b"ratelimit"]


async def test_a_scope_goes_on_without_the_prefix_that_names_the_tenant() -> None:
    desk = Desk(PathPrefix("/t"))
    async with desk.cache:
        outcome = await desk.ask(b"localhost", "/t/acme/orders")
        assert isinstance(outcome, Serve)
        assert (outcome.serving.tenant.id, outcome.scope["root_path"]) == ("acme", "/t/acme")
        assert isinstance(await desk.ask(b"acme.example.com", "/orders"), Refuse)
        assert list(desk.cache.memory.hot) == [("path:subdomain:", "acme")]
