"""Days in a tenant's time zone. Zone data is the system's, or that of the `tzdata` package if the system has none.

A day lasts from one local midnight to the next: 23 or 25 hours when the clocks change. If they are moved forward at
midnight, the day begins at the first time that there is. If they are moved back over it, it begins at the first
midnight. So the days of a zone follow each other without gap or overlap.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache, lru_cache
from math import floor
from zoneinfo import ZoneInfo

from tenantcache.ratelimit.core.windows import Calendar, Day, utc_day

logger = logging.getLogger(__name__)

EPOCH = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=1024)  # also of names that are not zones: looking for those reads directories
def find_zone(name: str) -> tzinfo | None:
    """The zone of that IANA name, or None if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # not found, a directory or unreadable, no relative path
        return None


@lru_cache(maxsize=1024)
def calendar_of(time_zone: str | None) -> Calendar:
    """What tells a tenant's days; UTC if it has no zone, or one that is not known here (which is logged once)."""
    if time_zone is None or time_zone == "UTC":
        return utc_day
    zone = find_zone(time_zone)
    if zone is None:
        logger.warning("%r is not a time zone (an IANA name like Europe/Berlin): days end at midnight UTC", time_zone)
        return utc_day

    return _days_of(zone)


@cache  # there are some 600 zones. One calendar for each, whatever was asked for meanwhile: they are told apart by that
def _days_of(zone: tzinfo) -> Calendar:
    def local_day(server_time: float) -> Day:
        return day_in(zone, server_time)

    return local_day


def day_in(zone: tzinfo, server_time: float) -> Day:
    """The day in which `server_time` (seconds since the Unix epoch) lies in `zone`."""
    today = datetime.fromtimestamp(floor(server_time), UTC).astimezone(zone).date()
    end = _start_of(today + timedelta(days=1), zone)
    if server_time >= end:  # the clocks were moved back over midnight: this hour was yesterday's before, and is over
        today += timedelta(days=1)
        end = _start_of(today + timedelta(days=1), zone)
    return Day(today.toordinal() - EPOCH, _start_of(today, zone), end)


def _start_of(day: date, zone: tzinfo) -> float:
    return datetime.combine(day, time(), zone).timestamp()
