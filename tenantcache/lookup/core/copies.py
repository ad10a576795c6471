"""How a tenant is written into Redis, and read back.

A copy is JSON: `[schema version, epoch, watermark, at, row]`. The watermark is the number of a log entry, and `at` its
time in microseconds since the Unix epoch. The reader decides from these whether to believe it. Anything else is not a
copy, and never an error. Redis may hold values of other programs, and of older and newer versions of this library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.tenant import STATUSES, Row

SCHEMA_VERSION = 2

THRIFT_FACTOR = 4.0
"""A copy that lives four times as long saves three of four GETs and SETs, if nothing changes."""

LONGEST_LIFE = 80_000.0
"""Seconds. The log is kept for a day (`freshness/housekeeping.py`), and a copy from before is not believed."""


def thrifty_life(ttl: float) -> float:
    """The seconds that a copy lives while commands are saved. `ttl`: the same at other times."""
    return max(ttl, min(ttl * THRIFT_FACTOR, LONGEST_LIFE))


_TEXT = (str,)
_OPTIONAL_TEXT = (str, type(None))
_OPTIONAL_COUNT = (int, type(None))
_COLUMNS: dict[str, tuple[type, ...]] = {
    "id": _TEXT,
    "name": _TEXT,
    "subdomain": _OPTIONAL_TEXT,
    "domains": (list,),
    "primary_domain": _OPTIONAL_TEXT,
    "status": _TEXT,
    "plan": _OPTIONAL_TEXT,
    "limit_per_minute": _OPTIONAL_COUNT,
    "limit_per_day": _OPTIONAL_COUNT,
    "time_zone": _OPTIONAL_TEXT,
    "attributes": (dict,),
}
_ADOPTED_COLUMNS: dict[str, type] = {
    "kind": str,
    "subdomains": list,
    "old_names": list,
    "names": list,
    "old_slugs": list,
}
"""Those that an adopted tenant's row has besides."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A row as a process saw it when `mark` was the newest entry of the log that `epoch` names."""

    epoch: str
    mark: LogMark
    row: Row


def encode(copy: Copy) -> bytes:
    parts = [SCHEMA_VERSION, copy.epoch, copy.mark.seq, copy.mark.at, copy.row]
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()


def decode(value: bytes) -> Copy | None:
    """The copy in `value` (bytes of any origin), or None if that is not one of ours. Never raises."""
    try:
        parts = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, list) or len(parts) != 5 or parts[0] != SCHEMA_VERSION:
        return None
    _, epoch, watermark, at, row = parts
    if not isinstance(epoch, str) or type(watermark) is not int or type(at) is not int or not _is_row(row):
        return None
    return Copy(epoch, LogMark(watermark, at), row)


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not _COLUMNS.keys() <= row.keys() <= _COLUMNS.keys() | _ADOPTED_COLUMNS.keys():
        return False
    if not all(isinstance(row[name], kind) for name, kind in _ADOPTED_COLUMNS.items() if name in row):
        return False
    typed = all(isinstance(row[name], types) and not isinstance(row[name], bool) for name, types in _COLUMNS.items())
    return typed and row["status"] in STATUSES and all(isinstance(domain, str) for domain in row["domains"])
