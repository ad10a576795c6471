"""The end of the log, as every statement about tenants or changes tells it: a few columns in each of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from tenantcache.errors import SchemaMissingError, StoreError
from tenantcache.freshness.core.logmark import LogMark

# Each function stands in a subquery of its own: else the planner would have it called for each row of the answer.
HEAD = """
    select newest.seq as watermark, newest.at as watermark_at, (select tenantcache.epoch()) as epoch,
        (select pg_is_in_recovery()) as in_recovery, (select tenantcache.pending()) as pending
    from (select seq, at from tenantcache.change_log order by seq desc limit 1) as newest
    offset 0
"""

_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)  # Postgres keeps no more digits


def microseconds_of(at: datetime) -> int:
    return (at - _START) // _MICROSECOND


def time_of(microseconds: int) -> datetime:
    return _START + timedelta(microseconds=microseconds)


def head_of(records: Sequence[asyncpg.Record]) -> asyncpg.Record:
    """The first record: every statement says in each of its rows where the log ends."""
    if not records:
        raise SchemaMissingError("tenantcache.change_log was emptied by hand: run `tenantcache init` on the database")
    if records[0]["in_recovery"]:
        raise StoreError(
            "Postgres is a replica (in recovery), which may lag behind and proves nothing;"
            " give the address of the primary",
            refused=True,
        )
    return records[0]


def mark_of(head: asyncpg.Record) -> LogMark:
    return LogMark(head["watermark"], microseconds_of(head["watermark_at"]))
