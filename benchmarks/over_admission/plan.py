"""What the generators are to send."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

BASE_DOMAIN = "example.com"


@dataclass(frozen=True)
class TenantLoad:
    """`burst` requests every `pause` seconds from each generator to each worker."""

    name: str
    limit: int
    pause: float
    burst: int = 1
    per_day: int = 0
    after: float = 0.0
    """Seconds after the start of the load at which it is asked for first."""
    count: int = 1
    """If it is more than 1: so many tenants, which are asked for one after the other."""

    @property
    def names(self) -> list[str]:
        """Those of its tenants."""
        return [self.name] if self.count == 1 else [f"{self.name}-{number}" for number in range(self.count)]

    def offered(self, generators: int, workers: int) -> float:
        """Requests a minute."""
        return 60 / self.pause * self.burst * generators * workers


@dataclass(frozen=True)
class Plan:
    """`until` in seconds since the Unix epoch."""

    ports: tuple[int, ...]
    until: float
    tenants: tuple[TenantLoad, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        found = json.loads(text)
        return cls(tuple(found["ports"]), found["until"], tuple(TenantLoad(**one) for one in found["tenants"]))


TENANTS = (
    TenantLoad("seven", 7, pause=2.0),
    TenantLoad("sixty", 60, pause=1.0),
    TenantLoad("six-hundred", 600, pause=0.3),
    TenantLoad("sixty-thousand", 60_000, pause=1.0, burst=250),
)
"""Twice the limit and more, so that each one is reached within the minute."""
BELOW = (
    TenantLoad("below-sixty", 60, pause=12.0),
    TenantLoad("below-six-hundred", 600, pause=1.2),
    TenantLoad("below-by-day", 6_000, pause=0.5, per_day=1_000_000),
)
"""Two thirds of the limit and less, so that no refusal is right."""
