"""The estimate of the server's clock: the tightest look wins, until drift or a clock that was set says otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.freshness.core.servertime import DRIFT, ServerTime


def test_the_first_look_replaces_the_guess() -> None:
    server = ServerTime(offset=123.0)
    server.observe(sent=10.0, received=10.2, server_time=1000.1)
    assert server.offset == pytest.approx(990.0)
    assert server.error == pytest.approx(0.1)


def test_a_tighter_look_wins() -> None:
    server = ServerTime(0.0)
    server.observe(10.0, 10.2, 1000.1)
    server.observe(11.0, 11.02, 1001.05)
    assert server.offset == pytest.approx(1001.05 - 11.01)
    assert server.error == pytest.approx(0.01)


def test_a_looser_look_that_agrees_is_ignored() -> None:
    server = ServerTime(0.0)
    server.observe(10.0, 10.02, 1000.01)
    assert server.observe(11.0, 11.4, 1001.3) == 0.0  # 0.1 s off, and 0.2 s uncertain
    assert server.offset == pytest.approx(990.0)


def test_a_look_that_contradicts_beyond_both_errors_means_that_a_clock_was_set() -> None:
    server = ServerTime(0.0)
    server.observe(10.0, 10.02, 1000.01)
    moved = server.observe(11.0, 11.4, 4601.2)  # an hour later
    assert moved == pytest.approx(3600.0)
    assert server.offset == pytest.approx(4590.0)
    assert server.error == pytest.approx(0.2)


def test_an_old_look_loses_trust_as_clocks_drift() -> None:
    server = ServerTime(0.0)
    server.observe(10.0, 10.02, 1000.01)
    loose = 0.03  # error of the later look; the first one is as bad after (0.03 - 0.01) / DRIFT seconds
    at = 10.02 + (loose - 0.01) / DRIFT
    server.observe(at - 1 - 2 * loose, at - 1, at - 1 - loose + 990.005)
    assert server.offset == pytest.approx(990.0), "a second before its time"
    server.observe(at + 1 - 2 * loose, at + 1, at + 1 - loose + 990.005)
    assert server.offset == pytest.approx(990.005)


@given(
    true_offset=st.floats(-1e9, 1e9),
    ways=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 10)), min_size=1, max_size=30),
)
def test_the_truth_is_always_within_the_error(true_offset: float, ways: list[tuple[float, float, float]]) -> None:
    """Cristian's bound, for any delays there and back, on clocks that run alike."""
    server, now = ServerTime(0.0), 0.0
    for there, back, pause in ways:
        server.observe(now, now + there + back, now + there + true_offset)
        assert abs(server.offset - true_offset) <= server.error + 1e-5  # float error at 1e9 s
        now += there + back + pause
