"""Why the log of changes cannot be relied on, and who mends that: what `tenantcache.fault()` in log.sql tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_REBUILT = "changed"
"""How a fault begins that `tenantcache.rebuild()` mends."""


class Remedy(Enum):
    REBUILD = "what was derived from tables is read anew"
    INIT = "run `tenantcache init` again"


@dataclass(frozen=True, slots=True)
class LogFault:
    """`told` is the database's text."""

    told: str

    @property
    def remedy(self) -> Remedy:
        return Remedy.REBUILD if self.told.startswith(_REBUILT) else Remedy.INIT

    def __str__(self) -> str:
        return self.told


def read_fault(told: str | None) -> LogFault | None:
    """None: the log can be relied on."""
    return None if told is None else LogFault(told)
