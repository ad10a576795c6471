"""Estimates hold what was drawn, in series of samples whose truth is known."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.budget.core.allocation import allocate, allocate_pilot
from tenantcache.budget.core.estimates import Estimate, estimate_mean, estimate_share, student, total

SERIES = 300
ENOUGH = 0.95


def test_students_quantiles_are_those_of_the_tables() -> None:
    for freedom, expected in ((1, 63.66), (5, 4.032), (6, 3.707), (10, 3.169), (30, 2.750), (1000, 2.581)):
        assert student(freedom) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("share", [0.0004, 0.01, 0.3])
def test_shares_of_keys_in_runs(share: float) -> None:
    draw = random.Random(7)
    held = 0
    for _ in range(SERIES):
        sizes = [draw.randint(40, 60) for _ in range(50)]
        hits = {run: sum(draw.random() < share for _ in range(size)) for run, size in enumerate(sizes)}
        found = estimate_share({run: count for run, count in hits.items() if count}, sizes, 10**9)
        held += found.low <= share <= found.high
    assert held >= ENOUGH * SERIES


def test_keys_of_a_kind_that_lie_together_widen_the_interval() -> None:
    apart = estimate_share(dict.fromkeys(range(40), 10), [100] * 40, 10**9)
    together = estimate_share(dict.fromkeys(range(4), 100), [100] * 40, 10**9)
    assert apart.value == together.value == 0.1
    assert together.high - together.low > 5 * (apart.high - apart.low)


def test_a_share_of_all_keys_is_exact() -> None:
    assert estimate_share({0: 3, 1: 4}, [10, 10], 20) == Estimate.exactly(0.35)


@pytest.mark.parametrize(("sigma", "count"), [(0.5, 8), (0.8, 20), (1.0, 60)])
def test_means_of_skewed_sizes(sigma: float, count: int) -> None:
    draw = random.Random(11)
    truth = math.exp(6 + sigma**2 / 2)
    held = 0
    for _ in range(SERIES):
        found = estimate_mean([draw.lognormvariate(6, sigma) for _ in range(count)], 10**9)
        held += found.low <= truth <= found.high
    assert held >= ENOUGH * SERIES


def test_a_mean_of_all_values_is_exact() -> None:
    assert estimate_mean([1, 2, 6], 3) == Estimate.exactly(3)
    assert estimate_mean([5], 1) == Estimate.exactly(5)


def test_values_that_are_all_the_same_may_still_differ_by_a_step() -> None:
    found = estimate_mean([64] * 10, 1_000)
    assert found.value == 64
    assert found.low == 64  # none is known to be less
    assert 64 < found.high < 64 + 16


def test_sums_and_products() -> None:
    one, other = Estimate(10, 7, 14), Estimate(20, 16, 23)
    assert total([one, other]) == Estimate(30, 25, 35)
    product = Estimate(10, 7, 13).by(Estimate(100, 60, 140))
    assert (product.value, product.low, product.high) == pytest.approx((1000, 500, 1500))
    assert Estimate.exactly(4).by(Estimate(2, 1, 3)) == Estimate(8, 4, 12)


@given(
    st.integers(0, 500),
    st.dictionaries(st.text(max_size=3), st.tuples(st.floats(0, 1e9), st.integers(0, 50)), max_size=20),
)
def test_no_pattern_is_asked_more_than_it_has_nor_all_together_too_much(
    keys: int, patterns: dict[str, tuple[float, int]]
) -> None:
    weights = {pattern: weight for pattern, (weight, _) in patterns.items()}
    most = {pattern: available for pattern, (_, available) in patterns.items()}
    given_ = allocate(keys, weights, most)
    assert all(0 <= given_[pattern] <= most[pattern] for pattern in patterns)
    assert sum(given_.values()) == min(keys, sum(most[pattern] for pattern in patterns if weights[pattern] > 0))
    pilot = allocate_pilot(keys, most)
    assert all(pilot[pattern] <= min(8, most[pattern]) for pattern in patterns)
    assert sum(pilot.values()) <= (keys + 1) // 2


def test_keys_are_asked_by_weight() -> None:
    assert allocate(100, {"a": 3.0, "b": 1.0}, {"a": 1000, "b": 1000}) == {"a": 75, "b": 25}
    assert allocate(100, {"a": 3.0, "b": 1.0}, {"a": 10, "b": 1000}) == {"a": 10, "b": 90}
