"""The busiest tenants: their numbers never fall, each request counts once, and memory is bounded."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tenantcache.observability.toptenants import HALF_LIFE, TopTenants

REQUESTS = st.tuples(st.sampled_from(["a", "b", "c", "d", "other"]), st.integers(-3, 50))
STEPS = st.lists(st.one_of(REQUESTS, st.floats(0, 2 * HALF_LIFE)), max_size=60)


@given(STEPS, st.integers(1, 3))
def test_each_request_counts_once_and_no_number_falls(steps: list[tuple[str, int] | float], most: int) -> None:
    top, now, sent = TopTenants(most), 0.0, 0
    before: dict[str, float] = {}
    for step in steps:
        if isinstance(step, tuple):
            top.note(*step)
            sent += max(0, step[1])
            continue
        now += step
        found = top.look(now)
        assert len(found) <= most + 1
        gained = 0.0
        for tenant, count in found.items():
            assert count >= before.get(tenant, 0.0)
            gained += count - before.get(tenant, 0.0)
        if before.keys() <= found.keys():
            assert gained == sent
        else:
            assert gained <= sent, "what one that has left got since the last look is not shown"
        before, sent = found, 0


def test_the_busiest_come_in_and_stay_while_they_are() -> None:
    top, load = TopTenants(2), Counter({"a": 100, "b": 90, "c": 10, "d": 1})
    for second in range(5):
        for tenant, requests in load.items():
            top.note(tenant, requests)
        found = top.look(15.0 * second)
    assert found == {"a": 400, "b": 360, "other": 201 + 4 * 11}


def test_one_that_was_busy_gives_way_in_time_and_not_at_once() -> None:
    top = TopTenants(1)
    top.note("old", 1_000)
    assert set(top.look(0.0)) == {"old", "other"}
    top.note("new", 600)
    assert "old" in top.look(1.0)
    top.note("new", 200)
    assert "old" in top.look(HALF_LIFE), "it is behind by less than the advantage of those that are in"
    top.note("new", 400)
    assert "new" in top.look(2 * HALF_LIFE)


def test_a_crowd_takes_no_room() -> None:
    top = TopTenants(2)
    for number in range(10_000):
        top.note(f"t{number}", 1)
        if number % 100 == 0:
            top.note("busy", 50)
    assert len(top._weights) <= 40
    assert "busy" in top.look(1.0)


def test_a_tenant_whose_id_is_other_is_one_of_the_others() -> None:
    top = TopTenants(5)
    top.note("other", 10)
    top.note("a", 1)
    assert top.look(0.0) == {"a": 0, "other": 11}


def test_what_is_given_back_is_not_counted() -> None:
    top = TopTenants(1)
    top.note("a", 5)
    top.look(0.0)
    top.note("a", -5)
    assert top.look(1.0) == {"a": 0, "other": 5}
