"""What is drained is what was spent: each token once, under its day."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tenantcache.ratelimit.core.spending import Spending, Spent


def test_each_token_is_drained_once() -> None:
    spending = Spending()
    assert spending.drain(7, 0) == []
    assert spending.drain(7, 5) == [Spent(7, 5)]
    assert spending.drain(7, 5) == []
    assert spending.drain(7, 6) == [Spent(7, 1)]


def test_what_was_spent_before_midnight_belongs_to_the_day_before() -> None:
    spending = Spending()
    spending.drain(7, 5)
    spending.close(7, 9)
    assert spending.drain(8, 2) == [Spent(7, 4), Spent(8, 2)]
    assert spending.drain(8, 2) == []


def test_a_ledger_that_is_closed_without_news_leaves_no_trace() -> None:
    spending = Spending()
    spending.drain(7, 5)
    spending.close(7, 5)
    spending.close(8, 0)
    assert spending.drain(9, 0) == []


@given(st.lists(st.one_of(st.integers(1, 50), st.sampled_from(["drain", "midnight", "limit changed"]))))
def test_nothing_is_lost_and_nothing_counted_twice(steps: list[int | str]) -> None:
    spending, day, total = Spending(), 0, 0
    spent: Counter[int] = Counter()
    drained: Counter[int] = Counter()
    for step in [*steps, "drain"]:
        if isinstance(step, int):
            total += step
            spent[day] += step
        elif step == "drain":
            for found in spending.drain(day, total):
                drained[found.day] += found.tokens
        else:
            spending.close(day, total)
            total = 0
            day += step == "midnight"
    assert drained == spent
