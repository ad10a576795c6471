"""The keys that tenantcache itself is working with: counters of today, and copies of tenants."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_GROUP = "0"
_COUNTER = re.compile(rb".+:ratelimit:\d+:(\d{8}):(?:\d{4}|day)(?::2)?", re.DOTALL)
"""A counter of any fleet: one below another prefix is as live, and its prefix is not known here."""
_EXAMPLES = ("tenant:subdomain:acme", "tenant:domain:acme.example.com")


@dataclass(frozen=True, slots=True)
class LiveKeys:
    """Those below a key prefix, and counters below any.

    `dates` (YYYYMMDD) are those that are today somewhere: a day may be a tenant's own.
    """

    prefix: str
    dates: frozenset[str]

    def holds(self, key: bytes) -> bool:
        prefix = self.prefix.encode()
        if key.startswith(prefix + b":tenant:"):
            return True
        if not key.startswith(prefix + b":ratelimit:"):
            counter = _COUNTER.fullmatch(key)
            return counter is not None and counter[1].decode() in self.dates
        return any(f":{date}:".encode() in key for date in self.dates)

    def first_hit(self, glob: re.Pattern[bytes]) -> str | None:
        """A key of those that are always there and that `glob` matches."""
        return next((key for key in self._examples() if glob.fullmatch(key.encode())), None)

    def _examples(self) -> Iterable[str]:
        for date in sorted(self.dates):
            for end in ("0000", "day"):
                yield f"{self.prefix}:ratelimit:{_GROUP}:{date}:{end}"
        yield from (f"{self.prefix}:{example}" for example in _EXAMPLES)
