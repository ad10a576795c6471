"""The token bucket that bounds what strangers may look up."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from tenantcache.lookup.core.lookupbudget import LookupBudget


def spent(budget: LookupBudget, attempts: int, now: float) -> int:
    return sum(budget.spend(now) for _ in range(attempts))


def test_a_burst_is_allowed_at_once_and_no_more() -> None:
    assert spent(LookupBudget(rate=2, burst=5), attempts=20, now=1_000.0) == 5


def test_tokens_come_back_at_the_rate() -> None:
    budget = LookupBudget(rate=2, burst=5)
    spent(budget, attempts=5, now=10.0)
    assert spent(budget, attempts=20, now=11.0) == 2
    assert spent(budget, attempts=20, now=11.25) == 0
    assert spent(budget, attempts=20, now=11.5) == 1


def test_a_quiet_time_earns_no_more_than_the_burst() -> None:
    budget = LookupBudget(rate=2, burst=5)
    spent(budget, attempts=5, now=0.0)
    assert spent(budget, attempts=20, now=1e6) == 5


@given(
    rate=st.integers(1, 50),
    burst=st.integers(1, 50),
    pauses=st.lists(st.integers(0, 64), min_size=1, max_size=100),
)
def test_no_span_of_time_gets_more_than_burst_and_rate(rate: int, burst: int, pauses: list[int]) -> None:
    budget = LookupBudget(rate, burst)
    # Sixteenths of a second and whole rates: every sum is exact.
    allowed = [now for now in accumulate(pause / 16 for pause in pauses) if budget.spend(now)]
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= burst + rate * (allowed[last] - allowed[first])


@given(rate=st.sampled_from([1, 2, 4, 8, 16]), burst=st.integers(1, 50), pauses=st.lists(st.integers(0, 64)))
def test_who_asks_no_faster_than_the_rate_is_never_refused(rate: int, burst: int, pauses: list[int]) -> None:
    budget = LookupBudget(rate, burst)
    # Powers of two, so that every sum is exact.
    assert all(budget.spend(now) for now in accumulate(1 / rate + pause / 16 for pause in pauses))
