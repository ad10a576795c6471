"""What a sample of keys says of all keys: `tenantcache analyze`, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Interval = tuple[int, int]
"""The least and the most that it may be, at a confidence of 99 %: in any series at least 95 of 100 hold the truth."""

TTL_STEPS = (
    (10, "<=10s"),
    (60, "<=1m"),
    (300, "<=5m"),
    (1800, "<=30m"),
    (3600, "<=1h"),
    (86_400, "<=1d"),
    (604_800, "<=7d"),
)
"""Seconds that are left, at most, and the name of the step in `PatternReport.ttl`."""

LONGER_TTL = ">7d"
NO_TTL = "none"


@dataclass(frozen=True, slots=True)
class PatternReport:
    """All keys of one pattern. Sizes are in bytes, with Redis' own overhead; None if they could not be asked.

    `ttl` and `types` are shares of the `asked` keys, by step of the remaining time to live, and by Redis' TYPE. They
    are empty if no key was asked. `longest_ttl` is in seconds, None if no asked key expires. `secret`: what a key holds
    that should not be seen, and which key, without it.
    """

    pattern: str
    keys: int
    keys_interval: Interval
    bytes: int | None = None
    bytes_interval: Interval | None = None
    ttl: Mapping[str, float] | None = None
    types: Mapping[str, float] | None = None
    owner: str | None = None
    asked: int = 0
    longest_ttl: int | None = None
    secret: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "pattern": self.pattern,
            "keys": self.keys,
            "keys_interval": list(self.keys_interval),
            "bytes": self.bytes,
            "bytes_interval": None if self.bytes_interval is None else list(self.bytes_interval),
            "ttl": dict(self.ttl or {}),
            "types": dict(self.types or {}),
            "owner": self.owner,
        }


@dataclass(frozen=True, slots=True)
class LargeKey:
    """A key of the sample; `key` is printable. `ttl` is in seconds, None if it does not expire."""

    key: str
    bytes: int
    type: str
    ttl: int | None

    def as_json(self) -> dict[str, Any]:
        return {"key": self.key, "bytes": self.bytes, "type": self.type, "ttl": self.ttl}


@dataclass(frozen=True, slots=True)
class KeyReport:
    """All keys, by pattern, the most frequent first. `sampled` keys were looked at; `notes` say what is not known.

    `scan_refused` says that the user may not name keys, so that there are no patterns.
    """

    keys: int
    keys_interval: Interval
    sampled: int
    billed_commands: int
    patterns: tuple[PatternReport, ...] = ()
    largest: tuple[LargeKey, ...] = ()
    notes: tuple[str, ...] = ()
    scan_refused: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "keys": self.keys,
            "keys_interval": list(self.keys_interval),
            "sampled": self.sampled,
            "billed_commands": self.billed_commands,
            "patterns": [pattern.as_json() for pattern in self.patterns],
            "largest": [key.as_json() for key in self.largest],
            "notes": list(self.notes),
        }


def ttl_step(seconds: int) -> str:
    """The step of a reply to TTL: -1 is a key without expiry."""
    if seconds < 0:
        return NO_TTL
    return next((name for most, name in TTL_STEPS if seconds <= most), LONGER_TTL)
