"""One process of the fleet, as its report tells it.

Reports come from other versions, too. So each value is looked for, and what is not there is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tenantcache.fleet.core.events import Event
from tenantcache.fleet.core.history import COUNTS, Count
from tenantcache.fleet.reportstore import Identity

SILENT_AFTER = 30.0
"""Seconds without a report after which a process is silent: three of its reports."""

MAX_SPAN = 1_000
"""Slots between the first and the last one of a report. More is a mistake."""

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ProcessView:
    """`at` is when it has reported last (server time). `counts` are those of `core/history.py`, one for each slot from
    `first_slot` on."""

    identity: Identity
    at: float
    started: float
    is_following: bool = False
    is_valid: bool = False
    valid_for: float = 0.0
    applied: int = 0
    fault: str | None = None
    last_error: str | None = None
    store: str | None = None
    redis: str | None = None
    is_isolated: bool = False
    is_degraded: bool = False
    tenants: int = 0
    commands: int = 0
    first_slot: int = 0
    counts: Mapping[Count, Sequence[int]] = field(default_factory=dict)
    events: Sequence[Event] = ()
    refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.identity.host}:{self.identity.pid}"

    def age(self, now: float) -> float:
        return max(0.0, now - self.at)

    def known_slots(self) -> range:
        """The slots that it tells of."""
        return range(self.first_slot, self.first_slot + max(map(len, self.counts.values()), default=0))

    def counted(self, name: Count, window: range) -> Sequence[int]:
        """What it has counted in each slot of `window`, 0 in those of which it does not tell."""
        column, skipped = self.counts.get(name, ()), window.start - self.first_slot
        lead = min(len(window), max(0, -skipped))
        found = [*[0] * lead, *column[max(0, skipped) : max(0, window.stop - self.first_slot)]]
        return found + [0] * (len(window) - len(found))

    def is_silent(self, now: float) -> bool:
        return self.age(now) >= SILENT_AFTER


def read_process(identity: Identity, at: float, document: Json) -> ProcessView:
    """Take from a report what is shown."""
    freshness, limits = _part(document, "stats", "freshness"), _part(document, "stats", "limits")
    counters = _part(limits, "counters")
    first_slot, counts = _history(_part(document, "history"))
    return ProcessView(
        identity,
        at,
        started=_number(document.get("started")) or at,
        is_following=freshness.get("following") is True,
        is_valid=freshness.get("valid") is True,
        valid_for=_number(freshness.get("valid_for")),
        applied=int(_number(freshness.get("applied"))),
        fault=_text(freshness.get("fault")),
        last_error=_text(freshness.get("last_error")),
        store=_text(counters.get("store")),
        redis=_text(counters.get("redis")),
        is_isolated=counters.get("isolated") is True,
        is_degraded=limits.get("degraded") is True,
        tenants=int(_number(_part(document, "stats", "memory").get("tenants"))),
        commands=int(_number(_part(document, "stats", "redis").get("billed_commands"))),
        first_slot=first_slot,
        counts=counts,
        events=_events(document.get("events")),
        refused=_refused(document.get("refused")),
    )


def _part(document: Json, *path: str) -> Json:
    for name in path:
        found = document.get(name)
        document = found if isinstance(found, Mapping) else {}
    return document


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _history(history: Json) -> tuple[int, dict[Count, list[int]]]:
    """The first slot, and the counts of each slot from it on: those in which it did not look are 0."""
    slots = [int(_number(slot)) for slot in _list(history.get("slots"))]
    if not slots or slots != sorted(set(slots)) or slots[-1] - slots[0] > MAX_SPAN:
        return 0, {}
    counts, found = _part(history, "counts"), dict[Count, list[int]]()
    for name in COUNTS:
        column = found[name] = [0] * (slots[-1] - slots[0] + 1)
        for slot, count in zip(slots, _list(counts.get(name)), strict=False):
            column[slot - slots[0]] = int(_number(count))
    return slots[0], found


def _events(value: object) -> tuple[Event, ...]:
    found = []
    for row in map(_list, _list(value)):
        match row:
            case [float() | int() as at, str() as what, str() as before, str() as after, str() as why]:
                if what in ("counters", "redis", "log", "memory", "band"):
                    found.append(Event(float(at), what, before, after, why))  # type: ignore[arg-type]
    return tuple(found)


def _refused(value: object) -> dict[str, int]:
    found = {}
    for row in map(_list, _list(value)):
        match row:
            case [str() as owner, int() as count]:
                found[owner] = count
    return found
