"""The fleet's own use of Redis and its band, as Postgres has them, if a database URL is set."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import asyncpg

from tenantcache.budget.core.facts import FleetFacts
from tenantcache.budget.core.forecast import MOST_DAYS, forecast
from tenantcache.budget.core.period import DAY, HOUR, PeriodUnit, period_of
from tenantcache.budget.core.prices import tariff_of
from tenantcache.cli.connections import ServerError, postgres
from tenantcache.errors import ConfigurationError
from tenantcache.settings.model import Settings, variable_of

VARIABLES = ("TENANTCACHE_DATABASE_URL", "DATABASE_URL")

MAX_AGE = 30.0
"""Seconds for which `FleetView` keeps what it read. Processes report once a minute."""

_USE = """
    select extract(epoch from hour)::bigint / 3600 as hour, sum(billed)::bigint as billed
    from tenantcache.redis_usage where hour >= to_timestamp($1) group by 1
"""
_BAND = "select band, extract(epoch from clock_timestamp())::float8 as now from tenantcache.counter_store"


def has_database() -> bool:
    return any(os.environ.get(name, "").strip() for name in VARIABLES)


class FleetView:
    """`read_fleet`, asked anew every `MAX_AGE` seconds."""

    def __init__(self) -> None:
        self._facts: FleetFacts | None = None
        self._read_at = float("-inf")

    async def read(self) -> FleetFacts | None:
        if time.monotonic() - self._read_at >= MAX_AGE:
            self._facts, self._read_at = await read_fleet(), time.monotonic()
        return self._facts


async def read_fleet() -> FleetFacts | None:
    """None if there is no database URL, or if its database cannot be read: then the fleet's use is not known."""
    if not has_database():
        return None
    try:
        settings = Settings()
        async with postgres(settings.database_url, variable_of("database_url")) as connection:
            return await _read(connection, settings)
    except (ConfigurationError, ServerError):
        return None


async def _read(connection: asyncpg.Connection, settings: Settings) -> FleetFacts:
    row = await connection.fetchrow(_BAND)
    now: float = row["now"]
    unit: PeriodUnit = "day" if settings.redis_daily_budget else "month"
    period = period_of(now, unit, settings.redis_billing_day)
    since = min(period.start, now - MOST_DAYS * DAY)
    hours = {each["hour"]: each["billed"] for each in await connection.fetch(_USE, since)}
    used = sum(billed for hour, billed in hours.items() if hour * HOUR >= period.start)
    budget = settings.redis_daily_budget or settings.redis_monthly_budget
    expected = forecast(used, hours, now, period, budget)
    ends = expected.exhausted_at
    return FleetFacts(
        used=used,
        unit=tariff_of(settings.redis_pricing).unit,
        budget=budget,
        band=row["band"],
        forecast=expected.expected,
        bounds=(expected.low, expected.high),
        ends=None if ends is None else f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%d}",
    )
