"""`Retry-After` from both sides: then there is room, and a moment before there is none. No other request comes."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantcache.ratelimit.calendars import calendar_of
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.tenant import Limits
from tenantcache.web.limitheaders import ratelimit_headers
from tenantcache.web.limitrefusal import quota_exceeded
from tests.core.test_reservation import Counters, minute

SPRING = 1_774_741_200.0  # 2026-03-29 00:40 in Berlin, a day of 23 hours
A_MOMENT = 0.01


@settings(max_examples=200, deadline=None)
@given(
    slides=st.booleans(),
    zone=st.sampled_from([None, "Europe/Berlin", "Asia/Kolkata"]),
    limits=st.sampled_from([Limits(10, None), Limits(None, 5), Limits(10, 25), Limits(90, 100)]),
    start=st.floats(0, 90_000),
    cost=st.integers(1, 4),
    before=st.integers(0, 90),
)
def test_it_is_neither_early_nor_late(
    slides: bool, zone: str | None, limits: Limits, start: float, cost: int, before: int
) -> None:
    counters = Counters()
    now = SPRING + start
    r = Reservation(limits, now, calendar=calendar_of(zone), slides=slides)
    if limits.per_minute is not None:
        counters.values[minute(0)._replace(number=int(now // 60) - 1)] = min(before, limits.per_minute)
    for _ in range(200):
        refused = counters.serve(r, now, cost)
        if not refused.allowed:
            break
    assert refused.retry_after is not None
    assert refused.retry_after > 0
    problem = quota_exceeded(refused, ratelimit_headers(refused.quotas))
    assert problem.retry_after is not None
    assert problem.retry_after >= refused.retry_after
    assert problem.retry_after <= ceil(refused.retry_after) or problem.retry_after == 1
    if refused.retry_after > A_MOMENT:
        sent = len(counters.takes)
        assert not counters.serve(r, now + refused.retry_after - A_MOMENT, cost).allowed
        assert len(counters.takes) == sent, "and no command was needed to know"
    if not slides or limits.per_day is None:
        assert counters.serve(r, now + refused.retry_after, cost).allowed


@pytest.mark.parametrize("slides", [False, True])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 29.5, 59.0, 59.999, 59.999999])
def test_headers_never_say_0_seconds(slides: bool, seconds: float) -> None:
    r = Reservation(Limits(10, 100), SPRING, slides=slides)
    headers = dict(ratelimit_headers(r.quotas(SPRING + seconds)))
    assert headers[b"ratelimit"].startswith(b'"minute";r=10;t=%d, "day"' % ceil(60 - seconds))
    assert b";t=0" not in headers[b"ratelimit"]
    after = dict(ratelimit_headers(r.quotas(SPRING + 60)))
    assert after[b"ratelimit"].startswith(b'"minute";r=10;t=60, "day"'), "the next minute has begun"
