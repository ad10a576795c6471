"""What one process has counted in each ten seconds of the last quarter of an hour.

Slots are those of the database server's time. So the histories of all processes can be added up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal, TypedDict, get_args

from tenantcache.stats import Stats

SLOT = 10
"""Seconds of one slot: the interval of reports, and of usage, which tells of requests."""

SLOTS = 90
"""A quarter of an hour. 90 slots of 13 counts are 3 kB of JSON in each report."""

Count = Literal[
    "requests",
    "denied",
    "unavailable",
    "over_budget",
    "unknown",
    "closed",
    "malformed",
    "loads",
    "in_memory",
    "in_redis",
    "in_postgres",
    "stale_served",
    "commands",
]
COUNTS: tuple[Count, ...] = get_args(Count)

Counts = Mapping[Count, int]


class HistoryDocument(TypedDict):
    """`slots` are numbers of slots since the Unix epoch, oldest first. `counts` has a list as long for each count."""

    slots: list[int]
    counts: dict[Count, list[int]]


def counts_of(stats: Stats) -> Counts:
    """The counts since the start of the process that a history is made of.

    Requests are those that a tenant's own limits admitted, each once, whatever it cost. If limits are only watched,
    those that were refused went on as well. "in_..." are the lookups that a tier answered.
    """
    limits, lookups, refusals = stats["limits"], stats["lookups"], stats["refusals"]
    decisions, answers = limits["decisions"]["tenant"], lookups["answers"]
    return {
        "requests": sum(decisions.values()) if limits["shadowed"] else decisions["admitted"],
        "denied": limits["denied"],
        "unavailable": limits["unavailable"],
        "over_budget": lookups["over_budget"],
        "unknown": refusals["unknown"] + refusals["foreign"],
        "closed": refusals["suspended"] + refusals["maintenance"] + refusals["deleted"],
        "malformed": refusals["malformed"],
        "loads": lookups["loads"],
        "in_memory": limits["fast"] + answers["memory"]["found"] + answers["memory"]["stale"],
        "in_redis": answers["redis"]["found"],
        "in_postgres": answers["postgres"]["found"] + answers["postgres"]["unknown"],
        "stale_served": lookups["stale_served"],
        "commands": stats["redis"]["billed_commands"],
    }


class History:
    """What was counted slot by slot, from the first look on."""

    def __init__(self) -> None:
        self._totals: Counts | None = None
        self._slots: deque[tuple[int, Counts]] = deque(maxlen=SLOTS)

    def note(self, slot: int, totals: Counts) -> None:
        """`totals` have been reached at the end of `slot`. What came since the call before belongs to it."""
        before = self._totals
        while self._slots and not slot - SLOTS < self._slots[-1][0] < slot:  # the clock was set
            self._slots.pop()
        if before is not None:
            self._slots.append((slot, {name: max(0, totals[name] - before[name]) for name in COUNTS}))
        self._totals = totals

    def document(self) -> HistoryDocument:
        """Ready for JSON."""
        return {
            "slots": [slot for slot, _ in self._slots],
            "counts": {name: [counts[name] for _, counts in self._slots] for name in COUNTS},
        }
