"""What a minute is to one process: whose tokens it may take, and whether it may take any.

Rules 1 and 7 of `failover.py`, and 1 and 2 of `handover.py`. The table says what may become of a minute in one process;
it holds as long as the server's clock is not set and the database is not restored.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from tenantcache.ratelimit.core.agreement import Store


class MinuteStanding(Enum):
    """The value is how diagrams name it."""

    UNKNOWN = "unknown"
    """No pull tells which store counts it. What is held is spent, and nothing is taken."""
    UNREGISTERED = "in Redis, unregistered"
    """Redis counts it, and Postgres does not know this process as a holder. Nothing is taken."""
    IN_REDIS = "in Redis"
    IN_POSTGRES = "in Postgres"
    GIVEN_UP = "given up"
    """Redis counted it, and what it granted here is reported. Nothing is taken before Postgres begins."""
    LOST = "lost"
    """The process lost the last store in it. What is held is spent, and nothing is taken to its end, unless all others
    hand it over."""
    OWN = "its own"
    """The process decides by itself, to the minute's end."""


BECOMES: Mapping[MinuteStanding, Mapping[MinuteStanding, str]] = {
    MinuteStanding.UNKNOWN: {
        MinuteStanding.UNREGISTERED: "a pull names Redis",
        MinuteStanding.IN_REDIS: "a pull names Redis",
        MinuteStanding.IN_POSTGRES: "a pull names Postgres",
        MinuteStanding.LOST: "isolated",
        MinuteStanding.OWN: "isolated since before it began",
    },
    MinuteStanding.UNREGISTERED: {
        MinuteStanding.IN_REDIS: "registered",
        MinuteStanding.GIVEN_UP: "reported",
        MinuteStanding.IN_POSTGRES: "handed over by the others",
        MinuteStanding.LOST: "isolated",
    },
    MinuteStanding.IN_REDIS: {
        MinuteStanding.UNREGISTERED: "a pull, after the lease",
        MinuteStanding.GIVEN_UP: "reported",
        MinuteStanding.IN_POSTGRES: "handed over by the others, after the lease",
        MinuteStanding.LOST: "isolated",
    },
    MinuteStanding.GIVEN_UP: {
        MinuteStanding.IN_POSTGRES: "handed over",
        MinuteStanding.LOST: "isolated",
    },
    MinuteStanding.IN_POSTGRES: {MinuteStanding.LOST: "isolated, or Postgres does not count"},
    MinuteStanding.LOST: {MinuteStanding.IN_POSTGRES: "handed over"},
    MinuteStanding.OWN: {},
}
"""What a minute can become, and why."""

STORE_OF: Mapping[MinuteStanding, Store] = {
    MinuteStanding.UNREGISTERED: "redis",
    MinuteStanding.IN_REDIS: "redis",
    MinuteStanding.IN_POSTGRES: "postgres",
}
"""The store that counts a minute, if it is known and not given up."""

TAKES = frozenset({MinuteStanding.IN_REDIS, MinuteStanding.IN_POSTGRES})
"""Tokens of these minutes may be taken, and those taken in advance be spent."""
