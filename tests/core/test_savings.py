"""What the bands ahead would save."""

from __future__ import annotations

import pytest

from tenantcache.budget.core.bands import Band, Use
from tenantcache.budget.core.meter import Purpose
from tenantcache.budget.core.savings import bands_ahead

USED = {
    Purpose.LOOKUP: 100,
    Purpose.FILL: 200,
    Purpose.INVALIDATION: 50,
    Purpose.RESERVATION: 500,
    Purpose.RETURN: 100,
    Purpose.EXPIRY: 50,
    Purpose.PROBE: 0,
}
USE = Use(period=0.0, used=1000, budget=100_000, rate=0.0, processes=1)


def test_copies_save_what_is_sent_for_them_and_no_redis_saves_everything() -> None:
    ahead = bands_ahead(Band.NORMAL, USE, USED, expected=11_000)
    assert [(one.band, one.begins_at, one.saves) for one in ahead] == [
        (Band.THRIFT, 70_000, None),
        (Band.NO_COPIES, 90_000, 3_500),
        (Band.NO_REDIS, 98_000, 10_000),
    ]


@pytest.mark.parametrize(
    ("band", "expected"),
    [(Band.THRIFT, [Band.NO_COPIES, Band.NO_REDIS]), (Band.NO_COPIES, [Band.NO_REDIS]), (Band.NO_REDIS, [])],
)
def test_only_bands_above_are_told(band: Band, expected: list[Band]) -> None:
    assert [one.band for one in bands_ahead(band, USE, USED, 11_000)] == expected


def test_nothing_is_saved_if_nothing_is_used() -> None:
    nothing = dict.fromkeys(Purpose, 0)
    unused = Use(period=0.0, used=0, budget=100_000, rate=0.0, processes=1)
    assert [one.saves for one in bands_ahead(Band.NORMAL, unused, nothing, expected=0)] == [None, 0, 0]
    assert [one.saves for one in bands_ahead(Band.NORMAL, USE, USED, expected=900)] == [None, 0, 0]
