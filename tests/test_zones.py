"""Days in a tenant's time zone: 23 and 25 hours, midnights that there are not or twice, and names of no zone."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.ratelimit.calendars import calendar_of, find_zone
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.ratelimit.core.windows import Day, Window, utc_day
from tenantcache.tenant import Limits

HOUR = 3600


def at(text: str) -> float:
    """`2026-03-29T12:00+02:00` in seconds since the Unix epoch."""
    return datetime.fromisoformat(text).timestamp()


def day(text: str, start: str, end: str) -> Day:
    return Day((date.fromisoformat(text) - date(1970, 1, 1)).days, at(start), at(end))


@pytest.mark.parametrize(
    ("zone", "now", "expected", "hours"),
    [
        pytest.param(
            "Europe/Berlin",
            "2026-03-29T12:00+02:00",
            day("2026-03-29", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
            23,
            id="an hour less",
        ),
        pytest.param(
            "Europe/Berlin",
            "2026-10-25T12:00+01:00",
            day("2026-10-25", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
            25,
            id="an hour more",
        ),
        pytest.param(
            "Asia/Kolkata",
            "2026-06-01T00:00+05:30",
            day("2026-06-01", "2026-06-01T00:00+05:30", "2026-06-02T00:00+05:30"),
            24,
            id="half an hour",
        ),
        pytest.param(
            "Africa/Cairo",
            "2024-04-26T01:00+03:00",
            day("2024-04-26", "2024-04-26T01:00+03:00", "2024-04-27T00:00+03:00"),
            23,
            id="no midnight",
        ),
        pytest.param(
            "America/Havana",
            "2026-11-01T00:30-05:00",
            day("2026-11-01", "2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00"),
            25,
            id="midnight twice",
        ),
        pytest.param(
            "America/St_Johns",
            "2009-10-31T23:30-03:30",
            day("2009-11-01", "2009-11-01T00:00-02:30", "2009-11-02T00:00-03:30"),
            25,
            id="an hour of yesterday again",
        ),
    ],
)
def test_a_day_lasts_from_midnight_to_midnight(zone: str, now: str, expected: Day, hours: int) -> None:
    assert calendar_of(zone)(at(now)) == expected
    assert expected.end - expected.start == hours * HOUR


ZONES = ["Europe/Berlin", "America/St_Johns", "Africa/Cairo", "Pacific/Apia", "America/Havana", "Australia/Lord_Howe"]


@given(zone=st.sampled_from(ZONES), now=st.floats(at("2000-01-01T00:00Z"), at("2030-01-01T00:00Z")))
def test_days_follow_each_other_without_gap_or_overlap(zone: str, now: float) -> None:
    calendar = calendar_of(zone)
    today = calendar(now)
    assert today.start <= now < today.end
    assert calendar(today.start) == calendar(today.end - 1e-3) == today
    tomorrow = calendar(today.end)
    assert tomorrow.start == today.end
    assert tomorrow.number > today.number


@given(now=st.floats(0, 4e9))
def test_without_a_zone_days_are_utc(now: float) -> None:
    found = calendar_of(None)(now)
    assert date.fromordinal(found.number + date(1970, 1, 1).toordinal()) == datetime.fromtimestamp(int(now), UTC).date()
    assert found == calendar_of("Africa/Abidjan")(now), "which has no offset"


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "Europe", "x" * 999]
)
def test_what_is_no_zone_is_utc_and_said_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    calendar_of.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [calendar_of(name) for _ in range(3)] == [utc_day] * 3
    assert find_zone(name) is None
    assert len(caplog.records) == 1
    assert f"{name!r} is not a time zone" in caplog.text


def test_one_calendar_a_zone() -> None:
    """Limits are put in force again if the calendar is another one."""
    assert calendar_of("Europe/Berlin") is calendar_of("Europe/Berlin")


def spend(r: Reservation, now: float) -> None:
    take = r.plan(now, 1, 1)
    while take is not None:
        take = r.settle(take, [debit.amount for debit in take.debits], now)


@pytest.mark.parametrize(
    ("start", "seconds"), [("2026-03-29T00:00+01:00", 23 * HOUR), ("2026-10-25T00:00+02:00", 25 * HOUR)]
)
def test_reset_and_retry_after_on_days_when_the_clocks_change(start: str, seconds: int) -> None:
    r = Reservation(Limits(None, 1), at(start), calendar=calendar_of("Europe/Berlin"))
    spend(r, at(start))
    assert r.decide(at(start), 1) is not None
    spend(r, at(start) + 1)
    refused = None
    for second in (1, 2):
        take = r.plan(at(start) + second, 1, 1)
        if take is not None:
            r.settle(take, [2 + debit.amount - 1 for debit in take.debits], at(start) + second)
        refused = r.decide(at(start) + second, 1)
    assert refused is not None and not refused.allowed
    assert refused.retry_after == seconds - 2
    assert [(quota.name, quota.reset) for quota in refused.quotas] == [("day", seconds - 2)]
    last = r.decide(at(start) + seconds - 0.01, 1)
    assert last is not None and (last.allowed, last.violated) == (False, ("day",))
    assert last.retry_after == pytest.approx(0.01, abs=1e-4)
    assert last.quotas == r.quotas(at(start) + seconds - 0.01)
    assert r.decide(at(start) + seconds, 1) is None, "a new day"


def test_the_hot_path_ends_with_the_day() -> None:
    midnight = at("2026-06-02T00:00+05:30")
    r = Reservation(Limits(None, 10), midnight - 5, calendar=calendar_of("Asia/Kolkata"))
    assert r.until == midnight
    r.decide(midnight, 1)
    assert r.until == midnight + 60


def test_another_zone_counts_the_day_of_its_date() -> None:
    now = at("2026-06-01T20:00Z")  # in Tokyo it is the 2nd
    r = Reservation(Limits(None, 10), now)
    take = r.plan(now, 1, 1)
    assert take is not None and take.debits[0].window == Window("day", utc_day(now).number)
    r.settle(take, [take.debits[0].amount], now)
    r.change(Limits(None, 10), now, calendar_of("Europe/Berlin"))
    assert r.decide(now, 1) is not None, "the same date: what is held stays"
    assert r.until == now + 60
    r.change(Limits(None, 10), now, calendar_of("Asia/Tokyo"))
    assert r.decide(now, 1) is None
    take = r.plan(now, 1, 1)
    assert take is not None and take.debits[0].window == Window("day", utc_day(now).number + 1)


def test_a_zone_keeps_its_calendar_however_many_other_names_are_asked_for() -> None:
    berlin = calendar_of("Europe/Berlin")
    for number in range(2_000):
        calendar_of(f"No/Such-{number}")
    assert calendar_of("Europe/Berlin") is berlin
